"""An update rule as a solver: full gradients, no reads from the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _arrays
from ..optimizer import Optimizer
from ._base import Objective, Record
from ._space import numbers


class RuleRun:
    """An Optimizer on a copy of `x0`.

    Parameters
    ----------
    rule : Rule or tree of rules
        As in `Optimizer`.
    fun, x0, **options
        As in `Solver.start`.
    """

    default_stop = None

    def __init__(
        self,
        rule: Any,
        fun: Callable[..., Any],
        x0: Any,
        *,
        penalty: Any = None,
        constraint: Any = None,
        **options: Any,
    ) -> None:
        self.objective = Objective(fun, x0, **options)
        self.space = self.objective.space
        structure = self.space.structure
        penalties = structure.broadcast(penalty, "penalty")
        for p in penalties:
            if p is not None and not p.smooth:
                msg = f"penalty: {p!r} is not smooth; ProximalGradient fits"
                raise ValueError(msg)
        self.objective.penalise(penalties)
        self._constraints = structure.broadcast(constraint, "constraint")
        for c in self._constraints:
            if c is not None and not getattr(c, "separable", False):
                msg = f"constraint: {c!r} does not act on each element by itself; "
                raise ValueError(msg + "ProximalGradient fits")
        leaves = structure.flatten(x0, "x0")
        copies = [None if p is None else _arrays.moved(p, p, p.dtype) for p in leaves]
        self.optimizer = Optimizer(structure.unflatten(copies), rule)
        self._project()
        self.iteration = 0
        self._evaluate()

    def _evaluate(self) -> None:
        self._value, self._gradient = self.objective.at_tree(self.optimizer.params)

    def _project(self) -> None:
        if all(c is None for c in self._constraints):
            return
        structure = self.space.structure
        leaves = structure.flatten(self.optimizer.params, "x")
        new = {}
        for i, (c, p) in enumerate(zip(self._constraints, leaves, strict=True)):
            if c is None or p is None:
                continue
            with _arrays.guard(p)():
                if _arrays.is_immutable(p):
                    new[i] = c(p)
                else:
                    _arrays.write(p, c(p))
        if new:
            structure.assign(self.optimizer.params, new)

    def advance(self) -> None:
        """Make one iteration without a record."""
        self.optimizer.step(self._gradient)
        self._project()
        self.iteration += 1
        self._evaluate()

    def step(self) -> Record:
        """Make one iteration and return the record of it, which is a read from the device."""
        self.advance()
        return self.record

    @property
    def record(self) -> Record:
        """Where the run stands; a copy, and a read from the device."""
        x = self.space.pack(self.optimizer.params, "x")
        gradient = self.space.pack(self._gradient, "gradient")
        value, norm = numbers(self.space, self._value, [self.space.peak(gradient)])
        evaluations = self.objective.evaluations
        return Record(
            float(value), float(norm), self.iteration, evaluations, 1.0, self.space,
            x, gradient, None,
        )  # fmt: skip
