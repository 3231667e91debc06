"""Comparisons and largest values of arrays, as 0-d arrays on their device."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _arrays
from ._shards import gathered, is_sharded, local
from ._types import Array


def same_values(x: Array, y: Array) -> Array:
    """Tell whether two arrays hold the same numbers, NaN included: a 0-d truth on their device."""
    xp = _arrays.namespace(x)
    both = zip(_parts(x), _parts(y), strict=True)
    with _arrays.guard(x)():
        found = [xp.all((a == b) | ((a != a) & (b != b))) for a, b in both]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.logical_and(*found))


def different(pairs: Sequence[tuple[Array, Array]]) -> list[int]:
    """Return the indices of pairs of arrays that hold different values.

    If there are none this synchronises with the device once. Each process compares its own part of
    distributed arrays, so that none waits for another.
    """
    here = [(local(x), local(y)) for x, y in pairs]
    looks = [same_values(x, y) for x, y in here]
    if not looks:
        return []
    first = here[0][0]
    with _arrays.guard(first)():
        same = _arrays.beside(looks[0], first)
        for look in looks[1:]:
            same = same * _arrays.beside(look, first)
    if _arrays.to_float(same):
        return []
    return [i for i, look in enumerate(looks) if not _arrays.to_float(look)]


def largest_part(x: Array) -> Array:
    """Return the largest magnitude of a real or imaginary part: real, 0-d, on the device."""
    xp = _arrays.namespace(x)
    if is_sharded(x):
        return xp.max(gathered(largest_part(local(x)), x))
    with _arrays.guard(x)():
        if 0 in x.shape:
            return _arrays.full(x, 0.0, _arrays.compute_dtype(x), shape=())
        found = [xp.max(xp.abs(part)) for part in _parts(_arrays.widened(x))]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.maximum(*found))


def _parts(x: Array) -> tuple[Array, ...]:
    return _arrays.parts(x) if _arrays.is_complex(x) else (x,)


def all_finite(arrays: Sequence[Array]) -> bool:
    """Tell whether all elements are finite; this synchronises with the device once."""
    if not arrays:
        return True
    first, *rest = (largest_part(x) for x in arrays)
    with _arrays.guard(arrays[0])():
        total = _arrays.beside(_arrays.unscalar(first * 0), arrays[0])
        for look in rest:
            total = total + _arrays.beside(_arrays.unscalar(look * 0), arrays[0])
    return _arrays.to_float(total) == 0
