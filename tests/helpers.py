"""What several tests use: numbers, layouts and bits of arrays, and rules to try things on."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from fallline._arrays import _making
from fallline.engine import numba_
from fallline.engine.tape import _numpy_loops

ROOT = Path(__file__).parents[1]
COMPILED = [
    "blocked",
    pytest.param(
        "numba", marks=pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")
    ),
]
# The elementwise rules of torch.optim, and Adafactor.
TORCH_NAMES = (
    "SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Rprop",
    "ASGD", "Adafactor",
)  # fmt: skip
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-40, 1e-45, 1e38, -1e30, 1.0]


def draw(rng, shape, dtype, special=True):
    """Return random numbers with NaN, infinities, signed zeros and denormals among them."""
    n = int(np.prod(shape))

    def reals():
        x = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 3, n)
        if special and n > 20:
            x[rng.choice(n, len(SPECIAL), replace=False)] = SPECIAL
        return x

    with np.errstate(over="ignore", under="ignore"):
        x = reals()
        if np.dtype(dtype).kind == "c":
            z = np.empty(n, complex)
            z.real, z.imag = x, reals()
            x = z
        return x.reshape(shape).astype(dtype)


def bits(x):
    """Return an array as integers, every NaN as the same."""
    x = np.ascontiguousarray(x).reshape(-1)
    if x.dtype.kind == "c":
        x = x.view(x.real.dtype)
    x = x.astype(x.dtype.newbyteorder("="))
    x[np.isnan(x)] = np.nan
    return x.view(f"u{x.itemsize}")


def same_bits(a, b):
    assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
    assert a.shape == b.shape
    np.testing.assert_array_equal(bits(a), bits(b))


def misaligned(x):
    """Return a copy whose memory starts one byte off."""
    memory = np.empty(x.nbytes + 1, np.uint8)
    y = memory[1:].view(x.dtype).reshape(x.shape) if x.size else x.copy()
    y[...] = x
    return y


def strided(x):
    y = np.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (), x.dtype)[..., ::2]
    y[...] = x
    return y


def rule_of(body):
    """Return a rule whose formula has a body."""

    class Bad(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(0.1)

        def scalars(self, t):
            return {"rate": self.learning_rate}

        def formula(self, xp, s, p, g):
            return (body(xp, s, p, g),)

    return Bad()


FUNCTIONS = {
    "sqrt": lambda xp, s, p, g: xp.sqrt(xp.abs(p) + g),
    "abs": lambda xp, s, p, g: abs(p) * g,
    "sign": lambda xp, s, p, g: xp.sign(g) / p,
    "maximum": lambda xp, s, p, g: s.rate / xp.maximum(p, g),
    "minimum": lambda xp, s, p, g: s.rate / xp.minimum(p, g),
    "less": lambda xp, s, p, g: xp.where(p < g, -p, g - p),
    "less_equal": lambda xp, s, p, g: xp.where(p <= g, p, s.rate * g),
    "equal": lambda xp, s, p, g: xp.where(p == g, s.rate, p),
    "not_equal": lambda xp, s, p, g: xp.where(p != g, p, s.rate),
}


def pairs(dtype, function):
    """Return two arrays that meet in every pair of special numbers.

    Which of two zeros is the larger differs between processors in NumPy itself.
    """
    with np.errstate(over="ignore", under="ignore"):
        special = np.asarray([*SPECIAL, -1.0, 2.0]).astype(dtype)
    x, g = np.repeat(special, special.size), np.tile(special, special.size)
    clear = (x != 0) | (g != 0) if function in ("maximum", "minimum") else slice(None)
    return x[clear], g[clear]


def close(a, b):
    """Assert that two arrays agree to 1e-12."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    error = np.max(np.abs(a - b) / (np.abs(b) + 1e-6), initial=0.0)
    assert error <= 1e-12


def patch_arrays(monkeypatch, name, f):
    """Put a function in the place of one of `_arrays`, for those who use it in the room too."""
    assert getattr(_arrays, name) is getattr(_making, name)
    for module in (_arrays, _making):
        monkeypatch.setattr(module, name, f)


def made_loop(function):
    """Return a stand-in for a search of NumPy's loops, which finds a Python function."""
    function = _numpy_loops._PROTOTYPE(function)
    address = ctypes.cast(function, ctypes.c_void_p).value
    return lambda ufunc, dtypes: _numpy_loops.Loop(address, 0, 0, dtypes[0], function)


def load_tables():
    """Return the program that makes the tables of the documentation."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
