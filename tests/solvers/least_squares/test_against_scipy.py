"""One problem at a time against SciPy: points, costs, robust losses, bounds, covariances."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")

T = np.linspace(0, 4, 30)


def data(outliers=0, seed=0):
    rng = np.random.default_rng(seed)
    y = 3 * np.exp(-1.2 * T) + 0.5 + 0.05 * rng.standard_normal(T.size)
    y[rng.choice(T.size, outliers, replace=False)] += 2.0
    return y


def both(x, y):
    e = np.exp(-x[1] * T)
    return x[0] * e + x[2] - y, np.stack([e, -x[0] * T * e, np.ones_like(T)], axis=1)


def scipys(y, **options):
    return optimize.least_squares(
        lambda x: both(x, y)[0], np.ones(3), lambda x: both(x, y)[1],
        xtol=1e-14, ftol=1e-14, gtol=1e-14, **options,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_ends_where_minpack_ends(seed):
    y = data(seed=seed)
    res = fl.least_squares(both, np.ones(3), jacobian=True, args=(y,))
    one = scipys(y, method="lm")
    np.testing.assert_allclose(res.x, one.x, rtol=1e-7)
    np.testing.assert_allclose(res.fun, one.fun, atol=1e-7)
    np.testing.assert_allclose(res.jac, one.jac, atol=1e-6)
    assert abs(res.cost - one.cost) <= 1e-12 * one.cost
    assert (res.success, res.status, res.method) == (True, 0, "lm")
    assert res.optimality <= 1e-6 * one.cost
    np.testing.assert_array_equal(res.active_mask, [0, 0, 0])
    np.testing.assert_allclose(res.grad, res.jac.T @ res.fun, atol=1e-12)
    assert res.chi2 == 2 * res.cost
    assert (res.nfev, res.njev) == (res.nit + 1, res.njev)
    assert 0 < res.njev <= res.nfev
    assert res.history["cost"][-1] == res.cost
    assert np.all(np.diff(res.history["cost"]) <= 0)
    assert len(res.history["cost"]) == res.nit + 1


@pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy", "arctan"])
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_robust_losses_are_scipy_s(loss, scale):
    y = data(outliers=4)
    res = fl.least_squares(
        both, np.ones(3), jacobian=True, args=(y,), loss=loss, loss_scale=scale,
        stop=fl.stop.FitTolerance(cost=1e-15, step=1e-12, gradient=1e-12),
    )  # fmt: skip
    one = scipys(y, method="trf", loss=loss, f_scale=scale)
    assert abs(res.cost - one.cost) <= 1e-10 * one.cost
    np.testing.assert_allclose(res.x, one.x, rtol=1e-5)
    np.testing.assert_allclose(res.grad, one.grad, atol=1e-6)
    if loss == "linear":
        return
    far = fl.least_squares(both, np.ones(3), jacobian=True, args=(y,))
    truth = np.array([3, 1.2, 0.5])
    assert np.linalg.norm(res.x - truth) < np.linalg.norm(far.x - truth)


BOXES = [
    ([0, 0, 0], [10, 1.0, 10]),
    ([0, 0, 0.6], [10, 1.0, 10]),
    ([0.5, -np.inf, 0], [2.0, np.inf, 0.3]),
    ([0, 0, 0], [10, 10, 10]),
    ([-np.inf] * 3, [1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize(("low", "high"), BOXES)
@pytest.mark.parametrize("jacobian", [True, "2-point", "3-point"])
def test_bounds_agree_with_trf(low, high, jacobian):
    y = data()
    start = np.clip(np.ones(3), low, high)
    seen = []

    def residuals(x):
        seen.append(x.copy())
        return both(x, y) if jacobian is True else both(x, y)[0]

    res = fl.least_squares(residuals, start, jacobian=jacobian, bounds=(low, high))
    one = optimize.least_squares(
        lambda x: both(x, y)[0], start, lambda x: both(x, y)[1], bounds=(low, high),
        xtol=1e-15, ftol=1e-15, gtol=1e-15,
    )  # fmt: skip
    assert res.success
    assert res.cost <= one.cost * (1 + 1e-8)
    one_mask = np.where(np.abs(one.x - low) < 1e-6, -1, np.where(np.abs(one.x - high) < 1e-6, 1, 0))
    np.testing.assert_array_equal(res.active_mask, one_mask)
    assert res.method == "active-set"
    assert all(np.all((x >= low) & (x <= high)) for x in seen)
    np.testing.assert_array_equal(np.isnan(res.stderr), one_mask != 0)


def test_bounds_come_in_several_forms():
    y = data()

    def fun(p):
        r, j = both(np.stack([p["a"], p["k"], p["c"]]), y)
        return r, {"a": j[:, 0], "k": j[:, 1], "c": j[:, 2]}

    start = {name: np.asarray(0.9) for name in "akc"}
    forms = [
        {"a": None, "k": fl.Box(0.0, 1.0), "c": fl.NonNegative()},
        ({"a": None, "k": 0.0, "c": 0}, {"a": np.inf, "k": np.asarray(1.0), "c": None}),
    ]
    found = [fl.least_squares(fun, start, jacobian=True, bounds=bounds) for bounds in forms]
    plain = fl.least_squares(
        both, np.full(3, 0.9), jacobian=True, args=(y,),
        bounds=optimize.Bounds([-np.inf, 0, 0], [np.inf, 1.0, np.inf]),
    )  # fmt: skip
    for res in found:
        assert [float(res.x[name]) for name in "akc"] == pytest.approx(list(plain.x), rel=1e-9)
        assert res.active_mask["k"] == 1
        assert res.active_mask["a"] == 0


def test_covariances_are_those_of_curve_fit():
    y, rng = data(), np.random.default_rng(1)
    sigma = rng.uniform(0.02, 0.1, T.size)

    def f(t, a, k, c):
        return a * np.exp(-k * t) + c

    for absolute in (False, True):
        _, covariance = optimize.curve_fit(
            f, T, y, np.ones(3), sigma=sigma, absolute_sigma=absolute, ftol=1e-14, xtol=1e-14
        )
        res = fl.curve_fit(
            lambda t, p: f(t, *p), T, y, np.ones(3), sigma=sigma, absolute_sigma=absolute,
            jacobian="3-point",
        )  # fmt: skip
        np.testing.assert_allclose(res.covariance, covariance, rtol=1e-5)
        np.testing.assert_allclose(res.stderr, np.sqrt(np.diagonal(covariance)), rtol=1e-5)
        weighted = fl.least_squares(
            both, np.ones(3), jacobian=True, args=(y,), weights=1 / sigma**2
        )
        np.testing.assert_allclose(weighted.x, res.x, rtol=1e-7)
        if not absolute:
            np.testing.assert_allclose(weighted.covariance, covariance, rtol=1e-5)


def test_what_has_no_weight_does_not_count():
    y, keep = data(), np.arange(T.size) % 3 > 0
    gaps = np.where(keep, y, np.nan)

    def broken(x):
        r, j = both(x, gaps)
        return r, np.where(keep[:, None], j, np.nan)

    res = fl.least_squares(broken, np.ones(3), jacobian=True, weights=keep.astype(float))

    def some(x):
        r, j = both(x, y)
        return r[keep], j[keep]

    one = fl.least_squares(some, np.ones(3), jacobian=True)
    np.testing.assert_allclose(res.x, one.x, rtol=1e-10)
    np.testing.assert_allclose(res.covariance, one.covariance, rtol=1e-8)
    assert res.cost == pytest.approx(one.cost, rel=1e-12)


def test_units_of_parameters_do_not_matter():
    y, units = data(), np.array([1e-9, 1e7, 1e3])

    def other(x):
        r, j = both(x * units, y)
        return r, j * units

    res = fl.least_squares(other, 1 / units, jacobian=True)
    one = fl.least_squares(both, np.ones(3), jacobian=True, args=(y,))
    np.testing.assert_allclose(res.x * units, one.x, rtol=1e-9)
    assert res.nit == one.nit
    for scale in (1 / units, (1 / units).tolist()):
        given = fl.least_squares(other, 1 / units, jacobian=True, x_scale=scale)
        np.testing.assert_allclose(given.x * units, one.x, rtol=1e-7)


def test_the_scale_of_the_residuals_does_not_matter():
    y = data()
    one = fl.least_squares(both, np.ones(3), jacobian=True, args=(y,))
    for factor in (1e-12, 1e12):
        res = fl.least_squares(
            lambda x, f=factor: tuple(f * part for part in both(x, y)), np.ones(3), jacobian=True
        )
        np.testing.assert_allclose(res.x, one.x, rtol=1e-12)
        assert (res.nit, res.message) == (one.nit, one.message)
        np.testing.assert_allclose(res.covariance, one.covariance, rtol=1e-9)
