"""What is wrong with arguments and data is said by name; Ctrl-C ends a fit and keeps it."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.helpers import (
    data_for,
)

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")

from fallline.estimators import LinearClassifier, LinearRegressor


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "log_los"}, ValueError, "unknown loss 'log_los'; did you mean 'log_loss'"),
        ({"loss": "poisson"}, ValueError, "unknown loss 'poisson'"),
        ({"loss": fl.losses.Poisson()}, TypeError, "loss: is Poisson"),
        ({"loss": fl.losses.Hinge(reduction="sum")}, ValueError, "reduction is sum"),
        ({"penalty": "l3"}, ValueError, "unknown penalty 'l3'"),
        ({"penalty": 3}, TypeError, "penalty: is 3"),
        ({"alpha": -1.0}, ValueError, r"alpha=\): is -1"),
        ({"penalty": "elasticnet", "l1_ratio": 2.0}, ValueError, r"l1_ratio=\): is 2"),
        ({"method": "newtons"}, ValueError, "unknown method 'newtons'"),
        ({"method": "newton"}, TypeError, "Newton's .* several outputs"),
        ({"method": "newton", "penalty": "l1"}, ValueError, "Newton needs a smooth penalty"),
        ({"method": "newton", "positive": True}, ValueError, "Newton does not support constr"),
        ({"max_iter": 0}, ValueError, "max_iter: is 0"),
        ({"max_iter": 1.5}, TypeError, "max_iter: is 1.5"),
        ({"batch_size": -1}, ValueError, "batch_size: is -1"),
        ({"tol": -1.0}, ValueError, "tol: is -1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: is 0"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight: is"),
        ({"class_weight": "heavy"}, ValueError, "class_weight"),
        ({"penalty": "l1", "method": "lbfgs"}, ValueError, "LBFGS needs a smooth penalty"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, error, message):
    X, y = data_for("log_loss")
    with pytest.raises(error, match=message):
        LinearClassifier(**options).fit(X, y)


def test_bad_data_are_refused_by_name():
    X, y = data_for("log_loss")
    hole = X.copy()
    hole[3, 2] = np.nan
    t = y.astype(float)
    t[0] = np.nan
    for kind in (LinearClassifier, LinearRegressor):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            kind().fit(hole, y)
        with pytest.raises(ValueError, match=r"Input y contains NaN|continuous"):
            kind().fit(X, t)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            kind().fit(X, y[:-1])
        with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
            kind().fit(X, y, sample_weight=-np.ones(len(y)))
        with pytest.raises(ValueError, match="at least one non-zero"):
            kind().fit(X, y, sample_weight=np.zeros(len(y)))
        with pytest.raises(ValueError, match=r"sample_weight.shape == "):
            kind().fit(X, y, sample_weight=np.ones(3))
        with pytest.raises(ValueError, match="is expecting 13 features"):
            kind().fit(X, y).predict(X[:, :-1])
        classes = {"classes": [0, 1, 2]} if kind is LinearClassifier else {}
        with pytest.raises(TypeError, match="partial_fit takes an update rule"):
            kind(method="lbfgs").partial_fit(X, y, **classes)
    with pytest.raises(ValueError, match=r"only one class: (np.int64\()?1"):
        LinearClassifier().fit(X, np.ones(len(y), dtype=int))
    with pytest.raises(AttributeError, match="predict_proba"):
        LinearClassifier("hinge").fit(X, y).predict_proba(X)
    for loss, worst in (("poisson", -1.0), ("gamma", 0.0)):
        with pytest.raises(ValueError, match="out of the valid range of the loss"):
            LinearRegressor(loss).fit(X, np.where(y == 0, worst, 1.0))


def test_numbers_that_blow_up_are_an_error_with_a_remedy():
    X, y = data_for("squared_error")
    model = LinearRegressor(method=fl.SGD(1e200), max_iter=5)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="lower the learning rate"):
        model.fit(X, y)


def test_ctrl_c_goes_on(monkeypatch):
    X, y = data_for("squared_error")

    def interrupt(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr("fallline.estimators._reports.Printed.on_epoch", interrupt)
    model = LinearRegressor(verbose=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
