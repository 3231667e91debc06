"""Arrays of every library read on the host, and written from there."""

from __future__ import annotations

import numpy as np
import pytest

from fallline import _arrays

ARRAYS = {
    "vector": np.arange(6.0),
    "single": np.ones((2, 3), np.float32),
    "complex": np.asarray([[1 + 2j, -3j]]),
    "integers": np.arange(4),
    "truths": np.asarray([True, False]),
    "number": np.asarray(2.5),
    "empty": np.zeros((0, 3)),
}


@pytest.fixture(params=["standard", "before NumPy 2.1"])
def numpy_version(request, monkeypatch):
    """NumPy, and NumPy whose `from_dlpack` knows no keywords, as that of version 2.0."""
    if request.param != "standard":
        own = np.from_dlpack
        monkeypatch.setattr(np, "from_dlpack", lambda x, /: own(x))


@pytest.mark.parametrize("x", ARRAYS.values(), ids=list(ARRAYS))
def test_an_array_comes_to_the_host_as_it_is(backend, x, numpy_version):
    host = _arrays.to_numpy(backend.array(x))
    assert type(host) is np.ndarray
    assert host.dtype == x.dtype
    np.testing.assert_array_equal(host, x)
    back = _arrays.from_numpy(host, backend.array(np.zeros(1)))
    np.testing.assert_array_equal(backend.numpy(back), x)


def test_views_come_to_the_host_in_their_order(backend, numpy_version):
    x = np.arange(12.0).reshape(3, 4)
    for view in (lambda x: x.T, lambda x: x[::2, 1:], lambda x: x[:, ::-1]):
        if backend.name == "torch" and view(x).strides[-1] < 0:
            continue  # torch has no such views
        host = _arrays.to_numpy(view(backend.array(x)))
        np.testing.assert_array_equal(host, view(x))


def test_what_is_on_the_host_is_apart_from_the_array(backend, numpy_version):
    x = backend.array(np.zeros(3))
    host = _arrays.to_numpy(x)
    host[0] = 1.0
    np.testing.assert_array_equal(backend.numpy(x), np.zeros(3))


def test_one_number_is_read(backend):
    assert _arrays.to_float(backend.array(np.asarray(2.5))) == 2.5
    assert _arrays.to_float(backend.array(np.full((1, 1), 0.5, np.float32))) == 0.5


def test_the_strict_libraries_refuse_what_is_not_asked_for(backend):
    if backend.name not in ("array_api_strict", "dpnp"):
        pytest.skip("only these are made strict")
    x = backend.array(np.asarray(1.0))
    for convert in (float, int, bool, complex):
        with pytest.raises(AssertionError, match="a hidden transfer to the host"):
            convert(x)
    with pytest.raises((TypeError, RuntimeError), match=r"NumPy|numpy"):
        np.asarray(x)


def test_numbers_of_numpy_s_own_come_as_arrays(monkeypatch):
    monkeypatch.setattr(np, "from_dlpack", lambda *x, **y: pytest.fail("not for NumPy"))
    host = _arrays.to_numpy(np.float32(2.5))
    assert type(host) is np.ndarray
    assert (host.dtype, host.shape, host) == (np.float32, (), 2.5)
