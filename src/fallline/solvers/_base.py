"""What all solvers share: their settings, and a run from record to record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, Fun, Tree
from ..penalties import L1, ElasticNet, as_penalty
from ..stop import Condition, RelativeDecrease, RelativeGradient
from ._objective import Objective
from ._record import Record
from ._search import NoProgress, Trial
from ._space import Space

INTERRUPTED = "interrupted; this is the best point so far"


@dataclass(frozen=True)
class Solver:
    """Base of the solvers: frozen dataclasses whose fields are the settings."""

    _run: ClassVar[type[Run]]

    def start(self, fun: Fun | None, x0: Tree, **options: Any) -> Run:
        """Evaluate the objective at `x0` and return a run, for loops of your own.

        Parameters
        ----------
        fun : callable or None
            ``fun(x, *args)`` returns (value, gradient). It must not write into `x`. `None` means
            the same as in `fallline.minimize`.
        x0 : array or tree of arrays
            Where to start; it is not modified.
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


def with_penalties(x0: Tree, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run with functions in the place of penalties taken as such."""
    if options.get("penalty") is None:
        return options
    structure = Structure(x0)
    given = zip(structure.paths, structure.broadcast(options["penalty"], "penalty"), strict=True)
    found = [as_penalty(_checks.where("penalty", path), p) for path, p in given]
    return {**options, "penalty": structure.unflatten(found)}


def _other(penalty: Tree) -> str:
    return "OWLQN" if isinstance(penalty, L1 | ElasticNet) else "ProximalGradient"


class Run(ABC):
    """A solver at work on one objective.

    Attributes
    ----------
    solver : Solver
        The settings of the method.
    x : tree
        The current point; assigning another one discards what the run has learned about the
        curvature.
    iteration : int
        Number of iterations made.
    """

    # What later steps depend on: the attributes that a file has to keep, and their classes.
    remembers: ClassVar[tuple[str, ...]] = (
        "iteration", "at", "_before", "_d", "_tried", "_probe", "_first_value",
    )  # fmt: skip
    kinds: ClassVar[tuple[type, ...]] = (Trial,)
    proximal: ClassVar[bool] = False
    compares: bool = True  # values of the objective
    at: Trial
    _before: Array = None  # the point before the last step
    _d: Array = None  # the direction, of runs that search along one
    _tried = 1.0  # the first step length of the last search
    _probe: tuple[float, float] | None = None  # and, if the objective is finite there, its slope
    _default_iterations: ClassVar[int] = 15000
    default_stop: ClassVar[Condition | None] = RelativeGradient() | RelativeDecrease(
        times=2, floor=0.0
    )

    def __init__(
        self,
        solver: Any,
        fun: Fun | None,
        x0: Tree,
        *,
        args: Sequence[Any] = (),
        gradient: Fun | None = None,
        penalty: Tree = None,
        constraint: Tree = None,
        begin: bool = True,
    ) -> None:
        self.solver = solver
        self.optimizer = None  # of runs of rules
        smooth = None if self.proximal else penalty
        if not self.proximal:
            self._refuse(x0, penalty, constraint)
        if fun is None and self.compares:
            msg = f"fun: is None, and {type(solver).__name__} compares values; "
            raise TypeError(msg + "update rules do not, nor does ProximalGradient(step_size=...)")
        self.objective = Objective(fun, x0, args=args, gradient=gradient, penalty=smooth)
        self.space: Space = self.objective.space
        self.iteration = 0
        self._setup(penalty, constraint)
        if begin:
            self._begin(self.space.pack(x0, "x0"))
            self._first_value = self.at.value

    def _refuse(self, x0: Tree, penalty: Tree, constraint: Tree) -> None:
        name = type(self.solver).__name__
        if constraint is not None:
            msg = f"constraint: {name} does not support constraints; use ProximalGradient"
            raise ValueError(msg)
        for p in Space(x0).structure.broadcast(penalty, "penalty"):
            if p is not None and not p.smooth:
                msg = f"penalty: {name} needs a smooth penalty, got {p!r}; use {_other(p)}"
                raise ValueError(msg)

    def _setup(self, penalty: Tree, constraint: Tree) -> None:  # noqa: B027
        """Take the penalties and constraints of a proximal solver: a hook."""

    @abstractmethod
    def _begin(self, x: Array) -> None:
        """Evaluate the objective where the run begins, and forget what was learned elsewhere."""

    @abstractmethod
    def _advance(self) -> Trial:
        """Return the next point of the run, which still stands where it was."""

    @property
    @abstractmethod
    def _vanishing(self) -> tuple[Array, float]:
        """What is to vanish, if that is not the gradient, and what it is to be divided by."""

    @property
    def _outlook(self) -> tuple[float, float] | None:
        """How far the objective and the point have to go yet, where steps do not tell: a hook."""
        return None

    @property
    def noise(self) -> float:
        """Size of differences between values that rounding may explain.

        It exceeds the rounding of the value itself: its terms are rounded too, and their inputs.
        """
        return 16 * self.space.epsilon * abs(self.at.value)

    @property
    def x(self) -> Tree:
        """The current point."""
        return self.space.shown(self.at.x)

    @x.setter
    def x(self, new: Tree) -> None:
        self._begin(self.space.pack(new, "x"))

    @property
    def record(self) -> Record:
        """Where the run stands."""
        at = self.at
        return Record(
            at.value, at.norm, self.iteration, self.objective.evaluations, at.t,
            self.space, at.x, at.gradient, self._before, at.shortened, *self._vanishing,
            self._outlook or (0.0, 0.0), self.objective.valued,
        )  # fmt: skip

    def step(self) -> Record:
        """Make one iteration.

        Returns
        -------
        Record
            The record of the new point.

        Raises
        ------
        NoProgress
            If no step lowers the objective; the run then stays where it was.
        """
        self.advance()
        return self.record

    def advance(self) -> None:
        """Make one iteration without making a record."""
        trial = self._advance()
        self._before, self.at = self.at.x, trial
        self.iteration += 1

    def steps(self, n: int) -> Iterator[Record]:
        """Make `n` iterations and yield their records; end early if there is no progress."""
        for _ in range(_checks.count("n", n)):
            try:
                record = self.step()
            except NoProgress:
                return
            yield record
