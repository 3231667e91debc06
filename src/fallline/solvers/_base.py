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
from ._search import NoProgress, Trial, no_step
from ._space import Space, numbers


class Objective:
    """A function of a tree, with smooth penalties, as one of vectors.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value and the gradient, a tree like `x`; only the value, if
        `gradient` is given.
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
        fun: Callable[..., Any],
        x0: Any,
        *,
        args: Sequence[Any] = (),
        gradient: Callable[..., Any] | None = None,
        penalty: Any = None,
    ) -> None:
        self.space = self.space_of(x0)
        self.evaluations = 0
        self._fun, self._args, self._gradient = fun, tuple(args), gradient
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
        result = self._fun(tree, *self._args)
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


@dataclass(frozen=True)
class Record:
    """Where a run stands; value and gradient belong to the same point.

    Of a batch, numbers are arrays with an entry for each problem, but for `evaluations`.

    Attributes
    ----------
    x : tree
        The point, on its device: read-only, or a copy where a library has no such arrays.
    value : float
        The objective there, smooth penalties included.
    gradient : tree
        Like `x`.
    gradient_norm : float
        Largest magnitude of an element of the gradient, complex ones by component; of a proximal
        solver, of the step over its length.
    iteration, evaluations : int
        Iterations done, evaluations of the objective so far.
    step_length : float
        Of the last step, in units of its direction.
    shortened : bool
        Whether the line search had to go back from a longer step.
    """

    value: float
    gradient_norm: float
    iteration: int
    evaluations: int
    step_length: float
    _space: Space
    _x: Any
    _gradient: Any
    _before: Any
    shortened: Any = False
    _steep: Any = None  # what is to vanish, if that is not the gradient, times `_unit`
    _unit: float = 1.0

    @property
    def x(self) -> Any:
        """The point; its arrays are read-only, or copies where a library has no such arrays."""
        return self._space.shown(self._x)

    @property
    def gradient(self) -> Any:
        """The gradient, like `x`."""
        return self._space.shown(self._gradient)

    def scaled_gradient(self) -> Any:
        """Return the largest product of `gradient_norm`'s elements and the point's, as at least 1.

        One read from the device.
        """
        xp, x = self._space.xp, self._x
        steep = self._gradient if self._steep is None else self._steep
        size = xp.abs(x)
        products = steep * xp.where(size > 1, size, xp.ones_like(size))
        return self._read(self._space.peak(products)) / self._unit

    def _read(self, number: Any) -> Any:
        return float(numbers(self._space, 0.0, [number])[1])

    def change(self) -> tuple[float, float]:
        """Return the Euclidean norms of the last step and of the point: a read from the device."""
        xp, x = self._space.xp, self._x
        d = x if self._before is None else x - self._before
        step, size = numbers(self._space, 0.0, [xp.sum(d * d), xp.sum(x * x)])[1:]
        return math.sqrt(step), math.sqrt(size)

    def __repr__(self) -> str:
        """Return the class and the numbers."""
        names = [f.name for f in fields(self) if not f.name.startswith("_")]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    @property
    def broken(self) -> Any:
        """Whether the value or the gradient is not finite."""
        return not (math.isfinite(self.value) and math.isfinite(self.gradient_norm))

    def not_finite(self) -> str:
        """Return in words what is not finite at this point; empty if all is."""
        if not self.broken:
            return ""
        leaf = self._space.worst(self._gradient)
        what = "value" if math.isfinite(self.gradient_norm) or leaf is None else f"gradient{leaf}"
        return f"the {what} is not finite in iteration {self.iteration}"


INTERRUPTED = "interrupted; this is the best point so far"


@dataclass(frozen=True)
class Solver:
    """Base of the solvers: frozen dataclasses whose fields are the settings."""

    _run: ClassVar[type[Run]]

    def start(self, fun: Callable[..., Any], x0: Any, **options: Any) -> Run:
        """Evaluate the objective at `x0` and return a run, for loops of one's own.

        Parameters
        ----------
        fun : callable
            ``fun(x, *args)`` returns (value, gradient). It must not write into `x`.
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
    _tried = 1.0  # the first step length of the last search
    _probe: tuple[float, float] | None = None  # and, if the objective is finite there, its slope
    default_stop: ClassVar[Condition | None] = RelativeGradient() | RelativeDecrease(
        times=3, floor=0.0
    )

    def __init__(
        self,
        solver: Any,
        fun: Callable[..., Any],
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
        )  # fmt: skip

    @property
    def _vanishing(self) -> tuple[Any, float]:
        """What is to vanish, if that is not the gradient, and what it is to be divided by."""
        return self.at.pseudo, 1.0

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

    def _failed(self) -> NoProgress:
        # What the step was expected to gain: by its slope, and by the curvature that its first
        # trial saw; against what the rounding of values, points and residuals explains. Where the
        # slope is zero beside a gradient that is not, its square was out of range.
        at, xp, epsilon = self.at, self.space.xp, self.space.epsilon
        gain = abs(at.slope) * self._tried
        if self._probe is not None and (bend := self._probe[1] - at.slope) > 0:
            gain = min(gain, 0.5 * abs(at.slope) * self._probe[0] * (abs(at.slope) / bend))
        moved = float(numbers(self.space, 0.0, [xp.abs(at.gradient) @ xp.abs(at.x)])[1])
        squares = epsilon**2 * abs(self._first_value - at.value)  # of residuals
        noise = self.noise + epsilon * moved + squares
        small = math.isfinite(gain) and gain <= 100 * noise and not gain == 0 < at.norm
        return NoProgress(no_step(small), at_precision=small)
