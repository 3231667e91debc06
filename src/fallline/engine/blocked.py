"""The blocked engine: a program as calls of NumPy's ufuncs on blocks that fit into the cache.

Each block of the arrays passes through the whole program with the same few buffers. Memory is
therefore read and written once, and nothing as large as the arrays is allocated.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._arrays._types import Array
from . import _layout
from ._blocked_source import source
from ._runner import Arrays, Begin, Indices, Replaced, Runner, ScalarsByName
from .program import UFUNCS, Program, once

PIECE = 1 << 17  # elements of a large leaf that a thread takes at a time


class _Flat(NamedTuple):
    """The order of a leaf, and the parts of what comes before and after the gradient."""

    order: str
    before: list[Array]
    after: list[Array]
    buffers: list[Array] | None  # of a leaf that is one block


class BlockedRunner(Runner):
    """Runs a program on NumPy leaves of any layout."""

    name = "blocked"

    def __init__(self, program: Program, leaves: Sequence[list[Array]]) -> None:
        super().__init__(leaves)
        self.program = program
        self.block, floats, truths = compiled(program)
        self.dtype = np.dtype(program.dtype)
        self.size = _block_size(self.dtype.itemsize * (len(program.arrays) + floats))
        longest = max((x[0].size for x in leaves), default=0)
        self.count = floats, truths
        self.local = threading.local()
        self.local.buffers = self._buffers(min(self.size, max(longest, 1)))
        self.numbers = np.zeros(len(program.scalars), self.dtype)
        self.scalars = [self.numbers[i : i + 1].reshape(()) for i in range(len(self.numbers))]
        self.flat = [self._flat_parts(leaf) for leaf in leaves]
        # Where NumPy does not warn: to enter this takes a tenth of the time of `errstate`.
        self.quiet = contextvars.Context()
        self.quiet.run(np.seterr, all="ignore")

    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update the leaves `which`."""
        self.quiet.run(self._run, scalars, which, grads, begin)
        return {}

    def _run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> None:
        self.numbers[:] = self.program.numbers(scalars)
        begin()
        large: list[tuple[list[Array], int, int]] = []
        operand = self.program.arrays[1]
        for i, g in zip(which, grads, strict=True):
            flat = self.flat[i]
            view = None if flat is None else _layout.flat(g, flat.order, operand)
            if flat is None or view is None:
                self._scattered(self.leaves[i], g)
                continue
            parts = [view] if operand.parts == 1 else _layout.separated(view, operand)
            if flat.buffers is not None:
                self.block(*flat.before, *parts, *flat.after, self.scalars, flat.buffers)
                continue
            arrays = [*flat.before, *parts, *flat.after]
            n = arrays[0].size
            if n < 2 * PIECE:
                self._blocks((arrays, 0, n))
            else:
                large += [(arrays, k, min(k + PIECE, n)) for k in range(0, n, PIECE)]
        if large:
            self.sharing.run(self._piece, large, len(large))

    def _flat_parts(self, leaf: list[Array]) -> _Flat | None:
        if (found := _layout.flat_leaf(self.program, leaf)) is None:
            return None
        order, views = found
        first, *rest = map(_layout.separated, views, self.program.bound)
        n, buffers = first[0].size, None
        if n <= self.size:
            buffers = [x[:n] for x in self.local.buffers]
        return _Flat(order, first, [part for parts in rest for part in parts], buffers)

    def _blocks(self, piece: tuple[list[Array], int, int]) -> None:
        arrays, low, high = piece
        for start in range(low, high, self.size):
            stop = min(start + self.size, high)
            self._on([x[start:stop] if x.ndim else x for x in arrays], stop - start)

    def _piece(self, piece: tuple[list[Array], int, int]) -> None:
        # Threads do not inherit what NumPy is told of errors.
        with np.errstate(all="ignore"):
            self._blocks(piece)

    def _scattered(self, leaf: list[Array], g: Array) -> None:
        # nditer copies any strides, byte orders and precisions into blocks of its own.
        if not g.size:
            return
        operands: list[Array] = []
        flags = []
        for i, x in enumerate([leaf[0], g, *leaf[1:]]):
            views = [x] if self.program.arrays[i].parts == 1 else [x.real, x.imag]
            operands += views
            mode = "readwrite" if i in self.program.written else "readonly"
            flags += [[mode]] * len(views)
        iterator = np.nditer(  # type: ignore[call-overload]
            operands,
            flags=["external_loop", "buffered", "delay_bufalloc"],
            op_flags=flags,
            op_dtypes=[self.dtype] * len(operands),
            casting="unsafe",
            buffersize=self.size,
        )
        with iterator:
            iterator.reset()
            for arrays in iterator:
                self._on(arrays, arrays[0].size)

    def _on(self, arrays: Sequence[Array], n: int) -> None:
        buffers = getattr(self.local, "buffers", None)
        if buffers is None or (buffers and buffers[0].size < n):
            self.local.buffers = buffers = self._buffers(n)
        if buffers and buffers[0].size > n:
            buffers = [x[:n] for x in buffers]
        self.block(*arrays, self.scalars, buffers)

    def _buffers(self, n: int) -> list[Array]:
        floats, truths = self.count
        numbers = [np.empty(n, self.dtype) for _ in range(floats)]
        return numbers + [np.empty(n, bool) for _ in range(truths)]


def _block_size(bytes_per_element: int) -> int:
    return max(8192, min(PIECE, _cache_size() // bytes_per_element))


@lru_cache
def _cache_size() -> int:
    # The second cache, which each core has for itself, or a share of the third, which is larger on
    # many machines: a block that leaves the second costs less than the calls of shorter ones.
    second, third = _level(2), _level(3)
    return max(second, min(third // 8, 4 << 20)) or 1 << 20


def _level(number: int) -> int:
    # Bytes of a cache as the system tells them, 0 where it does not.
    try:
        size = os.sysconf(f"SC_LEVEL{number}_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):
        size = 0
    if size > 0:
        return size
    try:
        text = Path(f"/sys/devices/system/cpu/cpu0/cache/index{number}/size").read_text()
        return int(text.strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return 0


@once
def compiled(program: Program) -> tuple[Callable[..., None], int, int]:
    """Return a function of (parts, scalars, buffers), and how many buffers of each kind it uses."""
    text, floats, truths = source(program)
    names: dict[str, Callable[..., None]] = {"copyto": np.copyto}
    for line in program.lines:
        if line.op == "rounded":
            names["rounded"] = _rounding(np.dtype(program.arrays[0].dtype))
        elif line.op not in ("load", "scalar", "where"):
            name = UFUNCS.get(line.op, line.op)
            names[name] = getattr(np, name)
    exec(compile(text, f"<fallline: {program.name}>", "exec"), names)
    return names["block"], floats, truths


def _rounding(half: Array) -> Callable[[Array, Array], None]:
    def rounded(x: Array, out: Array) -> None:
        np.copyto(out, x.astype(half))

    return rounded
