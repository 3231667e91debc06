"""value_and_gradient: gradients borrowed from torch and JAX."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from array_api_compat import array_namespace

import fallline as fl
from tests import helpers


@pytest.fixture(params=["torch", "jax"])
def via(request):
    pytest.importorskip(request.param)
    return request.param


def loss(x, a, unused=None):
    xp = array_namespace(x["w"])
    r = a["m"] @ x["w"] - a["b"]
    z = x["z"] * x["z"]
    return xp.sum(r * r) + xp.sum(xp.abs(z - (1 + 2j)) ** 2)


def data(dtype="float64"):
    rng = np.random.default_rng(0)
    a = {"m": rng.standard_normal((5, 3)).astype(dtype), "b": rng.standard_normal(5).astype(dtype)}
    z = (rng.standard_normal(4) + 1j * rng.standard_normal(4)).astype(
        np.result_type(dtype, np.complex64)
    )
    x = {"w": rng.standard_normal(3).astype(dtype), "z": z, "free": np.ones(2, dtype), "no": None}
    return x, a


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_gradients_and_dtypes(via, dtype):
    x, a = data(dtype)
    fun = fl.value_and_gradient(loss, via=via)
    before = {k: None if v is None else v.copy() for k, v in x.items()}
    value, gradient = fun(x, a, 3)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    r = a["m"] @ x["w"] - a["b"]
    residual = x["z"] ** 2 - (1 + 2j)
    assert np.isclose(value, r @ r + np.sum(np.abs(residual) ** 2), rtol=tolerance)
    assert np.allclose(gradient["w"], 2 * a["m"].T @ r, rtol=10 * tolerance)
    # dL/dRe + i dL/dIm of |z**2 - c|**2
    assert np.allclose(gradient["z"], 4 * residual * x["z"].conj(), rtol=10 * tolerance)
    assert np.all(gradient["free"] == 0)
    assert gradient["no"] is None
    for name in ("w", "z", "free"):
        assert type(gradient[name]) is np.ndarray
        assert gradient[name].dtype == x[name].dtype
        assert np.all(x[name] == before[name])
    assert value.dtype == dtype
    assert fl.check_gradient(fun, x, args=(a,))


def test_it_serves_minimize_and_the_optimizer(via):
    x, a = data()
    fun = fl.value_and_gradient(loss, via=via)
    found = fl.minimize(fun, x, args=(a,))
    assert found.success
    assert np.allclose(found.x["w"], np.linalg.lstsq(a["m"], a["b"])[0], atol=1e-5)
    assert np.allclose(found.x["z"] ** 2, 1 + 2j, atol=1e-5)
    # A gradient taken before an update is not changed by it, nor the value.
    value, gradient = fun(x, a)
    kept, number = gradient["w"].copy(), float(value)
    fl.Optimizer(x, fl.GradientDescent(0.1)).step(gradient)
    assert np.all(gradient["w"] == kept)
    assert float(value) == number
    assert float(fun(x, a)[0]) < number


def test_read_only_arrays(via):
    x = np.ones(3)
    x.flags.writeable = False
    fun = fl.value_and_gradient(lambda x: (x**2).sum(), via=via)
    assert np.all(fun(x)[1] == 2)


def fields(x):
    """Return the same numbers in a table of columns of other sizes."""
    table = np.zeros(x.shape, [("a", x.dtype), ("b", "int16")])
    table["a"] = x
    return table["a"]


def frozen(x):
    y = x.copy()
    y.flags.writeable = False
    return y


LAYOUTS = {
    "flipped": lambda x: x[::-1],
    "flipped along one axis": lambda x: np.stack([x, x + 1])[:, ::-1],
    "of foreign bytes": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "read-only": frozen,
    "broadcast": lambda x: np.broadcast_to(x[1], (4,)),
    "windows": lambda x: np.lib.stride_tricks.as_strided(x, (2, 2), (x.itemsize, x.itemsize)),
    "of no elements": lambda x: np.zeros((0, 3), x.dtype)[::-1],
    "0-d": lambda x: np.asarray(x[2]),
    "misaligned": helpers.misaligned,
    "strided": lambda x: np.repeat(x, 2)[::2],
    "a column": fields,
    "foreign and flipped": lambda x: x.astype(x.dtype.newbyteorder(">"))[::-1],
    "a transposed matrix": lambda x: np.outer(x, x).T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float64", "complex64", "float16"])
def test_arrays_of_any_layout(via, layout, dtype):
    x = LAYOUTS[layout](np.arange(1, 4).astype(dtype))
    before = x.copy()
    fun = fl.value_and_gradient(lambda x, a: (abs(x) ** 2).sum() + (abs(a) ** 2).sum(), via=via)
    value, gradient = fun(x, x)
    np.testing.assert_allclose(value, 2 * np.sum(abs(x) ** 2), rtol=1e-3)
    assert gradient.shape == x.shape
    assert gradient.dtype == x.dtype.newbyteorder("=")
    np.testing.assert_array_equal(gradient, 2 * x)
    np.testing.assert_array_equal(x, before)
    # A tree with such an array, and integers of this kind beside it.
    places = LAYOUTS[layout](np.arange(3))
    pick = fl.value_and_gradient(lambda t, i: (t["w"] * i).sum(), via=via)
    _, slope = pick({"w": np.ones(places.shape)}, places)
    np.testing.assert_array_equal(slope["w"], places)


def test_only_what_torch_cannot_take_is_copied():
    pytest.importorskip("torch")
    seen = []

    def loss(x):
        seen.append(x.data_ptr())
        return (x * x).sum()

    fun = fl.value_and_gradient(loss, via="torch")
    x = np.ones((3, 4))
    for view in (x, x.T, x[:, ::2], x[1]):
        fun(view)
        assert seen.pop() == view.__array_interface__["data"][0]
    fun(x[::-1])
    assert seen.pop() != x[::-1].__array_interface__["data"][0]


def test_errors(via, monkeypatch):
    with pytest.raises(ValueError, match="unknown via 'tensorflow'"):
        fl.value_and_gradient(loss, via="tensorflow")
    with pytest.raises(ValueError, match=r"loss: its value: shape is \(3,\)"):
        fl.value_and_gradient(lambda x: x * x, via=via)(np.ones(3))
    with pytest.raises(TypeError, match="loss: returned a float"):
        fl.value_and_gradient(lambda x: 1.0, via=via)(np.ones(3))
    with pytest.raises(TypeError, match="complex"):
        fl.value_and_gradient(lambda x: (x * 1j).sum(), via=via)(np.ones(3))
    with pytest.raises(TypeError, match=r"x\['a'\]: dtype is int64"):
        fl.value_and_gradient(loss, via=via)({"a": np.ones(3, np.int64)})
    monkeypatch.setitem(sys.modules, via, None)
    with pytest.raises(ImportError, match=rf"pip install 'fallline\[{via}\]'"):
        fl.value_and_gradient(loss, via=via)
