"""An update rule at work on many problems side by side."""

from __future__ import annotations

from typing import Any, ClassVar

from ... import _arrays
from ..._arrays._types import Array, Tree
from ...constraints import Constraint
from ...optimizer import Optimizer
from .._objective import Objective
from .._record import Record
from .._rule_run import RuleRun, copied, started
from ._search import chosen
from ._space import Stand


class BatchedRuleRun:
    """An Optimizer on a copy of `x0`: elementwise, it knows of no problems.

    It steps frozen problems too, but nobody sees that: the function gets, and records show, the
    points where they were frozen.
    """

    default_stop, _default_iterations = RuleRun.default_stop, RuleRun._default_iterations
    # Beside the Optimizer.
    remembers: ClassVar[tuple[str, ...]] = (
        "at", "iteration", "ticks", "running", "stuck", "_seen", "_before", "_slopes",
    )  # fmt: skip
    kinds: ClassVar[tuple[type, ...]] = (Stand,)

    def __init__(
        self,
        rule: Tree,
        objective: Objective,
        x0: Tree,
        constraint: Tree = None,
        *,
        begin: bool = True,
    ) -> None:
        self.objective, self.space = objective, objective.space
        structure = self.space.structure
        constraints = structure.broadcast(constraint, "constraint")
        for c in constraints:
            if c is not None and not (isinstance(c, Constraint) and c.elementwise):
                msg = f"constraint: a batch supports elementwise constraints only, got {c!r}"
                raise ValueError(msg)
        constraint = structure.unflatten(constraints)
        start = started(structure, x0, constraint)
        self.optimizer = Optimizer(start, rule, constraint=constraint)
        self.limit: int | None = None
        self._now: tuple[Any, Any, Any]
        self.ticks, self._seen = -1, 0
        self._guard = _arrays.guard(self.space.like)
        self._left: list[Array] | None = None  # where the frozen problems are
        if not begin:
            return
        self._evaluate()
        self.at = self._stand()
        xp, value = self.space.xp, self.at.value
        self._before = self.at.x
        self.iteration = xp.zeros_like(value, dtype=xp.int32)
        self.running = xp.ones_like(value, dtype=xp.bool)
        self.stuck = ~self.running

    def _evaluate(self) -> None:
        structure, points = self.space.structure, self.points
        if points is None:
            x = copied(structure, self.optimizer.params)
        else:
            x = structure.unflatten(points)
        value, gradient = self.objective.at_tree(x)
        # At once: an interruption finds what belongs together.
        self._now, self.ticks = (x, value, gradient), self.ticks + 1

    @property
    def points(self) -> list[Array] | None:
        """The leaves as others see them, if some problems are frozen; new arrays."""
        if self._left is None:
            return None
        leaves = self.space.structure.flatten(self.optimizer.params, "x")
        with self._guard():
            return [
                None if p is None else self._mixed(p, q)
                for p, q in zip(leaves, self._left, strict=True)
            ]

    @property
    def _slopes(self) -> Array:
        # The gradients of the next step, which those of a record lack where problems are frozen.
        return self.space.pack(self._now[2], "gradient")

    @_slopes.setter
    def _slopes(self, new: Array) -> None:
        self._now = None, None, self.space.unpack(new)

    def stand(self, record: Record) -> None:
        """Continue with what was read from a file, as a `RuleRun`."""
        self._left = self.space.structure.flatten(self.space.unpack(self.at.x), "x")
        if self.optimizer.step_count != self.ticks:
            self._evaluate()

    def _mixed(self, p: Array, left: Array) -> Array:
        xp = self.space.xp
        running = xp.reshape(self.running, (self.space.problems, *(1,) * (p.ndim - 1)))
        return xp.where(running, p, left)

    def _stand(self) -> Stand:
        space = self.space
        x, value, slopes = self._now
        value, gradient = space.value(value), space.pack(slopes, "gradient")
        with self._guard():
            return Stand(space.pack(x, "x"), value, gradient, space.peak(gradient))

    def advance(self) -> None:
        """Make one step."""
        self.optimizer.step(self._now[2])
        self._evaluate()

    def look(self) -> Record:
        """Return where the problems stand: copies."""
        xp, old = self.space.xp, self.at
        if self.ticks > self._seen:
            new = self._stand()
            with self._guard():
                self.at = chosen(xp, self.running, new, old)
                steps = xp.astype(self.running, xp.int32) * (self.ticks - self._seen)
                self.iteration = self.iteration + steps
            self._before, self._seen = old.x, self.ticks
        at = self.at
        return Record(
            at.value, at.norm, self.iteration, self.objective.evaluations, 1.0,
            self.space, at.x, at.gradient, self._before,
        )  # fmt: skip

    def at_precision(self) -> Array:
        """Return that no problem is stuck by rounding."""
        return self.stuck

    def freeze(self, running: Array, back: Array, best: Stand) -> None:
        """Freeze all problems but the running ones; some go back to a better point."""
        self.running = running
        self.at = chosen(self.space.xp, back, best, self.at)
        x = self.space.unpack(self.at.x)
        self._left = self.space.structure.flatten(x, "x")
