"""Solvers at work on many problems side by side."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from ... import _arrays
from ..._arrays._types import Array, Number, Tree
from ...stop import Condition
from .._base import Run
from .._lbfgs import LBFGS
from .._objective import Objective
from .._record import Record
from .._steepest import _MEMORY, SteepestDescent
from ._search import (
    Halving,
    Outcome,
    Point,
    Wolfe,
    armijo,
    begin_halving,
    begin_wolfe,
    chosen,
    strong_wolfe,
)
from ._space import Stand


class CurvaturePair(NamedTuple):
    """A step and the change of the gradient along it, and one over their product, zero for none."""

    s: Array
    y: Array
    rho: Array


class BatchedRun(ABC):
    """A solver at work on many problems: each evaluation is one of all.

    Every problem has its own iteration, and its own trial within the line search. What holds for
    some problems only is an array of bools; nothing synchronises with the device.

    Attributes
    ----------
    running : array of bool
        Which problems are not frozen.
    stuck : array of bool
        Which problems no step lowers.
    """

    default_stop: ClassVar[Condition | None] = Run.default_stop
    _default_iterations: ClassVar[int] = Run._default_iterations
    optimizer = None  # of runs of rules
    # As of a single run, what files keep: the memory of each problem.
    remembers: ClassVar[tuple[str, ...]] = (
        "at", "iteration", "ticks", "stuck", "_shortened", "_before", "_length", "_d", "_slope",
        "_reach", "_search", "_tried", "_probe", "_first_value",
    )  # fmt: skip
    kinds: ClassVar[tuple[type, ...]] = (Stand, Point, Wolfe, Halving, CurvaturePair)

    def __init__(
        self,
        solver: Any,
        objective: Objective,
        x0: Tree,
        constraint: Tree = None,
        *,
        begin: bool = True,
    ) -> None:
        self.solver, self.objective, self.space = solver, objective, objective.space
        if constraint is not None:
            msg = f"constraint: {type(solver).__name__} does not support constraints"
            raise ValueError(msg)
        self._guard = _arrays.guard(self.space.like)
        self.limit: int | None = None
        self.ticks, xp = 0, self.space.xp
        with self._guard():
            shape = (self.space.problems,)
            self._zero = _arrays.full(self.space.like, 0.0, self.space.dtype, shape)
            self.iteration = xp.zeros_like(self._zero, dtype=xp.int32)
            self.running = xp.ones_like(self._zero, dtype=xp.bool)
            self.stuck = self._shortened = ~self.running
        if begin:
            self._start_at(self.space.pack(x0, "x0"))

    def _start_at(self, x: Array) -> None:
        # Evaluate the problems where they begin.
        self.at = self._stand(x)
        with self._guard():
            self._before, self._length = self.at.x, self._zero
            self._first_value = self.at.value
            square = self.space.dot(self.at.gradient, self.at.gradient)
            self._d, self._slope = -self.at.gradient, -square
            self._reach = 1.0 + self._zero  # of the last steps, in the space
            self._search = self._begin(self._first(square))
            self._tried = self._search.t
            self._probe = self._zero + math.nan  # the slope where a search tried first
            self._forget()

    @abstractmethod
    def _forget(self) -> None:
        """Know nothing but where the problems begin."""

    def _stand(self, x: Array) -> Stand:
        value, gradient = self.objective(x)
        with self._guard():
            return Stand(x, value, gradient, self.space.peak(gradient))

    def _first(self, square: Array) -> Array:
        # As long as the step before, at first of length 1, but long enough to be seen in the value.
        xp = self.space.xp
        positive = xp.where(square > 0, square, 1.0 + self._zero)
        length, loud = self._reach / xp.sqrt(positive), 100 * self._noise / positive
        length = xp.where(loud > length, loud, length)
        return xp.where(square > 0, length, 1.0 + self._zero)

    @abstractmethod
    def _begin(self, t: Number) -> Array:
        """Return searches from where the problems stand."""

    @property
    def _start(self) -> Point:
        return Point(self._zero, self.at.value, self._slope)

    @property
    def _noise(self) -> Array:
        return 16 * self.space.epsilon * self.space.xp.abs(self.at.value)

    @abstractmethod
    def _judged(self, trial: Point) -> Outcome:
        """Return what the searches make of a trial."""

    def advance(self) -> None:
        """Evaluate all problems once."""
        xp, t = self.space.xp, self._search.t
        with self._guard():
            x = xp.where(self.running, self.at.x + t * self._d, self.at.x)
        new = self._stand(x)
        self.ticks += 1
        with self._guard():
            trial = Point(t, new.value, self.space.dot(new.gradient, self._d))
            outcome = self._judged(trial)
            self._probe = xp.where(t == self._tried, trial.slope, self._probe)
            live = self.running & ~self.stuck & (self._slope != 0)
            if self.limit is not None:
                live = live & (self.iteration < self.limit)
            self.stuck = self.stuck | (self._slope == 0)
            accepted, failed = outcome.accepted & live, outcome.failed & live
            old, self.at = self.at, chosen(xp, accepted, new, self.at)
            self._before = xp.where(accepted, old.x, self._before)
            self._length = xp.where(accepted, t, self._length)
            self._shortened = xp.where(accepted, t <= 0.5 * self._tried, self._shortened)
            reach = t * xp.sqrt(self.space.dot(self._d, self._d))
            self._reach = xp.where(accepted, reach, self._reach)
            self.iteration = self.iteration + xp.astype(accepted, xp.int32)
            turned, first = self._turn(accepted, failed, old, new, trial)
            fresh = self._begin(first)
            # A problem that the limit holds at the start of a search stays there.
            self._search = chosen(xp, turned | ~live, fresh, outcome.search)
            self._tried = xp.where(turned, fresh.t, self._tried)

    @abstractmethod
    def _turn(
        self, accepted: Array, failed: Array, old: Stand, new: Stand, trial: Point
    ) -> tuple[Array, Array]:
        """Take other directions; return for which problems, and the first step lengths."""

    def look(self) -> Record:
        """Return where the problems stand."""
        at = self.at
        return Record(
            at.value, at.norm, self.iteration, self.objective.evaluations, self._length,
            self.space, at.x, at.gradient, self._before, self._shortened,
        )  # fmt: skip

    def at_precision(self) -> Array:
        """Return whether rounding alone explains that no step lowers a problem."""
        xp, at = self.space.xp, self.at
        moved = self.space.dot(xp.abs(at.gradient), xp.abs(at.x))
        slope, epsilon = xp.abs(self._slope), self.space.epsilon
        # By the slope, and by the curvature along it where a trial told of that.
        gain, bend = slope * self._tried, self._probe + slope
        least = 0.5 * gain * (slope / xp.where(bend > 0, bend, slope))
        gain = xp.where((bend > 0) & (least < gain), least, gain)
        squares = epsilon**2 * xp.abs(self._first_value - at.value)  # of residuals
        # Where the gain is zero beside a gradient that is not, squares were out of range.
        small = gain <= 25 * self._noise + 100 * (epsilon * moved + squares)
        return small & ((gain > 0) | (at.norm == 0))

    def freeze(self, running: Array, back: Array, best: Stand) -> None:
        """Freeze all problems but the running ones; some go back to a better point."""
        self.running = running
        self.at = chosen(self.space.xp, back, best, self.at)


class BatchedLBFGSRun(BatchedRun):
    """The two loops, with the pairs of each problem aligned at the newest.

    `fresh` are the problems whose pairs are void.
    """

    solver: LBFGS
    remembers = (*BatchedRun.remembers, "_pairs", "_gamma", "_fresh")

    def _forget(self) -> None:
        self._pairs: list[CurvaturePair] = []  # oldest first
        self._gamma = 1.0 + self._zero
        self._fresh = self.running

    def _begin(self, t: Number) -> Array:
        return begin_wolfe(self.space.xp, self._start, t)

    def _judged(self, trial: Point) -> Outcome:
        return strong_wolfe(self.space.xp, self._search, self._start, trial, noise=self._noise)

    def _turn(
        self, accepted: Array, failed: Array, old: Stand, new: Stand, trial: Point
    ) -> tuple[Array, Array]:
        xp, dot = self.space.xp, self.space.dot
        y = new.gradient - old.gradient
        sy, yy = trial.t * dot(y, self._d), dot(y, y)
        bent = accepted & (sy > self.space.epsilon * -self._slope * trial.t)
        self._remember(bent, CurvaturePair(trial.t * self._d, y, 1 / sy))
        self._gamma = xp.where(bent, sy / yy, self._gamma)
        again = failed & ~self._fresh
        self.stuck = self.stuck | (failed & self._fresh)
        self._fresh = (self._fresh & ~bent) | again
        gradient, turned = self.at.gradient, accepted | again
        d, square = self._direction(gradient), dot(gradient, gradient)
        slope = dot(gradient, d)
        self._fresh = self._fresh | (turned & ~(slope < 0))
        d = xp.where(self._fresh, -gradient, d)
        slope = xp.where(self._fresh, -square, slope)
        self._d = xp.where(turned, d, self._d)
        self._slope = xp.where(turned, slope, self._slope)
        return turned, xp.where(self._fresh, self._first(square), 1.0 + self._zero)

    def _remember(self, bent: Array, new: CurvaturePair) -> None:
        xp, history = self.space.xp, self.solver.pairs(self.space.size)
        void = self._zero
        old = [CurvaturePair(s, y, xp.where(self._fresh, void, rho)) for s, y, rho in self._pairs]
        longer = [*old, new]
        if len(old) < history:
            old = [CurvaturePair(*(xp.zeros_like(x) for x in new)), *old]
        else:
            longer = longer[1:]
        self._pairs = [chosen(xp, bent, a, b) for a, b in zip(longer, old, strict=True)]

    def _direction(self, gradient: Array) -> Array:
        dot, steps = self.space.dot, []
        q = gradient
        for s, y, rho in reversed(self._pairs):
            steps.append(rho * dot(s, q))
            q = q - steps[-1] * y
        q = self._gamma * q
        for (s, y, rho), step in zip(self._pairs, reversed(steps), strict=True):
            q = q + (step - rho * dot(y, q)) * s
        return -q


class BatchedSteepestDescentRun(BatchedRun):
    """The direction is always the negative gradient."""

    solver: SteepestDescent
    remembers = (*BatchedRun.remembers, "_next", "_values")

    def _forget(self) -> None:
        self._next = self._search.t
        # Values of the last iterations, oldest first.
        shape = _MEMORY - 1, self.space.problems
        older = _arrays.full(self._zero, -math.inf, self._zero.dtype, shape)
        self._values = self._after(older, self.at.value)

    def _after(self, values: Array, last: Array) -> Array:
        return self.space.xp.concat([values, last[None, :]], axis=0)

    def _begin(self, t: Number) -> Array:
        size = self.solver.step_size
        if size == "wolfe":
            return begin_wolfe(self.space.xp, self._start, t)
        if not isinstance(size, str):
            t = float(size(self.ticks) if callable(size) else size) + self._zero
        return begin_halving(self.space.xp, t)

    def _judged(self, trial: Point) -> Outcome:
        xp, size, at = self.space.xp, self.solver.step_size, self._start
        if size == "wolfe":
            return strong_wolfe(xp, self._search, at, trial, noise=self._noise, c1=1e-4)
        if isinstance(size, str):
            nonmonotone = size == "barzilai-borwein"
            reference = xp.max(self._values, axis=0) if nonmonotone else at.value
            return armijo(xp, self._search, at, trial, reference=reference)
        return Outcome(self._search, self.running, ~self.running)

    def _turn(
        self, accepted: Array, failed: Array, old: Stand, new: Stand, trial: Point
    ) -> tuple[Array, Array]:
        xp, t, before = self.space.xp, trial.t, self._slope
        square = self.space.dot(new.gradient, new.gradient)
        if self.solver.step_size == "barzilai-borwein":
            # With s = -t g and y: s s / s y is t g g / (g g - g g_new).
            bend = trial.slope - before
            after = xp.where(bend > 0, t * -before / bend, 10 * t)
        else:
            after = xp.where(square > 0, 2 * t * before / -square, self._next)
        self.stuck = self.stuck | failed
        self._next = xp.where(accepted, after, self._next)
        values = self._after(self._values[1:, :], new.value)
        self._values = xp.where(accepted, values, self._values)
        self._d, self._slope = -self.at.gradient, xp.where(accepted, -square, before)
        return accepted, self._next
