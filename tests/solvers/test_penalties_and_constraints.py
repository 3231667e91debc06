"""Penalties and constraints lead where other libraries find the minimum."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from tests.solvers.methods import CONVERGES, SMOOTH, problems, quadratic


@pytest.mark.parametrize("penalty", [fl.L1(1.0), fl.ElasticNet(0.5, l1_ratio=0.7)], ids=repr)
def test_lasso_and_elastic_net_agree_with_scikit_learn(penalty):
    linear = pytest.importorskip("sklearn.linear_model")
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = y - y.mean()
    n = len(y)
    ratio = getattr(penalty, "l1_ratio", 1.0)
    model = linear.ElasticNet(
        penalty.alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=10**6
    ).fit(X, y)

    def fun(w):
        r = X @ w - y
        return r @ r / (2 * n), X.T @ r / n

    for method in ("fista", "proximal-gradient", "owlqn"):
        found = fl.minimize(
            fun, np.zeros(X.shape[1]), method=method, penalty=penalty, stop=stop.GradientNorm(1e-9)
        )
        assert found.success
        assert np.max(np.abs(found.x - model.coef_)) <= 1e-6
        assert np.all((found.x == 0) == (model.coef_ == 0))
        r = X @ found.x - y
        assert np.isclose(found.fun, r @ r / (2 * n) + float(penalty.value(found.x)), rtol=1e-12)


def test_bounds_agree_with_scipy():
    for name, (fun, start) in problems().items():
        from scipy.optimize import minimize

        x0 = np.array(start)
        free, rng = minimize(fun, x0, jac=True, method="L-BFGS-B").x, np.random.default_rng(1)
        size = np.maximum(1, np.abs(free))
        low = free + rng.uniform(-1, 0.3, x0.size) * size
        high = low + rng.uniform(0.5, 2, x0.size) * size
        theirs = minimize(
            fun, np.clip(x0, low, high), jac=True, method="L-BFGS-B",
            bounds=np.stack([low, high], axis=1),
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10**4, "maxfun": 10**5},
        )  # fmt: skip
        ours = fl.minimize(
            fun, x0, method="L-BFGS-B", constraint=fl.Box(low, high), stop=stop.GradientNorm(1e-8)
        )
        assert abs(ours.fun - theirs.fun) <= 1e-8 * max(1, abs(theirs.fun)), name
        assert np.all((low <= ours.x) & (ours.x <= high))
        if name == "extended powell":
            continue  # flat at its minimum: neither finds x to more than 1e-2
        assert ours.success
        assert np.max(np.abs(ours.x - theirs.x) / size) <= 1e-6, name
        assert np.all((ours.x == low) == (theirs.x == low)), name
        assert np.all((ours.x == high) == (theirs.x == high)), name


def test_bounds_on_every_library(backend):
    fun, x0, _ = quadratic(backend)
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.LBFGSB(), stop=CONVERGES,
        constraint={"a": fl.Box(backend.array(np.ones(3)), 3.5), "b": [fl.NonNegative(), None]},
    )  # fmt: skip
    assert found.success
    expected = np.clip(np.arange(6.0).reshape(2, 3), 1, 3.5)
    assert np.allclose(backend.numpy(found.x["a"]), expected, atol=1e-7)
    assert backend.numpy(found.x["b"][0]) == 0


def test_bounds_in_scipy_s_form(backend):
    optimize = pytest.importorskip("scipy.optimize")

    def fun(x):
        d = x - backend.array(np.arange(3.0))
        return backend.xp.sum(d * d), 2 * d

    x0 = backend.array(np.zeros(3))
    for bounds in (
        [(0.5, None), (None, 0.5), (-np.inf, np.inf)],
        optimize.Bounds([0.5, -np.inf, -np.inf], [np.inf, 0.5, np.inf]),
    ):
        for method in ("lbfgs", "L-BFGS-B", "fista", fl.GradientDescent(0.3)):
            found = fl.minimize(fun, x0, method=method, bounds=bounds, max_iterations=60)
            assert np.allclose(backend.numpy(found.x), [0.5, 0.5, 2.0], atol=1e-6)


def test_errors_of_bounds():
    def square(x):
        return x @ x, 2 * x

    for bounds, error, words in (
        ([(0, 1), (2, 1)], ValueError, r"bounds\[1\]: \(2.0, 1.0\) has its lower bound above"),
        ([(0, 1)], ValueError, "bounds: length is 1, expected 2"),
        ([(0, 1), 3], ValueError, r"bounds\[1\]: is 3, expected a pair"),
        ([(0, 1), ("a", 1)], TypeError, r"bounds\[1\]: 'a' is not a number"),
    ):
        with pytest.raises(error, match=words):
            fl.minimize(square, np.ones(2), bounds=bounds)
    with pytest.raises(ValueError, match="not both"):
        fl.minimize(square, np.ones(2), bounds=[(0, 1)] * 2, constraint=fl.Box(0, 1))
    with pytest.raises(TypeError, match="bounds: apply to a single array"):
        fl.minimize(square, [np.ones(2)], bounds=[(0, 1)] * 2)
    with pytest.raises(ValueError, match="ConjugateGradient does not support constraints"):
        fl.minimize(square, np.ones(2), bounds=[(0, 1)] * 2, method="cg")

    def fun(x):
        return x @ x, 2 * x

    for constraint, options, words in (
        (fl.Box(np.array([0.0, 2.0]), 1.0), {}, "lower bounds are above"),
        (fl.L2Ball(1.0), {}, "constraint: LBFGSB supports Box and NonNegative"),
        (fl.Box(0, 1), {"penalty": fl.L1(1.0)}, "penalty: LBFGSB needs a smooth penalty"),
    ):
        with pytest.raises(ValueError, match=words):
            fl.minimize(fun, np.ones(2), method="lbfgsb", constraint=constraint, **options)


def test_nonnegative_least_squares_agrees_with_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((30, 8)), rng.standard_normal(30)
    expected = optimize.nnls(a, b)[0]
    found = fl.minimize(
        lambda x: (0.5 * np.sum((a @ x - b) ** 2), a.T @ (a @ x - b)), np.ones(8), method="fista",
        constraint=fl.NonNegative(), stop=stop.GradientNorm(1e-10),
    )  # fmt: skip
    assert np.allclose(found.x, expected, atol=1e-9)
    assert np.all((found.x == 0) == (expected == 0))


@pytest.mark.parametrize("solver", SMOOTH[:6], ids=repr)
def test_smooth_penalties_join_the_objective(solver):
    def ridge(x):
        return 0.5 * np.sum((x - 1) ** 2) + np.sum(x**2), x - 1 + 2 * x

    def plain(x):
        return 0.5 * np.sum((x - 1) ** 2), x - 1

    one = fl.minimize(ridge, np.zeros(3), method=solver, stop=CONVERGES)
    other = fl.minimize(plain, np.zeros(3), method=solver, stop=CONVERGES, penalty=fl.L2(2.0))
    assert np.allclose(one.x, other.x, atol=1e-9)
    assert np.isclose(one.fun, other.fun)
