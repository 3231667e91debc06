"""Schedules against torch, optax and the formulas of papers."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.schedules import (
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Join,
    LinearWarmup,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Step,
)
from tests.helpers import schedule_values

WARMED = LinearWarmup(0.3, steps=20, start_factor=0.1)
WARM = {"start_factor": 0.1, "total_iters": 20}
TORCH = {
    "StepLR": (Step(0.3, every=30), lambda t, o: t.StepLR(o, 30)),
    "StepLR-odd": (Step(0.3, every=7, factor=0.8), lambda t, o: t.StepLR(o, 7, gamma=0.8)),
    "MultiStepLR": (
        MultiStep(0.3, milestones=(1, 30, 80), factor=0.3),
        lambda t, o: t.MultiStepLR(o, [1, 30, 80], gamma=0.3),
    ),
    "ConstantLR": (
        Piecewise((0.1, 0.3), boundaries=(5,)),
        lambda t, o: t.ConstantLR(o, factor=1 / 3, total_iters=5),
    ),
    "LinearLR": (LinearWarmup(0.3, steps=5), lambda t, o: t.LinearLR(o)),
    "LinearLR-small": (
        LinearWarmup(0.3, steps=90, start_factor=1e-4),
        lambda t, o: t.LinearLR(o, start_factor=1e-4, total_iters=90),
    ),
    "ExponentialLR": (Exponential(0.3, decay=0.97), lambda t, o: t.ExponentialLR(o, 0.97)),
    "PolynomialLR": (Polynomial(0.3, steps=150), lambda t, o: t.PolynomialLR(o, 150)),
    "PolynomialLR-power": (
        Polynomial(0.3, steps=150, power=2.3),
        lambda t, o: t.PolynomialLR(o, 150, power=2.3),
    ),
    "CosineAnnealingLR": (Cosine(0.3, steps=199), lambda t, o: t.CosineAnnealingLR(o, 199)),
    "CosineAnnealingLR-min": (
        Cosine(0.3, steps=240, final=0.01),
        lambda t, o: t.CosineAnnealingLR(o, 240, eta_min=0.01),
    ),
    "CosineAnnealingWarmRestarts": (
        CosineRestarts(0.3, steps=13),
        lambda t, o: t.CosineAnnealingWarmRestarts(o, 13),
    ),
    "CosineAnnealingWarmRestarts-mult": (
        CosineRestarts(0.3, steps=10, multiplier=3, minimum=0.02),
        lambda t, o: t.CosineAnnealingWarmRestarts(o, 10, T_mult=3, eta_min=0.02),
    ),
    "OneCycleLR": (
        OneCycle(0.3, steps=200),
        lambda t, o: t.OneCycleLR(o, 0.3, total_steps=200, cycle_momentum=False),
    ),
    "OneCycleLR-linear": (
        OneCycle(0.3, steps=211, ascent=0.41, div_factor=7, final_div_factor=9, shape="linear"),
        lambda t, o: t.OneCycleLR(
            o, 0.3, 211, pct_start=0.41, anneal_strategy="linear", cycle_momentum=False,
            div_factor=7, final_div_factor=9,
        ),
    ),
    "CyclicLR": (
        Cyclic(0.02, maximum=0.3, up=20),
        lambda t, o: t.CyclicLR(o, 0.02, 0.3, step_size_up=20, cycle_momentum=False),
    ),
    "CyclicLR-2": (
        Cyclic(0.02, maximum=0.3, up=17, down=8, shape="triangular2"),
        lambda t, o: t.CyclicLR(
            o, 0.02, 0.3, step_size_up=17, step_size_down=8, mode="triangular2",
            cycle_momentum=False,
        ),
    ),
    "CyclicLR-exp": (
        Cyclic(0.02, maximum=0.3, up=8, down=17, shape="exp_range", decay=0.98),
        lambda t, o: t.CyclicLR(
            o, 0.02, 0.3, step_size_up=8, step_size_down=17, mode="exp_range", gamma=0.98,
            cycle_momentum=False,
        ),
    ),
    "SequentialLR": (
        Join(
            (WARMED, Cosine(0.3, steps=99), Step(0.3, every=9)),
            boundaries=(20, 100),
        ),
        lambda t, o: t.SequentialLR(
            o,
            [t.LinearLR(o, **WARM), t.CosineAnnealingLR(o, 99), t.StepLR(o, 9)],
            milestones=[20, 100],
        ),
    ),
    "SequentialLR-warmup": (
        LinearWarmup(Cosine(0.3, steps=190), steps=20, start_factor=0.1),
        lambda t, o: t.SequentialLR(
            o, [t.LinearLR(o, **WARM), t.CosineAnnealingLR(o, 190)], milestones=[20]
        ),
    ),
    "ChainedScheduler": (
        Product((Piecewise((0.1, 1.0), boundaries=(20,)), Exponential(0.3, decay=0.95))),
        lambda t, o: t.ChainedScheduler(
            [t.ConstantLR(o, factor=0.1, total_iters=20), t.ExponentialLR(o, 0.95)]
        ),
    ),
    "ChainedScheduler-warmup": (
        Product((LinearWarmup(1.0, steps=20, start_factor=0.1), Polynomial(0.3, steps=150))),
        lambda t, o: t.ChainedScheduler([t.LinearLR(o, **WARM), t.PolynomialLR(o, 150)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_values_are_torch_s(name):
    torch = pytest.importorskip("torch")
    schedule, make = TORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    theirs = []
    for _ in range(200):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(schedule_values(schedule), theirs, rtol=1e-12, atol=1e-17)


def test_after_the_end_the_final_value_stays():
    torch = pytest.importorskip("torch")
    assert Cosine(0.3, steps=50, final=0.1)(51) == 0.1
    assert OneCycle(0.3, steps=50)(51) == OneCycle(0.3, steps=50)(49)
    # torch turns round instead.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.1)
    for _ in range(100):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3)


# -- against optax and the formulas -----------------------------------------------------------

OPTAX = {
    "polynomial": (
        Join((0.3, Polynomial(0.3, steps=100, power=1.7, final=0.02)), boundaries=(30,)),
        lambda o: o.polynomial_schedule(0.3, 0.02, 1.7, 100, transition_begin=30),
    ),
    "polynomial-up": (
        Polynomial(0.01, steps=100, final=0.3),
        lambda o: o.linear_schedule(0.01, 0.3, 100),
    ),
    "exponential": (
        Exponential(0.3, decay=0.5, every=20),
        lambda o: o.exponential_decay(0.3, 20, 0.5),
    ),
    "staircase": (
        Step(0.3, every=20, factor=0.5),
        lambda o: o.exponential_decay(0.3, 20, 0.5, staircase=True),
    ),
    "piecewise": (
        Piecewise((0.3, 0.15, 0.6), boundaries=(50, 120)),
        lambda o: o.piecewise_constant_schedule(0.3, {50: 0.5, 120: 4.0}),
    ),
    "interpolated": (
        Piecewise((0.3, 0.15, 0.6), boundaries=(50, 120), interpolate=True),
        lambda o: o.piecewise_interpolate_schedule("linear", 0.3, {50: 0.5, 120: 4.0}),
    ),
    "cosine": (
        Cosine(0.3, steps=100, final=0.03),
        lambda o: o.cosine_decay_schedule(0.3, 100, alpha=0.1),
    ),
    "warmup-cosine": (
        LinearWarmup(Cosine(0.3, steps=120, final=0.06), steps=30, start_factor=0.1),
        lambda o: o.warmup_cosine_decay_schedule(0.03, 0.3, 30, 150, end_value=0.06),
    ),
    "join": (
        Join((0.2, Exponential(0.3, decay=0.9), 0.1), boundaries=(40, 90)),
        lambda o: o.join_schedules(
            [o.constant_schedule(0.2), o.exponential_decay(0.3, 1, 0.9), o.constant_schedule(0.1)],
            [40, 90],
        ),
    ),
}


@pytest.mark.parametrize("name", OPTAX)
def test_values_are_optax_s(name):
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    schedule, make = OPTAX[name]
    with jax.enable_x64(True):
        theirs = schedule_values(make(optax))
    np.testing.assert_allclose(schedule_values(schedule), theirs, rtol=1e-12)


@pytest.mark.parametrize(("width", "warmup"), [(512, 100), (64, 7), (64, 1)])
def test_inverse_sqrt_is_the_paper_s(width, warmup):
    schedule = InverseSqrt((width * warmup) ** -0.5, warmup=warmup)
    for step_num in range(1, 201):
        rate = width**-0.5 * min(step_num**-0.5, step_num * warmup**-1.5)
        assert schedule(step_num - 1) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_inverse_time_is_its_formula(power):
    schedule, plain = InverseTime(0.3, decay=0.05, power=power), InverseTime(0.3, power=power)
    for step in range(200):
        assert schedule(step) == pytest.approx(0.3 * (1 + 0.05 * step) ** -power, rel=1e-12)
        assert plain(step) == pytest.approx(0.3 / (step + 1) ** power, rel=1e-12)
