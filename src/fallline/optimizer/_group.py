"""The leaves that one kernel runs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import NamedTuple

from .. import _arrays, engine
from .._arrays._types import Array, Number
from ._fused import FusedRule
from ._leaf import Leaf
from ._row_sparse import RowSparse


class Ready(NamedTuple):
    """New values of a leaf that are not written yet: of the parameter and the slots."""

    leaf: Leaf
    arrays: list[Array]
    rows: Array = None


class Group:
    """The leaves of one plan, library, device and dtype, and what runs them.

    Attributes
    ----------
    apart : bool
        Whether new values are made apart from the leaves' own arrays: of arrays that cannot be
        written, and where a penalty or constraint acts on the whole leaf after the rule.
    """

    def __init__(self, leaves: list[Leaf], chosen: str) -> None:
        self.leaves, self.indices = leaves, [leaf.index for leaf in leaves]
        self.states = [leaf.state for leaf in leaves if leaf.state is not None]
        self.all = list(range(len(leaves)))
        first = leaves[0]
        assert first.plan is not None
        self.plan = first.plan
        self.reads = self.plan.reads
        self.ends = first.terms.whole is not None
        self.apart = first.immutable or self.ends
        self.engine, self.program = engine.choose(chosen, first.name("params"), first.p, self.plan)
        self._runner: engine.Runner | None = None

    @property
    def runner(self) -> engine.Runner:
        """What runs the leaves, made at the first step."""
        if self._runner is None:
            arrays = [[*self._held(leaf), *self._read(leaf)] for leaf in self.leaves]
            self._runner = engine.make(self.engine, self.plan, self.program, arrays)
        return self._runner

    @property
    def ran(self) -> str:
        """Name of the engine, and how many threads share large steps if they do."""
        if self._runner is None or not self._runner.sharing.shared:
            return self.engine
        return f"{self.engine} on {self._runner.sharing.most} threads"

    def _held(self, leaf: Leaf) -> list[Array]:
        # The arrays that the runner writes: the leaf's own, or copies of them.
        if self.apart and not leaf.immutable:
            with leaf.guard():
                return [_arrays.moved(x, x, x.dtype) for x in leaf.arrays]
        return leaf.arrays

    def _read(self, leaf: Leaf) -> list[Array]:
        # Places for the numbers of a leaf, and the arrays that only are read.
        given = dict(self.plan.arrays) if isinstance(self.plan, FusedRule) else {}
        found = []
        for read in self.reads:
            if read.single:
                dtype = _arrays.compute_dtype(leaf.p)
                found.append(_arrays.full(leaf.p, 0.0, dtype, shape=()))
            else:
                found.append(_arrays.spread(given[read.name], leaf.p))
        return found

    def fill(
        self,
        scalars: Mapping[str, Number],
        which: Sequence[int],
        grads: Sequence[Array],
        given: Sequence[Sequence[Array]],
    ) -> None:
        """Measure leaves, and put the numbers and those that are given where the rule reads."""
        s = SimpleNamespace(**scalars)
        arrays = self.runner.leaves
        # A constraint that acts on gradients has arrays, after the numbers.
        more = len(self.plan.arrays) if isinstance(self.plan, FusedRule) and self.plan.masks else 0
        for i, g, numbers in zip(which, grads, given, strict=True):
            leaf, held = self.leaves[i], arrays[i]
            first = len(leaf.names) + 1
            with leaf.guard():
                bounds = held[len(held) - more :]
                own = self.plan._measured(s, leaf.p, g, *leaf.arrays[1:], *numbers, *bounds)
                for k, number in enumerate((*numbers, *own)):
                    if leaf.immutable:
                        held[first + k] = number
                    else:
                        _arrays.write(held[first + k], number)

    def run_apart(
        self,
        scalars: dict[str, Number],
        which: Sequence[int],
        grads: Sequence[Array],
        given: Sequence[Sequence[Array]],
    ) -> list[Ready]:
        """Return the new values of some leaves; `given` as for `fill`."""
        runner = self.runner
        for i in which:
            leaf, held = self.leaves[i], runner.leaves[i]
            if leaf.immutable:
                held[: len(leaf.names) + 1] = leaf.arrays
            else:
                with leaf.guard():
                    for target, x in zip(held, leaf.arrays, strict=False):
                        _arrays.write(target, x)
        runner.run(scalars, which, grads, _nothing)
        found = []
        for i, numbers in zip(which, given, strict=True):
            leaf = self.leaves[i]
            arrays = list(runner.leaves[i][: len(leaf.names) + 1])
            found.append(Ready(leaf, self._ended(leaf, scalars, arrays, numbers)))
        return found

    def _ended(
        self, leaf: Leaf, scalars: dict[str, Number], arrays: list[Array], numbers: Sequence[Array]
    ) -> list[Array]:
        # With the penalty and the constraint that act on the whole leaf.
        if not self.ends:
            return arrays
        names = ["p", *leaf.names]
        found = dict(zip(names, arrays, strict=True))
        with leaf.guard():
            new = _arrays.unscalar(leaf.terms.applied(self.plan, scalars, found, leaf.p))
            ended = {"p": _arrays.cast(new, leaf.p)}
            if "master" in found:
                ended["master"] = new
            if isinstance(self.plan, FusedRule) and self.plan.guarded:
                whole = numbers[-1] != 0.0
                ended = {n: leaf.xp.where(whole, x, found[n]) for n, x in ended.items()}
        found |= {name: _arrays.unscalar(x) for name, x in ended.items()}
        return [found[name] for name in names]

    def run_rows(
        self, scalars: dict[str, Number], i: int, g: RowSparse, numbers: Sequence[Array]
    ) -> Ready:
        """Return the new values of some rows of a leaf."""
        leaf = self.leaves[i]
        held = [*leaf.arrays, *self.runner.leaves[i][len(leaf.names) + 1 :]]
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
            runner.run(scalars, [0], [g.values], _nothing)
            return Ready(leaf, list(runner.leaves[0][:written]), g.indices)

    def forget(self) -> None:
        """Make the runner again: arrays were replaced."""
        self._runner = None


# What a step makes of a group: the numbers, and some of its leaves by place, with their gradients.
Call = tuple[Group, dict[str, Number], list[int], list[Array]]


def _nothing() -> None:
    pass
