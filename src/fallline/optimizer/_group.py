"""The leaves that one kernel runs together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from .. import _arrays, engine
from ._fused import Composed
from ._leaf import Leaf
from ._row_sparse import RowSparse, put_rows


class Group:
    """The leaves of one plan, library, device and dtype, and what runs them."""

    def __init__(self, leaves: list[Leaf], chosen: str) -> None:
        self.leaves = leaves
        first = leaves[0]
        assert first.plan is not None
        self.plan = first.plan
        self.reads = self.plan.reads
        self.engine, self.program = engine.choose(chosen, first.name("params"), first.p, self.plan)
        self._runner: engine.Runner | None = None

    @property
    def runner(self) -> engine.Runner:
        """What runs the leaves, made at the first step."""
        if self._runner is None:
            arrays = [leaf.arrays + self._read(leaf) for leaf in self.leaves]
            self._runner = engine.make(self.engine, self.plan, self.program, arrays)
        return self._runner

    def _read(self, leaf: Leaf) -> list[Any]:
        # Places for the numbers of a leaf, and the arrays of its constraint.
        given = dict(self.plan.arrays) if isinstance(self.plan, Composed) else {}
        found = []
        for read in self.reads:
            if read.single:
                dtype = _arrays.compute_dtype(leaf.p)
                found.append(_arrays.full(leaf.p, 0.0, dtype, shape=()))
            else:
                x = given[read.name.removeprefix("constraint.")]
                found.append(_arrays.spread(x, leaf.p))
        return found

    def fill(
        self,
        scalars: Mapping[str, Any],
        which: Sequence[int],
        grads: Sequence[Any],
        given: Sequence[Sequence[Any]],
    ) -> None:
        """Measure leaves, and put the numbers and those that are given where the rule reads."""
        s = SimpleNamespace(**scalars)
        arrays = self.runner.leaves
        # A constraint that acts on gradients has arrays, after the numbers.
        more = len(self.plan.arrays) if isinstance(self.plan, Composed) and self.plan.masks else 0
        for i, g, numbers in zip(which, grads, given, strict=True):
            leaf, held = self.leaves[i], arrays[i]
            first = len(leaf.names) + 1
            with leaf.guard():
                bounds = held[len(held) - more :]
                own = self.plan._measured(s, leaf.p, g, *held[1:first], *numbers, *bounds)
                for k, number in enumerate((*numbers, *own)):
                    if leaf.immutable:
                        held[first + k] = number
                    else:
                        _arrays.write(held[first + k], number)

    def run_rows(
        self,
        scalars: dict[str, Any],
        i: int,
        g: RowSparse,
        numbers: Sequence[Any],
        begin: Callable[[], None],
    ) -> list[Any]:
        """Run some rows of a leaf; return the parameter and the slots."""
        leaf, held = self.leaves[i], self.runner.leaves[i]
        written = 1 + len(leaf.names)
        singles = [*[False] * written, *(read.single for read in self.reads)]
        with leaf.guard():
            rows = [
                x if single else _arrays.rows(x, g.indices)
                for x, single in zip(held, singles, strict=True)
            ]
            for k, number in enumerate(numbers):
                rows[written + k] = number
            runner = engine.make(self.engine, self.plan, self.program, [rows])
            begin()
            runner.run(scalars, [0], [g.values], begin)
            new = runner.leaves[0][:written]
            for k, x in enumerate(new):
                held[k] = put_rows(held[k], g.indices, x)
        return list(held[:written])

    def forget(self) -> None:
        """Make the runner again: arrays were replaced."""
        self._runner = None
