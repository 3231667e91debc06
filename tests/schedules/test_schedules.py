"""Schedules against torch's, optax's and their formulas; what all of them have in common."""

from __future__ import annotations

import copy
import dataclasses
import json
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
    InverseSqrt,
    InverseTime,
    Join,
    LinearWarmup,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Step,
)
from tests.cases import SCHEDULES, halved

FROZEN = [schedule for schedule in SCHEDULES if not isinstance(schedule, ReduceOnPlateau)]
PLATEAUS = [schedule for schedule in SCHEDULES if isinstance(schedule, ReduceOnPlateau)]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
frozen = pytest.mark.parametrize("schedule", FROZEN, ids=str)


def values(schedule, steps=200):
    return np.asarray([schedule(step) for step in range(steps)])


# -- what all have in common ----------------------------------------------------------------


def test_table_covers_every_public_schedule():
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

    host = values(schedule, 301)
    device = np.asarray([traced(step) for step in range(301)])
    assert count == 1
    np.testing.assert_allclose(device, host, rtol=1e-6, atol=1e-6 * host.max())


GROWING = [s for s in FROZEN if isinstance(s, Exponential) and s.decay > 1]


@pytest.mark.parametrize("step", [2**30, 2**31 - 2])
@pytest.mark.parametrize("schedule", [s for s in FROZEN if s not in GROWING], ids=str)
def test_late_steps_under_jit(schedule, step):
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


# -- against torch ----------------------------------------------------------------------------

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
def test_as_torch(name):
    torch = pytest.importorskip("torch")
    schedule, make = TORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    theirs = []
    for _ in range(200):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(values(schedule), theirs, rtol=1e-12, atol=1e-17)


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


SETTINGS = [
    {},
    {"patience": 3, "cooldown": 4, "factor": 0.5},
    {"patience": 0, "threshold": 0.05, "minimum": 1e-3},
    {"patience": 2, "threshold": 0.02, "threshold_mode": "abs", "eps": 1e-3},
    {"mode": "max", "patience": 1, "cooldown": 1, "factor": 0.7},
    {"mode": "max", "patience": 2, "threshold": 0.02, "threshold_mode": "abs"},
    {"mode": "max", "patience": 2, "threshold": 0.1, "minimum": 0.05, "factor": 0.6},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_as_torch(settings, sign):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    t = np.arange(200)
    up = -1 if settings.get("mode") == "max" else 1
    metrics = up * sign * (up * sign + np.exp(-t / 30) + 0.05 * rng.standard_normal(200))
    metrics[50:53] = math.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    kwargs = {"min_lr" if key == "minimum" else key: x for key, x in settings.items()}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **kwargs)
    ours = ReduceOnPlateau(0.3, **settings)
    theirs = []
    for i, metric in enumerate(metrics):
        if i == 77:  # half way, into another object
            saved = json.loads(json.dumps(ours.state_dict()))
            ours = ReduceOnPlateau(0.3, **settings)
            ours.load_state_dict(saved)
        optimizer.step()
        scheduler.step(metric)
        theirs.append(optimizer.param_groups[0]["lr"])
        value = ours.update(np.asarray(metric))
        assert value == ours(i) == ours.value
        assert value == pytest.approx(theirs[-1], rel=1e-12)
        assert ours.best == scheduler.best
        assert ours.bad == scheduler.num_bad_epochs
        assert ours.waiting == scheduler.cooldown_counter
    assert len(set(theirs)) > 2


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
def test_as_optax(name):
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    schedule, make = OPTAX[name]
    with jax.enable_x64(True):
        theirs = values(make(optax))
    np.testing.assert_allclose(values(schedule), theirs, rtol=1e-12)


@pytest.mark.parametrize(("width", "warmup"), [(512, 100), (64, 7), (64, 1)])
def test_inverse_sqrt_as_in_the_paper(width, warmup):
    schedule = InverseSqrt((width * warmup) ** -0.5, warmup=warmup)
    for step_num in range(1, 201):
        rate = width**-0.5 * min(step_num**-0.5, step_num * warmup**-1.5)
        assert schedule(step_num - 1) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_inverse_time_as_its_formula(power):
    schedule, plain = InverseTime(0.3, decay=0.05, power=power), InverseTime(0.3, power=power)
    for step in range(200):
        assert schedule(step) == pytest.approx(0.3 * (1 + 0.05 * step) ** -power, rel=1e-12)
        assert plain(step) == pytest.approx(0.3 / (step + 1) ** power, rel=1e-12)


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


# -- the schedule with a memory ---------------------------------------------------------------


@pytest.mark.parametrize("plateau", PLATEAUS, ids=str)
def test_plateaus_are_objects(plateau):
    plateau = copy.deepcopy(plateau)
    plateau.update(1.0)
    plateau.update(1.0)
    for twin in (pickle.loads(pickle.dumps(plateau)), copy.deepcopy(plateau)):
        assert twin != plateau
        assert hash(twin) != hash(plateau)
        assert vars(twin) == vars(plateau)
        assert repr(twin) == repr(plateau)
    again = eval(repr(plateau), vars(schedules))
    assert repr(again) == repr(plateau)
    assert again.value == plateau.initial
    again.load_state_dict(plateau.state_dict())
    assert vars(again) == vars(plateau)


def test_a_plateau_drives_a_rule():
    x = np.zeros(1)
    plateau = ReduceOnPlateau(1.0, factor=0.5, patience=0)
    opt = fl.Optimizer(x, fl.GradientDescent(plateau))
    for metric in (3.0, 3.0, 2.0):
        opt.step(-np.ones(1))
        plateau.update(metric)
    assert x[0] == 2.5
    assert fl.GradientDescent(plateau) == fl.GradientDescent(plateau)


def test_a_plateau_refuses_another_state():
    with pytest.raises(ValueError, match=r"state_dict: entries is \['best'\], expected"):
        ReduceOnPlateau(1.0).load_state_dict({"best": 1.0})


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Constant(-1.0), ValueError, r"Constant\(value=\): is -1.0"),
        (lambda: Constant("x"), TypeError, r"Constant\(value=\): is 'x', expected a number"),
        (lambda: Step(math.nan, every=1), ValueError, r"Step\(initial=\)"),
        (lambda: Step(0.1, every=0), ValueError, r"Step\(every=\): is 0, .* >= 1"),
        (lambda: Step(0.1, every=1.5), TypeError, r"Step\(every=\): is 1.5, .* integer >= 1"),
        (lambda: Step(0.1, every=True), TypeError, r"Step\(every=\)"),
        (lambda: Step(0.1, every=1, factor=0), ValueError, r"Step\(factor=\)"),
        (lambda: Step(0.1, 30), TypeError, "positional"),
        (lambda: MultiStep(0.1, milestones=3), TypeError, r"MultiStep\(milestones=\).* sequence"),
        (lambda: MultiStep(0.1, milestones=(3, 3)), ValueError, r"\(milestones=\).* increasing"),
        (lambda: MultiStep(0.1, milestones=(0, 3)), ValueError, r"\(milestones=\).* above 0"),
        (lambda: MultiStep(0.1, milestones=(1.0,)), TypeError, r"\(milestones=\).* integer"),
        (lambda: MultiStep(0.1, milestones=(1,), factor=-1), ValueError, r"MultiStep\(factor=\)"),
        (lambda: Exponential(0.1, decay=0.0), ValueError, r"Exponential\(decay=\)"),
        (lambda: Exponential(0.1, decay=1, every=0), ValueError, r"Exponential\(every=\)"),
        (lambda: InverseTime(0.1, decay=-1), ValueError, r"InverseTime\(decay=\)"),
        (lambda: InverseTime(0.1, power=math.inf), ValueError, r"InverseTime\(power=\)"),
        (lambda: InverseSqrt(-0.1, warmup=1), ValueError, r"InverseSqrt\(maximum=\)"),
        (lambda: InverseSqrt(0.1, warmup=0), ValueError, r"InverseSqrt\(warmup=\)"),
        (lambda: Polynomial(0.1, steps=0), ValueError, r"Polynomial\(steps=\)"),
        (lambda: Polynomial(0.1, steps=1, power=0), ValueError, r"Polynomial\(power=\)"),
        (lambda: Polynomial(0.1, steps=1, final=-1), ValueError, r"Polynomial\(final=\)"),
        (lambda: Cosine(0.1, steps=-1), ValueError, r"Cosine\(steps=\)"),
        (lambda: Cosine(0.1, steps=1, final=None), TypeError, r"Cosine\(final=\)"),
        (lambda: CosineRestarts(0.1, steps=0), ValueError, r"CosineRestarts\(steps=\)"),
        (lambda: CosineRestarts(0.1, steps=1, multiplier=1.5), TypeError, r"\(multiplier=\)"),
        (lambda: CosineRestarts(0.1, steps=1, minimum=0.2), ValueError, r"minimum=.*\[0, 0.1\]"),
        (lambda: OneCycle(0.1, steps=100, ascent=1.0), ValueError, r"OneCycle\(ascent=\)"),
        (
            lambda: OneCycle(0.1, steps=3),
            ValueError,
            r"OneCycle\(ascent=\): is 0.3, .* one of 3 steps",
        ),
        (lambda: OneCycle(0.1, steps=9, div_factor=0), ValueError, r"OneCycle\(div_factor=\)"),
        (lambda: OneCycle(0.1, steps=9, shape="cos"), ValueError, r"OneCycle\(shape=\).*'cosine'"),
        (lambda: Cyclic(0.1, maximum=0.05), ValueError, r"Cyclic\(maximum=\).*\[0.1, inf\)"),
        (lambda: Cyclic(0.1, maximum=1, down=0), ValueError, r"Cyclic\(down=\)"),
        (lambda: Cyclic(0.1, maximum=1, decay=1.1), ValueError, r"Cyclic\(decay=\)"),
        (lambda: Cyclic(0.1, maximum=1, shape="x"), ValueError, r"Cyclic\(shape=\) 'x'"),
        (lambda: LinearWarmup("x", steps=1), TypeError, r"LinearWarmup\(schedule=\).* schedule"),
        (lambda: LinearWarmup(0.1, steps=0), ValueError, r"LinearWarmup\(steps=\)"),
        (lambda: LinearWarmup(0.1, steps=1, start_factor=2), ValueError, r"\(start_factor=\)"),
        (lambda: Piecewise((1, halved), boundaries=(1,)), TypeError, r"Piecewise\(values=\)"),
        (
            lambda: Piecewise((1, 2), boundaries=()),
            ValueError,
            r"values=\): length is 2, .* 1",
        ),
        (lambda: Piecewise("12", boundaries=(1,)), TypeError, r"Piecewise\(values=\).* sequence"),
        (lambda: Piecewise((1,), boundaries=(), interpolate=1), TypeError, r"\(interpolate=\)"),
        (lambda: Join((1, -1), boundaries=(1,)), ValueError, r"Join\(schedules=\): is -1.0"),
        (lambda: Join((1, 1), boundaries=(1, 2)), ValueError, r"Join\(schedules=\): length"),
        (lambda: Join((1, 1, 1), boundaries=(2, 1)), ValueError, r"Join\(boundaries=\)"),
        (lambda: Product(()), ValueError, r"Product\(factors=\)"),
        (lambda: Product(halved), TypeError, r"Product\(factors=\)"),
        (lambda: ReduceOnPlateau(-1), ValueError, r"ReduceOnPlateau\(initial=\)"),
        (lambda: ReduceOnPlateau(1, mode="low"), ValueError, r"ReduceOnPlateau\(mode=\)"),
        (lambda: ReduceOnPlateau(1, threshold_mode=""), ValueError, r"\(threshold_mode=\)"),
        (lambda: ReduceOnPlateau(1, factor=1.0), ValueError, r"ReduceOnPlateau\(factor=\)"),
        (lambda: ReduceOnPlateau(1, patience=-1), ValueError, r"ReduceOnPlateau\(patience=\)"),
        (lambda: ReduceOnPlateau(1, cooldown=0.5), TypeError, r"ReduceOnPlateau\(cooldown=\)"),
        (lambda: ReduceOnPlateau(1, minimum=-1), ValueError, r"ReduceOnPlateau\(minimum=\)"),
        (lambda: ReduceOnPlateau(1, eps=-1), ValueError, r"ReduceOnPlateau\(eps=\)"),
        (lambda: ReduceOnPlateau(1, threshold=-1), ValueError, r"ReduceOnPlateau\(threshold=\)"),
    ],
)
def test_mistakes(make, error, words):
    with pytest.raises(error, match=words):
        make()
