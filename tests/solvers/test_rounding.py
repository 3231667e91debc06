"""Steps that are lost in rounding are no minima, and endless falls no success."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from fallline.solvers import _search

METHODS = ["lbfgs", "cg", "lbfgsb", "owlqn", "steepestdescent", "fista", "proximalgradient"]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid", "ignore:divide")
@pytest.mark.parametrize("method", ["fista", "proximalgradient", "lbfgs", "cg"])
@pytest.mark.parametrize(
    ("fun", "x0"),
    [
        (lambda x: (float(-x.sum()), -np.ones_like(x)), [0.0, 0.0]),
        (lambda x: (float(x[0] ** 2 - x[1] ** 2), np.array([2.0, -2.0]) * x), [2.0, 2.5]),
        (lambda x: (float(-np.log(x).sum()), -1 / x), [1.0, 2.0]),
        (lambda x: (float((x[0] - 1) ** 2 - x[1]), np.array([2 * x[0] - 2, -1.0])), [3.0, 3.0]),
        (lambda x: (float(-(x**4).sum()), -4 * x**3), [1.0, 2.0]),
    ],
    ids=["line", "saddle", "logarithm", "one way", "quartic"],
)
def test_what_falls_without_bound_ends_without_success(method, fun, x0):
    found = fl.minimize(fun, np.array(x0), method=method, max_iterations=1000)
    assert not found.success
    assert found.nfev < 10_000


@pytest.mark.parametrize("method", ["fista", "proximalgradient"])
def test_a_straight_fall_is_known_soon(method):
    found = fl.minimize(lambda x: (float(-x.sum()), -np.ones_like(x)), np.zeros(2), method=method)
    assert (found.success, found.status) == (False, 2)
    assert "falls without bound" in found.message
    assert found.nit < 30


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("method", ["fista", "proximalgradient"])
def test_an_infimum_far_away_takes_no_endless_iteration(method):
    counts = []

    def fun(x):
        counts.append(None)
        return float(np.exp(-x).sum()), -np.exp(-x)

    found = fl.minimize(fun, np.zeros(2), method=method, max_iterations=2000)
    assert len(counts) == found.nfev < 5000
    assert found.fun < 1e-300
    assert np.isfinite(found.x).all()


def test_separable_classes_beside_a_constraint_end():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = (X @ [1.0, 2, 0.5] > 0).astype(float)
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy())
    found = fl.fit(
        model, (X, y), constraint={"weights": fl.NonNegative(), "intercept": None}, epochs=2000
    )
    assert found.loss < 1e-6
    assert np.isfinite(found.params["weights"]).all()


def steep(x):
    """A bowl with one steep direction: what is left of the other is below rounding at first."""
    d = np.array([1e8, 1], "float32")
    return 0.5 * np.sum(d * (x - 1) ** 2), d * (x - 1)


def distant(x):
    """The same, with a minimum so far away that a step which is seen in the value is not in x."""
    d, e = np.array([1e8, 1], "float32"), x - np.array([1, 1e6], "float32")
    return np.float32(0.5 * np.sum(d * e * e, dtype="float32")), d * e


@pytest.mark.parametrize("method", METHODS[:4])
def test_a_step_is_seen_beside_a_far_point(method):
    found = fl.minimize(distant, np.array([1.001, 1e6 + 5], "float32"), method=method)
    assert found.success
    np.testing.assert_array_equal(found.x, np.array([1, 1e6], "float32"))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_lost_beside_the_point_is_no_minimum(method):
    if method == "steepestdescent":
        pytest.skip("its steps are as short as the steepest direction asks, and say nothing")
    found = fl.minimize(steep, np.array([0, 10], "float32"), method=method, max_iterations=2000)
    assert not found.success or abs(found.x[1] - 1) < 1e-3


@pytest.mark.parametrize("method", ["fista", fl.ProximalGradient(1e-8, accelerated=True)], ids=str)
def test_the_norm_of_a_lost_proximal_step_is_that_of_a_longer_one(method):
    # The second element moves by less than its rounding.
    run = (fl.solvers.get(method) if isinstance(method, str) else method).start(
        steep, np.array([1, 10], "float32"), constraint=fl.NonNegative()
    )
    run._t = 1e-8
    record = run.step()
    assert record.x[1] == 10
    assert record.gradient_norm == pytest.approx(9, rel=1e-3)
    assert record.scaled_gradient() == pytest.approx(90, rel=1e-3)


def test_nonnegative_least_squares_in_single_precision_claims_no_false_minimum():
    rng = np.random.default_rng(0)
    X = np.column_stack([1e4 * (1 + rng.random(100)), rng.random(100)])
    y = X @ [3e-4, 5.0]
    model = fl.LinearModel(fl.losses.SquaredError(), fit_intercept=False)
    found = fl.fit(
        model, (X.astype("float32"), y.astype("float32")),
        constraint={"weights": fl.NonNegative()}, epochs=3000,
    )  # fmt: skip
    assert not found.success or np.allclose(found.params["weights"], [3e-4, 5.0], rtol=1e-2)


@pytest.mark.parametrize("method", METHODS[:6])
@pytest.mark.parametrize(("dtype", "far"), [("float32", 1e8), ("float64", 1e17)])
def test_a_far_minimum_is_reached_though_a_step_of_one_is_lost_in_the_value(method, dtype, far):
    u = np.asarray(far, dtype)
    found = fl.minimize(
        lambda x: (0.5 * np.sum((x - u) ** 2), x - u), np.zeros(2, dtype), method=method
    )
    assert found.success
    np.testing.assert_allclose(found.x, far, rtol=1e-5)


def test_coefficients_of_targets_in_small_units_in_single_precision():
    pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
    from fallline import estimators

    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 4))
    y = X @ [1.0, -2, 0.5, 3] + 1 + 0.1 * rng.standard_normal(200)
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(200)]), y, rcond=None)[0][:-1]
    for unit, options in ((1e7, {"penalty": "l1", "alpha": 1e4}), (3e7, {"penalty": None})):
        model = estimators.LinearRegressor(**options)
        model.fit(X.astype("float32"), (unit * y).astype("float32"))
        np.testing.assert_allclose(model.coef_ / unit, exact, atol=3e-3)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent()], ids=repr)
def test_many_problems_end_like_single_ones(method):
    scale = np.array([[1e-24], [1]], "float32")

    def fun(x, s):
        return np.sum(s * (x - 1) ** 2, -1), 2 * s * (x - 1)

    start = np.full((2, 2), -1, "float32")
    many = fl.minimize(fun, start, args=(scale,), batched=True, method=method)
    for i in range(2):
        one = fl.minimize(fun, start[i], args=(scale[i],), method=method)
        assert (many.success[i], many.status[i]) == (one.success, one.status)
    u = np.array([[1e8], [1]], "float32")
    far = fl.minimize(lambda x: (0.5 * np.sum((x - u) ** 2, -1), x - u), 0 * start, batched=True)
    np.testing.assert_allclose(far.x, u + 0 * start, rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        fl.LBFGS(), fl.LBFGSB(), fl.OWLQN(), fl.SteepestDescent("wolfe"),
        *(fl.ConjugateGradient(beta=x) for x in ("polak-ribiere", "dai-yuan", "hager-zhang")),
    ],
    ids=repr,
)  # fmt: skip
def test_piecewise_linear_functions_divide_by_nothing(method):
    rng = np.random.default_rng(1)
    for _ in range(60):
        n = int(rng.integers(1, 5))
        A, b = rng.integers(-3, 4, (n + 2, n)).astype(float), rng.integers(-3, 4, n + 2)

        def fun(x, A=A, b=b):
            return float(np.abs(A @ x - b).sum()), A.T @ np.sign(A @ x - b)

        x0 = rng.integers(-3, 4, n).astype(float)
        found = fl.minimize(fun, x0, method=method, max_iterations=200)
        assert found.fun <= fun(x0)[0]


def test_a_chord_as_steep_as_the_slope_divides_by_nothing():
    low, trial = (1.0, 0.0, -1.0), (0.0, 1.0, -0.5)
    assert np.isfinite(_search._interpolated(low, low, trial, 0.0, 5.0, False))


def test_a_bounded_set_stops_a_linear_function():
    found = fl.minimize(
        lambda x: (float(-x.sum()), -np.ones_like(x)), np.zeros(3), method="fista",
        constraint=fl.Box(-1.0, 1.0), stop=stop.GradientNorm(0.0), max_iterations=400,
    )  # fmt: skip
    assert found.success
    np.testing.assert_array_equal(found.x, 1.0)
