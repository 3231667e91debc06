"""The searches of a batch make the trials of single ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fallline.solvers import _search
from fallline.solvers.batched import _search as batched_search


def lines(n, rng):
    """Return functions of a step length, with slopes that are negative at zero, and first steps."""
    a, b, w = rng.standard_normal(n), rng.standard_normal(n), rng.uniform(0.5, 9, n)
    p, size = rng.uniform(0, 6, n), np.where(rng.uniform(size=n) < 0.3, 1e-3, 1.0)
    wall = np.where(rng.uniform(size=n) < 0.3, rng.uniform(0.01, 3, n), math.inf)
    curve = np.where(rng.uniform(size=n) < 0.2, -0.01, np.exp(rng.uniform(-3, 3, n)))

    def fun(t):
        with np.errstate(all="ignore"):
            value = curve * (t - 1) ** 2 + a * np.sin(w * t + p) + 0.1 * b * t
            slope = 2 * curve * (t - 1) + a * w * np.cos(w * t + p) + 0.1 * b
        value, slope = size * value, size * slope
        return np.where(t < wall, value, math.inf), np.where(t < wall, slope, math.nan)

    value, slope = fun(np.zeros(n))
    keep = slope < -1e-3 * size
    return fun, keep, value, slope, np.exp(rng.uniform(-5, 4, n))


@pytest.mark.parametrize(("noise", "constants"), [(0.0, {}), (1e-3, {}), (0.0, {"c1": 0.4})])
@pytest.mark.parametrize("search", ["strong_wolfe", "armijo"])
def test_searches_make_the_trials_of_single_ones(search, noise, constants):
    n, rng = 1000, np.random.default_rng(0)
    fun, keep, value, slope, t = lines(n, rng)
    zero = np.zeros(n)
    start = batched_search.Point(zero, value, slope)
    wolfe = search == "strong_wolfe"
    options = {"noise": noise + zero} if wolfe else {"reference": value + noise}
    options |= constants
    begin = batched_search.begin_wolfe if wolfe else batched_search.begin_halving
    state = begin(np, start, t) if wolfe else begin(np, t)
    going, tried, ends = keep.copy(), [[] for _ in range(n)], [None] * n
    while going.any():
        f, d = fun(state.t)
        again = state.again if wolfe else ~keep
        for i in np.flatnonzero(going & ~again):
            tried[i].append(state.t[i])
        trial = batched_search.Point(state.t, f, d)
        with np.errstate(all="ignore"):
            found = getattr(batched_search, search)(np, state, start, trial, **options)
        for i in np.flatnonzero(going & found.accepted):
            ends[i] = state.t[i]
        going &= ~(found.accepted | found.failed)
        state = found.search
    for i in np.flatnonzero(keep):
        seen = []

        def line(t, i=i, seen=seen):
            seen.append(t)
            at = np.zeros(n)
            at[i] = t
            f, d = fun(at)
            return _search.Trial(t, float(f[i]), float(d[i]))

        first = _search.Trial(0.0, value[i], slope[i])
        one = {"noise": noise} if wolfe else {"reference": value[i] + noise}
        try:
            end = getattr(_search, search)(line, first, t[i], **one, **constants)
        except _search.NoProgress:  # it falls without bound
            end = None
        assert np.allclose(seen, tried[i], rtol=1e-6), i
        assert (end is None) == (ends[i] is None), i
        assert end is None or np.isclose(end.t, ends[i], rtol=1e-6), i


def test_searches_end_where_shorter_steps_change_nothing():
    # What rounding makes of a function at its least: steps up to one are not seen in the value.
    lowest, slope, t = (
        np.asarray([1e-30, 2.0]),
        np.asarray([-6e-29, -1e-17]),
        np.asarray([1e14, 9.0]),
    )

    def fun(t):
        near = t < 1
        return np.where(near, lowest, lowest + 15), np.where(near, slope, 1e-13)

    zero = np.zeros(2)
    start = batched_search.Point(zero, *fun(zero))
    state = batched_search.begin_wolfe(np, start, t)
    going, tried = np.ones(2, dtype=bool), np.zeros(2, dtype=int)
    while going.any():
        trial = batched_search.Point(state.t, *fun(state.t))
        with np.errstate(all="ignore"):
            found = batched_search.strong_wolfe(np, state, start, trial, noise=zero)
        tried += going
        assert not (going & found.accepted).any()
        going &= ~found.failed
        state = found.search
    for i in range(2):
        seen = []

        def line(t, i=i, seen=seen):
            seen.append(t)
            value, slope = fun(np.full(2, t))
            return _search.Trial(t, float(value[i]), float(slope[i]))

        first = _search.Trial(0.0, lowest[i], slope[i])
        assert _search.strong_wolfe(line, first, t[i], noise=0.0) is None
        assert len(seen) == tried[i] <= 4
