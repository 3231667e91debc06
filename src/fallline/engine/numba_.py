"""The Numba engine: a program as one compiled loop over NumPy arrays.

The loop runs on the calling thread. In a large step threads of our own may help, each with a piece
of the arrays, where that is faster: in a training loop they may have to wait for cores on which the
threads of the matrix products still spin. Numba's own threads are not used: they would spin too,
for many times the duration of the step.

The text of a kernel depends on nothing but the program; what Numba makes of it is kept in the
user's private cache folder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from operator import is_

import numpy as np

from .._arrays._types import Array, HostArray
from . import _compile, _layout
from ._numba_source import source
from ._runner import Arrays, Begin, Indices, Replaced, Runner, ScalarsByName
from .blocked import BlockedRunner
from .program import Program, once

DTYPES = ("float32", "float64", "complex64", "complex128")
SMALL = 1 << 14  # elements, up to which fresh gradients are gathered
GATHERED = 3 << 19  # bytes of the buffer for that
PIECE = 1 << 18  # elements of a large leaf that a thread takes at a time


def installed() -> bool:
    """Tell whether Numba can be imported, without doing so."""
    return importlib.util.find_spec("numba") is not None


class NumbaRunner(Runner):
    """Runs a program on NumPy leaves.

    Leaves and gradients whose memory is not contiguous are left to the blocked engine.
    """

    name = "numba"

    def __init__(self, program: Program, leaves: Sequence[list[Array]]) -> None:
        super().__init__(leaves)
        self.program = program
        self.dtype = np.dtype(program.dtype)
        self.numbers = np.zeros(max(len(program.scalars), 1), self.dtype)
        self._values = self.numbers[: len(program.scalars)]
        self.flat = [_layout.flat_leaf(program, leaf) for leaf in leaves]
        self._blocked: BlockedRunner | None = None
        self._table: _Table | None = None
        small = [
            i
            for i, leaf in enumerate(leaves)
            if self.flat[i] is not None and 0 < leaf[0].size <= SMALL
        ]
        if len(small) > 3:
            self._table = _Table(program, self.flat, small, self.numbers)
        self._one = kernel(program, "one")
        self._pieces: dict[int, list[list[Array]]] = {}

    @property
    def listed(self) -> Sequence[int]:
        """The leaves that `run_listed` updates: many small ones, if all lie in C order."""
        return [] if self._table is None or not self._table.in_c_order else self._table.small

    def run_listed(self, scalars: ScalarsByName, addresses: Sequence[int], begin: Begin) -> None:
        """Update the leaves `listed`, given the addresses of gradients that lie as they do."""
        assert self._table is not None
        self._values[:] = self.program.numbers(scalars)
        begin()
        self._table.run_at(addresses)

    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update the leaves `which`."""
        self._values[:] = self.program.numbers(scalars)
        begin()
        done: frozenset[int] = frozenset()
        if self._table is not None and len(which) == len(self.leaves):
            done = self._table.run(grads)
            if len(done) == len(which):
                return {}
        rest = []
        large: list[tuple[Array, ...]] = []
        operand, numbers = self.program.arrays[1], self.numbers
        for i, g in zip(which, grads, strict=True):
            if i in done:
                continue
            flat = self.flat[i]
            flat_g = None if flat is None else _layout.flat(g, flat[0], operand)
            if flat is None or flat_g is None:
                rest.append((i, g))
            elif g.size < 2 * PIECE:
                p, *others = flat[1]
                self._one(p, flat_g, *others, numbers)
            else:
                large += self._cut(i, flat[1], flat_g)
        if large:
            self.sharing.run(self._work, large, len(large))
        if rest:
            if self._blocked is None:
                self._blocked = BlockedRunner(self.program, self.leaves)
            self._blocked.run(scalars, [i for i, _ in rest], [g for _, g in rest], _nothing)
        return {}

    def _cut(self, i: int, views: list[Array], g: Array) -> list[tuple[Array, ...]]:
        # The pieces of a leaf, of which all but the gradient are the same in each step.
        if i not in self._pieces:
            self._pieces[i] = _layout.cut(views, self.program.bound, PIECE)
        pieces = _layout.cut([g], self.program.arrays[1:2], PIECE)
        return [
            (p, part, *others)
            for (p, *others), (part,) in zip(self._pieces[i], pieces, strict=True)
        ]

    def _work(self, piece: tuple[Array, ...]) -> None:
        self._one(*piece, self.numbers)


def _nothing() -> None:
    pass


class _Table:
    """Addresses of many small leaves, for one call of a kernel.

    Finding the address of a new array takes longer than copying a small one, so new gradients are
    gathered into a buffer with a fixed address.
    """

    def __init__(
        self, program: Program, flat: Sequence[Array], small: Sequence[int], numbers: Array
    ) -> None:
        itemsize = numbers.itemsize
        self.flat, self.numbers = flat, numbers
        self.operand = program.arrays[1]
        self.batches: list[tuple[list[int], HostArray, HostArray]] = []
        self.done = frozenset(small)
        batch: list[int] = []
        size = 0
        for i in small:
            n = flat[i][1][0].size
            if batch and (size + n) * itemsize > GATHERED:
                self.batches.append(self._batch(batch))
                batch, size = [], 0
            batch.append(i)
            size += n
        self.batches.append(self._batch(batch))
        longest = max(int(ends[-1]) for _, _, ends in self.batches)
        self.buffer = np.empty(longest, numbers.dtype)
        address = self.buffer.ctypes.data
        for _, table, ends in self.batches:
            table[:, 1] = address + itemsize * np.concatenate([[0], ends[:-1]])
        self.kernel = kernel(program, "many")
        self.small, self.in_c_order = small, all(flat[i][0] == "C" for i in small)
        # The gradients of the last step, if they take few bytes, and their own addresses.
        self.remembers = len(self.batches) == 1
        self.last: list[Array] = []
        self.direct: HostArray | None = None

    def _batch(self, leaves: list[int]) -> tuple[list[int], HostArray, HostArray]:
        rows = []
        for i in leaves:
            p, *others = self.flat[i][1]
            rows.append([p.ctypes.data, 0, *(x.ctypes.data for x in others), p.size])
        table = np.asarray(rows, np.int64)
        table[:, -1] //= self.operand.parts
        return leaves, table, np.cumsum(table[:, -1] * self.operand.parts)

    def run_at(self, addresses: Sequence[int]) -> None:
        """Update the small leaves, given the addresses of their gradients."""
        start = 0
        for leaves, table, _ in self.batches:
            direct = table.copy()
            direct[:, 1] = addresses[start : start + len(leaves)]
            start += len(leaves)
            self.kernel(direct, self.numbers)

    def run(self, grads: Sequence[Array]) -> frozenset[int]:
        """Update the small leaves, unless a gradient cannot be gathered; return which are done."""
        taken = grads if len(self.small) == len(grads) else [grads[i] for i in self.small]
        if len(self.last) == len(taken) and all(map(is_, taken, self.last)):
            if self.direct is None and all(map(_layout.is_plain, taken)):
                self.direct = self.batches[0][1].copy()
                self.direct[:, 1] = [g.ctypes.data for g in taken]
            if self.direct is not None:
                self.kernel(self.direct, self.numbers)
                return self.done
        self.last, self.direct = [], None
        if not self.in_c_order and any(
            g.ndim > 1 and self.flat[i][0] != "C" for i, g in zip(self.small, taken, strict=True)
        ):
            return frozenset()
        start = 0
        for leaves, table, ends in self.batches:
            gathered = [
                g if g.ndim == 1 else g.reshape(-1) for g in taken[start : start + len(leaves)]
            ]
            start += len(leaves)
            buffer = self.buffer[: int(ends[-1])]
            np.concatenate(gathered, out=buffer.view(gathered[0].dtype))
            self.kernel(table, self.numbers)
        if self.remembers:
            self.last = list(taken)
        return self.done


@once
def kernel(program: Program, form: str) -> Callable[..., None]:
    """Return a compiled function of the arrays of "one" leaf, or of a table of "many"."""
    return _compile.compiled(source(program, form), form)
