"""An update rule as a solver: full gradients, no synchronisation with the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import _arrays
from .._arrays._trees import Structure
from .._arrays._types import Array, Fun, Tree
from ..optimizer import Optimizer
from ._objective import Objective
from ._record import Record
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
    _default_iterations = 1000
    remembers: ClassVar[tuple[str, ...]] = ("iteration",)  # beside Optimizer and last record
    kinds: ClassVar[tuple[type, ...]] = ()
    points: Sequence[Array] | None = None  # what files show in the place of the Optimizer's params

    def __init__(
        self,
        rule: Tree,
        fun: Fun | None,
        x0: Tree,
        *,
        penalty: Tree = None,
        constraint: Tree = None,
        begin: bool = True,
        **options: Any,
    ) -> None:
        self.objective = Objective(fun, x0, **options)
        self.space = self.objective.space
        structure = self.space.structure
        penalties = structure.broadcast(penalty, "penalty")
        constraints = structure.broadcast(constraint, "constraint")
        self.objective.penalise([p if p is not None and p.smooth else None for p in penalties])
        self._penalties = [None if p is None or p.smooth else p for p in penalties]
        constraint = structure.unflatten(constraints)
        self.optimizer = Optimizer(
            started(structure, x0, constraint),
            rule,
            penalty=structure.unflatten(self._penalties),
            constraint=constraint,
        )
        self.iteration = 0
        self._seen: Array = None
        if begin:
            self._evaluate()

    def _evaluate(self) -> None:
        # The function gets arrays of its own: it may keep them, and the next step writes ours.
        x = copied(self.space.structure, self.optimizer.params)
        value, gradient = self.objective.at_tree(x)
        if any(p is not None for p in self._penalties):
            leaves = self.space.structure.flatten(x, "x")
            for p, leaf in zip(self._penalties, leaves, strict=True):
                if p is not None and p.valued and leaf is not None:
                    value = value + p.value(leaf)
        self._now = x, value, gradient  # at once: an interruption finds what belongs together

    def stand(self, record: Record) -> None:
        """Continue from the last record of a run, without evaluating; the Optimizer is restored.

        A step that was made since is evaluated.
        """
        self._seen = record._x
        if self.iteration != record.iteration:
            self._evaluate()
            return
        gradient = self.space.unpack(record._gradient)
        self._now = copied(self.space.structure, self.optimizer.params), record.value, gradient

    def advance(self) -> None:
        """Make one iteration without making a record."""
        self.optimizer.step(self._now[2])
        self.iteration += 1
        self._evaluate()

    def step(self) -> Record:
        """Make one iteration and return its record, which synchronises with the device."""
        self.advance()
        return self.record

    @property
    def record(self) -> Record:
        """Where the run stands: a copy, which synchronises with the device.

        The change of the point is measured from the last record.
        """
        point, value, slopes = self._now
        x, gradient = self.space.pack(point, "x"), self.space.pack(slopes, "gradient")
        value, norm = numbers(self.space, value, [self.space.peak(gradient)])
        evaluations = self.objective.evaluations
        before, self._seen = self._seen, x
        return Record(
            float(value), float(norm), self.iteration, evaluations, 1.0, self.space,
            x, gradient, before, _valued=self.objective.valued,
        )  # fmt: skip


def started(structure: Structure, x0: Tree, constraint: Tree) -> Tree:
    """Return copies of arrays from which a rule may begin: they are within their constraints."""
    constraints = structure.broadcast(constraint, "constraint")
    leaves = zip(structure.flatten(x0, "x0"), constraints, strict=True)
    return structure.unflatten(
        [
            p if p is None else _arrays.moved(c(p) if callable(c) else p, p, p.dtype)
            for p, c in leaves
        ]
    )


def copied(structure: Structure, tree: Tree) -> Tree:
    """Return a tree of copies of its arrays; those that cannot be written stay."""
    leaves = structure.flatten(tree, "x")
    return structure.unflatten(
        [
            p if p is None or _arrays.is_immutable(p) else _arrays.moved(p, p, p.dtype)
            for p in leaves
        ]
    )
