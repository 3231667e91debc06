"""Axes of penalties, and smoothing that a dtype cannot hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.penalties import GroupL1, TotalVariation

X = np.asarray([[0.0, 0.0], [1.0, 1.0]])
KINDS = {
    "axes": lambda axes: TotalVariation(1.0, axes=axes),
    "axis": lambda axis: GroupL1(1.0, axis=axis),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("axes", "error", "words"),
    [
        ((5,), ValueError, r"is \(5,\), expected integers in \[-2, 1\], the axes of the array"),
        ((0, 2), ValueError, r"is \(0, 2\), expected integers in \[-2, 1\]"),
        ((-3,), ValueError, r"is \(-3,\), expected integers in \[-2, 1\]"),
        ((0, -2), ValueError, r"is \(0, -2\), expected different integers in \[-2, 1\]"),
        ((1, 1), ValueError, r"is \(1, 1\), expected different integers"),
        ((0.0,), TypeError, r"is \(0.0,\), expected integers"),
        ((True,), TypeError, r"is \(True,\), expected integers"),
        ("01", TypeError, r"is '01', expected a sequence of integers"),
    ],
)
def test_axes_that_an_array_does_not_have_are_refused(backend, name, axes, error, words):
    kind = {"axes": "TotalVariation", "axis": "GroupL1"}[name]
    with pytest.raises(error, match=rf"^{kind}\({name}=\): {words}"):
        KINDS[name](axes).value(backend.array(X))


def test_axes_are_a_sequence_of_a_total_variation():
    with pytest.raises(TypeError, match=r"axes=\): is 0, expected a sequence of integers"):
        TotalVariation(1.0, axes=0)


def test_axes_count_from_both_ends(backend):
    x = backend.array(np.arange(24.0).reshape(2, 3, 4) ** 2)
    for first, second in (((0, 2), (-3, -1)), ((1,), (-2,)), ((0, 2), [np.int64(0), 2])):
        for kind in KINDS.values():
            found = (backend.numpy(kind(axes).value(x)) for axes in (first, second))
            np.testing.assert_array_equal(*found)
    assert backend.numpy(TotalVariation(1.0, axes=()).value(x)) == 0


def test_numbers_of_no_axes_are_one_group(backend):
    x = backend.array(np.asarray(3.0))
    assert backend.numpy(GroupL1(1.0).value(x)) == 3
    assert backend.numpy(GroupL1(1.0).prox(x, 1.0)) == 2
    assert backend.numpy(TotalVariation(1.0).value(x)) == 0
    assert backend.numpy(TotalVariation(1.0, axes=(-1,)).gradient(x)) == 0
    with pytest.raises(ValueError, match=r"axis=\): is 1, expected integers in \[-1, 0\]"):
        GroupL1(1.0, axis=1).value(x)


@pytest.mark.parametrize("penalty", [TotalVariation(1.0, axes=(1,)), GroupL1(1.0, axis=1)], ids=str)
def test_an_optimizer_says_so_when_it_is_made(penalty):
    with pytest.raises(ValueError, match=r"^penalty\['b'\]: \w+\(ax[ei]s=\): is .*1.*, expected"):
        fl.Optimizer({"a": X, "b": X[0]}, fl.SGD(0.1), penalty=penalty)
    fl.Optimizer(X.copy(), fl.SGD(0.1), penalty=penalty).step(X)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("eps", [1e-30, 1e-50, 1e-200, 5e-324])
def test_smoothing_below_what_a_dtype_holds_is_right_on_flat_images(backend, dtype, eps):
    if dtype == "float16" and backend.name == "array_api_strict":
        pytest.skip("the standard has no half precision")
    penalty = TotalVariation(2.0, eps=eps)
    flat = np.full((3, 4), 5).astype(dtype)
    assert abs(backend.numpy(penalty.value(backend.array(flat)))) < 1e-35
    np.testing.assert_array_equal(backend.numpy(penalty.gradient(backend.array(flat))), 0)
    # The kink itself: sums of the lengths of differences, and their directions.
    edge = flat.copy()
    edge[1, 1] += 1
    length = 2 * (2 + math.sqrt(2))
    np.testing.assert_allclose(backend.numpy(penalty.value(backend.array(edge))), length, rtol=1e-6)
    slope = backend.numpy(penalty.gradient(backend.array(edge))).real
    expected = np.zeros((3, 4))
    expected[1, 1] = length
    expected[0, 1] = expected[1, 0] = -2
    expected[1, 2] = expected[2, 1] = -math.sqrt(2)
    np.testing.assert_allclose(slope, expected, rtol=1e-3 if dtype == "float16" else 1e-6)
