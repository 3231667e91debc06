"""Newton's method: second derivatives, singular and indefinite ones, units, refusals."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import fallline as fl
from tests.problems import rosenbrock
from tests.solvers.methods import quadratic

CONVERGES = fl.stop.GradientNorm(1e-7)


def algebra(backend):
    """Return a context in which a library has linear algebra."""
    if backend.name != "array_api_strict":
        return contextlib.nullcontext()
    return backend.xp.ArrayAPIStrictFlags(enabled_extensions=("linalg",))


def test_without_linear_algebra_there_is_none():
    strict = pytest.importorskip("array_api_strict")
    with strict.ArrayAPIStrictFlags(enabled_extensions=()):
        x = strict.asarray([0.0, 1.0])
        with pytest.raises(TypeError, match="needs linear algebra, which array_api_strict lacks"):
            fl.minimize(lambda x: (x @ x, 2 * x), x, method="newton", hessian=lambda x: None)


def rosenbrock_bends(x):
    """Return the second derivatives of the sum over pairs of neighbours."""
    H = np.diag(np.full(len(x), 0.0))
    for i in range(len(x) - 1):
        H[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        H[i + 1, i + 1] += 200
        H[i, i + 1] -= 400 * x[i]
        H[i + 1, i] -= 400 * x[i]
    return H


def test_rosenbrock_is_solved_with_few_evaluations():
    x0 = np.asarray([-1.2, 1.0])
    res = fl.minimize(rosenbrock, x0, method="newton", hessian=rosenbrock_bends)
    assert res.success
    assert res.nfev < fl.minimize(rosenbrock, x0).nfev
    np.testing.assert_allclose(res.x, 1.0, rtol=1e-9)


def test_a_quadratic_takes_a_step_or_two_on_every_library(backend):
    fun, x0, solution = quadratic(backend)
    scale = np.linspace(0.5, 2.0, 6)
    matrix = backend.array(np.diag([*scale, 2.0]))
    with algebra(backend):
        res = fl.minimize(fun, backend.tree(x0), method="newton", hessian=lambda x: matrix)
    assert res.nit <= 2
    np.testing.assert_allclose(backend.numpy(res.x["a"]), solution["a"], atol=1e-12)
    np.testing.assert_allclose(backend.numpy(res.x["b"][0]), solution["b"][0], atol=1e-12)


def test_a_penalty_is_part_of_the_second_derivatives(backend):
    fun, x0, solution = quadratic(backend)
    scale = np.linspace(0.5, 2.0, 6)
    matrix = backend.array(np.diag([*scale, 2.0]))
    penalty = {"a": fl.L2(3.0), "b": None}
    options = {"method": "newton", "hessian": lambda x: matrix, "penalty": penalty}
    with algebra(backend):
        res = fl.minimize(fun, backend.tree(x0), **options)
    assert res.nit <= 2
    expected = solution["a"] * scale.reshape(2, 3) / (scale.reshape(2, 3) + 3)
    np.testing.assert_allclose(backend.numpy(res.x["a"]), expected, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_units_of_variables_and_values_change_nothing(unit, size):
    units = np.asarray([1.0, unit])

    def fun(x):
        value, g = rosenbrock(x / units)
        return size * value, size * g / units

    def hessian(x):
        return size * rosenbrock_bends(x / units) / np.outer(units, units)

    x0 = units * [-1.2, 1.0]
    res = fl.minimize(fun, x0, method="newton", hessian=hessian, stop=None, max_iterations=40)
    np.testing.assert_allclose(res.x / units, 1.0, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_second_derivatives_leave_what_does_not_count(backend, dtype):
    # Two columns are one: the nearest minimum to the start is found.
    host = np.asarray([[1, 1, 0], [2, 2, 1], [0, 0, 1], [1, 1, 1]], dtype)
    aim = np.asarray([1, 2, 3, 4], dtype)
    A, b = backend.array(host), backend.array(aim)

    def fun(x):
        error = A @ x - b
        return 0.5 * (error @ error), A.T @ error

    x0 = backend.array(np.zeros(3, dtype))
    with algebra(backend):
        res = fl.minimize(fun, x0, method="newton", hessian=lambda x: A.T @ A)
    expected = np.linalg.lstsq(host, aim, rcond=1e-6)[0]
    assert res.success
    found = backend.numpy(res.x)
    np.testing.assert_allclose(found, expected, atol=1e-3 if dtype == "float32" else 1e-6)


def test_a_saddle_is_left_on_every_library(backend):
    def fun(x):
        y = backend.numpy(x)
        return y[0] ** 4 - y[0] ** 2 + y[1] ** 2, backend.array(
            np.asarray([4 * y[0] ** 3 - 2 * y[0], 2 * y[1]])
        )

    def hessian(x):
        return backend.array(np.diag([12 * backend.numpy(x)[0] ** 2 - 2, 2.0]))

    with algebra(backend):
        res = fl.minimize(
            fun, backend.array(np.asarray([0.1, 1.0])), method="newton", hessian=hessian,
            stop=CONVERGES,
        )  # fmt: skip
    np.testing.assert_allclose(backend.numpy(res.x), [0.5**0.5, 0], atol=1e-6)


def test_what_only_rounding_makes_definite_is_singular():
    def fun(x):
        error = x[0] + x[1] - 3
        return 0.5 * error * error, np.full(2, error)

    matrix = np.asarray([[1, 1], [1, 1 + 2.0**-52]])  # which has a Cholesky factor
    res = fl.minimize(fun, np.asarray([0.0, 1.0]), method="newton", hessian=lambda x: matrix)
    np.testing.assert_allclose(res.x, [1, 2], atol=1e-6)


@pytest.mark.parametrize("start", [(0.1, 0.0), (0.0, 0.3), (-0.2, 1e-9), (3.0, 0.0)])
def test_saddles_and_maxima_are_left(start):
    def fun(x):
        a, b = x
        return a**4 - a**2 + b**2 + np.cos(b), np.asarray([4 * a**3 - 2 * a, 2 * b - np.sin(b)])

    def hessian(x):
        return np.diag([12 * x[0] ** 2 - 2, 2 - np.cos(x[1])])

    x0 = np.asarray([start[0] + 1e-3, start[1]])
    res = fl.minimize(fun, x0, method="newton", hessian=hessian, stop=CONVERGES)
    assert res.success
    np.testing.assert_allclose(np.abs(res.x), [0.5**0.5, 0], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_useless_second_derivatives_leave_the_gradient(bad):
    def fun(x):
        return np.sum((x - 3) ** 2), 2 * (x - 3)

    res = fl.minimize(fun, np.zeros(2), method="newton", hessian=lambda x: np.full((2, 2), bad))
    assert res.success
    np.testing.assert_allclose(res.x, 3.0)


def test_a_fall_without_bound_is_no_success():
    res = fl.minimize(
        lambda x: (np.sum(x), np.ones(2)), np.zeros(2), method="newton",
        hessian=lambda x: np.zeros((2, 2)),
    )  # fmt: skip
    assert not res.success


def test_further_arguments_reach_the_function():
    res = fl.minimize(
        lambda x, s: (np.sum((x - s) ** 2), 2 * (x - s)), np.zeros(2), args=(5.0,),
        method="newton", hessian=lambda x, s: 2 * np.eye(2) * s / 5,
    )  # fmt: skip
    assert res.nit == 1
    np.testing.assert_allclose(res.x, 5.0)


def fun(x):
    return np.sum(x * x), 2 * x


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "hessian: is None, expected a function"),
        ({"hessian": np.eye(2)}, TypeError, "hessian: is an ndarray, expected a function"),
        ({"hessian": lambda x: np.eye(3)}, ValueError, r"hessian: shape is \(3, 3\), expected"),
        ({"hessian": np.diag, "method": "lbfgs"}, ValueError, "hessian: is given, and"),
        ({"hessian": np.diag, "penalty": fl.L1(1.0)}, ValueError, "Newton needs a smooth"),
        ({"hessian": np.diag, "penalty": fl.TotalVariation(1.0, eps=1.0)}, ValueError, "L2, got"),
        ({"hessian": np.diag, "constraint": fl.Box(0, 1)}, ValueError, "not support constraints"),
        ({"hessian": np.diag, "batched": True}, ValueError, "one problem at a time"),
    ],
)
def test_refusals(options, error, message):
    with pytest.raises(error, match=message):
        fl.minimize(fun, np.ones(2), **{"method": "newton", **options})


def test_complex_variables_are_refused():
    with pytest.raises(TypeError, match="x0: is complex"):
        fl.minimize(fun, np.ones(2, complex), method="newton", hessian=np.diag)


def test_an_objective_without_second_derivatives_is_refused():
    X, y = np.ones((4, 2)), np.ones(4)
    start = {"weights": np.zeros(2), "intercept": np.asarray(0.0)}
    with pytest.raises(TypeError, match="has no hessian"):
        fl.fit(lambda p, X, y: (0.0, p), (X, y), params=start, method="newton")


def test_a_run_goes_on_from_a_file(tmp_path):
    path = tmp_path / "run.npz"
    x0 = np.tile([-1.2, 1.0], 3)
    common = {"method": "newton", "hessian": rosenbrock_bends, "record": ("fun", "x")}
    whole = fl.minimize(rosenbrock, x0, **common)
    fl.minimize(
        rosenbrock, x0, **common, max_iterations=7, callbacks=[fl.callbacks.Checkpoint(path)]
    )
    later = fl.minimize(rosenbrock, x0, **common, resume=path)
    np.testing.assert_array_equal(later.x, whole.x)
    assert later.nfev == whole.nfev
    assert later.history["fun"] == whole.history["fun"]
