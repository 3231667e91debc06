"""Walks: how a loop of NumPy goes through arrays with several axes, as NumPy itself goes.

A loop goes along one axis. NumPy joins axes that lie in memory like one, calls the loop along the
last of those that are left, and does so for each index of the others. A walk is such a series of
calls. A broadcast array does not move along an axis, nor does the result of a reduction along the
axis that is reduced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..._arrays._types import HostArray
from . import _numpy_loops
from ._nodes import UnrecordableError
from ._numpy_loops import Loop

RESULT = -1
# Loops whose results are rounded once, so that elements do not depend on their neighbours and any
# axis may be the inner one.
EXACT = (
    "add", "subtract", "multiply", "divide", "less", "less_equal", "greater", "greater_equal",
    "equal", "not_equal", "bitwise_and",
)  # fmt: skip
# Shapes and axes for which reductions are compared with NumPy's.
TRIALS = (((61,), 0), ((3, 20), 1), ((20, 3), 1), ((20, 3), 0), ((7, 1), 0), ((1, 9), 1))


class Walk(NamedTuple):
    """Calls of a loop, `times` of them, between which every operand moves by its jump.

    Attributes
    ----------
    loop : Loop or None
        The loop; `None` selects one of two operands by a condition.
    spots : tuple of (int, int)
        For each operand the argument, or `RESULT`, and the bytes after its beginning.
    lengths, strides : tuple of int
        What the loop is given; strides are in bytes.
    times : int
        The number of calls.
    jumps : tuple of int
        For each operand, in bytes.
    """

    loop: Loop | None
    spots: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...]
    strides: tuple[int, ...]
    times: int = 1
    jumps: tuple[int, ...] = ()


def contiguous(shape: Sequence[int], item: int) -> tuple[int, ...]:
    """Return the strides of an array in the order of C."""
    return tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def spread(shape: Sequence[int], strides: Sequence[int], wide: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array that is broadcast to a shape."""
    moves = [0 if n == 1 else step for n, step in zip(shape, strides, strict=True)]
    return (0,) * (len(wide) - len(shape)) + tuple(moves)


def is_contiguous(shape: Sequence[int], strides: Sequence[int], item: int) -> bool:
    """Tell whether elements lie one after another in the order of C."""
    return spread(shape, strides, shape) == spread(shape, contiguous(shape, item), shape)


def is_ordered(moves: Sequence[int]) -> bool:
    """Tell whether axes along which an array moves are in the order of C."""
    steps = [move for move in moves if move]
    return steps == sorted(steps, reverse=True)


def walk(
    loop: Loop | None, spots: Sequence[tuple[int, int]], shape: Sequence[int],
    strides: Sequence[Sequence[int]], items: Sequence[int], *, any_order: bool = False,
) -> Walk:  # fmt: skip
    """Return the walk of a loop through operands of one shape.

    Parameters
    ----------
    loop, spots
        As in `Walk`.
    shape : sequence of int
        The shape.
    strides : sequence of sequence of int
        Of each operand, for each axis, in bytes.
    items : sequence of int
        The size of an element of each operand, in bytes.
    any_order : bool, default False
        Whether the longest axis may be the inner one, so that there are few calls.
    """
    axes: list[tuple[int, tuple[int, ...]]] = []  # their lengths, and the steps of all operands
    for n, *steps in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if axes and all(a == b * n for a, b in zip(axes[-1][1], steps, strict=True)):
            n *= axes.pop()[0]
        axes.append((n, tuple(steps)))
    if len(axes) > 2:
        msg = "operations along more than two axes of memory are not recorded"
        raise UnrecordableError(msg)
    if any_order:
        axes.sort(key=lambda axis: axis[0])
    outer = axes[0] if len(axes) > 1 else (1, (0,) * len(items))
    inner = axes[-1] if axes else (1, tuple(items))
    return Walk(loop, tuple(spots), inner[:1], inner[1], *outer)


def product(
    loop: Loop, shape: tuple[int, int, int], a: Sequence[int], b: Sequence[int], item: int
) -> Walk:
    """Return the walk of "matmul" for matrices of shapes (m, n) and (n, k) with some strides."""
    strides = (0, 0, 0, *a, *b, shape[2] * item, item)
    return Walk(loop, ((0, 0), (1, 0), (RESULT, 0)), (1, *shape), strides, 1, (0, 0, 0))


def reduction(
    name: str, dtype: str, shape: Sequence[int], axis: int
) -> tuple[float | None, tuple[Walk, ...]]:
    """Return how to reduce an array in the order of C along an axis.

    Parameters
    ----------
    name : str
        "add" or "maximum".
    dtype : str
        The letter of a dtype.
    shape : sequence of int
        The shape of the array.
    axis : int
        The axis.

    Returns
    -------
    start : float or None
        The number with which the result begins, argument 1 of the walks; `None` for the first of
        the numbers.
    walks : tuple of Walk
        Two, or one for a maximum of a single number.

    Raises
    ------
    UnrecordableError
        If NumPy reduces in another order.
    """
    _compare(name, dtype)
    if math.prod(shape) > np.getbufsize() and not _at_once(name, dtype):
        msg = f"numpy.{name}.reduce takes more than {np.getbufsize()} numbers in pieces"
        raise UnrecordableError(msg)
    return _reduction(name, dtype, shape, axis)


def _reduction(
    name: str, dtype: str, shape: Sequence[int], axis: int
) -> tuple[float | None, tuple[Walk, ...]]:
    loop, copy = _numpy_loops.find(name, dtype * 2), _numpy_loops.find("positive", dtype)
    item = np.dtype(dtype).itemsize
    start = _empty_sum() if name == "add" else None
    moves = contiguous(shape, item)
    kept = [*shape[:axis], 1, *shape[axis + 1 :]]
    out = spread(kept, contiguous(kept, item), shape)
    first = (1, 0) if start is not None else (0, 0)
    begin = (0,) * len(shape) if start is not None else moves
    walks = [walk(copy, (first, (RESULT, 0)), kept, (begin, out), (item, item))]
    rest, offset = list(shape), 0
    if start is None:
        rest[axis], offset = shape[axis] - 1, moves[axis]
    if rest[axis]:
        spots = (RESULT, 0), (0, offset), (RESULT, 0)
        walks.append(walk(loop, spots, rest, (out, moves, out), (item,) * 3))
    return start, tuple(walks)


@lru_cache
def _compare(name: str, dtype: str) -> None:
    # Fails if a walk does not give what NumPy gives.
    if not all(_agrees(name, dtype, *trial) for trial in TRIALS):
        msg = f"numpy.{name}.reduce for {dtype!r} takes the numbers in another order"
        raise UnrecordableError(msg)


@lru_cache
def _at_once(name: str, dtype: str) -> bool:
    # Whether NumPy takes more numbers than fill its buffer without cutting them into pieces.
    size = 2 * np.getbufsize() + 67
    shapes = *((n,) for n in range(size, size + 8)), (size // 300, 300)
    return all(_agrees(name, dtype, shape, len(shape) - 1) for shape in shapes)


def _agrees(name: str, dtype: str, shape: tuple[int, ...], axis: int) -> bool:
    ufunc: np.ufunc = getattr(np, name)
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    expected = ufunc.reduce(x, axis=axis, keepdims=True)
    start, walks = _reduction(name, dtype, shape, axis)
    out, begin = np.zeros_like(expected), np.full(1, start or 0.0, dtype)
    for each in walks:
        _run(each, (x, begin, out))
    same: bool = out.tobytes() == expected.tobytes()
    return same


def _run(walk: Walk, arrays: Sequence[HostArray]) -> None:
    # Call the loop of a walk as a tape does.
    assert walk.loop is not None
    places = [arrays[i].ctypes.data + offset for i, offset in walk.spots]
    for _ in range(walk.times):
        _numpy_loops.call(walk.loop, places, walk.lengths, walk.strides)
        places = [place + jump for place, jump in zip(places, walk.jumps, strict=True)]


@lru_cache
def _empty_sum() -> float:
    # The number to which NumPy adds in a sum.
    return float(np.add.reduce(np.asarray([-0.0])))
