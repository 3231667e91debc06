"""Problems in chunks, each run until all of its problems have ended, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._free import free_bytes
from ..._arrays._types import Array, HostArray, Namespace
from ...stop import Verdict
from .._base import INTERRUPTED
from ._run import Run
from ._steps import State
from ._watching import Watch

# Bytes of a Jacobian that stays in a processor's cache while it is worked on, and those of one
# where nothing tells the memory of a device; the share of what is free on one.
_CACHED, _PLAIN, _SHARE = 1 << 22, 1 << 28, 1 / 8
# Ended problems are dropped once they are this part of those at work; late where a library compiles
# everything for every number of problems.
_IDLE, _IDLE_COMPILED = 0.2, 0.9


class Ended(NamedTuple):
    """Problems that have ended, by their numbers among all."""

    numbers: HostArray
    state: State
    r: Array
    columns: Array


def chunks(chunk: Any, problems: int, numbers: int, like: Array) -> Iterator[slice]:
    """Yield which problems are taken together.

    Parameters
    ----------
    chunk : int or "auto"
        How many at most.
    problems, numbers : int
        How many there are, and how many numbers the Jacobian of one has.
    like : array
        Tells the device.
    """
    if chunk == "auto":
        each = max(1, numbers) * (4 if _arrays.dtype_name(like) in ("float32", "complex64") else 8)
        free = free_bytes(like)
        room = _CACHED if _arrays.on_host(like) else _PLAIN if free is None else _SHARE * free
        size = max(1, int(room / each))
    else:
        size = _checks.count("chunk", chunk, 1)
    parts = -(-problems // size) if problems else 1
    size = -(-problems // parts)
    for start in range(0, max(1, problems), max(1, size)):
        yield slice(start, min(start + size, problems))


def finished(run: Run, first: int, watch: Watch, keep: bool) -> tuple[list[Ended], bool]:
    """Advance a run until every problem has ended, and return them.

    Parameters
    ----------
    run : Run
        At its start.
    first : int
        The number of its first problem among all.
    watch : Watch
        Is told of every iteration.
    keep : bool
        Whether the Jacobians are kept.

    Returns
    -------
    tuple of list of Ended and bool
        The problems, and whether the run was interrupted.
    """
    idle = _IDLE_COMPILED if _arrays.is_immutable(run.r) else _IDLE
    index, done, told, interrupted = first + np.arange(run.problems), list[Ended](), False, False
    try:
        codes = run.codes()
        while True:
            verdict = watch(run, index, codes, told)
            if verdict is not None:
                run.mark(True, verdict)
                break
            going = np.flatnonzero(codes == 0)
            if not going.size:
                break
            if codes.size - going.size > idle * codes.size:
                done.append(_ended(run, index, np.flatnonzero(codes), keep))
                run.take(going)
                index = index[going]
            run.advance()
            codes, told = run.codes(), True
    except KeyboardInterrupt:
        run.mark(True, Verdict(INTERRUPTED, False, 98))
        interrupted = True
    done.append(_ended(run, index, None, keep))
    return done, interrupted


def _ended(run: Run, index: HostArray, some: HostArray | None, keep: bool) -> Ended:
    s, r, columns = run.state, run.r, run.columns
    if some is not None:
        where = _arrays.from_numpy(some, s.x)
        xp, index = run.xp, index[some]
        with _arrays.on_device(s.x):
            s = State(*(xp.take(x, where, axis=x.ndim - 1) for x in s))
            r = xp.take(r, where, axis=0)
            columns = xp.take(columns, where, axis=1) if keep else columns
    return Ended(index, s, r, columns if keep else None)


class Collected:
    """The problems that have ended, each put where it belongs among all.

    Where arrays can be written no number is held twice. The others are put together in the end.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    problems : int
        How many there are in all.
    """

    def __init__(self, xp: Namespace, problems: int) -> None:
        self._xp, self._problems = xp, problems
        self._parts: list[Ended] = []
        self._whole: Ended | None = None

    def put(self, parts: list[Ended]) -> None:
        """Take some parts out of their list."""
        first = parts[0]
        writable = _arrays.family(first.r) in ("numpy", "torch", "cupy")
        if not writable or len(first.numbers) == self._problems:
            self._parts += parts
            parts.clear()
            return
        if self._whole is None:
            self._whole = self._empty(first)
        while parts:
            part = parts.pop()
            where = _arrays.from_numpy(part.numbers, first.r)
            self._whole.numbers[part.numbers] = part.numbers
            for target, x in zip(self._whole.state, part.state, strict=True):
                target[..., where] = x
            self._whole.r[where, ...] = part.r
            if self._whole.columns is not None:
                self._whole.columns[:, where, ...] = part.columns

    def _empty(self, like: Ended) -> Ended:
        n, xp = self._problems, self._xp

        def empty(x: Array, axis: int) -> Array:
            shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
            return xp.empty(shape, dtype=x.dtype, **_arrays.placed(x))

        with _arrays.on_device(like.r):
            columns = None if like.columns is None else empty(like.columns, 1)
            state = State(*(empty(x, x.ndim - 1) for x in like.state))
            return Ended(np.empty(n, int), state, empty(like.r, 0), columns)

    def joined(self) -> Ended:
        """Return all in the order of their numbers."""
        if self._whole is not None:
            return self._whole
        if len(self._parts) == 1:
            return self._parts[0]
        parts, xp = self._parts, self._xp
        index = np.concatenate([part.numbers for part in parts])
        order = np.argsort(index, kind="stable")
        where = _arrays.from_numpy(order, parts[0].state.x)

        def together(arrays: Sequence[Array], axis: int) -> Array:
            return xp.take(xp.concat(arrays, axis=axis), where, axis=axis)

        states = zip(*(part.state for part in parts), strict=True)
        state = State(*(together(some, some[0].ndim - 1) for some in states))
        columns = [part.columns for part in parts]
        kept = all(x is not None for x in columns)
        r = together([part.r for part in parts], 0)
        return Ended(index[order], state, r, together(columns, 1) if kept else None)
