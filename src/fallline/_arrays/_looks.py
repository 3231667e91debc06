"""Looks at the values of arrays, each 0-d on its device."""

from __future__ import annotations

from typing import Any

from .. import _arrays


def same_values(x: Any, y: Any) -> Any:
    """Tell whether two arrays hold equal numbers, NaN as well: a 0-d truth on their device."""
    xp = _arrays.namespace(x)
    both = zip(_parts(x), _parts(y), strict=True)
    with _arrays.guard(x)():
        found = [xp.all((a == b) | ((a != a) & (b != b))) for a, b in both]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.logical_and(*found))


def largest_part(x: Any) -> Any:
    """Return the largest magnitude of a real or imaginary part: real, 0-d, on the device."""
    xp = _arrays.namespace(x)
    with _arrays.guard(x)():
        if 0 in x.shape:
            return _arrays.full(x, 0.0, _arrays.compute_dtype(x), shape=())
        found = [xp.max(xp.abs(part)) for part in _parts(_arrays.widened(x))]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.maximum(*found))


def _parts(x: Any) -> tuple[Any, ...]:
    return _arrays.parts(x) if _arrays.is_complex(x) else (x,)
