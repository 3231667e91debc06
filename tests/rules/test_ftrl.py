"""FTRL against its paper, and where its zeros and starting points are."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("l2", [0.0, 0.4])
@pytest.mark.parametrize("start", [0.0, 1.5, -0.2])
@pytest.mark.parametrize(("initial", "shrinkage"), [(0.0, 0.0), (0.5, 0.2)])
def test_ftrl_is_the_paper_s_with_proximal_terms_around_the_start(
    l1, l2, start, initial, shrinkage
):
    # Algorithm 1 of McMahan et al. with its sum z as state; the first terms, which the paper
    # centres at 0, are centred at the start.
    alpha, beta = 0.3, 0.7
    grad = lambda x: x**3 - x + 0.2  # noqa: E731
    w, z, n = start, -(beta + math.sqrt(initial)) / alpha * start, initial
    x = np.asarray([start])
    rule = fl.FTRL(
        alpha, beta=beta, l1=l1, l2=l2, l2_shrinkage=shrinkage, initial_accumulator=initial
    )
    opt = fl.Optimizer(x, rule)
    for _ in range(40):
        g = grad(w)
        z += shrinkage * w + g - (math.sqrt(n + g * g) - math.sqrt(n)) / alpha * w
        n += g * g
        shrunk = 0.0 if abs(z) <= l1 else z - math.copysign(l1, z)
        w = -shrunk / ((beta + math.sqrt(n)) / alpha + l2)
        opt.step(grad(x))
        np.testing.assert_allclose(x, w, rtol=1e-10, atol=1e-13)
        assert (x[0] == 0) == (w == 0)


def test_ftrl_keeps_exact_zeros_under_noise():
    rng = np.random.default_rng(0)
    x = np.zeros(50)
    target = np.where(np.arange(50) < 5, 2.0, 0.0)
    opt = fl.Optimizer(x, fl.FTRL(0.5, l1=30.0))
    for _ in range(300):
        opt.step(x - target + 0.3 * rng.standard_normal(50))
    assert np.all(x[5:] == 0)
    assert np.all(x[:5] > 1)


def test_ftrl_under_a_rate_that_falls_to_zero_keeps_the_parameter():
    rate = fl.schedules.Cosine(0.5, steps=10)
    x = np.asarray([1.0, 0.0])
    opt = fl.Optimizer(x, fl.FTRL(rate, l1=0.2, l2=0.1))
    for _ in range(10):
        opt.step(np.asarray([-1.0, 0.01]))
    before = x.copy()
    assert before[0] > 1
    for _ in range(5):
        opt.step(np.asarray([-1.0, 0.01]))
    np.testing.assert_allclose(x, before, rtol=1e-12)
    assert x[1] == 0


def test_ftrl_goes_on_from_where_the_parameter_is_put():
    x = np.asarray([0.3])
    opt = fl.Optimizer(x, fl.FTRL(0.1, l1=0.1))
    opt.step(np.ones(1))
    x[...] = 5.0
    opt.step(np.ones(1))
    assert 4.5 < x[0] < 5.0


def test_ftrl_leaves_alone_what_has_no_gradient():
    rng = np.random.default_rng(3)
    x = rng.standard_normal(100).astype("float32")
    opt = fl.Optimizer(x, fl.FTRL(0.1, l1=0.5, l2=0.1))
    for _ in range(3):
        opt.step(rng.standard_normal(100).astype("float32"))
    opt.step(np.zeros(100, "float32"))
    before, z = x.copy(), opt.state["z"].copy()
    for _ in range(50):
        opt.step(np.zeros(100, "float32"))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(opt.state["z"], z)


def test_ftrl_makes_zeros_of_complex_numbers():
    rng = np.random.default_rng(4)
    z = np.zeros(200, complex)
    opt = fl.Optimizer(z, fl.FTRL(0.5, l1=1.0))
    g = rng.standard_normal(200) + 1j * rng.standard_normal(200)
    opt.step(g)
    np.testing.assert_array_equal(z == 0, np.abs(g) <= 1)
    n = np.abs(g) ** 2
    expected = -g * np.maximum(0, 1 - 1 / np.abs(g)) / ((1 + np.sqrt(n)) / 0.5)
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-15)
