"""SciPy's ``bounds=`` as a constraint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, HostArray, Tree
from ..constraints import Box


def box(bounds: Any, x0: Tree) -> Box:
    """Return SciPy's bounds as a `Box` of arrays like `x0`.

    Parameters
    ----------
    bounds : sequence of (low, high), or scipy.optimize.Bounds
        One pair for each element of `x0`; `None` and infinity mean that there is no bound.
    x0 : array
        A real array.

    Returns
    -------
    Box
        Bounds of the library and on the device of `x0`.

    Raises
    ------
    TypeError, ValueError
        If `x0` is a tree, the pairs do not fit, or a lower bound is above its upper one.
    """
    if not _arrays.is_array(x0):
        msg = "bounds: apply to a single array; pass a tree of Box as constraint="
        raise TypeError(msg)
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        ends = [_spread(f"bounds.{name}", getattr(bounds, name), x0) for name in ("lb", "ub")]
    else:
        ends = _pairs(bounds, math.prod(x0.shape), tuple(x0.shape))
    low, high = ends
    wrong = np.flatnonzero(~(low <= high).reshape(-1))
    if wrong.size:
        i = int(wrong[0])
        pair = float(low.flat[i]), float(high.flat[i])
        msg = f"bounds[{i}]: {pair} has its lower bound above its upper one"
        raise ValueError(msg)
    dtype = getattr(np, _arrays.COMPUTE[_arrays.dtype_name(x0)])
    return Box(*(_arrays.from_numpy(np.array(end, dtype), x0) for end in ends))


def _spread(place: str, end: Array, x0: Tree) -> HostArray:
    end, shape = np.asarray(end, float), tuple(x0.shape)
    try:
        return np.broadcast_to(end, shape)
    except ValueError as error:
        raise ValueError(_checks.mismatch(place, "shape", end.shape, shape)) from error


def _pairs(bounds: Any, size: int, shape: tuple[int, ...]) -> list[HostArray]:
    rows = list(bounds)
    if len(rows) != size:
        raise ValueError(_checks.mismatch("bounds", "length", len(rows), size))
    ends = np.empty((2, size))
    for i, row in enumerate(rows):
        if not isinstance(row, tuple | list | np.ndarray) or len(row) != 2:
            msg = f"bounds[{i}]: is {row!r}, expected a pair (low, high)"
            raise ValueError(msg)
        for k, (end, none) in enumerate(zip(row, (-math.inf, math.inf), strict=True)):
            try:
                ends[k, i] = none if end is None else float(end)
            except (TypeError, ValueError) as error:
                msg = f"bounds[{i}]: {end!r} is not a number"
                raise TypeError(msg) from error
    return [end.reshape(shape) for end in ends]
