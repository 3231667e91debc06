"""Classes that a fit separates have no least loss without a penalty, which is said."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from fallline.estimators import LinearClassifier

MESSAGE = "larger coefficients .* without end; give a penalty"


def separable(n=120, gap=0.3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    z = X @ [1.0, -2.0, 0.5]
    keep = np.abs(z) > gap
    return X[keep], (z[keep] > 0).astype(int)


def warned(model, X, y, **more):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(X, y, **more)
    assert all(w.category is ConvergenceWarning and w.filename == __file__ for w in seen)
    return [str(w.message) for w in seen]


@pytest.mark.parametrize("method", ["auto", "newton", "lbfgs", "cg", "steepestdescent"])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separated_classes_warn_in_every_unit(method, unit, dtype):
    X, y = separable()
    model = LinearClassifier(penalty=None, method=method, max_iter=300)
    with pytest.warns(ConvergenceWarning, match=MESSAGE) as seen:
        model.fit((unit * X).astype(dtype), y)
    assert len(seen) == 1
    assert model.score((unit * X).astype(dtype), y) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": fl.L2(0.0)},
        {"penalty": "l1", "alpha": 0.0},
        {"penalty": "elasticnet", "alpha": 0.0},
        {"penalty": None, "fit_intercept": False},
        {"penalty": None, "class_weight": "balanced"},
        {"penalty": None, "tol": None},
        {"penalty": None, "max_iter": 20, "tol": 1e-12},
    ],
    ids=str,
)
def test_it_is_said_once_whatever_ended_the_run(options):
    X, y = separable()
    (message,) = warned(LinearClassifier(**options), X, y)
    assert "without end; give a penalty" in message


def test_a_positive_fit_that_separates_warns():
    X, y = separable()
    X = X * [1, -1, 1]
    (message,) = warned(LinearClassifier(penalty=None, positive=True), X, y)
    assert "without end" in message


def test_one_class_of_several_that_is_apart_warns():
    X, y = load_iris(return_X_y=True)  # the first class is apart, the others are not
    (message,) = warned(LinearClassifier(penalty=None), X, y)
    assert "without end" in message
    X, y = X[y > 0], y[y > 0]
    assert not warned(LinearClassifier(penalty=None), X, y)
    labels = np.argmax(separable()[0], axis=1)
    (message,) = warned(LinearClassifier(penalty=None), separable()[0], labels)
    assert "without end" in message


def test_rows_without_weight_separate_nothing():
    X, y = separable()
    y[:3] = 1 - y[:3]
    assert not warned(LinearClassifier(penalty=None), X, y)
    weights = np.ones(len(y))
    weights[:3] = 0
    (message,) = warned(LinearClassifier(penalty=None), X, y, sample_weight=weights)
    assert "without end" in message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 1e-6},
        {"penalty": "l1", "alpha": 1e-3},
        {"penalty": "elasticnet", "alpha": 1e-3},
        {"loss": "squared_hinge", "penalty": None},
        {"loss": "hinge", "penalty": None},
        {"loss": "modified_huber", "penalty": None},
        {"penalty": None, "early_stopping": True, "random_state": 0},
        {"penalty": None, "method": fl.Adam(0.05), "batch_size": 30, "random_state": 0},
    ],
    ids=str,
)
def test_where_there_is_a_least_loss_or_none_is_sought_nothing_is_said(options, unit, dtype):
    X, y = separable()
    if "alpha" in options:
        options = {
            **options,
            "alpha": options["alpha"] * (unit if "penalty" in options else unit**2),
        }
        if options["alpha"] < 1e-30 or options["alpha"] > 1e30:
            pytest.skip("beyond single precision")
    method = options.get("method")
    scale = 1.0 if method is not None else unit
    assert not warned(LinearClassifier(**options), (scale * X).astype(dtype), y)


def test_overlapping_classes_and_ties_say_nothing():
    X = np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]] * 5)
    assert not warned(LinearClassifier(penalty=None), X, [0, 0, 1, 1] * 5)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((80, 3))
        y = (X @ [5.0, -3.0, 1.0] + rng.logistic(size=80) > 0).astype(int)
        z = LinearClassifier(alpha=1e-3).fit(X, y).decision_function(X)
        if np.any((z > 0) != y):
            said = warned(LinearClassifier(penalty=None), X, y)
            assert not said or "without end" in said[0]
