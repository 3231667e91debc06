"""The lines of a tape: recorded operations with addresses of the memory that they work on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._arrays._types import Array
from ._recorder import Recorder
from ._walks import Walk, is_contiguous

# The layout of a line, as in `_replay`, which only Numba reads.
LOOP, GATHER, SELECT, COPY, DOT, SLOPE = range(6)
FUNCTION, CONTEXT, DATA, TIMES, ADDRESSES, LENGTHS, STRIDES, JUMPS, WIDTH = (
    1, 2, 3, 4, 5, 10, 14, 23, 28,
)  # fmt: skip
ALIGNED = 64  # bytes


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
        self.constants = [i for i, node in enumerate(self.nodes) if node.op == "constant"]
        scalars = self._room(max(len(recorder.scalars), 1) * self.itemsize)
        for i in self.constants:
            self.offsets[i] = self._room(self.nodes[i].dtype.itemsize)
        self._place()
        self.arena = _aligned(self.size)
        self.base = self.arena.ctypes.data
        self.scalars, self.value = self.base + scalars, self.base + self.offsets[value]
        for i in self.constants:
            dtype = self.nodes[i].dtype
            place = self.arena[self.offsets[i] :][: dtype.itemsize]
            with np.errstate(over="ignore"):  # numbers out of range become infinite, as in formulas
                place.view(dtype)[0] = self.nodes[i].detail
        text = [line for i in self.needed for line in self._lines(i)]
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
        found = {}
        for target, i in self.recorder.writes:
            node = self.nodes[i]
            latest = i if target in node.free else i - 1  # that may read the old values
            if node.op == "walks" and self.last.get(target, -1) <= latest:
                found[i] = target
        return found

    # -- memory -------------------------------------------------------------------------------

    def _room(self, size: int) -> int:
        size = _rounded(size)
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
            early = [a for a in dying if a in node.free][:1]
            for a in early:
                self._release(a)
            if i not in self.targets:
                self.offsets[i] = self._room(node.size * node.dtype.itemsize)
            for a in dying:
                if a not in early:
                    self._release(a)

    def _release(self, i: int) -> None:
        node = self.nodes[i]
        size = _rounded(node.size * node.dtype.itemsize)
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

    def _lines(self, i: int) -> list[list[int]]:
        node, out = self.nodes[i], self._address(i)
        places = [self._address(a) for a in node.args]
        match node.op:
            case "walks":
                return [self._walk(walk, [*places, out]) for walk in node.detail]
            case "rows":
                return [self._gather(node.detail, out)]
        source = node.detail
        arrays = source.ends, source.columns, source.numbers
        return [
            _line(
                DOT if node.op == "dot" else SLOPE,
                [out, *places, *(x.ctypes.data for x in arrays)],
                [node.size, self.nodes[node.args[0]].size, len(source.ends), len(source.numbers)],
            )
        ]

    def _gather(self, x: Array, out: int) -> list[int]:
        # Rows in one piece, or element by element.
        step, *moves = x.strides
        if is_contiguous(x.shape[1:], moves, x.itemsize):
            strides = [x[:1].nbytes, step, 0]
        else:
            strides = [x.itemsize, step, *moves]
        return _line(GATHER, [out, x.ctypes.data], [x[:1].nbytes // strides[0]], strides)

    def _walk(self, walk: Walk, places: Sequence[int]) -> list[int]:
        addresses = [places[i] + offset for i, offset in walk.spots]
        return _line(SELECT if walk.loop is None else LOOP, addresses, walk=walk)

    def _copy(self, target: int, source: int, count: int) -> list[int]:
        return _line(COPY, [target, source], [count * self.itemsize])


def _line(
    kind: int, addresses: Sequence[int], lengths: Sequence[int] = (), strides: Sequence[int] = (),
    walk: Walk | None = None,
) -> list[int]:  # fmt: skip
    line = [0] * WIDTH
    line[0] = kind
    if walk is not None:
        lengths, strides = walk.lengths, walk.strides
        line[TIMES], line[JUMPS : JUMPS + len(walk.jumps)] = walk.times, walk.jumps
        if walk.loop is not None:
            line[FUNCTION : DATA + 1] = walk.loop.function, walk.loop.context, walk.loop.data
    line[ADDRESSES : ADDRESSES + len(addresses)] = addresses
    line[LENGTHS : LENGTHS + len(lengths)] = map(int, lengths)
    line[STRIDES : STRIDES + len(strides)] = map(int, strides)
    return line


def _rounded(size: int) -> int:
    # With a gap before what follows: NumPy 2.0 takes arrays that touch for ones that overlap, and
    # computes their exponentials otherwise.
    return (size // ALIGNED + 1) * ALIGNED


def _aligned(size: int) -> Array:
    memory = np.zeros(size + ALIGNED, np.uint8)
    shift = -memory.ctypes.data % ALIGNED
    return memory[shift : shift + size]
