"""Rows: weights, sparse matrices, batches, single precision."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from tests.helpers import (
    CLASSIFICATION,
    REGRESSION,
    TIGHT,
    data_for,
    linear_estimator,
    standardised,
)

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from fallline.estimators import LinearClassifier


@pytest.mark.parametrize("loss", [*REGRESSION, *CLASSIFICATION])
def test_sparse_is_dense(loss):
    X, y = data_for(loss)
    X = np.where(np.abs(X) < 0.5, 0, X)
    options = {"method": fl.Adam(0.05), "max_iter": 3, "tol": None, "random_state": 0}
    dense = linear_estimator(loss, batch_size=32, **options).fit(X, y)
    sparse = linear_estimator(loss, batch_size=32, **options).fit(scipy.sparse.csr_array(X), y)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sparse.predict(scipy.sparse.csr_matrix(X)), dense.predict(X))
    if loss in ("squared_error", "log_loss"):
        dense = linear_estimator(loss, alpha=0.1, **TIGHT).fit(X, y)
        sparse = linear_estimator(loss, alpha=0.1, **TIGHT).fit(scipy.sparse.csr_array(X), y)
        np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "log_loss", "squared_hinge"])
def test_integer_weights_are_repeated_rows(loss):
    X, y = data_for(loss)
    counts = np.random.default_rng(0).integers(0, 3, len(y))
    one = linear_estimator(loss, alpha=0.1, **TIGHT).fit(X, y, sample_weight=counts)
    other = linear_estimator(loss, alpha=0.1, **TIGHT).fit(
        np.repeat(X, counts, axis=0), np.repeat(y, counts)
    )
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-5)


def test_mini_batches_without_weight_are_passed_over():
    X, y = data_for("log_loss")
    weights = np.where(np.arange(len(y)) % 7 == 0, 1.0, 0.0)
    model = LinearClassifier(method=fl.Adam(0.05), batch_size=2, max_iter=30, tol=None)
    model.set_params(random_state=0).fit(X, y, weights)
    assert model.score(X, y, weights) > 0.9


def test_class_weights_are_weights_of_rows():
    X, y = standardised("wine")
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y != 0)[::4]])
    X, y = X[keep], y[keep]
    balanced = LinearClassifier(alpha=0.1, class_weight="balanced", **TIGHT).fit(X, y)
    counts = np.bincount(y)
    table = {k: len(y) / (3 * n) for k, n in enumerate(counts)}
    by_hand = LinearClassifier(alpha=0.1, class_weight=table, **TIGHT).fit(X, y)
    np.testing.assert_allclose(by_hand.coef_, balanced.coef_, atol=1e-6)
    weights = np.asarray([table[k] for k in y])
    weighted = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y, weights)
    np.testing.assert_allclose(weighted.coef_, balanced.coef_, atol=1e-6)
    plain = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    assert np.abs(plain.coef_ - balanced.coef_).max() > 1e-3


@pytest.mark.parametrize("loss", [*REGRESSION, *CLASSIFICATION])
def test_single_precision_stays(loss):
    X, y = data_for(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # kinks at the precision's limit
        model = linear_estimator(loss, alpha=0.1).fit(X.astype("float32"), y)
    assert model.coef_.dtype == model.intercept_.dtype == "float32"
    exact = linear_estimator(loss, alpha=0.1).fit(X, y)
    if loss in REGRESSION:
        assert model.predict(X.astype("float32")).dtype == "float32"
        spread = np.std(exact.predict(X))
        np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=0.05 * spread)
    else:
        assert model.decision_function(X.astype("float32")).dtype == "float32"
        assert np.mean(model.predict(X) == exact.predict(X)) > 0.97
