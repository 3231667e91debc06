"""scikit-learn's models as oracles."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.helpers import (
    CLASSIFICATION,
    TIGHT,
    same_model,
    standardised,
)

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fallline.estimators import LinearClassifier, LinearRegressor


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_logistic_regression_is_scikit_learn_s(name, intercept):
    X, y = standardised(name)
    a = 0.01
    theirs = linear_model.LogisticRegression(
        C=1 / (a * len(y)), tol=1e-10, max_iter=10000, fit_intercept=intercept
    )
    ours = LinearClassifier(alpha=a, fit_intercept=intercept, **TIGHT)
    same_model(ours.fit(X, y), theirs.fit(X, y))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LinearRegressor(alpha=0.1), lambda n: linear_model.Ridge(0.1 * n / 2, tol=1e-10)),
        (LinearRegressor(penalty="l1", alpha=10), lambda n: linear_model.Lasso(5, tol=1e-12)),
        (
            LinearRegressor(penalty="elasticnet", alpha=4, l1_ratio=0.3),
            lambda n: linear_model.ElasticNet(2, l1_ratio=0.3, tol=1e-12),
        ),
        (
            LinearRegressor("poisson", alpha=0.01),
            lambda n: linear_model.PoissonRegressor(alpha=0.01, tol=1e-10, max_iter=1000),
        ),
        (
            LinearRegressor("gamma", alpha=0.01, fit_intercept=False),
            lambda n: linear_model.GammaRegressor(
                alpha=0.01, tol=1e-10, solver="newton-cholesky", fit_intercept=False
            ),
        ),
        (LinearRegressor(penalty=None), lambda n: linear_model.LinearRegression()),
    ],
    ids=["ridge", "lasso", "elasticnet", "poisson", "gamma", "none"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_regressions_are_scikit_learn_s(ours, theirs, weighted):
    X, y = standardised("diabetes")
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else None
    n = len(y) if weights is None else weights.sum()
    ours = clone(ours).set_params(**TIGHT).fit(X, y, weights)
    same_model(ours, theirs(n).fit(X, y, sample_weight=weights), atol=2e-5)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_quantiles_are_scikit_learn_s(q):
    X, y = standardised("diabetes")

    def loss(model):
        error = y - model.fit(X, y).predict(X)
        return np.mean(np.maximum(q * error, (q - 1) * error))

    least = loss(linear_model.QuantileRegressor(quantile=q, alpha=0))
    found = loss(LinearRegressor(fl.losses.Quantile(q), penalty=None))
    assert least <= found < least + 5e-5 * np.mean(np.abs(y - y.mean()))
    if q == 0.5:
        found = loss(LinearRegressor("absolute_error", penalty=None))
        assert least <= found < least + 5e-5 * np.mean(np.abs(y - y.mean()))


@pytest.mark.parametrize(
    ("loss", "theirs"), [("hinge", "hinge"), ("squared_hinge", "squared_hinge")]
)
def test_support_vector_machines_are_scikit_learn_s(loss, theirs):
    from sklearn.svm import SVC, LinearSVC

    X, y = standardised("breast_cancer")
    a = 0.1
    C = 1 / (a * len(y))
    if loss == "hinge":
        other = SVC(kernel="linear", C=C, tol=1e-8).fit(X, y)
    else:  # whose intercept is penalised, the less the larger its feature
        other = LinearSVC(C=C, tol=1e-8, max_iter=100000, intercept_scaling=1e3).fit(X, y)
    ours = LinearClassifier(loss, alpha=a).fit(X, y)

    def value(model):
        short = np.maximum(0, 1 - (2 * y - 1) * model.decision_function(X))
        return np.mean(short ** (2 if "squared" in loss else 1)) + a / 2 * np.sum(model.coef_**2)

    assert value(ours) == pytest.approx(value(other), abs=5e-5)


def test_modified_huber_s_probabilities_are_scikit_learn_s():
    for name in ("breast_cancer", "wine"):
        X, y = standardised(name)
        ours = LinearClassifier("modified_huber").fit(X, y)
        theirs = linear_model.SGDClassifier("modified_huber", max_iter=5, tol=None).fit(X, y)
        theirs.coef_, theirs.intercept_ = ours.coef_, ours.intercept_
        far = 3 * np.vstack([X, np.random.default_rng(0).standard_normal(X.shape)])
        np.testing.assert_allclose(ours.predict_proba(far), theirs.predict_proba(far), atol=1e-12)


def test_one_against_the_rest_is_so_many_fits():
    X, y = standardised("wine")
    for loss in CLASSIFICATION[2:]:
        together = LinearClassifier(loss, alpha=0.05, **TIGHT).fit(X, y)
        for k in range(3):
            one = LinearClassifier(loss, alpha=0.05, **TIGHT).fit(X, y == k)
            np.testing.assert_allclose(together.coef_[k], one.coef_[0], atol=1e-5)


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "wine", "diabetes"])
def test_scores_with_defaults_are_no_lower_than_scikit_learn_s(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    pair = (LinearClassifier(), linear_model.LogisticRegression())
    if name == "diabetes":
        pair = (LinearRegressor(), linear_model.Ridge())
    ours, theirs = (
        cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=5).mean() for model in pair
    )
    assert ours >= theirs - 0.005
