"""What the solvers share: the objective on vectors, a run, its records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .._arrays import _checks
from .._arrays._trees import Structure
from ..penalties import L1, ElasticNet, as_penalty
from ..stop import Condition, RelativeDecrease, RelativeGradient
from ._record import Record
from ._search import NoProgress, Trial, no_step
from ._space import Space, numbers


class Objective:
    """A function of a tree, with smooth penalties, as one of vectors.

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args)`` returns the value and the gradient, a tree like `x`; only the value, if
        `gradient` is given. `None`: there are no values, only gradients.
    x0 : array or tree of arrays
        Where to start.
    args : sequence
        More arguments of `fun`.
    gradient : callable, optional
        ``gradient(x, *args)`` returns the gradient.
    penalty : tree of penalties, optional
        Smooth ones, a prefix of the structure of `x0`.
    """

    space_of: ClassVar[type[Space]] = Space

    def __init__(
        self,
        fun: Callable[..., Any] | None,
        x0: Any,
        *,
        args: Sequence[Any] = (),
        gradient: Callable[..., Any] | None = None,
        penalty: Any = None,
    ) -> None:
        if gradient is None if fun is None else not callable(fun):
            msg = f"fun: is {_checks.described(fun)}, expected a function; or None beside gradient="
            raise TypeError(msg)
        self.space = self.space_of(x0)
        self.evaluations = 0
        self._fun, self._args, self._gradient = fun, tuple(args), gradient
        self.valued = fun is not None
        self.penalise(self.space.structure.broadcast(penalty, "penalty"))

    def penalise(self, penalties: Sequence[Any]) -> None:
        """Take smooth penalties, one or `None` for each leaf."""
        self._penalties = penalties
        self._penalised = any(p is not None for p in penalties)

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """Return the value, as `fun` gave it, and the gradient, a new vector."""
        value, gradient = self.at_tree(self.space.unpack(x))
        return value, self.space.pack(gradient, "gradient")

    def at_tree(self, tree: Any) -> tuple[Any, Any]:
        """Return the value and the gradient at a tree, as `fun` gave them."""
        space = self.space
        self.evaluations += 1
        result = math.nan if self._fun is None else self._fun(tree, *self._args)
        if self._gradient is not None:
            value, gradient = result, self._gradient(tree, *self._args)
        elif isinstance(result, tuple) and len(result) == 2:
            value, gradient = result
        else:
            msg = f"fun: returned a {type(result).__name__}, expected (value, gradient)"
            raise TypeError(msg)
        if not self._penalised:
            return value, gradient
        leaves = space.structure.flatten(tree, "x")
        slopes = space.structure.flatten(gradient, "gradient")
        for i, (p, leaf) in enumerate(zip(self._penalties, leaves, strict=True)):
            if p is not None and leaf is not None:
                value = value + self._penalty(p, leaf)
                slopes[i] = slopes[i] + p.gradient(leaf)
        return value, space.structure.unflatten(slopes)

    def _penalty(self, penalty: Any, leaf: Any) -> Any:
        return penalty.value(leaf)


INTERRUPTED = "interrupted; this is the best point so far"


@dataclass(frozen=True)
class Solver:
    """Base of the solvers: frozen dataclasses whose fields are the settings."""

    _run: ClassVar[type[Run]]

    def start(self, fun: Callable[..., Any] | None, x0: Any, **options: Any) -> Run:
        """Evaluate the objective at `x0` and return a run, for loops of one's own.

        Parameters
        ----------
        fun : callable or None
            ``fun(x, *args)`` returns (value, gradient). It must not write into `x`. `None` as in
            `fallline.minimize`.
        x0 : array or tree of arrays
            Where to start; never written.
        **options
            ``args, gradient, penalty, constraint`` as in `fallline.minimize`.

        Returns
        -------
        Run
            ``run.steps(n)`` yields records.
        """
        return self._run(self, fun, x0, **with_penalties(x0, options))

    def __repr__(self) -> str:
        """Return the class and the fields that differ from their defaults."""
        values = ((f, getattr(self, f.name)) for f in fields(self))
        changed = [f"{f.name}={value!r}" for f, value in values if value != f.default]
        return f"{type(self).__name__}({', '.join(changed)})"


def with_penalties(x0: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run with functions in the place of penalties taken as such."""
    if options.get("penalty") is None:
        return options
    structure = Structure(x0)
    given = zip(structure.paths, structure.broadcast(options["penalty"], "penalty"), strict=True)
    found = [as_penalty(_checks.where("penalty", path), p) for path, p in given]
    return {**options, "penalty": structure.unflatten(found)}


def _other(penalty: Any) -> str:
    return "OWLQN" if isinstance(penalty, L1 | ElasticNet) else "ProximalGradient"


class Run:
    """A solver at work on one objective.

    Attributes
    ----------
    solver : Solver
        Its settings.
    x : tree
        The current point; assigning another drops what the solver has learned of the curvature.
    iteration : int
        Steps done.
    """

    # What later steps depend on: the attributes that a file has to keep.
    remembers: ClassVar[tuple[str, ...]] = (
        "iteration", "at", "_before", "_d", "_tried", "_probe", "_first_value",
    )  # fmt: skip
    proximal: ClassVar[bool] = False
    compares: bool = True  # values of the objective
    _tried = 1.0  # the first step length of the last search
    _probe: tuple[float, float] | None = None  # and, if the objective is finite there, its slope
    default_stop: ClassVar[Condition | None] = RelativeGradient() | RelativeDecrease(
        times=2, floor=0.0
    )

    def __init__(
        self,
        solver: Any,
        fun: Callable[..., Any] | None,
        x0: Any,
        *,
        args: Sequence[Any] = (),
        gradient: Callable[..., Any] | None = None,
        penalty: Any = None,
        constraint: Any = None,
        begin: bool = True,
    ) -> None:
        self.solver = solver
        smooth = None if self.proximal else penalty
        if not self.proximal:
            self._refuse(x0, penalty, constraint)
        if fun is None and self.compares:
            msg = f"fun: is None, and {type(solver).__name__} compares values; "
            raise TypeError(msg + "update rules do not, nor does ProximalGradient(step_size=...)")
        self.objective = Objective(fun, x0, args=args, gradient=gradient, penalty=smooth)
        self.space = self.objective.space
        self.iteration = 0
        self._setup(penalty, constraint)
        if begin:
            self._begin(self.space.pack(x0, "x0"))
            self._first_value = self.at.value

    def _refuse(self, x0: Any, penalty: Any, constraint: Any) -> None:
        name = type(self.solver).__name__
        if constraint is not None:
            msg = f"constraint: {name} has none; ProximalGradient has"
            raise ValueError(msg)
        for p in Space(x0).structure.broadcast(penalty, "penalty"):
            if p is not None and not p.smooth:
                msg = f"penalty: {name} needs a smooth one, and {p!r} is not; {_other(p)} fits"
                raise ValueError(msg)

    def _setup(self, penalty: Any, constraint: Any) -> None:
        """Take what only some solvers have."""

    def _begin(self, x: Any) -> None:
        self._d: Any = None
        self._before: Any = None
        self.at = self._evaluated(0.0, x)
        self._restart()

    def _evaluated(self, t: float, x: Any) -> Trial:
        value, gradient = self.objective(x)
        arrays = [self.space.peak(gradient), *self._measured(gradient)]
        got = numbers(self.space, value, arrays)
        measured = got[2:]
        slope = math.nan if self._d is None else self._slope(measured)
        return Trial(t, float(got[0]), slope, x, gradient, measured, float(got[1]))

    def _measured(self, gradient: Any) -> Sequence[Any]:
        """Return small arrays that are read together with the value."""
        return [gradient @ (gradient if self._d is None else self._d)]

    def _slope(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the slope along the direction from what was measured."""
        return float(measured[0])

    def _restart(self) -> None:
        """Forget the curvature."""

    def _line(self, t: float) -> Trial:
        trial = self._evaluated(t, self.at.x + t * self._d)
        if t == self._tried:
            self._probe = (t, trial.slope) if trial.finite else None
        return trial

    def _advance(self) -> Trial:
        raise NotImplementedError

    @property
    def noise(self) -> float:
        """Size of differences of values that may be rounding: more than that of the value itself.

        Its terms are rounded too, and what they are computed from.
        """
        return 4 * self.space.epsilon * abs(self.at.value)

    @property
    def x(self) -> Any:
        """The current point."""
        return self.space.shown(self.at.x)

    @x.setter
    def x(self, new: Any) -> None:
        self._begin(self.space.pack(new, "x"))

    @property
    def record(self) -> Record:
        """Where the run stands."""
        at = self.at
        return Record(
            at.value, at.norm, self.iteration, self.objective.evaluations, at.t,
            self.space, at.x, at.gradient, self._before, at.shortened, *self._vanishing,
            self._outlook, self.objective.valued,
        )  # fmt: skip

    @property
    def _vanishing(self) -> tuple[Any, float]:
        """What is to vanish, if that is not the gradient, and what it is to be divided by."""
        return self.at.pseudo, 1.0

    @property
    def _outlook(self) -> tuple[float, float]:
        """How far the objective and the point have to go yet, where steps do not tell."""
        return 0.0, 0.0

    def step(self) -> Record:
        """Make one iteration.

        Returns
        -------
        Record
            At the new point.

        Raises
        ------
        NoProgress
            If no step lowers the objective; the run stays where it was.
        """
        self.advance()
        return self.record

    def advance(self) -> None:
        """Make one iteration without a record."""
        trial = self._advance()
        self._before, self.at = self.at.x, trial
        self.iteration += 1

    def steps(self, n: int) -> Iterator[Record]:
        """Make `n` iterations, and yield the record of each; end early at the precision's limit."""
        for _ in range(_checks.count("n", n)):
            try:
                record = self.step()
            except NoProgress:
                return
            yield record

    @property
    def _spared(self) -> float:
        """What may be left to gain where no step lowers the objective, beside rounding."""
        return 0.0

    def _gain(self) -> float:
        """Return what a step is expected to gain: by its slope, and the curvature along it."""
        slope = abs(self.at.slope)
        gain = slope * self._tried
        if self._probe is not None and (bend := self._probe[1] + slope) > 0:
            gain = min(gain, 0.5 * slope * self._probe[0] * (slope / bend))
        return gain

    def _failed(self) -> NoProgress:
        # What could be gained, against what the rounding of values, points and residuals explains.
        # Where the slope is zero beside a gradient that is not, its square was out of range.
        at, xp, epsilon, gain = self.at, self.space.xp, self.space.epsilon, self._gain()
        moved = float(numbers(self.space, 0.0, [xp.abs(at.gradient) @ xp.abs(at.x)])[1])
        squares = epsilon**2 * abs(self._first_value - at.value)  # of residuals
        noise = self.noise + epsilon * moved + squares
        least = max(100 * noise, self._spared)
        small = math.isfinite(gain) and gain <= least and not gain == 0 < at.norm
        return NoProgress(no_step(small), at_precision=small)
