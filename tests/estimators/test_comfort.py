"""What a user of scikit-learn expects: scores, probabilities, messages, tables, sparse models."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fallline as fl

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
import scipy.sparse
import scipy.special
from sklearn import datasets, linear_model
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from fallline.estimators import LinearClassifier, LinearRegressor

KINDS = (LinearRegressor, LinearClassifier)


def rows(n=60):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, 4))
    return X, (X @ np.asarray([1.0, -2, 0.5, 3]) > 0).astype(int)


# -- probabilities and scores ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_of_small_probabilities_are_finite(dtype):
    X, y = rows()
    model = LinearClassifier().fit(X.astype(dtype), y)
    model.coef_ = np.asarray([[1.0, 0, 0, 0]], dtype)
    model.intercept_ = np.asarray([0.0], dtype)
    z = np.asarray([400.0, -400, 40, -40, 1e-3, 0, 1e4])
    found = model.predict_log_proba(np.outer(z, [1, 0, 0, 0]).astype(dtype))
    exact = np.stack([-np.logaddexp(0, z), -np.logaddexp(0, -z)], axis=1)
    rtol, atol = (1e-6, 1e-40) if dtype == "float32" else (1e-15, 0)
    np.testing.assert_allclose(found, exact, rtol=rtol, atol=atol)
    assert found.dtype == dtype
    model = LinearClassifier().fit(X, np.arange(60) % 3)
    model.coef_ = np.eye(3, 4)
    model.intercept_ = np.zeros(3)
    z = np.asarray([[900.0, 0, -900, 0], [0, 0, 0, 0], [50, 50, -5, 0]])
    np.testing.assert_allclose(
        model.predict_log_proba(z), scipy.special.log_softmax(z[:, :3], axis=1), rtol=1e-12
    )
    np.testing.assert_allclose(model.predict_proba(z), scipy.special.softmax(z[:, :3], axis=1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_the_score_is_the_deviance_s(loss, weighted):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = rng.poisson(np.exp(X[:, 0])) + (0.5 if loss == "gamma" else 0.0)
    weights = rng.integers(1, 4, 200) if weighted else None
    kind = linear_model.PoissonRegressor if loss == "poisson" else linear_model.GammaRegressor
    theirs = kind(alpha=0.01, tol=1e-10).fit(X, y, weights)
    ours = LinearRegressor(loss, alpha=0.01, tol=1e-10).fit(X, y, weights)
    assert ours.score(X, y, weights) == pytest.approx(theirs.score(X, y, weights), rel=1e-6)
    own = fl.losses.Poisson() if loss == "poisson" else fl.losses.Gamma()
    assert LinearRegressor(own, alpha=0.01).fit(X, y).score(X, y) > 0.3
    search = GridSearchCV(LinearRegressor(loss), {"alpha": [1e-3, 1e2]}, cv=3).fit(X, y)
    assert search.best_params_["alpha"] == 1e-3


# -- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_a_number_is_refused_by_name(kind):
    X, y = rows()
    days = np.datetime64("2026-01-01") + np.arange(len(y))
    masked = np.ma.masked_array(X, mask=X > 2)
    model = kind().fit(X, y)
    classes = {"classes": [0, 1]} if kind is LinearClassifier else {}

    def partial_fit(X, y):
        kind(method="sgd").partial_fit(X, y, **classes)

    for method in (model.fit, model.predict, partial_fit):
        more = () if method == model.predict else (y,)
        with pytest.raises(TypeError, match=r"^X: is a masked array"):
            method(masked, *more)
        with pytest.raises(TypeError, match=r"^X: is of datetime64\[D\], expected numbers"):
            method(np.stack([days] * 4, axis=1), *more)
        with pytest.raises(TypeError, match=r"^X: is of timedelta64"):
            method(np.stack([days - days[0]] * 4, axis=1), *more)
        with pytest.raises(ValueError, match=r"^X: could not convert string to float"):
            method(np.full(X.shape, "a"), *more)
    with pytest.raises(TypeError, match="y: is a masked array"):
        model.fit(X, np.ma.masked_array(y, mask=y > 0))
    with pytest.raises(TypeError, match="y: is of datetime64"):
        model.fit(X, days)
    with pytest.raises(TypeError, match="sample_weight: is a masked array"):
        model.fit(X, y, sample_weight=np.ma.masked_array(np.ones(len(y)), mask=y > 0))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(np.where(X > 2, None, X), y)


def test_targets_that_are_not_numbers_are_refused_by_name():
    X, y = rows()
    for one, message in (
        (np.where(y > 0, None, 1.0), "Input y contains NaN"),
        ([None, *y[1:]], "Input y contains NaN"),
        (np.full(len(y), "a"), "y: is of <U1, expected numbers: could not convert"),
        (["a", *y[1:]], "y: is of "),
        (np.asarray([{}] * len(y), dtype=object), "y: is of object, expected numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            LinearRegressor().fit(X, one)
    score = LinearRegressor("poisson").fit(X, y).score
    with pytest.raises(TypeError, match="y: is of datetime64"):
        score(X, np.datetime64("2026-01-01") + np.arange(len(y)))


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_numbers(kind):
    X, y = rows()
    X = np.round(10 * X).astype(int)
    found = kind().fit(X, y)
    np.testing.assert_array_equal(found.coef_, kind().fit(X.astype(float), y.astype(float)).coef_)
    np.testing.assert_array_equal(kind().fit(X.tolist(), y.tolist()).coef_, found.coef_)
    np.testing.assert_array_equal(
        kind().fit(X.astype(object), y.astype(object if kind is LinearRegressor else int)).coef_,
        found.coef_,
    )
    sparse = kind(tol=1e-8).fit(scipy.sparse.coo_matrix(X), y).coef_
    np.testing.assert_allclose(sparse, kind(tol=1e-8).fit(X, y).coef_, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_fitted_as_their_arrays(kind):
    pandas = pytest.importorskip("pandas", reason="tables are pandas'")
    X, y = rows()
    table = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    table["c"] = np.arange(len(y))
    model = kind().fit(table, pandas.Series(y))
    np.testing.assert_array_equal(model.coef_, kind().fit(table.to_numpy(), y).coef_)
    assert list(model.feature_names_in_) == ["a", "b", "c", "d"]
    assert model.score(table, pandas.Series(y)) > 0.5
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table[["b", "a", "c", "d"]])
    table["c"] = pandas.Timestamp("2026-01-01") + pandas.to_timedelta(np.arange(len(y)), "D")
    with pytest.raises(TypeError, match=r"X\['c'\]: is of datetime64"):
        kind().fit(table, y)
    table["c"] = "x"
    with pytest.raises(ValueError, match="X: could not convert string to float: 'x'"):
        kind().fit(table, y)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_read_in_every_spelling(kind):
    X, y = rows()
    for name in ("none", "None"):
        with pytest.raises(ValueError, match=f"penalty: is '{name}', expected None for no penalty"):
            kind(penalty=name).fit(X, y)
    one = kind(method="lbfgs", tol=1e-6).fit(X, y)
    for name in ("L-BFGS", "LBFGS", "l_bfgs"):
        np.testing.assert_array_equal(kind(method=name, tol=1e-6).fit(X, y).coef_, one.coef_)
    for name in ("L-BFGS-B", "CG"):
        other = kind(method=name, tol=1e-7).fit(X, y)
        np.testing.assert_allclose(other.coef_, one.coef_, atol=1e-4)


# -- coefficients ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": None}, {"alpha": 0.1}, {"penalty": "l1", "alpha": 20.0},
        {"penalty": "elasticnet", "alpha": 5.0}, {"penalty": None, "method": "lbfgsb"},
        {"penalty": None, "method": "fista", "max_iter": 20000},
    ],
)  # fmt: skip
def test_positive_coefficients_are_scikit_learn_s(options):
    X, y = datasets.load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = LinearRegressor(positive=True, **{"tol": 1e-6, **options}).fit(X, y)
    assert (model.coef_ >= 0).all()
    assert (model.coef_ == 0).any()
    n, penalty, alpha = len(y), options.get("penalty", "l2"), options.get("alpha")
    theirs = (
        linear_model.LinearRegression(positive=True) if penalty is None
        else linear_model.Ridge(alpha * n / 2, positive=True, tol=1e-12) if penalty == "l2"
        else linear_model.ElasticNet(
            alpha / 2, l1_ratio=1.0 if penalty == "l1" else 0.5, positive=True, tol=1e-10
        )
    )  # fmt: skip
    np.testing.assert_allclose(model.coef_, theirs.fit(X, y).coef_, atol=2e-3)


def test_coefficients_are_positive_with_other_losses_and_methods():
    X, y = rows()
    for loss in ("absolute_error", "huber"):
        assert (LinearRegressor(loss, positive=True).fit(X, y).coef_ >= 0).all()
    for method in ("auto", "adam"):
        model = LinearClassifier(positive=True, method=method, max_iter=200, tol=None)
        model.set_params(random_state=0, tol=1e-4 if method == "auto" else None).fit(X, y)
        assert (model.coef_ >= 0).all()
        assert model.coef_[0, 3] > 0.1
    with pytest.raises(ValueError, match="LBFGS does not support constraints"):
        LinearRegressor(positive=True, method="lbfgs").fit(X, y)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_coefficients_predict_the_same(kind, classes, dtype):
    X, y = rows()
    X = X.astype(dtype)
    y = y + (X[:, 1] > 1) if classes == 3 else y
    alpha = 0.3 if kind is LinearRegressor else 0.05
    model = kind(penalty="l1", alpha=alpha, tol=1e-3).fit(X, y)
    coef, expected = model.coef_.copy(), model.predict(X)
    assert (coef == 0).any()
    assert model.sparsify() is model
    assert model.sparsify().coef_.nnz == np.count_nonzero(coef)
    for data in (X, scipy.sparse.csr_array(X), scipy.sparse.csr_matrix(X)):
        found = pickle.loads(pickle.dumps(model)).predict(data)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
    assert model.densify() is model
    np.testing.assert_array_equal(model.densify().coef_, coef)
    assert model.coef_.shape == coef.shape
