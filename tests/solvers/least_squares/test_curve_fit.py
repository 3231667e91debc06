"""Curves through data: likelihoods, errors of the data, guesses, what SciPy's users write."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.solvers.least_squares._likelihood import log_factorial

stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")

T = np.linspace(0, 4, 30)


def decay(t, p):
    return p["height"][..., None] * np.exp(-p["rate"][..., None] * t) + p["floor"][..., None]


class Decay:
    """A model with all that `curve_fit` asks for."""

    def __call__(self, t, p):
        return decay(t, p)

    def jacobian(self, t, p):
        e = np.exp(-p["rate"][..., None] * t)
        return {"height": e, "rate": -p["height"][..., None] * t * e, "floor": np.ones_like(e)}

    def guess(self, t, y):
        low = np.min(y, axis=-1)
        return {"height": np.max(y, axis=-1) - low, "rate": np.ones_like(low), "floor": low}


TRUTH = {"height": np.asarray(40.0), "rate": np.asarray(1.2), "floor": np.asarray(5.0)}
START = {"height": 20.0, "rate": 1.0, "floor": 1.0}


def many(n, seed=0):
    rng = np.random.default_rng(seed)
    truth = {
        "height": rng.uniform(30, 60, n), "rate": rng.uniform(0.5, 2, n),
        "floor": rng.uniform(1, 5, n),
    }  # fmt: skip
    return truth, rng.poisson(decay(T, truth))


@pytest.mark.parametrize("jacobian", ["auto", "2-point", "3-point"])
def test_counts_have_the_greatest_likelihood(jacobian):
    counts = np.random.default_rng(0).poisson(decay(T, TRUTH)).astype(float)
    assert np.any(counts == 0) or counts.min() < 4
    res = fl.curve_fit(Decay(), T, counts, START, likelihood="poisson", jacobian=jacobian)
    loss = fl.losses.Poisson(reduction="sum")

    def nll(x):
        p = {"height": x[0], "rate": x[1], "floor": x[2]}
        rate = decay(T, {k: np.asarray(v) for k, v in p.items()})
        j = np.stack([Decay().jacobian(T, {k: np.asarray(v) for k, v in p.items()})[k] for k in p])
        return float(np.sum(rate - counts * np.log(rate))), j @ (1 - counts / rate)

    one = fl.minimize(nll, np.array([35.0, 1.1, 4.0]), stop=fl.stop.GradientNorm(1e-9))
    found = [float(res.x[name]) for name in ("height", "rate", "floor")]
    np.testing.assert_allclose(found, one.x, rtol=1e-6)
    rate = decay(T, res.x)
    assert loss(np.log(rate), counts) == pytest.approx(nll(one.x)[0], rel=1e-12)
    assert res.log_likelihood == pytest.approx(stats.poisson.logpmf(counts, rate).sum(), rel=1e-12)
    j = np.stack([Decay().jacobian(T, res.x)[k] for k in START])
    fisher = np.linalg.inv((j / rate) @ j.T)
    np.testing.assert_allclose(
        [[res.covariance[a][b] for b in START] for a in START], fisher, rtol=1e-6
    )
    some = counts > 0
    deviance = 2 * np.sum(rate - counts)
    deviance += 2 * np.sum(counts[some] * np.log(counts[some] / rate[some]))
    assert res.chi2 == pytest.approx(deviance, rel=1e-10)
    np.testing.assert_allclose(res.fun, rate, rtol=1e-9)


def test_counts_side_by_side():
    truth, counts = many(50)
    res = fl.curve_fit(Decay(), T, counts, batched=True, likelihood="poisson")
    assert np.all(res.success)
    for i in range(50):
        start = {k: v[i, ...] for k, v in Decay().guess(T, counts.astype(float)).items()}
        one = fl.curve_fit(
            Decay(), T, counts[i], {k: float(v) for k, v in start.items()}, likelihood="poisson"
        )
        for name in truth:
            assert res.x[name][i] == pytest.approx(float(one.x[name]), rel=1e-6)
        assert res.log_likelihood[i] == pytest.approx(one.log_likelihood, rel=1e-10)
    pulls = [(res.x[name] - truth[name]) / res.stderr[name] for name in truth]
    assert 0.8 < np.std(pulls) < 1.25


def test_rates_that_are_not_positive_are_refused():
    # A line whose undamped step goes below zero; the likelihood is infinite there.
    counts = np.array([30.0, 22, 9, 5, 1, 0, 0])
    x = np.arange(7.0)

    def line(x, p):
        seen.append(p.copy())
        return p[0] + p[1] * x

    seen = []
    for start in ([30.0, -4.0], [5.0, 5.0], [0.01, 100.0]):
        res = fl.curve_fit(line, x, counts, np.array(start), likelihood="poisson")
        rates = res.x[0] + res.x[1] * x
        assert np.all(rates[:5] > 0)
        assert np.isfinite(res.cost)
        assert np.all(np.isfinite(res.history["cost"]))
        assert np.all(np.isfinite(seen))
    bad = fl.curve_fit(line, x, counts, np.array([1.0, -4.0]), likelihood="poisson")
    assert (bad.status, bad.nit) == (3, 0)


def test_the_variance_of_reading():
    rng = np.random.default_rng(0)
    variance = rng.uniform(1, 60, T.size)
    truth = {k: np.full(400, float(v)) for k, v in TRUTH.items()}
    data = rng.poisson(decay(T, truth)) + rng.standard_normal((400, T.size)) * np.sqrt(variance)
    data = np.maximum(data, 0)
    found = {}
    for name, given in (
        ("known", variance),
        ("unknown", None),
        ("each", np.tile(variance, (400, 1))),
    ):
        res = fl.curve_fit(
            Decay(), T, data, START, batched=True, likelihood="poisson", read_variance=given
        )
        assert np.all(res.success)
        found[name] = res
    np.testing.assert_array_equal(found["each"].x["rate"], found["known"].x["rate"])
    pulls = {name: (res.x["rate"] - 1.2) / res.stderr["rate"] for name, res in found.items()}
    assert 0.9 < np.std(pulls["known"]) < 1.1
    assert np.std(pulls["unknown"]) > 1.2


def test_errors_of_the_data():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 2, T.size)
    y = decay(T, TRUTH) + sigma * rng.standard_normal(T.size)
    known = fl.curve_fit(Decay(), T, y, START, sigma=sigma, absolute_sigma=True)
    value = stats.norm.logpdf(y, decay(T, known.x), sigma).sum()
    assert known.log_likelihood == pytest.approx(value, rel=1e-12)
    relative = fl.curve_fit(Decay(), T, y, START, sigma=10 * sigma)
    np.testing.assert_allclose(relative.x["rate"], known.x["rate"], rtol=1e-9)
    factor = np.sqrt(known.chi2 / (T.size - 3))
    assert float(relative.stderr["rate"]) == pytest.approx(factor * known.stderr["rate"], rel=1e-6)
    best = 10 * np.sqrt(relative.chi2 / T.size)
    value = stats.norm.logpdf(y, decay(T, relative.x), best * sigma).sum()
    assert relative.log_likelihood == pytest.approx(value, rel=1e-12)
    weighted = fl.curve_fit(Decay(), T, y, START, weights=1 / sigma**2)
    np.testing.assert_allclose(weighted.x["rate"], known.x["rate"], rtol=1e-9)
    both = fl.curve_fit(Decay(), T, y, START, sigma=sigma, weights=np.ones(T.size))
    np.testing.assert_allclose(both.covariance["rate"]["rate"], weighted.covariance["rate"]["rate"])


def test_abscissae_of_each_problem_and_trees_of_them():
    rng = np.random.default_rng(0)
    n = 6
    truth, _ = many(n)
    x = np.sort(rng.uniform(0, 4, (n, 30)), axis=1)
    y = decay(x, truth)
    res = fl.curve_fit(Decay(), x, y, START, batched=True, batched_xdata=True, chunk=4)
    np.testing.assert_allclose(res.x["rate"], truth["rate"], rtol=1e-7)
    rows, columns = np.mgrid[:6, :7].astype(float)

    def plane(x, p):
        return p[..., 0, None, None] * x[0] + p[..., 1, None, None] * x[1]

    slopes = rng.standard_normal((n, 2))
    z = plane((rows, columns), slopes)
    found = fl.curve_fit(plane, (rows, columns), z, np.zeros((n, 2)), batched=True)
    np.testing.assert_allclose(found.x, slopes, atol=1e-9)
    each = (np.tile(rows, (n, 1, 1)), np.tile(columns, (n, 1, 1)))
    found = fl.curve_fit(plane, each, z, np.zeros((n, 2)), batched=True, batched_xdata=True)
    np.testing.assert_allclose(found.x, slopes, atol=1e-9)


def test_complex_data():
    truth = np.array([1.5 - 0.5j, 0.3])

    def ringing(t, p):
        return p[0] * np.exp((-p[1] + 3j) * t)

    y = ringing(T, truth)
    res = fl.curve_fit(ringing, T, y, np.array([1.0 + 0j, 0.5]), bounds=None)
    np.testing.assert_allclose(res.x, truth, atol=1e-7)


def test_what_scipy_s_users_write():
    y = decay(T, TRUTH)
    res = fl.curve_fit(Decay(), T, y)
    with pytest.raises(TypeError, match=r"use result\.x and result\.covariance"):
        _, _ = res
    assert "message" in res
    assert dict(res.items())["success"]
    assert "x" in dir(res)
    assert "log_likelihood" in repr(res)
    with pytest.raises(TypeError, match=r"f: takes \(t, a, b\), expected \(x, params\); write"):
        fl.curve_fit(lambda t, a, b: a * t + b, T, y, np.ones(2))
    with pytest.raises(TypeError, match="did you mean max_iterations="):
        fl.curve_fit(Decay(), T, y, max_nfev=3)
    with pytest.raises(TypeError, match="p0: is None, expected where to start"):
        fl.curve_fit(decay, T, y)


def test_logarithms_of_factorials():
    n = np.array([0, 0.5, 1, 2, 3.7, 10, 1e3, 1e6])
    exact = [math.lgamma(k + 1) for k in n]
    np.testing.assert_allclose(log_factorial(np, n), exact, atol=1e-12, rtol=1e-13)
