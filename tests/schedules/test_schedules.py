"""What all schedules have in common, on the host and under jit."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import schedules
from fallline.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    Join,
    LinearWarmup,
    OneCycle,
    Piecewise,
    Polynomial,
    ReduceOnPlateau,
    Step,
)
from tests.cases import SCHEDULES, halved
from tests.helpers import schedule_values

FROZEN = [schedule for schedule in SCHEDULES if not isinstance(schedule, ReduceOnPlateau)]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
frozen = pytest.mark.parametrize("schedule", FROZEN, ids=str)


def test_the_table_covers_every_public_schedule():
    assert {type(row).__name__ for row in SCHEDULES} == set(schedules.__all__) - {"Schedule"}


@every
def test_values_are_finite_floats(schedule):
    for step in range(301):
        value = schedule(step)
        assert type(value) is float
        assert math.isfinite(value)
        assert value >= 0
        assert value == schedule(step) == schedule(np.int64(step))
    assert type(schedule(np.int64(3))) is float


@frozen
def test_schedules_are_values(schedule):
    twin = eval(repr(schedule), {**vars(schedules), "halved": halved}) if plain(schedule) else None
    for other in (twin, pickle.loads(pickle.dumps(schedule)), dataclasses.replace(schedule)):
        if other is not None:
            assert other == schedule
            assert hash(other) == hash(schedule)
            assert repr(other) == repr(schedule)
    assert schedule not in [other for other in FROZEN if other is not schedule]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 0.5)


def plain(schedule):
    """Tell whether a schedule holds no function, whose printed form is no call."""
    return "<function" not in repr(schedule)


def test_the_printed_form_leaves_defaults_out():
    assert repr(Exponential(1, decay=0.5)) == "Exponential(initial=1.0, decay=0.5)"
    assert repr(Step(1, every=3, factor=0.1)) == "Step(initial=1.0, every=3)"
    assert repr(ReduceOnPlateau(1, patience=2)) == "ReduceOnPlateau(initial=1.0, patience=2)"


@frozen
def test_traced_steps_agree_with_host(schedule):
    jax = pytest.importorskip("jax")
    count = 0

    @jax.jit
    def traced(step):
        nonlocal count
        count += 1
        return schedule(step)

    host = schedule_values(schedule, 301)
    device = np.asarray([traced(step) for step in range(301)])
    assert count == 1
    np.testing.assert_allclose(device, host, rtol=1e-6, atol=1e-6 * host.max())


GROWING = [s for s in FROZEN if isinstance(s, Exponential) and s.decay > 1]


@pytest.mark.parametrize("step", [2**30, 2**31 - 2])
@pytest.mark.parametrize("schedule", [s for s in FROZEN if s not in GROWING], ids=str)
def test_late_steps_agree_under_jit(schedule, step):
    jax = pytest.importorskip("jax")
    assert np.isfinite(np.asarray(jax.jit(lambda step: schedule(step))(step)))


@pytest.mark.parametrize(
    "schedule", [Exponential(1, decay=0.9999), Step(1, every=1, factor=1.0002)]
)
def test_a_factor_near_one_keeps_its_digits_under_jit(schedule):
    jax = pytest.importorskip("jax")
    traced = jax.jit(lambda step: schedule(step))
    assert float(traced(10_000)) == pytest.approx(schedule(10_000), rel=1e-6)


@pytest.mark.parametrize("multiplier", [2, 3])
def test_restarts_are_exact_at_late_steps_too(multiplier):
    jax = pytest.importorskip("jax")
    schedule = CosineRestarts(1.0, steps=10, multiplier=multiplier)
    traced = jax.jit(lambda step: schedule(step))
    start, length = 0, 10
    while start + length < 2**31:
        start, length = start + length, length * multiplier
        for f in (schedule, traced):
            assert f(start) == 1.0
            assert f(start - 1) < 0.1


def test_a_rule_under_jit_follows_schedules():
    jax = pytest.importorskip("jax")
    rate = LinearWarmup(Cosine(0.1, steps=20), steps=5, start_factor=0.1)
    rule = fl.AdamW(rate, beta1=Piecewise((0.9, 0.8), boundaries=(7,)), weight_decay=Constant(0.1))
    step = jax.jit(lambda x, state: rule.update(params=x, grads=x, state=state))
    x = jax.numpy.ones(3)
    y = np.ones(3, "float32")
    state, opt = rule.init(x), fl.Optimizer(y, rule)
    for t in range(30):
        assert opt.rule.hyperparameters(t)["learning_rate"] == rate(t)
        x, state = step(x, state)
        opt.step(y.copy())
    np.testing.assert_allclose(np.asarray(x), y, rtol=1e-5)


def test_a_schedule_drives_an_optimizer():
    x, y = np.ones(3), np.ones(3)
    rate = Step(0.5, every=2)
    opt = fl.Optimizer(x, fl.GradientDescent(rate))
    for t in range(5):
        opt.step(np.ones(3))
        y -= rate(t)
    np.testing.assert_allclose(x, y, rtol=1e-14)


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        (Cosine(0.1, steps=7, final=0.3), {0: 0.1, 7: 0.3}),
        (Polynomial(0.1, steps=7, final=0.3), {0: 0.1, 7: 0.3}),
        (CosineRestarts(0.1, steps=7, minimum=0.03), {0: 0.1, 7: 0.1}),
        (Cyclic(0.03, maximum=0.1, up=7), {0: 0.03, 7: 0.1, 14: 0.03}),
        (OneCycle(0.1, steps=70), {0: 0.1 / 25, 20: 0.1, 69: 0.1 / 25 / 1e4}),
        (LinearWarmup(0.1, steps=7, start_factor=0.3), {0: 0.3 * 0.1, 7: 0.1}),
        (Piecewise((0.1, 0.3), boundaries=(7,), interpolate=True), {0: 0.1, 7: 0.3}),
    ],
    ids=str,
)
def test_ends_are_exact(schedule, ends):
    assert {step: schedule(step) for step in ends} == ends


def test_join_asks_each_schedule_for_its_own_steps_only():
    asked = [[], []]

    def noted(i):
        return lambda step: asked[i].append(step) or 0.1

    schedule = Join((noted(0), noted(1)), boundaries=(3,))
    assert schedule.schedules[0](0) == 0.1
    for step in range(8):
        schedule(step)
    assert set(asked[0]) == {0, 1, 2}
    assert set(asked[1]) == {0, 1, 2, 3, 4}
