"""The array libraries under test, each made strict about what it must not be asked."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

import numpy as np
import optree
import pytest

NAMES = ("numpy", "numpy-readonly", "array_api_strict", "torch", "jax", "cupy", "dpnp")
CONVERSIONS = ("__float__", "__int__", "__bool__", "__index__", "__complex__")


REQUIRED = {"cupy": "FALLLINE_REQUIRE_CUDA", "dpnp": "FALLLINE_REQUIRE_DPNP"}


class AbsentError(Exception):
    """The library, or the device it needs, is not here."""


def absent(name, error):
    """Skip a test for want of a library, visibly, or fail where it is required."""
    required = os.environ.get(REQUIRED.get(name, "")) == "1"
    (pytest.fail if required else pytest.skip)(str(error))


def required(name):
    """Return a backend; skip the test, visibly, where its library is absent."""
    try:
        return make(name)
    except AbsentError as error:
        absent(name, error)


class Backend:
    """How to make arrays of one library and to look at them."""

    def __init__(self, name, xp, device=None, immutable=False):
        self.name, self.xp, self.device, self.immutable = name, xp, device, immutable

    def array(self, x):
        """Return `x` (NumPy) as an array of the library, on the device under test."""
        x = np.array(x)
        if self.name == "numpy-readonly":
            x.flags.writeable = False
        if self.name.startswith("numpy"):
            return x
        if self.name == "torch":
            return self.xp.from_numpy(x)
        if self.name == "array_api_strict":
            return self.xp.asarray(x, device=self.device, copy=True)
        return self.xp.asarray(x)

    def tree(self, tree):
        return optree.tree_map(
            lambda x: None if x is None else self.array(x), tree, none_is_leaf=True
        )

    def numpy(self, x):
        """Return an array of the library as NumPy's, after checking that it is one."""
        assert self.is_ours(x), f"{type(x)} is not an array of {self.name}"
        if self.name == "array_api_strict":
            assert x.device == self.device
            return np.asarray(x._array)
        if self.name == "cupy":
            return x.get()
        if self.name == "dpnp":
            return x.asnumpy()
        return np.asarray(x)

    def is_ours(self, x):
        kinds = {"numpy": "numpy", "numpy-readonly": "numpy", "jax": "jaxlib"}
        return type(x).__module__.partition(".")[0] == kinds.get(self.name, self.name) and not (
            isinstance(x, np.generic)
        )

    @contextlib.contextmanager
    def context(self, monkeypatch):
        if self.name == "array_api_strict":
            self.refuse_conversions(monkeypatch)
            with self.xp.ArrayAPIStrictFlags(
                boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
            ):
                yield
        elif self.name == "dpnp":
            self.refuse_conversions(monkeypatch)
            yield
        elif self.name == "jax":
            import jax

            with jax.enable_x64(True):
                yield
        else:
            yield

    def refuse_conversions(self, monkeypatch):
        """Let nobody but the library, and scikit-learn, make Python's numbers of its arrays."""
        kind = type(self.xp.asarray(0.0))
        for method in CONVERSIONS:
            monkeypatch.setattr(kind, method, _refuse(method, getattr(kind, method), self.name))


def _refuse(method, own, library):
    def refuse(self):
        asker = sys._getframe(1).f_globals["__name__"].partition(".")[0]
        if asker in (library, "sklearn"):
            return own(self)
        raise AssertionError(f"{method} of an array: a hidden transfer to the host")

    return refuse


def make(name):
    """Return a backend, or raise `AbsentError` with the reason."""
    if name.startswith("numpy"):
        return Backend(name, np)
    try:
        if name == "array_api_strict":
            import array_api_strict as xp

            return Backend(name, xp, xp.Device("device1"))
        if name == "torch":
            import torch as xp

            return Backend(name, xp)
        if name == "jax":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import jax.numpy as xp

            return Backend(name, xp, immutable=True)
        if name == "dpnp":
            return Backend(name, _dpnp())
        import cupy as xp
    except ImportError as error:
        if name == "cupy":
            raise AbsentError("no CUDA device") from error
        raise AbsentError(f"{name} is not installed") from error
    if not xp.cuda.is_available():
        raise AbsentError("no CUDA device")
    return Backend(name, xp)


def _dpnp():
    import dpnp

    try:
        dpnp.empty(0)
    except Exception as error:
        raise AbsentError(f"dpnp finds no SYCL device: {error}") from error
    return dpnp
