"""Tapes: recorded operations as NumPy's own loops, run many times by one compiled function.

The loops are those that NumPy itself runs, on arrays of the same lengths, so that a tape gives the
bits of the formula that was recorded.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import _compile
from ._recorder import Node, Recorded, Recorder, UnrecordableError

# The layout of a line, as in `_replay`, which only Numba reads.
LOOP, GATHER, SELECT, COPY, DOT, SLOPE = range(6)
FUNCTION, DATA, ADDRESSES, LENGTHS, STRIDES, WIDTH = 1, 2, 3, 8, 12, 21
ALIGNED = 64  # bytes


class Tape:
    """What a recorder took down, ready to run.

    Parameters
    ----------
    recorder : Recorder
        The operations; its arrays are read and written where they are.
    value : Recorded
        A number that is kept of each run.
    places : str
        Dtype of the places in sparse matrices.
    """

    def __init__(self, recorder: Recorder, value: Recorded, places: str = "int64") -> None:
        self.dtype = recorder.dtype
        self.scalars = recorder.scalars
        self._replay = _compiled(self.dtype.name, places)
        if value.shape != () or recorder.nodes[value.node].given:
            msg = "a loss that is no number is not recorded"
            raise UnrecordableError(msg)
        writer = _Writer(recorder, value.node)
        self.lines, self._arena, self._value = writer.lines, writer.arena, writer.value
        self._scalars = writer.scalars
        self._kept = [node.detail for node in recorder.nodes]  # whose addresses are in lines

    def run(self, order: Any, first: int, count: int, scalars: Any, outcome: Outcome) -> None:
        """Run the tape on the next rows, once for each row of `scalars`.

        Parameters
        ----------
        order : array of int64
            Of the rows of the data.
        first, count : int
            The first, and how many for each time.
        scalars : array, shape (times, len(self.scalars))
            The numbers of each time.
        outcome : Outcome
            For as many times; tells what was done also if this is cut short.
        """
        with np.errstate(all="ignore"):
            rows = np.ascontiguousarray(scalars, self.dtype)
        itemsize = self.dtype.itemsize
        bytes_ = rows.view(np.uint8).reshape(len(rows), rows.shape[1] * itemsize)
        out = outcome.all_values.view(np.uint8).reshape(len(rows), itemsize)
        self._replay(
            self.lines, order, first, count, len(rows), bytes_, self._scalars, out, self._value,
            outcome.done,
        )  # fmt: skip


class Outcome:
    """What became of a run: its values, and how many of them there are.

    Parameters
    ----------
    times : int
        How often the tape is to be run.
    dtype : numpy.dtype
        Of the values.
    """

    def __init__(self, times: int, dtype: Any) -> None:
        self.all_values, self.done = np.empty(times, dtype), np.zeros(1, np.int64)

    @property
    def values(self) -> Any:
        """The value of each time that came to its end."""
        return self.all_values[: int(self.done[0])]


@lru_cache
def _compiled(dtype: str, places: str) -> Callable[..., None]:
    text = importlib.resources.files(__package__).joinpath("_replay.py").read_text("utf-8")
    text = text.replace("float64 as Real", f"{dtype} as Real")
    return _compile.compiled(text.replace("uint64 as Place", f"u{places} as Place"), "replay")


@lru_cache
def _empty_sum() -> float:
    # What NumPy adds to.
    return float(np.add.reduce(np.asarray([-0.0])))


class _Writer:
    """Gives every operation memory, and writes its line."""

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
            with np.errstate(over="ignore"):  # what is out of range is infinite, as in formulas
                place.view(recorder.dtype)[0] = self.nodes[i].detail
        text = [line for i in self.needed for line in self._lines(i, zero)]
        text += [
            self._copy(self._address(target), self._address(node), self.nodes[node].size)
            for target, node in recorder.writes
            if self.targets.get(node) != target
        ]
        self.lines = np.asarray(text, np.int64).reshape(len(text), WIDTH)

    def _needed(self, kept: Sequence[int]) -> list[int]:
        # Operations that reach something kept, in their order.
        found = set(kept)
        for i in range(len(self.nodes) - 1, -1, -1):
            if i in found:
                found.update(self.nodes[i].args)
        return [i for i in sorted(found) if not self.nodes[i].given]

    def _targets(self) -> dict[int, int]:
        # Results that may be computed into the memory they are for: its old values are not read
        # later.
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
            # An elementwise result may take the place of an operand of its size.
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
        rows, columns = (item, n * item) if transposed else (m * item, item)
        strides = [0, 0, 0, rows, columns, item, item, item, item]
        return _line(LOOP, [*places, out], [1, n, m, 1], strides, loop)

    def _copy(self, target: int, source: int, count: int) -> list[int]:
        return _line(COPY, [target, source], [count * self.itemsize])


def _elementwise(node: Node) -> bool:
    others = ("matmul", "sum", "rows", "dot", "slope", "memory", "scalar", "constant")
    return node.op not in others


def _alike(a: Node, b: Node) -> bool:
    return a.size == b.size and a.dtype == b.dtype


def _line(
    kind: int, addresses: Sequence[int], lengths: Sequence[int] = (), strides: Sequence[int] = (),
    loop: Any = None,
) -> list[int]:  # fmt: skip
    line = [0] * WIDTH
    line[0] = kind
    if loop is not None:
        line[FUNCTION], line[DATA] = loop.function, loop.data
    line[ADDRESSES : ADDRESSES + len(addresses)] = addresses
    line[LENGTHS : LENGTHS + len(lengths)] = map(int, lengths)
    line[STRIDES : STRIDES + len(strides)] = strides
    return line


def _aligned(size: int) -> Any:
    memory = np.zeros(size + ALIGNED, np.uint8)
    shift = -memory.ctypes.data % ALIGNED
    return memory[shift : shift + size]
