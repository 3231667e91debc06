"""Newton's method of the estimators, against scikit-learn's and L-BFGS."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from tests.helpers import standardised

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
import scipy.sparse
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning

from fallline.estimators import LinearClassifier, LinearRegressor

EXACT = {"method": "newton", "tol": 1e-12}
LOSSES = ("squared_error", "poisson", "gamma", "log_loss")


def oracle(loss, alpha, n, intercept=True):
    """Return scikit-learn's model of a loss."""
    common = {"fit_intercept": intercept}
    newton = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 100, **common}
    if loss == "squared_error":
        return linear_model.Ridge(alpha * n / 2, solver="cholesky", **common)
    if loss == "log_loss":
        return linear_model.LogisticRegression(C=1 / (alpha * n) if alpha else np.inf, **newton)
    kinds = {"poisson": linear_model.PoissonRegressor, "gamma": linear_model.GammaRegressor}
    return kinds[loss](alpha=alpha, **newton)


def ours(loss, **options):
    return (LinearClassifier if loss == "log_loss" else LinearRegressor)(loss, **options)


def data(loss, n=200, features=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, features)) @ rng.standard_normal((features, features))
    z = X @ rng.standard_normal(features)
    z = z / np.std(z)
    if loss == "log_loss":
        return X, rng.random(n) < 1 / (1 + np.exp(-z))
    noise = {"squared_error": rng.standard_normal(n), "gamma": rng.gamma(2.0, size=n)}
    if loss == "squared_error":
        return X, z + noise[loss]
    return X, rng.poisson(np.exp(z)) if loss == "poisson" else np.exp(z) * noise[loss] + 1e-3


def same(ours, theirs, rtol=1e-8):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_are_scikit_learn_s(loss, intercept, alpha, weighted):
    X, y = data(loss)
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else None
    n = len(y) if weights is None else weights.sum()
    theirs = oracle(loss, alpha, n, intercept).fit(X, y, sample_weight=weights)
    model = ours(loss, alpha=alpha, fit_intercept=intercept, **EXACT).fit(X, y, weights)
    same(model, theirs)
    assert model.n_iter_ < 12


@pytest.mark.parametrize("loss", LOSSES)
def test_one_column(loss):
    X, y = data(loss, features=1)
    same(ours(loss, alpha=0.01, **EXACT).fit(X, y), oracle(loss, 0.01, len(y)).fit(X, y))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_units_of_the_data(loss, unit):
    X, y = data(loss)
    one = ours(loss, penalty=None, **EXACT).fit(X, y)
    other = ours(loss, penalty=None, **EXACT).fit(unit * X + unit, y)
    np.testing.assert_allclose(other.coef_ * unit, one.coef_, rtol=1e-7)
    one = ours(loss, alpha=0.1, **EXACT).fit(X, y)
    other = ours(loss, alpha=0.1 * unit**2, **EXACT).fit(unit * X, y)
    np.testing.assert_allclose(other.coef_ * unit, one.coef_, rtol=1e-7)
    assert other.n_iter_ <= one.n_iter_ + 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_collinear_columns(loss, dtype):
    X, y = data(loss)
    wide = np.column_stack([X, X[:, :1], 2 * X[:, 1:2]]).astype(dtype)
    model = ours(loss, penalty=None, method="newton").fit(wide, y)
    theirs = oracle(loss, 0.0, len(y)).fit(X, y)
    assert model.coef_.dtype == dtype
    coef = np.ravel(model.coef_)
    found = [coef[0] + coef[4], coef[1] + 2 * coef[5], *coef[2:4]]
    np.testing.assert_allclose(found, np.ravel(theirs.coef_), rtol=1e-3, atol=1e-3)
    assert np.abs(coef).max() < 10
    penalised = ours(loss, alpha=0.01, method="newton", tol=1e-9).fit(wide, y)
    exact = oracle(loss, 0.01, len(y)).fit(wide.astype(float), y)
    np.testing.assert_allclose(penalised.coef_, exact.coef_, atol=2e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision_is_used_up(loss):
    X, y = data(loss)
    model = ours(loss, alpha=0.01, **EXACT).fit(X.astype("float32"), y)
    assert model.coef_.dtype == "float32"
    same(model, oracle(loss, 0.01, len(y)).fit(X, y), rtol=1e-5)


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_separable_classes_have_no_solution(method):
    # What both say: the slopes vanish with growing coefficients, until they are out of range.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3))
    y = X[:, 0] + 0.3 * X[:, 1] > 0
    model = LinearClassifier(penalty=None, method=method)
    with pytest.warns(ConvergenceWarning, match="without end"):
        model.fit(X, y)
    assert model.n_iter_ < 60
    assert model.score(X, y) == 1.0
    assert np.abs(model.coef_).max() > 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.warns(ConvergenceWarning):
            LinearClassifier(penalty=None, method=method, tol=None).fit(X, y)
    same(
        LinearClassifier(alpha=1e-4, method=method, tol=1e-10, max_iter=5000).fit(X, y),
        oracle("log_loss", 1e-4, len(y)).fit(X, y), rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("delta", [1.0, 30.0, 1000.0])
def test_huber_is_that_of_lbfgs(delta):
    X, y = standardised("diabetes")
    loss = fl.losses.Huber(delta)
    newton, other = (
        LinearRegressor(loss, alpha=0.01, method=method, tol=1e-8, max_iter=5000).fit(X, y)
        for method in ("newton", "lbfgs")
    )
    np.testing.assert_allclose(newton.coef_, other.coef_, rtol=1e-3, atol=1e-3)


def test_data_as_they_come_are_fitted_with_few_iterations():
    from sklearn import datasets

    X, y = datasets.load_breast_cancer(return_X_y=True)  # columns from 1e-3 to 1000
    model = LinearClassifier(alpha=3e-3, **EXACT).fit(X, y)
    theirs = oracle("log_loss", 3e-3, len(y)).fit(X, y)
    wide = np.std(X, axis=0)
    assert model.n_iter_ < 20
    np.testing.assert_allclose(model.coef_ * wide, theirs.coef_ * wide, atol=1e-6)


def made(X, y, loss="log_loss", **options):
    """Return the name of the solver that "auto" is."""
    seen = []

    def watched(*args, method, **more):
        seen.append(type(method).__name__)
        return fl.fit(*args, method=method, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fallline.estimators._base.fit", watched)
        ours(loss, **options).fit(X, y)
    return seen[0]


def test_auto_is_newton_where_that_is_right():
    X, y = data("log_loss")
    assert made(X, y) == "Newton"
    assert made(X, y, penalty=None) == "Newton"
    for loss in ("poisson", "gamma", "squared_error"):
        assert made(*data(loss), loss) == "Newton"
    assert made(*data("squared_error"), "huber") == "LBFGS"
    assert made(X[:6], [0, 1] * 3) == "LBFGS"  # few rows
    wide = np.random.default_rng(0).standard_normal((2000, 40))
    assert made(wide, wide[:, 0] > 0) == "LBFGS"  # much work
    assert made(scipy.sparse.csr_array(X), y) == "LBFGS"
    assert made(X, y, early_stopping=True) == "LBFGS"
    assert made(X, y, positive=True) == "LBFGSB"
    assert made(X, y, penalty="l1") == "OWLQN"
    assert made(X, np.arange(len(y)) % 3) == "LBFGS"  # three classes
