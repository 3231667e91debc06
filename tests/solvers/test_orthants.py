"""OWL-QN among the orthants: as fast as bounds on the two halves of each element, and as exact."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop


def logistic(rng, n, d):
    X = rng.standard_normal((n, d)) * np.exp(rng.uniform(-1.5, 1.5, d))
    w = rng.standard_normal(d) * (rng.uniform(size=d) < 0.3)
    y = np.sign(X @ w / (1 + np.std(X @ w)) + 0.5 * rng.logistic(size=n))

    def fun(x):
        z = y * (X @ x)
        return np.mean(np.logaddexp(0, -z)), -X.T @ (y / (1 + np.exp(z))) / n

    return fun


def rounded_hinge(rng, n, d, width=1e-3):
    X = rng.standard_normal((n, d))
    y = np.sign(X[:, :3] @ np.ones(3) + rng.standard_normal(n))

    def fun(x):
        error = 1 - y * (X @ x)
        slope = np.clip(error / width + 0.5, 0, 1)
        value = np.mean(slope * error - width / 2 * (slope - 0.5) ** 2)
        return value, -X.T @ (slope * y) / n

    return fun


def valley(rng, n, d):
    def fun(x):
        a, b = x[:-1], x[1:]
        gradient = np.zeros(d)
        gradient[:-1] = -400 * a * (b - a * a) - 2 * (1 - a)
        gradient[1:] += 200 * (b - a * a)
        return np.sum(100 * (b - a * a) ** 2 + (1 - a) ** 2), gradient

    return fun


def halves(fun, alpha, d):
    """Return what is to be minimized over the positive and the negative parts."""

    def split(x):
        value, gradient = fun(x[:d] - x[d:])
        return value + alpha * np.sum(x), np.concatenate([gradient, -gradient]) + alpha

    return split


@pytest.mark.parametrize("problem", [logistic, rounded_hinge, valley])
def test_an_l1_penalty_takes_no_more_than_bounds_on_both_halves(problem):
    ours, theirs = 0, 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(50, 150)), int(rng.integers(5, 40))
        fun = problem(rng, n, d)
        alpha = np.max(np.abs(fun(np.zeros(d))[1])) * 10.0 ** rng.uniform(-2, -0.5)
        end = stop.GradientNorm(1e-4 * alpha if problem is not rounded_hinge else 1e-4)
        found = fl.minimize(fun, np.zeros(d), method="owlqn", penalty=fl.L1(alpha), stop=end)
        other = fl.minimize(
            halves(fun, alpha, d), np.zeros(2 * d), bounds=[(0, None)] * (2 * d), stop=end
        )
        assert found.success, found.message
        if problem is not valley:  # which has more than one minimum
            assert found.fun == pytest.approx(other.fun, rel=1e-5)
        ours, theirs = ours + found.nfev, theirs + other.nfev
    assert ours <= 1.3 * theirs


@pytest.mark.parametrize("d", [1, 7, 80])
def test_default_stops_solve_with_l1(d):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fun = logistic(rng, 100, d)
        alpha = np.max(np.abs(fun(np.zeros(d))[1])) * 10.0 ** rng.uniform(-3, -0.5)
        found = fl.minimize(fun, np.zeros(d), method="owlqn", penalty=fl.L1(alpha))
        assert found.success
        gradient = fun(found.x)[1]
        still = found.x == 0
        assert np.all(np.abs(gradient[still]) <= alpha * 1.02)
        moving = gradient[~still] + alpha * np.sign(found.x[~still])
        assert np.max(np.abs(moving), initial=0) <= 0.02 * alpha
        assert found.nit < 500
