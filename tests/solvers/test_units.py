"""Objectives in other units end at the same points; runs without an end say so."""

import math

import numpy as np
import pytest

import fallline as fl
from fallline import stop

from . import more_garbow_hillstrom as mgh

UNITS = [1e-50, 1e-30, 1e-20, 1e-15, 1e-12, 1e-8, 1.0, 1e150]
METHODS = ["lbfgs", "cg", "lbfgsb", "fista", "proximal-gradient"]


def parabola(unit):
    return lambda x: (unit * float(np.sum((x - 1) ** 2)), 2 * unit * (x - 1))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_parabola_in_any_unit(method, absolute):
    counts = []
    for unit in UNITS:
        condition = stop.GradientNorm(unit * 1e-8) if absolute else None
        found = fl.minimize(parabola(unit), np.array([-1.0]), method=method, stop=condition)
        assert found.success, unit
        assert abs(found.x[0] - 1) <= 1e-7, unit
        counts.append(found.nfev)
    assert max(counts) - min(counts) <= 2, counts
    assert max(counts) <= 10


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
def test_rosenbrock_in_any_unit(method):
    def fun(x):
        a, b = x
        g = np.array([-400 * a * (b - a * a) - 2 * (1 - a), 200 * (b - a * a)])
        return 100 * (b - a * a) ** 2 + (1 - a) ** 2, g

    counts = []
    for unit in (2.0**-160, 1.0, 2.0**300):
        found = fl.minimize(
            lambda x, unit=unit: tuple(unit * y for y in fun(x)),
            np.array([-1.2, 1.0]),
            method=method,
        )
        assert found.success
        assert np.max(abs(found.x - 1)) <= 1e-6
        counts.append(found.nfev)
    assert len(set(counts)) == 1  # powers of two round alike


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_an_objective_that_falls_without_bound(method, size):
    def line(x):
        return -size * float(x.sum()), np.full_like(x, -size)

    found = fl.minimize(line, np.zeros(2), method=method)
    assert (found.success, found.status) == (False, 2)
    assert "falls without bound" in found.message
    assert found.nfev <= 40


def test_an_objective_that_becomes_minus_infinity():
    def well(x):
        with np.errstate(all="ignore"):
            return float(np.sum(np.log(np.maximum(3 - x, 0.0)))), -1 / (3 - x)

    found = fl.minimize(well, np.zeros(1), method="lbfgs")
    assert (found.success, found.status) == (False, 2)
    assert "falls without bound" in found.message
    assert math.isfinite(found.fun)


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
def test_a_gradient_whose_square_is_out_of_range_is_no_end(method):
    found = fl.minimize(parabola(1e-200), np.array([-1.0]), method=method)
    assert found.x == [-1.0]
    assert not found.success


SOLVERS = [*METHODS, "owlqn", "steepest-descent"]


def least_squares(unit):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 4))
    b = unit * (A @ np.array([1.0, -2, 0.5, 3]) + 0.1 * rng.standard_normal(30))

    def fun(x):
        r = A @ x - b
        return float(r @ r), 2 * (A.T @ r)

    return fun, np.linalg.lstsq(A, b, rcond=None)[0]


@pytest.mark.parametrize("start", ["zero", "one", "best"])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("method", SOLVERS)
def test_parameters_in_any_unit(method, unit, start):
    fun, best = least_squares(unit)
    x0 = {"zero": np.zeros(4), "one": np.ones(4), "best": best}[start]
    found = fl.minimize(fun, x0, method=method)
    assert found.success
    np.testing.assert_allclose(found.x, best, atol=1e-6 * unit)


@pytest.mark.parametrize("method", ["lbfgs", "lbfgsb", "owlqn"])
def test_a_minimum_of_tiny_parameters_is_known_by_its_curvature(method):
    fun, best = least_squares(1e-12)
    assert fl.minimize(fun, best, method=method).success


def test_a_run_that_begins_at_a_minimum():
    found = fl.minimize(parabola(1.0), np.ones(2))
    assert (found.nfev, found.nit, found.success) == (1, 0, True)
    assert "gradient" in found.message
    # Within what rounding makes of the residuals.
    gulf = next(p for p in mgh.load() if p.name.startswith("gulf"))
    assert fl.minimize(gulf, gulf.start(10)).success


def test_an_end_at_precision_searches_once():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 5)), rng.standard_normal(30)

    def fun(x):
        r = A @ x - b
        return 1e3 + float(np.sum(np.sqrt(1 + r * r))), A.T @ (r / np.sqrt(1 + r * r))

    found = fl.minimize(fun, np.zeros(5), stop=stop.GradientNorm(0.0), record=("fun", "nfev"))
    assert found.success
    assert "precision" in found.message
    assert found.nfev - found.history["nfev"][-1] <= 30


def test_slopes_along_a_path_that_bends_at_bounds():
    d = np.arange(1.0, 6.0)
    low, high = np.full(5, -1.0), np.full(5, 0.5)
    fun = lambda x: (float(np.sum(d * (x - 1) ** 2) + x.prod()), 2 * d * (x - 1) + x.prod() / x)  # noqa: E731
    run = fl.LBFGSB().start(
        fun, np.linspace(-0.9, 0.3, 5), constraint=fl.constraints.Box(low, high)
    )
    for t in (0.01, 0.05, 0.1):
        before, after = (fun(run._land(run.at.x + u * run._d))[0] for u in (t - 1e-6, t + 1e-6))
        assert run._line(t).path[1] == pytest.approx((after - before) / 2e-6, rel=1e-5)
    assert 0 < np.sum(run._land(run.at.x + 0.1 * run._d) == 0.5) < 5


def counts(seed):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0, 1, (60, 30)) * (rng.random((60, 30)) < 0.2)
    truth = np.where(rng.random(30) < 0.5, 0, rng.gamma(2, 5, 30))
    b = rng.poisson(A @ truth + 0.01).astype(float)

    def fun(x):
        with np.errstate(all="ignore"):
            m = A @ x + 0.01
            return float(np.sum(m - b * np.log(m))), A.T @ (1 - b / m)

    return fun


@pytest.mark.parametrize("seed", range(20))
def test_momentum_does_not_leave_the_domain_of_a_likelihood(seed):
    fun, x0 = counts(seed), np.ones(30)
    found = fl.minimize(fun, x0, method="fista", constraint=fl.NonNegative())
    oracle = fl.minimize(fun, x0, method="lbfgsb", constraint=fl.NonNegative())
    assert found.success
    assert abs(found.fun - oracle.fun) <= 1e-5
    assert np.all(found.x >= 0)
    assert found.nfev <= 1000


def test_momentum_may_be_kept_where_it_points_uphill():
    d = np.logspace(0, 3, 20)
    fun = lambda x: (0.5 * float(d @ x**2), d * x)  # noqa: E731
    fixed = {"step_size": 1e-3, "accelerated": True}
    runs = [fl.ProximalGradient(**fixed, restart=r).start(fun, np.ones(20)) for r in (True, False)]
    plain, y, before, theta = np.ones(20), np.ones(20), np.ones(20), 1.0
    for _ in range(300):
        for run in runs:
            run.advance()
        plain = y - 1e-3 * d * y
        after = 0.5 * (1 + math.sqrt(1 + 4 * theta**2))
        y = plain + (theta - 1) / after * (plain - before)
        before, theta = plain, after
    np.testing.assert_allclose(runs[1].x, plain, rtol=1e-8, atol=1e-14)
    assert np.max(abs(runs[0].x)) < 0.5 * np.max(abs(plain))


def brown(x):
    r = np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])
    return float(r @ r), 2 * np.array([r[0] + r[2] * x[1], r[1] + r[2] * x[0]])


def extended_powell(x):
    a, b, c, d = x.reshape(-1, 4).T
    r, s, t, u = a + 10 * b, c - d, b - 2 * c, a - d
    g = [2 * r + 40 * u**3, 20 * r + 4 * t**3, 10 * s - 8 * t**3, -10 * s - 40 * u**3]
    return float(r @ r + 5 * s @ s + t**2 @ t**2 + 10 * u**2 @ u**2), np.array(g).T.ravel()


@pytest.mark.parametrize(
    ("fun", "x0"),
    [
        (brown, np.ones(2)),
        (extended_powell, np.tile([3.0, -1, 0, 1], 5)),
        (parabola(1), np.ones(3)),
    ],
)
def test_far_away_bounds_are_none(fun, x0):
    free = fl.minimize(fun, x0)
    far = fl.minimize(fun, x0, bounds=[(x - 1e7, x + 1e7) for x in x0])
    assert far.success
    assert far.nfev <= 1.2 * free.nfev
    assert abs(far.fun - free.fun) <= 1e-8


@pytest.mark.parametrize("seed", range(10))
def test_bounds_that_matter(seed):
    minimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed").minimize
    rng = np.random.default_rng(seed)
    x0 = np.tile([3.0, -1, 0, 1], 3)
    low = np.where(rng.random(12) < 0.5, x0 - rng.uniform(0, 2, 12), -np.inf)
    high = np.where(rng.random(12) < 0.5, x0 + rng.uniform(0, 2, 12), np.inf)
    points = []

    def fun(x):
        points.append(x.copy())
        return extended_powell(x)

    found = fl.minimize(fun, x0, bounds=list(zip(low, high, strict=True)))
    best = minimize(
        extended_powell, x0, jac=True, bounds=list(zip(low, high, strict=True)),
        options={"ftol": 0, "gtol": 1e-10, "maxiter": 10**5, "maxfun": 10**6},
    ).fun  # fmt: skip
    assert found.success
    assert found.fun <= best + 1e-6 * max(best, 1e-3)
    assert all(np.all((x >= low) & (x <= high)) for x in points)


def test_steps_that_lead_nowhere_end_a_run_at_a_bound():
    # Powell's badly scaled function, whose second element stays at its bound.
    def fun(x):
        e = np.exp(-x)
        r = np.array([1e4 * x[0] * x[1] - 1, e.sum() - 1.0001])
        return float(r @ r), 2e4 * r[0] * x[::-1] - 2 * r[1] * e

    found = fl.minimize(fun, np.array([0.0, 9.0]), bounds=[(0, 1), (1, 9)])
    assert found.success
    assert found.fun == pytest.approx(1.5125936724e-10, rel=1e-9)
    assert found.nfev <= 200


def test_conjugate_gradients_do_not_take_a_slow_phase_for_the_end():
    d = np.logspace(0, 6, 50)
    found = fl.minimize(
        lambda x: (0.5 * float(d @ (x - 1) ** 2), d * (x - 1)), np.zeros(50), method="cg"
    )
    assert not found.success or np.max(abs(found.x - 1)) <= 1e-3


@pytest.mark.parametrize(
    ("name", "factor"),
    [("brown_badly_scaled 2", 1), ("meyer 3", 10), ("kowalik_osborne 4", 100), ("watson 9", 10)],
)
def test_conjugate_gradients_claim_no_minimum_in_a_valley(name, factor):
    problem = next(problem for problem in mgh.load() if problem.name == name)
    with np.errstate(all="ignore"):
        found = fl.minimize(problem, problem.start(factor), method="cg")
    values = np.asarray([one["value"] for one in problem.minima])
    assert not found.success or np.min(abs(found.fun - values)) <= 1e-5


def test_conjugate_gradients_claim_a_minimum_of_any_condition():
    # The flattest direction that was seen promises more than there is, within the tolerance.
    for power in (0, 2, 4):
        d = np.logspace(0, power, 20)
        found = fl.minimize(
            lambda x, d=d: (1.0 + 0.5 * float(d @ (x - 1) ** 2), d * (x - 1)), np.zeros(20),
            method="cg",
        )  # fmt: skip
        assert found.success
        assert found.fun - 1 <= 1e-8


def test_few_variables_have_a_longer_history():
    problem = next(problem for problem in mgh.load() if problem.name == "watson 12")
    runs = {m: fl.minimize(problem, problem.x0, method=fl.LBFGS(history=m)) for m in (10, 30)}
    assert fl.minimize(problem, problem.x0).nfev == runs[30].nfev < runs[10].nfev / 2

    def chained(x):
        d = x[1:] - x[:-1] ** 2
        g = np.zeros_like(x)
        g[1:], g[:-1] = 200 * d, -400 * d * x[:-1]
        g[:-1] -= 2 * (1 - x[:-1])
        return float(100 * d @ d + np.sum((1 - x[:-1]) ** 2)), g

    for n, m in ((100, 30), (101, 10)):
        x0 = np.linspace(-1.2, 1, n)
        found, expected = (
            fl.minimize(chained, x0, method=fl.LBFGS(history=h), max_iterations=60)
            for h in (None, m)
        )
        np.testing.assert_array_equal(found.x, expected.x)
