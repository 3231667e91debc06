"""Projections of many numbers, and of numbers near the ends of what a dtype holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fallline.constraints import (
    Box,
    L1Ball,
    L2Ball,
    MaxModulus,
    Modulus,
    NonNegative,
    Simplex,
    Support,
)

REAL = {"float16": None, "float32": "complex64", "float64": "complex128"}
SIZES = (1e-30, 1e-12, 1.0, 1e12, 1e30)


def array(backend, x):
    """Return an array of a backend, if it has such a dtype."""
    if backend.name == "array_api_strict" and x.dtype == np.float16:
        pytest.skip("the standard has no half precision")
    return backend.array(x)


def total(x):
    """Return the sum of magnitudes, rounded once."""
    return math.fsum(math.hypot(z.real, z.imag) for z in x.ravel().tolist())


@pytest.mark.parametrize("kind", [Simplex, L1Ball])
@pytest.mark.parametrize(
    ("dtype", "numbers", "expected"),
    [
        ("float32", [3e8, 1e8, 2e8], [1, 0, 0]),
        ("float64", [1e17] * 4, [0.25] * 4),
        ("float64", [1e17, 1e17 - 16, 3.0], [1, 0, 0]),
        ("float16", [6e4, 6e4, 1.0, 0.0], [0.5, 0.5, 0, 0]),
    ],
)
def test_a_sum_of_one_is_kept_beside_large_numbers(backend, kind, dtype, numbers, expected):
    x = array(backend, np.asarray(numbers, dtype))
    np.testing.assert_array_equal(backend.numpy(kind(1.0).project(x)), expected)


@pytest.mark.parametrize("kind", [Simplex, L1Ball])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", ["flat", "a ramp", "one large", "random"])
def test_a_sum_of_many_numbers_is_one(backend, kind, dtype, start):
    n, rng = 10**5, np.random.default_rng(0)
    x = {
        "flat": lambda: np.full(n, 5.0),
        "a ramp": lambda: np.linspace(2.0, 2.001, n),
        "one large": lambda: np.r_[1e3, np.full(n - 1, 1e3 - 0.9999999)],
        "random": lambda: rng.random(n),
    }[start]().astype(dtype)
    y = backend.numpy(kind(1.0).project(backend.array(x)))
    assert (y >= 0).all()
    assert abs(total(y) - 1) <= 4 * np.finfo(dtype).eps
    # The largest are kept, and differ as they did.
    kept = y > 0
    assert x[~kept].max(initial=-np.inf) <= x[kept].min()
    drop = (x.astype(float) - x.max()) - (y.astype(float) - y.max())
    assert np.abs(drop[kept]).max() <= 4 * np.finfo(dtype).eps * y.max()
    again = backend.numpy(kind(1.0).project(backend.array(y)))
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("kind", [Simplex, L1Ball])
def test_a_sum_of_more_numbers_than_single_precision_counts_is_one(kind):
    n = 2**24 + 2**21
    y = kind(1.0).project(np.full(n, 7.0, "float32"))
    assert y[0] == y[-1]
    assert abs(float(y[0]) * n - 1) < 1e-7


def points(dtype, size):
    """Return an array with numbers up to a size, and one with many of it."""
    top = float(np.finfo(dtype).max)
    size = min(size, top)
    x = size * np.asarray([[1.0, -0.5, 0.0], [0.25, 1.0, -1e-3]])
    yield x.astype(dtype)
    if (kind := REAL[dtype]) is not None:
        z = np.empty((2, 3), kind)
        z.real, z.imag = x, x[::-1]
        yield z


def violation(constraint, y):
    """Return by how much an array is outside of a set, in units of what it holds."""
    size = np.asarray([math.hypot(z.real, z.imag) for z in y.ravel().tolist()])
    match constraint:
        case Box(low, high):
            least = -math.inf if low is None else low
            most = math.inf if high is None else high
            wide = y.astype(float)
            over = max(np.max(least - wide), np.max(wide - most), 0.0)
            return over / (1.0 if high is None else high)
        case Simplex(radius):
            return max(abs(total(y) / radius - 1), -float(y.min()) / radius)
        case L1Ball(radius):
            return max(total(y) / radius - 1, 0.0)
        case L2Ball(radius):
            return max(math.hypot(*size.tolist()) / radius - 1, 0.0)
        case Modulus(a):
            return float(np.abs(size / a - 1).max())
        case MaxModulus(a):
            return max(float(np.max(size / a - 1)), 0.0)
    return float(np.abs(y[:, 0]).max())


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("size", [*SIZES, "smallest", "largest"])
@pytest.mark.parametrize("radius", SIZES)
def test_points_of_any_size_come_into_sets_of_any_size(backend, dtype, size, radius):
    info = np.finfo(dtype)
    least, most, eps = float(info.smallest_normal), float(info.max), float(info.eps)
    if not 100 * least < radius < most / 100:
        pytest.skip("a radius out of range")
    size = {"smallest": least, "largest": most}.get(size, size)
    mask = np.asarray([False, True, True])
    for x in points(dtype, size):
        for constraint in (
            NonNegative(), Box(-radius, radius), Simplex(radius), L1Ball(radius), L2Ball(radius),
            Modulus(radius), MaxModulus(radius), Support(mask),
        ):  # fmt: skip
            if constraint.real and x.dtype.kind == "c":
                continue
            there = Support(backend.array(mask)) if isinstance(constraint, Support) else constraint
            y = backend.numpy(there.project(array(backend, x)))
            assert y.dtype == x.dtype
            assert np.isfinite(y).all()
            assert violation(constraint, y) <= 8 * eps
            again = backend.numpy(there.project(backend.array(y)))
            scale = float(np.max(np.maximum(abs(y.real), abs(y.imag))))
            np.testing.assert_allclose(again, y, rtol=4 * eps, atol=eps * scale)
