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


def all_equal(found, expected):
    """Assert that arrays are equal, pair by pair, and that there are as many."""
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


def same_model(ours, theirs, atol=1e-5):
    """Assert that two linear models of scikit-learn have the same coefficients."""
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=atol, rtol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=atol, rtol=1e-5)
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


def stepped(rule, steps=0, gradient=2.0, start=0.0, size=2, **options):
    """Return an Optimizer of one leaf "w" that has made some steps with one gradient."""
    opt = fl.Optimizer({"w": np.full(size, start)}, rule, **options)
    for _ in range(steps):
        opt.step({"w": np.full(size, gradient)})
    return opt


def content(opt):
    """Return copies of the parameter "w" of an Optimizer, of its state and counts."""
    return {"w": opt.params["w"].copy(), **{k: np.array(v) for k, v in opt.state["w"].items()}}


def unchanged(opt, before):
    """Assert that an Optimizer still has the content that it had."""
    now = content(opt)
    assert now.keys() == before.keys()
    for name, x in now.items():
        np.testing.assert_array_equal(x, before[name])


def schedule_values(schedule, steps=200):
    """Return the values of a schedule at the first steps."""
    return np.asarray([schedule(step) for step in range(steps)])


REGRESSION = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
CLASSIFICATION = ("log_loss", "hinge", "squared_hinge", "modified_huber")
TIGHT = {"tol": 1e-10, "max_iter": 20000}


def linear_estimator(loss, **options):
    """Return the estimator that a loss belongs to."""
    from fallline import estimators

    kind = estimators.LinearRegressor if loss in REGRESSION else estimators.LinearClassifier
    return kind(loss, **options)


def standardised(name, dtype="float64"):
    """Return one of scikit-learn's sets of data, with features of mean zero and variance one."""
    from sklearn import datasets, preprocessing

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return preprocessing.StandardScaler().fit_transform(X).astype(dtype), y


def data_for(loss):
    """Return few rows that an estimator with a loss can be fitted to."""
    X, y = standardised("diabetes" if loss in REGRESSION else "wine")
    return X[::3], y[::3]
