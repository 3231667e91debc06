"""Where Jacobians come from: differences, torch and JAX; complex numbers."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests import backends
from tests.solvers.least_squares.curves import decays

NUMPY = backends.make("numpy")


def library(name):
    return pytest.importorskip(name, reason=f"{name} differentiates")


def exponential(xp):
    return lambda x, y, t: x["a"][..., None] * xp.exp(-x["k"][..., None] * t) - y


@pytest.mark.parametrize("via", ["torch", "jax"])
@pytest.mark.parametrize("batched", [False, True])
def test_borrowed_derivatives(via, batched):
    xp = library("jax.numpy" if via == "jax" else via)
    rng = np.random.default_rng(0)
    shape = (5,) if batched else ()
    truth = {"a": rng.uniform(1, 3, shape), "k": rng.uniform(0.5, 2, shape)}
    t = np.linspace(0, 3, 12)
    zero = np.zeros((*shape, 12))
    y = exponential(np)({k: np.asarray(v) for k, v in truth.items()}, zero, t)
    start = {"a": np.ones(shape), "k": np.ones(shape), "none": None}
    data = {"batched_args": (y,), "args": (t,)} if batched else {"args": (y, t)}
    res = fl.least_squares(exponential(xp), start, jacobian=via, batched=batched, **data)
    for name, value in truth.items():
        np.testing.assert_allclose(res.x[name], value, rtol=1e-9)
        assert isinstance(res.x[name], np.ndarray)
        assert res.jac[name].shape == (*shape, 12)
    assert isinstance(res.fun, np.ndarray)
    assert res.fun.dtype == np.float64
    fun = fl.residuals_and_jacobian(exponential(xp), via, batched=batched)
    r, j = fun(start, y, t)
    assert j["none"] is None
    e = np.exp(-np.ones(shape)[..., None] * t)
    np.testing.assert_allclose(r, e - y, atol=1e-14)
    np.testing.assert_allclose(j["a"], e, atol=1e-14)
    np.testing.assert_allclose(j["k"], -t * e, atol=1e-14)
    # The same as the idiom in which a function gives both.
    both = fl.least_squares(fun, start, jacobian=True, batched=batched, **data)
    np.testing.assert_allclose(both.x["k"], res.x["k"], rtol=1e-12)


@pytest.mark.parametrize("via", ["torch", "jax"])
def test_borrowed_derivatives_of_arrays_of_that_library(via):
    xp = library("jax.numpy" if via == "jax" else via)
    t = xp.linspace(0.0, 3.0, 12)
    y = 2 * xp.exp(-1.5 * t)
    res = fl.least_squares(lambda x: x[0] * xp.exp(-x[1] * t) - y, xp.ones(2), jacobian=via)
    assert res.success
    np.testing.assert_allclose(np.asarray(res.x), [2, 1.5], rtol=1e-4)
    assert type(res.x) is type(y)


def test_borrowed_complex_derivatives():
    torch = library("torch")
    z = np.array([1.0 + 2j, -0.5 + 0.1j])
    _, j = fl.residuals_and_jacobian(lambda z: z**2)(z)
    np.testing.assert_allclose(j, np.diag(2 * z))
    _, j = fl.residuals_and_jacobian(lambda z: torch.abs(z) ** 2)(z)
    np.testing.assert_allclose(j, np.diag(2 * z))
    with pytest.raises(ValueError, match="unknown via 'numpy'"):
        fl.residuals_and_jacobian(lambda z: z, "numpy")
    with pytest.raises(TypeError, match="fun: returned a float, expected an array of torch"):
        fl.residuals_and_jacobian(lambda z: 3.0)(z)


@pytest.mark.parametrize("jacobian", ["2-point", "3-point"])
def test_differences_are_as_exact_as_they_can_be(jacobian):
    problem = decays(NUMPY, 5)
    options = {"batched": True, "batched_args": problem.data, "args": (problem.t,)}
    res = fl.least_squares(
        problem.residuals, problem.start, jacobian=jacobian, max_iterations=0, **options
    )
    exact = problem.slopes(problem.start, *problem.data, problem.t)
    for name, j in exact.items():
        error = np.max(np.abs(res.jac[name] - j))
        assert error < (1e-7 if jacobian == "2-point" else 1e-9)
    assert np.all(res.nfev == 1 + 3 * (1 if jacobian == "2-point" else 2))
    tiny = fl.least_squares(
        lambda x: 1e9 * x - np.arange(3.0), np.full(1, 1e-9), jacobian=jacobian, max_iterations=0
    )
    np.testing.assert_allclose(tiny.jac, 1e9 * np.ones((3, 1)), rtol=1e-6)


@pytest.mark.parametrize("jacobian", ["2-point", "3-point"])
def test_differences_stay_within_bounds(jacobian):
    # At a bound, near one, between two that are nearer than a step, and on both sides of zero.
    low = np.array([0.0, 1.0, 2.0, -1.0, 3.0, -5.0])
    high = np.array([1.0, 2.0, 2.0 + 1e-12, 0.0, np.inf, 5.0])
    x0 = np.array([0.0, 2.0 - 1e-13, 2.0 + 3e-13, -1e-13, 3.0, -1.0])
    seen = []

    def fun(x):
        seen.append(x)
        return x**3 + x

    res = fl.least_squares(fun, x0, jacobian=jacobian, bounds=(low, high), max_iterations=0)
    assert len(seen) == 1 + 6 * (1 if jacobian == "2-point" else 2)
    assert all(np.all((x >= low) & (x <= high)) for x in seen)
    exact = np.diag(3 * x0**2 + 1)
    good = [0, 1, 3, 4, 5]
    tolerance = 1e-6 if jacobian == "2-point" else 1e-8
    np.testing.assert_allclose(res.jac[:, good], exact[:, good], atol=tolerance)
    assert np.all(np.isfinite(res.jac))


def problem_of_complex_numbers():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 9, 2)) + 1j * rng.standard_normal((3, 9, 2))
    y = rng.standard_normal((3, 9)) + 1j * rng.standard_normal((3, 9))

    def fun(z, a, y):  # holomorphic, and not linear
        return np.einsum("...ij,...j->...i", a, z + 0.1 * z**2) - y

    def slopes(z, a, y):
        return a * (1 + 0.2 * z)[..., None, :]

    return fun, slopes, a, y


@pytest.mark.parametrize("jacobian", ["2-point", "3-point", "callable"])
def test_complex_numbers_are_twins_of_reals(jacobian):
    fun, slopes, a, y = problem_of_complex_numbers()
    given = slopes if jacobian == "callable" else jacobian
    z0 = np.full((3, 2), 0.3 + 0.1j)
    found = fl.least_squares(fun, z0, jacobian=given, batched=True, batched_args=(a, y))

    def twin(x, a, y):
        r = fun(x[..., :2] + 1j * x[..., 2:], a, y)
        return np.concatenate([r.real, r.imag], axis=-1)

    def twin_slopes(x, a, y):
        j = slopes(x[..., :2] + 1j * x[..., 2:], a, y)
        top = np.concatenate([j.real, -j.imag], axis=-1)
        return np.concatenate([top, np.concatenate([j.imag, j.real], axis=-1)], axis=-2)

    x0 = np.concatenate([z0.real, z0.imag], axis=-1)
    given = twin_slopes if jacobian == "callable" else jacobian
    reals = fl.least_squares(twin, x0, jacobian=given, batched=True, batched_args=(a, y))
    np.testing.assert_allclose(found.x.real, reals.x[:, :2], rtol=1e-10)
    np.testing.assert_allclose(found.x.imag, reals.x[:, 2:], rtol=1e-10)
    np.testing.assert_array_equal(found.nit, reals.nit)
    np.testing.assert_allclose(found.cost, reals.cost, rtol=1e-12)
    np.testing.assert_allclose(found.stderr.real, reals.stderr[:, :2], rtol=1e-8)
    np.testing.assert_allclose(found.stderr.imag, reals.stderr[:, 2:], rtol=1e-8)
    c = reals.covariance
    whole = c[:, :2, :2] + c[:, 2:, 2:] + 1j * (c[:, 2:, :2] - c[:, :2, 2:])
    np.testing.assert_allclose(found.covariance, whole, atol=1e-8)
    np.testing.assert_allclose(found.jac, slopes(found.x, a, y), atol=1e-6)
    np.testing.assert_allclose(found.fun, fun(found.x, a, y), atol=1e-14)
    one = fl.least_squares(fun, z0[0], jacobian="3-point", args=(a[0], y[0]))
    np.testing.assert_allclose(one.x, found.x[0], atol=1e-8)


@pytest.mark.parametrize("jacobian", ["3-point", "callable"])
def test_real_residuals_of_complex_numbers(jacobian):
    # Magnitudes: J is dr/dRe + i dr/dIm.
    _, _, a, _ = problem_of_complex_numbers()
    a, truth = a[0], np.array([1.0 + 0.5j, -0.7])

    def fun(z):
        return np.abs(a @ z) ** 2 - np.abs(a @ truth) ** 2

    def slopes(z):
        return 2 * (a @ z)[:, None] * a.conj()

    given = slopes if jacobian == "callable" else jacobian
    with pytest.warns(UserWarning, match="covariance is infinite"):  # a phase is free
        res = fl.least_squares(fun, truth + 0.1, jacobian=given)
    assert res.cost < 1e-15
    np.testing.assert_allclose(res.jac, slopes(res.x), atol=1e-6)
    turned = res.x * np.exp(-1j * np.angle(res.x[1] / truth[1]))
    np.testing.assert_allclose(turned, truth, atol=1e-6)


def test_complex_residuals_of_real_numbers():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 2)) + 1j * rng.standard_normal((9, 2))
    y = rng.standard_normal(9) * (1 + 1j)
    exact = np.linalg.lstsq(
        np.concatenate([a.real, a.imag]), np.concatenate([y.real, y.imag]), rcond=None
    )[0]
    for jacobian in ("2-point", lambda x: a):
        res = fl.least_squares(lambda x: a @ x - y, np.zeros(2), jacobian=jacobian)
        np.testing.assert_allclose(res.x, exact, atol=1e-7)
        assert res.fun.dtype == res.jac.dtype == np.complex128
    weights = np.arange(9.0)
    res = fl.least_squares(lambda x: a @ x - y, np.zeros(2), jacobian=lambda x: a, weights=weights)
    root = np.sqrt(weights)
    exact = np.linalg.lstsq(
        np.concatenate([a.real, a.imag]) * np.tile(root, 2)[:, None],
        np.concatenate([y.real, y.imag]) * np.tile(root, 2), rcond=None,
    )[0]  # fmt: skip
    np.testing.assert_allclose(res.x, exact, rtol=1e-9)
