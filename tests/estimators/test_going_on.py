"""`partial_fit` follows what the caller changes between two calls."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")

from fallline.estimators import LinearClassifier, LinearRegressor


def rows():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((100, 4))
    return X, X @ np.asarray([1.0, -2, 0.5, 3]) + 1


def loop(X, y, changes):
    """Return the coefficients by an Optimizer, to which one change is made before each step."""
    model = fl.LinearModel(fl.losses.SquaredError())
    params = {**model.initialize(X, y), "intercept": np.asarray(y.mean())}
    opt = fl.Optimizer(params, fl.Adam(0.1))
    for change in changes:
        change(opt)
        opt.step(model.value_and_gradient(opt.params, X, y)[1])
    return opt.params


def test_partial_fit_follows_another_rule():
    X, y = rows()
    model = LinearRegressor(penalty=None, method=fl.Adam(0.1))
    model.partial_fit(X, y).set_params(method=fl.Adam(0.01)).partial_fit(X, y)
    model.partial_fit(X, y)

    def slower(opt):
        opt.rule = fl.Adam(0.01)

    expected = loop(X, y, [lambda opt: None, slower, lambda opt: None])
    np.testing.assert_array_equal(model.coef_, expected["weights"])  # Adam's moments were kept
    before = model.coef_
    model.set_params(method=fl.SGD(1e-9)).partial_fit(X, y)
    assert 0 < np.abs(model.coef_ - before).max() < 1e-7
    with pytest.raises(TypeError, match="partial_fit takes an update rule"):
        model.set_params(method="lbfgs").partial_fit(X, y)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_partial_fit_follows_another_penalty(penalty):
    X, y = rows()
    options = {"method": fl.SGD(0.01), "penalty": penalty}
    model = LinearRegressor(alpha=0.0, **options).partial_fit(X, y)
    other = LinearRegressor(alpha=5.0, **options)
    other.coef_, other.intercept_ = model.coef_.copy(), model.intercept_
    assert np.abs(model.set_params(alpha=5.0).partial_fit(X, y).coef_).sum() > 0
    np.testing.assert_allclose(other.partial_fit(X, y).coef_, model.coef_, rtol=1e-12)


def test_partial_fit_follows_another_loss():
    X, y = rows()
    model = LinearRegressor(method=fl.SGD(0.1), penalty=None).partial_fit(X, y)
    coef = model.coef_
    model.set_params(loss="absolute_error").partial_fit(X, y)
    assert np.abs(model.coef_ - coef).max() <= 0.1 * np.abs(X).mean(axis=0).max()


def test_partial_fit_drops_and_takes_up_the_intercept():
    X, y = rows()
    model = LinearRegressor(method=fl.Adam(0.1), penalty=None).partial_fit(X, y)
    model.set_params(fit_intercept=False).partial_fit(X, y)
    assert model.intercept_ == 0.0
    coef = model.coef_.copy()
    model.set_params(fit_intercept=True).partial_fit(X, y)
    assert model.intercept_ != 0
    assert 0 < np.abs(model.coef_ - coef).max() <= 0.1 * (1 + 1e-6)
    labels = y > 0
    one = LinearClassifier(method="sgd").partial_fit(X, labels, classes=[False, True])
    one.set_params(fit_intercept=False).partial_fit(X, labels)
    np.testing.assert_array_equal(one.intercept_, [0.0])


def test_partial_fit_goes_on_from_assigned_coefficients():
    X, y = rows()
    model = LinearRegressor(method=fl.Adam(0.1), penalty=None).partial_fit(X, y)
    model.coef_, model.intercept_ = np.full(4, 50.0), np.asarray(7.0)
    model.partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, 50, atol=0.11)
    np.testing.assert_allclose(model.intercept_, 7, atol=0.11)
    model.coef_[...] = -3.0  # in place
    model.partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, -3, atol=0.11)
    model.coef_ = np.zeros(3)
    with pytest.raises(ValueError, match=r"partial_fit: weights: shape is \(3,\)"):
        model.partial_fit(X, y)
    labels = np.digitize(y, [-1, 1])
    one = LinearClassifier(method=fl.Adam(0.1), penalty=None)
    one.partial_fit(X, labels, classes=[0, 1, 2])
    one.coef_ = np.full((3, 4), 9.0)
    np.testing.assert_allclose(one.partial_fit(X, labels).coef_, 9, atol=0.11)


def test_partial_fit_goes_on_from_sparse_coefficients():
    X, y = rows()
    labels = np.digitize(y, [-1, 1])
    for make, target in ((LinearRegressor, y), (LinearClassifier, labels)):
        options = {} if make is LinearRegressor else {"classes": [0, 1, 2]}
        one, other = (
            make(method=fl.Adam(0.1), penalty="l1").partial_fit(X, target, **options)
            for _ in range(2)
        )
        one.sparsify().partial_fit(X, target)
        np.testing.assert_array_equal(one.coef_, other.partial_fit(X, target).coef_)
        warm = make(warm_start=True).fit(X, target).sparsify()
        assert warm.fit(X, target).n_iter_ <= 2
        assert isinstance(warm.coef_, np.ndarray)


def test_partial_fit_keeps_coefficients_positive():
    X, y = rows()
    model = LinearRegressor(method=fl.Adam(0.5), positive=True, penalty=None)
    for _ in range(20):
        assert (model.partial_fit(X, y).coef_ >= 0).all()
    assert model.coef_[1] == 0 < model.coef_[0]


@pytest.mark.parametrize("alpha", [0.5, 25.0, 1e5])
def test_partial_fit_beside_a_large_l2_ends_where_fit_does(alpha):
    X, y = rows()
    options = {"alpha": alpha, "method": fl.SGD(0.1), "batch_size": len(y), "tol": None}
    model = LinearRegressor(**options)
    for _ in range(300):
        model.partial_fit(X, y)
    whole = LinearRegressor(**options, max_iter=300).fit(X, y)
    centred = X - X.mean(axis=0)
    H = 2 * centred.T @ centred / len(y) + alpha * np.eye(X.shape[1])
    exact = np.linalg.solve(H, 2 * centred.T @ y / len(y))
    np.testing.assert_allclose(model.coef_, exact, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-12)
    np.testing.assert_allclose(model.history_["loss"], whole.history_["loss"], rtol=1e-12)
