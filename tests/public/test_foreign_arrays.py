"""What penalties and constraints take, and what they refuse by name."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.constraints import (
    Box,
    L2Ball,
    MaxModulus,
    Simplex,
)
from fallline.penalties import L1, L2, TotalVariation


class Unplaced:
    """An array with a namespace and without a device."""

    dtype, shape = np.dtype("float64"), (2,)

    def __array_namespace__(self, *, api_version=None):
        return np


FOREIGN = {
    "a list": lambda: [1.0, 2.0],
    "a MaskedArray": lambda: np.ma.masked_array([1.0, 2.0], [False, True]),
    "a csr_array": lambda: pytest.importorskip("scipy.sparse").csr_array(np.eye(2)),
    "a coo_matrix": lambda: pytest.importorskip("scipy.sparse").coo_matrix(np.eye(2)),
    "a DataFrame": lambda: pytest.importorskip("pandas").DataFrame(np.eye(2)),
    "a mlx.array": lambda: pytest.importorskip("mlx.core").array([1.0, 2.0]),
    "an? Unplaced": Unplaced,
    "sparse": lambda: pytest.importorskip("torch").eye(2).to_sparse(),
    "sparse, expected": lambda: pytest.importorskip("sparse").COO.from_numpy(np.eye(2)),
}


@pytest.mark.parametrize("words", FOREIGN)
def test_foreign_arrays_are_refused_by_name_everywhere(words):
    x = FOREIGN[words]()
    for f in (
        Simplex().project, Box(0.0, 1.0), MaxModulus(1.0), L1(1.0).value, TotalVariation(1.0).value,
        TotalVariation(1.0).gradient, lambda x: L2(1.0).prox(x, 1.0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"^x: is {words}"):
            f(x)
    if not isinstance(x, list):
        with pytest.raises(TypeError, match=rf"^params\['w'\]: is {words}"):
            fl.Optimizer({"w": x}, fl.SGD(0.1))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_and_integers_are_refused():
    with pytest.raises(TypeError, match="x: is a matrix, expected an array"):
        Simplex().project(np.matrix([[1.0, 2.0]]))
    for f in (L2Ball().project, L1(0.3).value):
        with pytest.raises(TypeError, match="x: dtype is int64, expected one of float16"):
            f(np.arange(3))
    assert L1(0.5).value(np.float64(-3.0)) == 1.5  # a number of NumPy is an array of no axes
