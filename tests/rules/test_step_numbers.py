"""The numbers of a step: under schedules, under jit, and late in a run."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import fallline as fl
from fallline.rules import _nadam, _radam


def jitted(function, *counts):
    """Return what a function of a count gives under ``jax.jit``."""
    jax = pytest.importorskip("jax")
    compiled = jax.jit(function)
    return [float(compiled(t)) for t in counts]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("decay", [0.0, 1e-6, 4e-3, 1.0, 1e9])
def test_nadam_s_product_is_the_product(beta, decay):
    rule = fl.NAdam(1.0, beta1=beta, momentum_decay=decay)
    mu = lambda t: beta * (1 - 0.5 * 0.96 ** (t * decay))  # noqa: E731
    product = 1.0
    for t in range(1, 3001):
        product *= mu(t)
        if t < 30 or t % 97 == 0:
            found = rule.scalars(t)
            new, old = (found[name] / math.sqrt(1 - 0.999**t) for name in ("new", "old"))
            assert new == pytest.approx((1 - mu(t)) / (1 - product), rel=1e-12)
            assert old == pytest.approx(mu(t + 1) / (1 - product * mu(t + 1)), rel=1e-12)
    counts = (1, 2, 30, 1000)
    for t, traced in zip(counts, jitted(lambda t: rule.scalars(t)["new"], *counts), strict=True):
        assert traced == pytest.approx(rule.scalars(t)["new"], rel=1e-6)
    assert math.isfinite(rule.scalars(10**9)["old"])


def test_nadam_s_numbers_may_be_schedules_under_jit():
    rule = fl.NAdam(1.0, beta1=lambda t: 0.9 - 0.1 / (1 + t), momentum_decay=lambda t: 1 / (9 + t))
    for t in (1, 5, 100):
        (traced,) = jitted(lambda t: rule.at(t - 1).scalars(t)["old"], t)
        assert traced == pytest.approx(rule.at(t - 1).scalars(t)["old"], rel=1e-5)


def test_the_terms_of_nadam_are_kept():
    rule = fl.NAdam(momentum_decay=0.0123)
    rule.scalars(1)
    before = _nadam._terms.cache_info().misses
    rule.scalars(10**6)
    assert _nadam._terms.cache_info().misses == before


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_radam_s_length_agrees_under_jit(beta):
    counts = [1, 2, 4, 5, 6, 7, 10, 31, 1000, 1001, 12345, 10**6]
    found = jitted(lambda t: _radam._length(beta, t), *counts)
    for t, length in zip(counts, found, strict=True):
        b = Fraction(beta)
        exact = 2 / (1 - b) - 1 - (2 * t * b**t / (1 - b**t) if t <= 1001 else 0)
        if t > 1001:
            exact -= Fraction(2 * t * beta**t / (1 - beta**t))
        assert length == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.6, 2 / 3])
def test_radam_never_divides_with_a_short_average(beta):
    x = np.ones(2)
    opt = fl.Optimizer(x, fl.RAdam(0.1, beta2=beta))
    for _ in range(20):
        opt.step(np.asarray([1.0, 5.0]))
    np.testing.assert_allclose(x, [-1.0, -9.0], rtol=1e-12)


def test_asgd_follows_a_schedule_at_once():
    x = np.zeros(1)
    opt = fl.Optimizer(x, fl.ASGD(lambda step: 1.0 / (1 + step), decay=0.0))
    for _ in range(3):
        opt.step(np.ones(1))
    np.testing.assert_allclose(x, -(1 + 1 / 2 + 1 / 3), rtol=1e-12)
