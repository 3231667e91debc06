"""The complementary error function, which the standard lacks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fallline import _arrays
from tests.helpers import close

POINTS = np.concatenate([np.linspace(-6, 6, 1201), np.logspace(-12, 1.4, 200), [0.0, -0.0]])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 4e-15), ("float32", 2e-6)])
def test_erfc_has_all_digits_up_to_the_tail(backend, dtype, tolerance):
    x = POINTS.astype(dtype)
    expected = np.asarray([math.erfc(value) for value in x.tolist()])
    inside = expected > (1e-300 if dtype == "float64" else 1e-37)
    x, expected = x[inside], expected[inside]
    found = backend.numpy(_arrays.erfc(backend.array(x)))
    assert found.dtype == x.dtype
    # The square in the exponential brings its rounding.
    error = np.abs(found - expected) / (expected * (1 + np.maximum(x, 0) ** 2))
    assert np.max(error) <= tolerance


def test_erfc_at_the_ends_and_of_nothing():
    found = _arrays.erfc(np.asarray([-np.inf, -40.0, 40.0, np.nan]))
    np.testing.assert_array_equal(found[:3], [2.0, 2.0, 0.0])
    assert np.isnan(found[3])
    close(_arrays.erfc(np.zeros((0, 3))), np.zeros((0, 3)))
