"""Numbers of whole arrays, 0-d on their device."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from ._shards import gathered, is_sharded, local

_SUM_BLOCK = 1 << 18  # elements summed in the array's own precision


def sum_squares(x: Any) -> Any:
    """Return the sum of squared magnitudes, real, 0-d and on the device of `x`."""
    if is_sharded(x):
        squares = gathered(sum_squares(local(x)), x)
        return _arrays.namespace(squares).sum(squares)
    if not _arrays.on_host(x):
        xp = _arrays.namespace(x)
        with _arrays.guard(x)():
            return _arrays.unscalar(xp.sum(_arrays.abs2(_arrays.widened(_arrays.detached(x)))))
    total, flat = 0.0, x.reshape(-1)
    if _arrays.is_complex(x):
        flat = np.ascontiguousarray(flat).view(x.real.dtype)
    half = x.dtype.itemsize == 2
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _SUM_BLOCK):
            block = flat[start : start + _SUM_BLOCK]
            block = _arrays.widened(block) if half else block
            total += float(np.dot(block, block))
        return np.asarray(total, _arrays.COMPUTE[_arrays.dtype_name(x)])


def all_finite(x: Any) -> Any:
    """Tell whether every element is finite: a 0-d truth on the device of `x`."""
    xp = _arrays.namespace(x)
    if is_sharded(x):
        return xp.all(gathered(all_finite(local(x)), x))
    if _arrays.on_host(x) and np.isfinite(sum_squares(x)):
        return np.asarray(True)
    parts = _arrays.parts(x) if _arrays.is_complex(x) else (x,)
    with _arrays.guard(x)():
        found = [xp.all(xp.isfinite(part)) for part in parts]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.logical_and(*found))
