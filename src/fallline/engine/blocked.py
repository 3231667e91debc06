"""The blocked engine: a program as NumPy's ufuncs over blocks that stay in the cache.

Each block of the arrays goes through the whole program with the same few buffers, so that memory
is read and written once and nothing as large as the arrays is allocated.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np

from .trace import COMPARISONS, Program

# Names of NumPy's functions where they differ.
UFUNCS = {"abs": "absolute"}
# Elements of a block when several threads take turns with the interpreter, which smaller blocks
# would have to do too often, and from how many elements on they do.
SHARED = 1 << 16
PARALLEL = 4 * SHARED


class Runner:
    """Runs a program on NumPy leaves of any layout; parameters as in `eager.Runner`."""

    name = "blocked"

    def __init__(self, program: Program, leaves: Sequence[list[Any]]) -> None:
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
        self.leaves = leaves
        self.flat = [flattened(program, leaf) for leaf in leaves]

    def run(
        self,
        scalars: Mapping[str, Any],
        which: Sequence[int],
        grads: Sequence[Any],
        begin: Callable[[], None],
    ) -> dict[int, list[Any]]:
        """Update the leaves `which`, as `eager.Runner.run`."""
        with np.errstate(all="ignore"):
            self.numbers[:] = self.program.numbers(scalars)
            begin()
            for i, g in zip(which, grads, strict=True):
                flat = self.flat[i]
                parts = None if flat is None else flat_parts(g, flat[0], self.program.arrays[1])
                if flat is None or parts is None:
                    self._scattered(self.leaves[i], g)
                else:
                    self._contiguous([*flat[1], *parts, *flat[2]])
        return {}

    def _contiguous(self, arrays: list[Any]) -> None:
        n = arrays[0].size
        if n <= self.size:
            self._on(arrays, n)
        elif n < PARALLEL or workers() == 1:
            self._blocks(arrays, 0, n, self.size)
        else:
            self._shared(arrays, n)

    def _blocks(self, arrays: list[Any], low: int, high: int, size: int) -> None:
        for start in range(low, high, size):
            stop = min(start + size, high)
            self._on([x[start:stop] if x.ndim else x for x in arrays], stop - start)

    def _shared(self, arrays: list[Any], n: int) -> None:
        # Each thread takes one piece. Whatever happens, none writes on after this returns.
        count = workers()
        size = max(
            self.size, min(SHARED, (3 << 19) // (count * self.dtype.itemsize * sum(self.count)))
        )
        ends = [n * k // count for k in range(count + 1)]

        def work(k: int) -> None:
            with np.errstate(all="ignore"):
                self._blocks(arrays, ends[k], ends[k + 1], size)
                self.local.buffers = None

        futures = [pool().submit(work, k) for k in range(1, count)]
        try:
            work(0)
        finally:
            wait(futures)
        for future in futures:
            future.result()

    def _scattered(self, leaf: list[Any], g: Any) -> None:
        # nditer gathers any strides, byte orders and precisions into its own blocks.
        if not g.size:
            return
        operands: list[Any] = []
        flags = []
        for i, x in enumerate([leaf[0], g, *leaf[1:]]):
            views = [x] if self.program.arrays[i].parts == 1 else [x.real, x.imag]
            operands += views
            mode = "readwrite" if i in self.program.written else "readonly"
            flags += [[mode]] * len(views)
        iterator: Any = np.nditer(  # type: ignore[call-overload]
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

    def _on(self, arrays: Sequence[Any], n: int) -> None:
        buffers = getattr(self.local, "buffers", None)
        if buffers is None or (buffers and buffers[0].size < n):
            self.local.buffers = buffers = self._buffers(n)
        if buffers and buffers[0].size > n:
            buffers = [x[:n] for x in buffers]
        self.block(*arrays, self.scalars, buffers)

    def _buffers(self, n: int) -> list[Any]:
        floats, truths = self.count
        numbers = [np.empty(n, self.dtype) for _ in range(floats)]
        return numbers + [np.empty(n, bool) for _ in range(truths)]


def flattened(program: Program, leaf: list[Any]) -> tuple[str, list[Any], list[Any]] | None:
    """Return the order and 1-d views of the parts of a leaf, or `None` if it has no such views."""
    for order in ("C", "F"):
        views = [
            flat_parts(x, order, operand) for x, operand in zip(leaf, program.bound, strict=True)
        ]
        if all(view is not None for view in views):
            return order, views[0], [part for view in views[1:] for part in view]  # type: ignore[union-attr,return-value]
    return None


def flat_parts(x: Any, order: str, operand: Any) -> list[Any] | None:
    """Return 1-d views of the real parts of an array in an order, if its memory allows."""
    if operand.single:
        return [x]
    flags = x.flags
    straight = flags.c_contiguous if order == "C" else flags.f_contiguous
    if not (straight and flags.aligned and x.dtype.name == operand.dtype and x.dtype.isnative):
        return None
    if operand.dtype == "float16" or operand.dtype == "bfloat16":
        return None
    flat = (x if order == "C" else x.T).reshape(-1)
    if operand.parts == 1:
        return [flat]
    reals = flat.view(flat.real.dtype)
    return [reals[0::2], reals[1::2]]


_threads: ThreadPoolExecutor | None = None


def pool() -> ThreadPoolExecutor:
    """Return the threads of this process that help in steps."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(workers(), "fallline")
    return _threads


def _after_fork() -> None:
    # Threads do not live on in a child.
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache
def workers() -> int:
    """Return how many threads are worth their while."""
    # More threads than this wait for memory, and for each other.
    affinity = getattr(os, "sched_getaffinity", None)
    return min(4, len(affinity(0)) if affinity else os.cpu_count() or 1)


@lru_cache
def _block_size(bytes_per_element: int) -> int:
    try:
        cache = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):
        cache = 0
    fitting = (cache if cache > 0 else 2**19) // 2 // bytes_per_element
    return max(4096, min(32768, fitting))


# -- from a program to Python -----------------------------------------------------------------


_KNOWN: dict[str, tuple[Callable[..., None], int, int]] = {}


def compiled(program: Program) -> tuple[Callable[..., None], int, int]:
    """Return a function of (parts, scalars, buffers), and its numbers of buffers by kind."""
    if program.key not in _KNOWN:
        text, floats, truths = source(program)
        names: dict[str, Any] = {"copyto": np.copyto}
        for line in program.lines:
            if line.op == "rounded":
                names["rounded"] = _rounding(np.dtype(program.arrays[0].dtype))
            elif line.op not in ("load", "scalar", "where"):
                name = UFUNCS.get(line.op, line.op)
                names[name] = getattr(np, name)
        exec(compile(text, f"<fallline: {program.name}>", "exec"), names)
        _KNOWN[program.key] = names["block"], floats, truths
    return _KNOWN[program.key]


def _rounding(half: Any) -> Callable[[Any, Any], None]:
    def rounded(x: Any, out: Any) -> None:
        np.copyto(out, x.astype(half))

    return rounded


def source(program: Program) -> tuple[str, int, int]:
    """Return the text of the function, and how many buffers of numbers and of truths it uses."""
    writer = _Writer(program)
    return writer.text(), writer.count["t"], writer.count["c"]


class _Writer:
    """Writes the calls, with the fewest buffers and results put where they belong if they may."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.places: dict[int, str] = {}
        self.free: dict[str, list[str]] = {"t": [], "c": []}
        self.count = {"t": 0, "c": 0}
        self.last = {}
        for i, line in enumerate(program.lines):
            if line.op not in ("load", "scalar"):
                for a in line.args:
                    self.last[a] = i
        self.kept = {line for parts in program.outputs for line in parts}
        self.body: list[str] = []
        # The gradient may be the parameter itself: what is written there changes both.
        names = self._part_names()
        self.same = {names[1, i]: names[0, i] for i in range(program.arrays[1].parts)}

    def text(self) -> str:
        """Return the function."""
        names = self._part_names()
        targets = self._targets(names)
        for i, (op, args) in enumerate(self.program.lines):
            if op == "load":
                self.places[i] = names[args]
            elif op == "scalar":
                self.places[i] = f"s{args[0]}"
            else:
                self._operation(i, op, args, targets)
        ends = []
        for array, part, line in self.program.stores:
            target = names[array, part]
            if self.places[line] != target:
                ends.append((target, self.places[line]))
        self._copies(ends)
        scalars = "".join(f"s{i}, " for i in range(len(self.program.scalars)))
        buffers = "".join(f"{kind}{i}, " for kind in "tc" for i in range(self.count[kind]))
        head = [f"{scalars}= scalars"] if scalars else []
        head += [f"{buffers}= buffers"] if buffers else []
        lines = [*head, *self.body] or ["pass"]
        return f"def block({', '.join(names.values())}, scalars, buffers):\n" + "".join(
            f"    {line}\n" for line in lines
        )

    def _part_names(self) -> dict[tuple[int, ...], str]:
        # In the order in which a Runner passes them: parameter, gradient, slots.
        return {
            (i, part): f"a{i}_{part}"
            for i, operand in enumerate(self.program.arrays)
            for part in range(operand.parts)
        }

    def _targets(self, names: Mapping[tuple[int, ...], str]) -> dict[int, str]:
        # Lines that may be computed into their array at once: its old value is not read later.
        targets: dict[int, str] = {}
        for array, part, line in self.program.stores:
            if self.program.lines[line].op in ("load", "scalar") or line in targets:
                continue
            target = names[array, part]
            loads = [
                i
                for i, other in enumerate(self.program.lines)
                if other.op == "load" and self._place(names[other.args]) == target
            ]
            reads = [self.last.get(i, -1) for i in loads]
            if max(reads, default=-1) <= line and not self.kept.intersection(loads):
                targets[line] = target
        return targets

    def _operation(self, i: int, op: str, args: Sequence[int], targets: Mapping[int, str]) -> None:
        kind = "c" if op in COMPARISONS else "t"
        places = [self.places[a] for a in args]
        done = [a for a in dict.fromkeys(args) if self.last[a] == i and a not in self.kept]
        if op != "where":
            self._release(done)
        out = targets.get(i)
        if out is None or (op == "where" and out in map(self._place, places)):
            out = self._buffer(kind)
        if op == "where":
            condition, yes, no = places
            self.body.append(f"copyto({out}, {no})")
            self.body.append(f"copyto({out}, {yes}, where={condition})")
            self._release(done)
        else:
            out_ = f"out={out}" if op in ("maximum", "minimum") else out
            self.body.append(f"{UFUNCS.get(op, op)}({', '.join([*places, out_])})")
        self.places[i] = out

    def _place(self, name: str) -> str:
        # Where the old numbers of an array may be found, or are.
        return self.same.get(name, name)

    def _copies(self, left: list[tuple[str, str]]) -> None:
        # Copies between arrays: each before its source is overwritten.
        while left:
            ready = [
                copy
                for copy in left
                if not any(copy[0] == self._place(other[1]) for other in left if other != copy)
            ]
            if (
                not ready
            ):  # they exchange their numbers, or would if the gradient were the parameter
                target, source = left.pop()
                left.append((target, self._buffer("t")))
                ready = [(left[-1][1], source)]
            self.body += [f"copyto({target}, {source})" for target, source in ready]
            left = [copy for copy in left if copy not in ready]

    def _release(self, lines: Sequence[int]) -> None:
        for line in lines:
            place = self.places[line]
            if place[0] in "tc":
                self.free[place[0]].append(place)

    def _buffer(self, kind: str) -> str:
        if self.free[kind]:
            return self.free[kind].pop()
        self.count[kind] += 1
        return f"{kind}{self.count[kind] - 1}"
