"""value_and_gradient: gradients borrowed from torch and JAX."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from array_api_compat import array_namespace

import fallline as fl


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
