"""The estimators: scikit-learn's own checks, methods, what is kept from fit to fit."""

from __future__ import annotations

import pickle
import subprocess
import sys
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
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fallline.estimators import LinearClassifier, LinearRegressor


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([LinearRegressor(), LinearClassifier()])
def test_scikit_learn_s_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("hidden", ["sklearn", "numpy"])
def test_what_is_missing_is_named(hidden):
    code = "import sys, fallline; assert 'sklearn' not in sys.modules\n"
    if hidden == "sklearn":
        code += (
            "sys.modules['sklearn'] = None\n"
            "try:\n    import fallline.estimators\n"
            "except ImportError as error:\n    assert 'fallline[sklearn]' in str(error)\n"
            "else:\n    raise AssertionError\n"
        )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- methods, going on ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lbfgs", "cg", fl.solvers.LBFGS(history=5), "fista"])
def test_solvers_agree(method):
    X, y = data_for("log_loss")
    expected = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    found = LinearClassifier(alpha=0.1, method=method, tol=1e-7, max_iter=20000).fit(X, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4)


def test_penalties_come_by_name_or_as_objects():
    X, y = standardised("wine")
    one = LinearClassifier(penalty=fl.L2(0.1), **TIGHT).fit(X, y)
    named = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    np.testing.assert_array_equal(one.coef_, named.coef_)
    sparse = LinearClassifier(penalty="l1", alpha=0.05).fit(X, y)
    assert 0 < np.mean(sparse.coef_ == 0) < 1
    groups = LinearClassifier(penalty=fl.GroupL1(0.05)).fit(X, y)  # whole features
    assert 0 < np.mean(np.all(groups.coef_ == 0, axis=0)) < 1


def test_a_rule_is_fl_fit():
    X, y = data_for("squared_error")
    ours = LinearRegressor(method=fl.Adam(0.1), batch_size=16, max_iter=4, tol=None)
    ours.set_params(random_state=3, fit_intercept=False).fit(X, y)
    seed = np.random.RandomState(3).randint(np.iinfo(np.int32).max)
    model = fl.LinearModel(fl.losses.SquaredError(), fl.L2(3e-3), fit_intercept=False)
    res = fl.fit(model, (X, y), method=fl.Adam(0.1), batch_size=16, epochs=4, rng=int(seed))
    np.testing.assert_allclose(ours.coef_, res.params["weights"], rtol=1e-10)
    assert ours.n_iter_ == 4
    np.testing.assert_allclose(ours.history_["loss"], res.history["loss"], rtol=1e-10)


def test_a_rule_stops_when_nothing_gets_better():
    X, y = data_for("log_loss")
    model = LinearClassifier(method=fl.Adam(0.05), tol=1e-3, n_iter_no_change=3).fit(X, y)
    losses = model.history_["loss"]
    assert model.n_iter_ == len(losses) < 1000
    assert min(losses[-3:]) > min(losses[:-3]) - 1e-3 * np.log(3)
    with pytest.warns(ConvergenceWarning, match="3 epochs were made without convergence"):
        model.set_params(max_iter=3).fit(X, y)


def test_no_convergence_is_a_warning():
    X, y = data_for("log_loss")
    with pytest.warns(ConvergenceWarning, match="2 iterations were made") as caught:
        LinearClassifier(max_iter=2).fit(X, y)
    assert caught[0].filename == __file__
    model = LinearClassifier("hinge", tol=1e-3).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=f"{model.n_iter_ - 1} iterations were made"):
        clone(model).set_params(max_iter=model.n_iter_ - 1).fit(X, y)
    assert clone(model).set_params(max_iter=model.n_iter_).fit(X, y).n_iter_ == model.n_iter_


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_a_warm_start_goes_on_from_the_last_fit(loss):
    X, y = data_for(loss)
    model = linear_estimator(loss, alpha=0.1, warm_start=True, tol=1e-6, method="lbfgs").fit(X, y)
    first, coef = model.n_iter_, model.coef_
    model.fit(X, y)
    assert model.n_iter_ <= 2 < first
    np.testing.assert_allclose(model.coef_, coef, atol=1e-5)
    with pytest.raises(ValueError, match="warm_start: weights: shape is"):
        model.fit(X[:, :-1], y)
    assert model.set_params(warm_start=False).fit(X, y).n_iter_ == first


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "hinge"])
def test_partial_fit_approaches_fit(loss):
    X, y = data_for(loss)
    options = {"classes": np.unique(y)} if loss in CLASSIFICATION else {}
    model = linear_estimator(loss, alpha=0.1, method=fl.Adam(0.5 if loss in REGRESSION else 0.02))
    for _ in range(150):
        for start in range(0, len(y), 30):
            part = slice(start, start + 30)
            model.partial_fit(X[part], y[part], **options)
    whole = linear_estimator(loss, alpha=0.1).fit(X, y)
    assert model.score(X, y) == pytest.approx(whole.score(X, y), abs=0.02)
    assert model.n_iter_ == 150 * len(range(0, len(y), 30)) == len(model.history_["loss"])


def test_partial_fit_is_a_loop_of_an_optimizer():
    X, y = data_for("squared_error")
    model = LinearRegressor(method=fl.SGD(0.1, momentum=0.9), fit_intercept=False, penalty="l1")
    w = np.zeros(X.shape[1])
    opt = fl.Optimizer(w, fl.SGD(0.1, momentum=0.9), penalty=fl.L1(3e-3))
    for part in (slice(0, 50), slice(50, 100), slice(100, 120)):
        model.partial_fit(X[part], y[part])
        opt.step(2 * X[part].T @ (X[part] @ w - y[part]) / len(y[part]))
    np.testing.assert_allclose(model.coef_, w, rtol=1e-10)
    before = model.coef_
    kept = before.copy()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        model.partial_fit(X, y).coef_, again.partial_fit(X, y).coef_
    )  # the momentum too
    np.testing.assert_array_equal(before, kept)
    assert model.fit(X, y).coef_ is not before  # and it begins anew
    assert not hasattr(model, "_optimizer")


def test_partial_fit_takes_text_and_refuses_new_labels():
    X, y = data_for("log_loss")
    names = np.asarray(["a", "b", "c"])
    model = LinearClassifier().partial_fit(X, names[y], classes=["c", "b", "a"])
    np.testing.assert_array_equal(model.classes_, names)
    assert set(model.predict(X)) <= set(names)
    with pytest.raises(ValueError, match="labels that are not in classes"):
        model.partial_fit(X, np.full(len(y), "d"))
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit(X, names[y], classes=["a", "b"])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        LinearClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        LinearClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("method", ["auto", fl.Adam(0.05)])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_early_stopping_keeps_the_best_coefficients(loss, method):
    X, y = standardised("diabetes" if loss in REGRESSION else "breast_cancer")
    model = linear_estimator(
        loss, alpha=0.0, method=method, early_stopping=True, tol=0.0, n_iter_no_change=4,
        random_state=0, validation_fraction=0.25,
    )  # fmt: skip
    if loss == "squared_error" and method != "auto":
        model.set_params(method=fl.Adam(5.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    seen = model.history_["validation_loss"]
    best = int(np.argmin(seen))
    assert len(seen) == model.n_iter_
    if best < len(seen) - 1:
        assert len(seen) - 1 - best <= 4
        # the parameters are those of the best epoch
        again = clone(model).set_params(early_stopping=True, max_iter=best + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            np.testing.assert_array_equal(again.fit(X, y).coef_, model.coef_)


def test_same_seed_same_bits():
    X, y = data_for("log_loss")
    options = {"method": "adam", "batch_size": 16, "max_iter": 3, "tol": None}
    one, two, other = (
        LinearClassifier(random_state=seed, **options).fit(X, y).coef_ for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_verbose_prints(capsys):
    X, y = data_for("squared_error")
    LinearRegressor(method="adam", max_iter=4, tol=None).fit(X, y)
    assert not capsys.readouterr().out
    LinearRegressor(method="adam", max_iter=4, tol=None, verbose=2).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": loss ")[0] for line in lines] == ["epoch 2", "epoch 4"]
    model = LinearRegressor(early_stopping=True, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_
    last = model.history_["validation_loss"][-1]
    assert lines[-1].endswith(f"validation_loss {last:.6g}")


# -- in scikit-learn's tools ----------------------------------------------------------------------


def test_grid_search_over_alpha():
    X, y = datasets.load_wine(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), LinearClassifier())
    grid = {"linearclassifier__alpha": [1e-3, 1e-1, 1e3], "linearclassifier__max_iter": [
        np.int64(1000)
    ]}  # fmt: skip
    search = GridSearchCV(pipe, grid, cv=3).fit(X, y)
    assert search.best_params_["linearclassifier__alpha"] < 1e3
    assert search.best_score_ > 0.95


@pytest.mark.parametrize("loss", ["poisson", "hinge"])
def test_pickles_and_clones_predict_the_same(loss):
    X, y = data_for(loss)
    model = linear_estimator(loss, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.history_["loss"], model.history_["loss"])
    fresh = clone(model)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    np.testing.assert_array_equal(fresh.fit(X, y).coef_, model.coef_)
