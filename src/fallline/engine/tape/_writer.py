"""The lines of a tape: recorded operations with addresses of the memory that they work on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..._arrays._types import Array
from . import _numpy_loops
from ._nodes import Node
from ._recorder import Recorder

# The layout of a line, as in `_replay`, which only Numba reads.
LOOP, GATHER, SELECT, COPY, DOT, SLOPE = range(6)
FUNCTION, CONTEXT, DATA, ADDRESSES, LENGTHS, STRIDES, WIDTH = 1, 2, 3, 4, 9, 13, 22
ALIGNED = 64  # bytes


@lru_cache
def _empty_sum() -> float:
    # The number to which NumPy adds in a sum.
    return float(np.add.reduce(np.asarray([-0.0])))


class TapeWriter:
    """Assigns memory to every operation and writes its line."""

    def __init__(self, recorder: Recorder, value: int) -> None:
        self.recorder, self.itemsize = recorder, recorder.dtype.itemsize
        self.nodes = recorder.nodes
        kept = [value, *(node for _, node in recorder.writes)]
        self.needed = self._needed(kept)
        self.last: dict[int, int] = {}
        for i in self.needed:
            self.last.update(dict.fromkeys(self.nodes[i].args, i))
        self.last.update(dict.fromkeys(kept, len(self.nodes)))
        self.size, self.free = 0, dict[int, list[int]]()
        self.offsets: dict[int, int] = {}
        self.targets = self._targets()
        zero = recorder.constant(_empty_sum())
        self.constants = [i for i, node in enumerate(self.nodes) if node.op == "constant"]
        scalars = self._room(max(len(recorder.scalars), 1) * self.itemsize)
        for i in self.constants:
            self.offsets[i] = self._room(self.itemsize)
        self._place()
        self.arena = _aligned(self.size)
        self.base = self.arena.ctypes.data
        self.scalars, self.value = self.base + scalars, self.base + self.offsets[value]
        for i in self.constants:
            place = self.arena[self.offsets[i] :][: self.itemsize]
            with np.errstate(over="ignore"):  # numbers out of range become infinite, as in formulas
                place.view(recorder.dtype)[0] = self.nodes[i].detail
        text = [line for i in self.needed for line in self._lines(i, zero)]
        text += [
            self._copy(self._address(target), self._address(node), self.nodes[node].size)
            for target, node in recorder.writes
            if self.targets.get(node) != target
        ]
        self.lines = np.asarray(text, np.int64).reshape(len(text), WIDTH)

    def _needed(self, kept: Sequence[int]) -> list[int]:
        # The operations on which something kept depends, in their order.
        found = set(kept)
        for i in range(len(self.nodes) - 1, -1, -1):
            if i in found:
                found.update(self.nodes[i].args)
        return [i for i in sorted(found) if not self.nodes[i].given]

    def _targets(self) -> dict[int, int]:
        # Results that can be computed directly in the memory to which they are written: its old
        # values are not read later.
        return {
            node: target
            for target, node in self.recorder.writes
            if _elementwise(self.nodes[node]) and self.last.get(target, -1) <= node
        }

    # -- memory -------------------------------------------------------------------------------

    def _room(self, size: int) -> int:
        size = -(-size // ALIGNED) * ALIGNED
        if self.free.get(size):
            return self.free[size].pop()
        self.size += size
        return self.size - size

    def _place(self) -> None:
        for i in self.needed:
            node = self.nodes[i]
            dying = [
                a
                for a in dict.fromkeys(node.args)
                if self.last[a] == i and a in self.offsets and a not in self.constants
            ]
            # An elementwise result may reuse the memory of an operand of its size.
            early = [a for a in dying if _elementwise(node) and _alike(self.nodes[a], node)][:1]
            for a in early:
                self._release(a)
            if i not in self.targets:
                self.offsets[i] = self._room(node.size * node.dtype.itemsize)
            for a in dying:
                if a not in early:
                    self._release(a)

    def _release(self, i: int) -> None:
        node = self.nodes[i]
        size = -(-node.size * node.dtype.itemsize // ALIGNED) * ALIGNED
        self.free.setdefault(size, []).append(self.offsets[i])

    def _address(self, i: int) -> int:
        node = self.nodes[i]
        if node.op == "memory":
            return int(node.detail.ctypes.data)
        if node.op == "scalar":
            return self.scalars + node.detail * self.itemsize  # type: ignore[no-any-return]
        if i in self.targets:
            return self._address(self.targets[i])
        return int(self.base + self.offsets[i])

    # -- lines --------------------------------------------------------------------------------

    def _lines(self, i: int, zero: int) -> list[list[int]]:
        node, out = self.nodes[i], self._address(i)
        places = [self._address(a) for a in node.args]
        sizes = [self.nodes[a].size for a in node.args]
        steps = [
            0 if self.nodes[a].size < node.size else self.nodes[a].dtype.itemsize for a in node.args
        ]
        match node.op:
            case "rows":
                size = node.detail.nbytes // max(len(node.detail), 1)
                return [_line(GATHER, [out, node.detail.ctypes.data], strides=[size])]
            case "where":
                return [_line(SELECT, [out, *places], [node.size, *sizes])]
            case "sum":
                item = self.itemsize
                return [
                    self._copy(out, self._address(zero), 1),
                    _line(LOOP, [out, *places, out], sizes, [0, item, 0], node.detail),
                ]
            case "matmul":
                return [self._product(node, out, places)]
            case "dot" | "slope":
                source = node.detail
                arrays = source.ends, source.columns, source.numbers
                return [
                    _line(
                        DOT if node.op == "dot" else SLOPE,
                        [out, *places, *(x.ctypes.data for x in arrays)],
                        [node.size, *sizes, len(source.ends), len(source.numbers)],
                    )
                ]
        strides = [*steps, node.dtype.itemsize]
        return [_line(LOOP, [*places, out], [node.size], strides, node.detail)]

    def _product(self, node: Node, out: int, places: list[int]) -> list[int]:
        loop, (n, m), transposed = node.detail
        item = self.itemsize
        steps = (item, n * item) if transposed else (m * item, item)
        lengths, strides = _numpy_loops.product(n, m, steps, item)
        return _line(LOOP, [*places, out], lengths, strides, loop)

    def _copy(self, target: int, source: int, count: int) -> list[int]:
        return _line(COPY, [target, source], [count * self.itemsize])


def _elementwise(node: Node) -> bool:
    others = ("matmul", "sum", "rows", "dot", "slope", "memory", "scalar", "constant")
    return node.op not in others


def _alike(a: Node, b: Node) -> bool:
    return a.size == b.size and a.dtype == b.dtype


def _line(
    kind: int, addresses: Sequence[int], lengths: Sequence[int] = (), strides: Sequence[int] = (),
    loop: _numpy_loops.Loop | None = None,
) -> list[int]:  # fmt: skip
    line = [0] * WIDTH
    line[0] = kind
    if loop is not None:
        line[FUNCTION], line[CONTEXT], line[DATA] = loop.function, loop.context, loop.data
    line[ADDRESSES : ADDRESSES + len(addresses)] = addresses
    line[LENGTHS : LENGTHS + len(lengths)] = map(int, lengths)
    line[STRIDES : STRIDES + len(strides)] = strides
    return line


def _aligned(size: int) -> Array:
    memory = np.zeros(size + ALIGNED, np.uint8)
    shift = -memory.ctypes.data % ALIGNED
    return memory[shift : shift + size]
