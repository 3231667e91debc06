"""Units of the data, precision, and what is said where a fit is not to be trusted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from tests.helpers import standardised

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
import scipy.sparse
from sklearn import datasets, linear_model
from sklearn.exceptions import ConvergenceWarning

from fallline.estimators import LinearClassifier, LinearRegressor
from fallline.estimators._columns import Columns

UNITS = (1e-12, 1e-5, 1e5, 1e12)


@pytest.fixture(autouse=True, params=["newton", "lbfgs"])
def small_problems(request, monkeypatch):
    """What small problems are solved by is the same to all tests of this file."""
    if request.param == "lbfgs":
        monkeypatch.setattr("fallline.estimators._choice.WORK", 0)


def lines(n=200, noise=0.1):
    """Return data of a line in four features, and labels."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, 4))
    y = X @ np.asarray([1.0, -2, 0.5, 3]) + 1 + noise * rng.standard_normal(n)
    return X, y, y + 3 * rng.standard_normal(n) > 1


# -- the same model in all units ------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS)
def test_another_unit_of_the_targets_scales_the_model(unit):
    X, y, _ = lines()
    theirs = linear_model.LinearRegression().fit(X, unit * y)
    ours = LinearRegressor(penalty=None).fit(X, unit * y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-4)
    theirs = linear_model.Ridge(20).fit(X, unit * y)
    ours = LinearRegressor(alpha=2 * 20 / len(y)).fit(X, unit * y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("loss", "scaled"),
    [
        (fl.losses.Huber(0.1), lambda unit: fl.losses.Huber(0.1 * unit)),
        ("absolute_error", lambda unit: "absolute_error"),
        (fl.losses.Quantile(0.9), lambda unit: fl.losses.Quantile(0.9)),
    ],
    ids=["huber", "absolute_error", "quantile"],
)
def test_robust_losses_know_no_unit(loss, scaled, unit):
    X, y, _ = lines()
    one = LinearRegressor(loss, penalty=None).fit(X, y)
    other = LinearRegressor(scaled(unit), penalty=None).fit(X, unit * y)
    np.testing.assert_allclose(other.coef_ / unit, one.coef_, rtol=5e-4)


@pytest.mark.parametrize("unit", [1e-5, 1e5])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_logarithmic_losses_take_the_unit_into_the_intercept(loss, unit):
    X, y, _ = lines()
    y = np.exp(0.3 * y)
    one, other = (LinearRegressor(loss, penalty=None).fit(X, s * y) for s in (1, unit))
    np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-3, atol=1e-4)
    assert other.intercept_ - one.intercept_ == pytest.approx(np.log(unit), rel=1e-4)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "modified_huber"])
def test_another_unit_of_the_features_scales_the_coefficients(loss, unit):
    X, _, label = lines()
    one = LinearClassifier(loss, penalty=None).fit(X, label)
    other = LinearClassifier(loss, penalty=None).fit(unit * X, label)
    np.testing.assert_allclose(other.coef_ * unit, one.coef_, rtol=1e-3)
    assert other.score(unit * X, label) == one.score(X, label)
    if loss == "log_loss":
        theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(X, label)
        np.testing.assert_allclose(one.coef_, theirs.coef_, rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-4, 1e4])
@pytest.mark.parametrize("method", ["auto", "fista"])
@pytest.mark.parametrize(
    ("penalty", "power"), [("l2", 2), ("l1", 1), (fl.GroupL1, 1)], ids=["l2", "l1", "group"]
)
def test_penalties_scale_with_the_unit(penalty, power, method, unit):
    X, y, _ = lines()

    def fitted(factor, alpha):
        given = penalty if isinstance(penalty, str) else penalty(alpha)
        model = LinearRegressor(penalty=given, alpha=alpha, method=method, tol=1e-5)
        return model.fit(factor * X, y).coef_ * factor

    one, other = fitted(1, 0.5), fitted(unit, 0.5 * unit**power)
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)
    assert np.abs(one).max() > 0.5


@pytest.mark.parametrize(
    ("penalty", "other"),
    [
        ({"penalty": "l2", "alpha": 0.02}, lambda n: linear_model.Ridge(0.01 * n)),
        ({"penalty": "l1", "alpha": 0.02}, lambda n: linear_model.Lasso(0.01, tol=1e-12)),
        (
            {"penalty": "elasticnet", "alpha": 0.02, "l1_ratio": 0.3},
            lambda n: linear_model.ElasticNet(0.01, l1_ratio=0.3, tol=1e-12),
        ),
        ({"penalty": None}, lambda n: linear_model.Ridge(1e-12, solver="svd")),
    ],
    ids=["ridge", "lasso", "elasticnet", "none"],
)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_columns_of_unlike_units_are_fitted(penalty, other, sparse, weighted):
    X, y, _ = lines()
    X = np.where(np.abs(X) < 0.3, 0, X) * [1e-3, 1, 1e3, 10] + [0, 0, 0, 30]
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else None
    theirs = other(len(y) if weights is None else weights.sum()).fit(X, y, sample_weight=weights)
    data = scipy.sparse.csr_array(X) if sparse else X
    ours = LinearRegressor(**penalty, tol=1e-6).fit(data, y, weights)
    wide = np.std(X, axis=0)
    np.testing.assert_allclose(ours.coef_ * wide, theirs.coef_ * wide, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", ["huber", "squared_error", "absolute_error"])
def test_timestamps_are_fitted(loss):
    t = np.linspace(1.7e12, 1.7e12 + 20000, 24)[:, None]
    y = 0.002 * (t[:, 0] - t[0, 0]) + 5
    model = LinearRegressor(loss, penalty=None).fit(t, y)
    np.testing.assert_allclose(model.coef_, linear_model.LinearRegression().fit(t, y).coef_)
    assert model.score(t, y) > 1 - 1e-9


@pytest.mark.parametrize(("name", "a"), [("wine", 0.01), ("breast_cancer", 3e-3)])
def test_data_are_fitted_as_they_come(name, a):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)  # columns from 1e-3 to 1000
    theirs = linear_model.LogisticRegression(
        C=1 / (a * len(y)), tol=1e-10, max_iter=10000, solver="newton-cholesky"
    ).fit(X, y)
    ours = LinearClassifier(alpha=a).fit(X, y)
    assert ours.n_iter_ < 600
    wide = np.std(X, axis=0)
    np.testing.assert_allclose(ours.coef_ * wide, theirs.coef_ * wide, atol=5e-3)


def test_a_rare_class_is_fitted():
    # Of slopes of its size the gradient has to be small.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20000, 2))
    y = rng.random(20000) < 1 / (1 + np.exp(7 - X[:, 0]))
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    ours = LinearClassifier(penalty=None).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_a_constant_column_has_no_part(value, sparse):
    X, y, label = lines()
    more = np.column_stack([X, np.full(len(y), value)])
    data = scipy.sparse.csr_array(more) if sparse else more
    ours = LinearRegressor(penalty=None).fit(data, y)
    theirs = linear_model.LinearRegression().fit(X, y)
    np.testing.assert_allclose(ours.coef_[:4], theirs.coef_, rtol=1e-4)
    np.testing.assert_allclose(ours.predict(more), theirs.predict(X), atol=1e-3)
    assert LinearClassifier().fit(data, label).score(more, label) > 0.75


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_constant_targets_need_no_feature(value):
    X, _, _ = lines()
    for loss in ("squared_error", "huber", "absolute_error"):
        model = LinearRegressor(loss).fit(X, np.full(len(X), value))
        np.testing.assert_allclose(model.predict(X), value, rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_are_measured_block_by_block(dtype, sparse, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((50, 3)) < 0.5, 0, rng.standard_normal((50, 3)) * [1, 10, 0] + 5)
    X = X.astype(dtype)
    weights = rng.random(50).astype(dtype)
    monkeypatch.setattr("fallline.estimators._columns._BLOCK", 60)  # more than one block
    data = scipy.sparse.csr_matrix(X) if sparse else X
    mean = np.average(X, axis=0, weights=weights)
    for centred, centre in ((True, mean), (False, 0 * mean)):
        found = Columns.of(data, weights, centred=centred)
        squares = np.average((X - centre) ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(found.scale, np.sqrt(squares), rtol=1e-5)
        assert found.scale.dtype == dtype
        if centred:
            np.testing.assert_allclose(found.centre, centre, rtol=1e-5)
        else:
            assert found.centre is None


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gamma"])
def test_a_rule_waits_in_the_unit_of_the_loss(loss):
    # In whatever unit: of the targets, or of a loss whose least value is not zero.
    X, y, _ = lines()
    y = y if loss == "squared_error" else np.exp(0.3 * y)
    made, score = [], []
    for unit in (1, 1e-5, 1e5):
        rule = fl.Adam(0.05 * unit) if loss == "squared_error" else fl.Adam(0.05)
        model = LinearRegressor(loss, penalty=None, method=rule, random_state=0)
        score.append(model.fit(X, unit * y).score(X, unit * y))
        made.append(model.n_iter_)
    assert made[0] == made[1] == made[2] > 20
    assert score[0] > 0.9
    np.testing.assert_allclose(score, score[0], rtol=1e-3)


def test_a_penalty_may_outweigh_the_loss():
    X, y, label = lines()
    for unit in (1e-4, np.asarray([1e-4, 1, 1e-2, 1e4])):
        ours = LinearRegressor(alpha=0.01, penalty="l2", fit_intercept=False).fit(unit * X, y)
        theirs = linear_model.Ridge(0.01 * len(y) / 2, fit_intercept=False).fit(unit * X, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3)
        theirs = linear_model.LogisticRegression(
            C=1 / (0.01 * len(y)), solver="newton-cholesky", tol=1e-12
        ).fit(unit * X, label)
        found = LinearClassifier(alpha=0.01).fit(unit * X, label)
        np.testing.assert_allclose(found.coef_, theirs.coef_, rtol=1e-3, atol=1e-9)
        assert found.n_iter_ < 40


def test_a_long_column_is_found_to_be_constant():
    X = np.full((300000, 2), [0.1, 1e5], "float32")
    found = Columns.of(X, None, centred=True)
    np.testing.assert_allclose(found.centre, X[0], rtol=1e-6)
    np.testing.assert_array_equal(found.scale, found.centre)  # by its size


# -- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 15, 44, 48])
def test_the_tolerance_is_kept_in_either_precision(seed, dtype):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 7)).astype(dtype)
    y = X @ rng.standard_normal(7) + 0.1 * rng.standard_normal(20)
    exact = linear_model.Ridge(1.0).fit(X.astype("float64"), y).coef_
    for tol in (1e-3, 1e-4, 1e-6):
        found = LinearRegressor(alpha=0.1, tol=tol).fit(X, y).coef_
        assert np.linalg.norm(found - exact) <= tol * np.linalg.norm(exact)


@pytest.mark.parametrize("seed", range(8))
def test_sparse_columns_far_from_zero_in_single_precision(seed):
    # All elements are stored: what rounding leaves of the others must not count as zeros.
    rng = np.random.default_rng(seed)
    spread = [0.13, 625, 0.02, 200, 80]
    Z, weights = rng.standard_normal((150, 5)), rng.integers(0, 4, 150).astype(float)
    X = (400 + Z * spread).astype("float32")
    y = (Z.sum(axis=1) + rng.standard_normal(150)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rounding may end it
        dense, sparse = (
            LinearRegressor(penalty=None).fit(A, y, sample_weight=weights)
            for A in (X, scipy.sparse.csr_array(X))
        )
    np.testing.assert_allclose(sparse.coef_ * spread, dense.coef_ * spread, atol=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_columns_that_differ_by_a_few_roundings_are_no_constants(seed):
    rng = np.random.default_rng(seed)
    X = (1e6 + rng.standard_normal((300, 2)) * [1, 0.9]).astype("float32")
    y = (X.astype(float) @ [1.0, -2] + 1e6).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rounding may end it
        assert LinearRegressor(penalty=None).fit(X, y).score(X, y) > 0.99


@pytest.mark.parametrize("condition", [2, 10, 50, 99])
@pytest.mark.parametrize("seed", range(6))
def test_single_precision_ends_as_near_as_a_factorization_in_it(condition, seed):
    # The last steps differ by rounding only: the slopes have to decide.
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, 7)))[0] for n in (60, 7))
    X = 8 * left * np.geomspace(1, 1 / condition, 7) @ right
    y = X @ rng.standard_normal(7) + 0.1 * rng.standard_normal(60) + 1
    X, y = X.astype("float32"), y.astype("float32")
    exact = linear_model.Ridge(0.03).fit(X.astype(float), y.astype(float)).coef_
    theirs = linear_model.Ridge(0.03, solver="cholesky").fit(X, y).coef_
    ours = LinearRegressor(alpha=1e-3, tol=1e-9).fit(X, y).coef_
    error, other = (np.linalg.norm(x - exact) / np.linalg.norm(exact) for x in (ours, theirs))
    assert error <= max(1e-6, 3 * other)


def test_single_precision_ends_at_its_own_tolerance():
    X, y = standardised("breast_cancer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LinearClassifier(alpha=1e-2, tol=1e-12).fit(X.astype("float32"), y)
    exact = LinearClassifier(alpha=1e-2, tol=1e-10).fit(X, y)
    assert model.n_iter_ < 200
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-5)


# -- kinks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9])
def test_quantiles_of_a_good_fit_are_scikit_learn_s(q):
    X, y = datasets.make_regression(1000, 20, noise=1, random_state=0)
    theirs = linear_model.QuantileRegressor(quantile=q, alpha=0).fit(X, y)
    ours = LinearRegressor(fl.losses.Quantile(q), penalty=None).fit(X, y)

    def loss(model):
        error = y - model.predict(X)
        return np.mean(np.maximum(q * error, (q - 1) * error))

    below = [np.mean(y < model.predict(X)) for model in (ours, theirs)]
    assert abs(below[0] - below[1]) < 0.0055
    assert loss(theirs) * (1 - 1e-9) <= loss(ours) <= loss(theirs) * (1 + 1e-5)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_quantiles_of_an_exact_fit_are_exact(unit):
    X, y, _ = lines(noise=0)
    model = LinearRegressor("absolute_error", penalty=None).fit(X, unit * y)
    np.testing.assert_allclose(model.coef_ / unit, [1, -2, 0.5, 3], rtol=1e-6)


@pytest.mark.parametrize("a", [0.01, 0.1])
def test_the_hinge_reaches_its_least_objective(a):
    from sklearn.svm import SVC

    X, y = standardised("breast_cancer")
    other = SVC(kernel="linear", C=1 / (a * len(y)), tol=1e-8).fit(X, y)
    ours = LinearClassifier("hinge", alpha=a).fit(X, y)

    def value(model):
        short = np.maximum(0, 1 - (2 * y - 1) * model.decision_function(X))
        return np.mean(short) + a / 2 * np.sum(model.coef_**2)

    assert value(ours) == pytest.approx(value(other), abs=1.5e-5)


# -- what did not go well -------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_diverged_rule_warns(early_stopping):
    X, y, _ = lines()
    model = LinearRegressor(method=fl.SGD(0.1), batch_size=50, random_state=0)
    with pytest.warns(ConvergenceWarning, match="above its first"), np.errstate(all="ignore"):
        model.fit(10 * X, y)
    assert model.history_["loss"][-1] > 1e10
    model.set_params(early_stopping=early_stopping).fit(X, y)  # and without a warning
    assert model.score(X, y) > 0.99


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_a_rule_that_begins_at_the_minimum_does_not_warn(loss):
    X, y, label = lines()
    kind, target = (LinearRegressor, y) if loss == "squared_error" else (LinearClassifier, label)
    model = kind(warm_start=True, tol=1e-8).fit(X, target)
    model.set_params(method=fl.SGD(0.01), batch_size=20, tol=1e-4, random_state=0)
    score = model.score(X, target)
    assert model.fit(X, target).score(X, target) == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize("what", ["validation", "training"])
def test_a_set_without_weights_is_refused(what):
    X, y, _ = lines()
    weights = np.zeros(len(y))
    model = LinearRegressor(method="adam", early_stopping=True, random_state=0)
    parts = model._split((X, y, None), None, np.random.RandomState(0).randint(2**31 - 1))
    rows = parts[0][1] if what == "validation" else parts[1][1]
    weights[np.isin(y, rows)] = 1
    with pytest.raises(ValueError, match=f"zero for all rows of the {what} set"):
        model.fit(X, y, sample_weight=weights)
