"""Schedules with more steps than 32 bits can count, and values that leave the range."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline import schedules as S

LONG = 10**10
LAST = 2**31 - 1
SCHEDULES = [
    S.Cosine(0.1, steps=LONG, final=0.01),
    S.Polynomial(0.1, steps=LONG, power=2.0),
    S.Exponential(0.1, decay=0.5, every=LONG),
    S.Step(0.1, every=LONG, factor=0.5),
    S.Step(0.1, every=2**31, factor=0.5),
    S.MultiStep(0.1, milestones=(7, 2**31, LONG), factor=0.5),
    S.InverseSqrt(0.1, warmup=LONG),
    S.CosineRestarts(0.1, steps=LONG),
    S.CosineRestarts(0.1, steps=LONG, multiplier=3),
    S.CosineRestarts(0.1, steps=3, multiplier=2),
    S.OneCycle(0.1, steps=LONG),
    S.OneCycle(0.1, steps=LONG, ascent=0.9, shape="linear"),
    S.Cyclic(0.1, maximum=0.3, up=LONG, shape="triangular2"),
    S.Cyclic(0.1, maximum=0.3, up=2, down=LONG),
    S.LinearWarmup(S.Cosine(0.1, steps=LONG), steps=LONG, start_factor=0.1),
    S.LinearWarmup(S.Cosine(0.1, steps=LONG), steps=10),
    S.Piecewise((0.1, 0.2, 0.3), boundaries=(10, LONG)),
    S.Piecewise((0.1, 0.2, 0.3), boundaries=(10, LONG), interpolate=True),
    S.Join((0.1, S.Cosine(0.2, steps=LONG), 0.3), boundaries=(10, LONG)),
    S.Product((S.Cosine(0.1, steps=LONG), S.LinearWarmup(1.0, steps=LONG))),
]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)


@every
def test_large_counts_agree_under_jit(schedule):
    jax = pytest.importorskip("jax")
    traced = jax.jit(lambda step: schedule(step))
    for step in (0, 1, 9, 10, 11, 10**6, LAST - 1, LAST):
        # Steps and their ratios are in single precision under jit.
        found = float(traced(step))
        assert found == pytest.approx(schedule(step), rel=1e-5, abs=1e-9)


@every
def test_boundaries_beyond_32_bits_are_kept_with_64(schedule):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        traced = jax.jit(lambda step: schedule(step))
        for step in (LAST, 2**31, LONG - 1, LONG, LONG + 1, 3 * LONG):
            assert float(traced(step)) == pytest.approx(schedule(step), rel=1e-9, abs=1e-12)


def test_every_restart_counts():
    # The length of a period doubles for ever, also after 2**31 steps.
    rate = S.CosineRestarts(1.0, steps=1, multiplier=2)
    for n in (10, 31, 35, 60):
        start, length = 2**n - 1, 2**n
        assert rate(start) == 1.0
        assert rate(start + length // 2) == pytest.approx(0.5)


@every
def test_a_rule_under_jit_takes_large_counts(schedule):
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones(2)
    rule = fl.SGD(schedule)
    step = jax.jit(lambda x, s: rule.update(params=x, grads=x, state=s))
    found, _ = step(x, rule.init(x))
    np.testing.assert_allclose(found, 1 - schedule(0), rtol=1e-6)


# -- no number -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "error", "words"),
    [
        (S.Exponential(1e-6, decay=1.5), ValueError, r"since Exponential\(.*\) fails: .*range"),
        (lambda step: 1 / (step - 1751), ValueError, "since .* fails: division by zero"),
        (lambda step: math.inf, ValueError, r"is inf, expected a finite number in \[0, inf\)"),
        (lambda step: math.nan, ValueError, "is nan, expected a finite number"),
        (lambda step: -1.0, ValueError, r"is -1.0, expected a finite number in \[0, inf\)"),
        (lambda step: "0.1", TypeError, "is '0.1', expected a number"),
        (lambda step: None, TypeError, "is None, expected a number"),
    ],
)
def test_a_schedule_without_a_number_is_named(schedule, error, words):
    x = np.ones(1)
    opt = fl.Optimizer(x, fl.SGD(lambda step: 0.0 if step < 1751 else schedule(step)))
    for _ in range(1751):
        opt.step(np.ones(1))
    with pytest.raises(error, match=r"^SGD\(learning_rate=\) at step 1751: is ") as caught:
        fl.SGD(schedule).at(1751)
    assert caught.match(words)
    with pytest.raises(error, match=r"^SGD\(learning_rate=\) at step 1751: is "):
        opt.step(np.ones(1))
    assert (x[0], opt.step_count) == (1.0, 1751)
    with pytest.raises(error, match=r"^Adam\(beta1=\) at step 1751: is "):
        fl.Adam(beta1=schedule).at(1751)
