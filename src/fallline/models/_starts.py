"""From data to parameters near enough for a fit to begin, without a look at the numbers.

Arrays have the points along their last axis; what is one number for each problem keeps that axis
with length 1. Coordinates and data are brought to the interval from 0 to 1 first, so that squares
and products stay in the range of the dtype in every unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._arrays._types import Array, Namespace

# The share of points that are taken to lie on the ground, for being far from the top of a peak.
_FAR = 0.25
# How far from the middle, in lengths of the interval, the rim begins.
_RIM = 0.4


def spans(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Return the smallest number, and how far the largest is above it, or 1 where it is equal."""
    low, high = xp.min(x, axis=-1, keepdims=True), xp.max(x, axis=-1, keepdims=True)
    return low, xp.where(high > low, high - low, xp.ones_like(low))


def mean(xp: Namespace, x: Array, weights: Array) -> Array:
    """Return the weighted mean over the points."""
    return xp.sum(x * weights, axis=-1, keepdims=True) / xp.sum(weights, axis=-1, keepdims=True)


def combined(
    xp: Namespace, columns: Sequence[Array], y: Array, *, raised: bool
) -> tuple[list[Array], Array, Array]:
    """Return the factors of columns whose sum is nearest to data, an offset, and what is left.

    What is left is the sum of squares. Without `raised` the offset is zero. The columns are made
    orthogonal one after the other, which needs no linear algebra of the library.
    """
    means = [xp.mean(c, axis=-1, keepdims=True) if raised else 0.0 for c in columns]
    level = xp.mean(y, axis=-1, keepdims=True)
    level = level if raised else xp.zeros_like(level)
    rest = y - level
    directions: list[tuple[Array, Array]] = []
    rows: list[tuple[list[Array], Array]] = []
    for column, middle in zip(columns, means, strict=True):
        left: Array = column - middle
        row: list[Array] = []
        for direction, size in directions:
            row.append(xp.sum(direction * left, axis=-1, keepdims=True) / size)
            left = left - row[-1] * direction
        size = xp.sum(left * left, axis=-1, keepdims=True)
        size = xp.where(size > 0, size, xp.ones_like(size))
        factor = xp.sum(left * rest, axis=-1, keepdims=True) / size
        rest = rest - factor * left
        directions.append((left, size))
        rows.append((row, factor))
    factors = [factor for _, factor in rows]
    for i in reversed(range(len(factors))):
        for k, part in enumerate(rows[i][0]):
            factors[k] = factors[k] - part * factors[i]
    for factor, middle in zip(factors, means, strict=True):
        level = level - factor * middle
    return factors, level, xp.sum(rest * rest, axis=-1, keepdims=True)


class Bump(NamedTuple):
    """A peak in data, or a dip: its height above the ground, and moments of its upper half."""

    height: Array
    ground: Array
    centers: list[Array]
    # The second moments of the coordinates 0 and 0, 0 and 1, 1 and 1, in squares of the length.
    moments: list[Array]
    # How far the points reach, and the part of it below which no peak is narrower.
    length: Array
    least: float

    def width(self, xp: Namespace, moment: Array, of_one: float) -> Array:
        """Return the width from a second moment and the one that a peak of width 1 has."""
        return self.length * xp.maximum(xp.sqrt(moment / of_one), xp.full_like(moment, self.least))


def bump(xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool) -> Bump:
    """Return where a peak is. What is higher than half of it is taken to be the peak."""
    lows, lengths = zip(*(spans(xp, x) for x in points), strict=True)
    length = lengths[0] if len(points) == 1 else xp.maximum(*lengths)
    units = [(x - low) / length for x, low in zip(points, lows, strict=True)]
    reach = [size / length for size in lengths]
    top = _top(xp, _rim(xp, units, reach) if raised else None, y)
    ground = _ground(xp, units, y == top, y) if raised else xp.zeros_like(top)
    height = top - ground
    flat = height == 0
    part = (y - ground) / xp.where(flat, xp.ones_like(height), height)
    weights = xp.where(part > 0.5, part - 0.5, xp.zeros_like(part))
    weights = xp.where(flat, xp.ones_like(weights), weights)
    means = [mean(xp, u, weights) for u in units]
    away = [u - m for u, m in zip(units, means, strict=True)]
    pairs = [(i, k) for i in range(len(points)) for k in range(i, len(points))]
    return Bump(
        height,
        ground,
        [low + length * m for low, m in zip(lows, means, strict=True)],
        [mean(xp, away[i] * away[k], weights) for i, k in pairs],
        length,
        0.4 * y.shape[-1] ** (-1 / len(points)),
    )


def _rim(xp: Namespace, units: Sequence[Array], reach: Sequence[Array]) -> Array:
    # Where a point is near the end of a coordinate.
    near = [xp.abs(u - 0.5 * r) > _RIM * r for u, r in zip(units, reach, strict=True)]
    return near[0] if len(near) == 1 else near[0] | near[1]


def _top(xp: Namespace, rim: Array | None, y: Array) -> Array:
    # The largest number, or for a dip the smallest. A peak may fill most of the points, but not
    # those at the rim; so their mean tells up from down. Without a rim the ground is zero.
    low, high = xp.min(y, axis=-1, keepdims=True), xp.max(y, axis=-1, keepdims=True)
    level = 0.0 if rim is None else mean(xp, y, _as_weights(xp, rim, y))
    return xp.where(high + low >= 2 * level, high, low)


def _ground(xp: Namespace, units: Sequence[Array], top: Array, y: Array) -> Array:
    # The mean of the points that are farthest from the top. A low quantile would lie below the
    # ground by the noise, and for few counts be zero.
    middle = [mean(xp, u, _as_weights(xp, top, y)) for u in units]
    squares = [(u - m) * (u - m) for u, m in zip(units, middle, strict=True)]
    square = squares[0] if len(squares) == 1 else squares[0] + squares[1]
    k = int((1 - _FAR) * (y.shape[-1] - 1))
    # Pixels at one distance are taken together, whatever the rounding.
    far = square >= 0.999 * xp.sort(square, axis=-1)[..., k : k + 1]
    return mean(xp, y, _as_weights(xp, far, y))


def _as_weights(xp: Namespace, chosen: Array, y: Array) -> Array:
    return xp.where(chosen, xp.ones_like(y), xp.zeros_like(y))


def largest(xp: Namespace, y: Array) -> Array:
    """Return the largest magnitude over the points, or 1 where all are zero."""
    size = xp.max(xp.abs(y), axis=-1, keepdims=True)
    return xp.where(size > 0, size, xp.ones_like(size))
