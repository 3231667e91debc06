"""Logarithms of likelihoods at the end of fits."""

from __future__ import annotations

import math

from ..._arrays._types import Array, Namespace
from ._criteria import Criterion

# Of Stirling's series.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_SHIFT = 8  # from here on it is exact to double precision


def log_factorial(xp: Namespace, n: Array) -> Array:
    """Return log n!, also between the integers: by Stirling's series, after a shift."""
    z, product = n + 1, xp.ones_like(n)
    for k in range(_SHIFT):
        product = product * (z + k)
    z = z + _SHIFT
    series = xp.zeros_like(z)
    for c in _STIRLING[::-1]:
        series = (series / (z * z)) + c
    return (z - 0.5) * xp.log(z) - z + 0.5 * math.log(2 * math.pi) + series / z - xp.log(product)


def of_counts(xp: Namespace, cost: Array, counts: Array, weights: Array) -> Array:
    """Return the log-likelihood of counts, from half their deviance."""
    some = counts > 0
    safe = xp.where(some, counts, xp.ones_like(counts))
    best = xp.where(some, counts * xp.log(safe) - counts, xp.zeros_like(counts))
    terms = best - log_factorial(xp, counts)
    if weights is not None:
        terms = xp.where(weights > 0, weights * terms, xp.zeros_like(terms))
    return xp.sum(terms, axis=1) - cost


def of_squares(
    xp: Namespace, cost: Array, criterion: Criterion, raw: Array, *, absolute: bool
) -> Array:
    """Return the log-likelihood of normal errors, with known variances or with the best factor."""
    count = criterion.counted(raw)
    logs = xp.zeros_like(count)
    if criterion.weights is not None:
        some = criterion.weights > 0
        safe = xp.where(some, criterion.weights, xp.ones_like(criterion.weights))
        logs = 0.5 * xp.sum(xp.log(safe), axis=1)
    if absolute:
        return logs - cost - 0.5 * math.log(2 * math.pi) * count
    return logs - 0.5 * count * (xp.log(2 * math.pi * 2 * cost / count) + 1)
