"""Trajectories against optax, in float64, for rules that torch has not."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import fallline as fl
from tests.helpers import load_tables

optax = pytest.importorskip("optax", reason="optax is the oracle")
jax = pytest.importorskip("jax")


def cases():
    """Return (our rule, optax's)."""
    contrib = pytest.importorskip("optax.contrib")
    yield fl.AdaBelief(0.1), optax.adabelief(0.1)
    yield fl.AdaBelief(0.1, eps=0.1), optax.adabelief(0.1, eps=0.1, eps_root=0.1)
    yield fl.Lion(0.1, weight_decay=1e-3), optax.lion(0.1)
    yield fl.Lion(0.1, beta1=0.5, weight_decay=0.3), optax.lion(0.1, b1=0.5, weight_decay=0.3)
    yield fl.SignSGD(0.1), optax.sign_sgd(0.1)
    yield fl.SignSGD(0.1, momentum=0.8), optax.signum(0.1, 0.8)
    yield fl.Yogi(0.1), optax.yogi(0.1)
    yield fl.Yogi(0.1, beta2=0.9, eps=0.1), optax.yogi(0.1, b2=0.9, eps=0.1)
    yield fl.NAdam(0.1, momentum_decay=1e9), optax.nadam(0.1)
    yield fl.Adamax(0.1), optax.adamax(0.1)
    theirs = contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.8)
    yield fl.ScheduleFreeSGD(0.1, beta1=0.8), theirs
    theirs = contrib.schedule_free_adamw(0.1, b1=0.8, weight_decay=0.2)
    yield fl.ScheduleFreeAdamW(0.1, beta1=0.8, weight_decay=0.2), theirs
    # Its weights read the schedule at 1 first, its base at 0.
    schedule = lambda step: 0.1 * (step + 1) / (4 + step)  # noqa: E731
    theirs = contrib.schedule_free(optax.sgd(schedule), lambda step: schedule(step - 1), b1=0.8)
    yield fl.ScheduleFreeSGD(schedule, beta1=0.8), theirs
    yield fl.Adam(0.1, eps_root=1e-3), optax.adam(0.1, eps_root=1e-3)
    yield fl.Adam(0.1, beta2=0.9, eps_root=1e-8), optax.adam(0.1, b2=0.9, eps_root=1e-8)
    yield fl.AdamW(0.1, eps_root=0.1), optax.adamw(0.1, eps_root=0.1, weight_decay=1e-2)
    for start in (0.0, 1.0):
        theirs = optax.rmsprop(0.1, initial_scale=start)
        yield fl.RMSprop(0.1, rho=0.9, eps_inside_sqrt=True, initial_accumulator=start), theirs
    theirs = optax.rmsprop(0.1, initial_scale=0.5, centered=True)
    more = {"eps_inside_sqrt": True, "initial_accumulator": 0.5, "centered": True}
    yield fl.RMSprop(0.1, rho=0.9, **more), theirs
    for ours, other in ((fl.Adam, optax.adam), (fl.AdamW, optax.adamw)):
        more = {} if ours is fl.Adam else {"weight_decay": 1e-4}
        yield ours(0.1, **more), other(0.1)


CASES = list(cases())


@pytest.mark.parametrize(("rule", "theirs"), CASES, ids=[repr(rule) for rule, _ in CASES])
def test_points_are_optax_s(rule, theirs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))
    opt = fl.Optimizer(x, rule)
    if isinstance(rule, fl.Yogi):
        opt.state["m"] = np.full(x.shape, 1e-6)  # where optax starts it
    with jax.enable_x64(True):
        y = jax.numpy.array(x, copy=True)
        state = theirs.init(y)
        for t in range(25):
            g = rng.standard_normal((3, 4)) * 10.0 ** (t % 5 - 2)
            opt.step(g)
            updates, state = theirs.update(jax.numpy.asarray(g), state, y)
            y = optax.apply_updates(y, updates)
            np.testing.assert_allclose(x, np.asarray(y), rtol=1e-10, atol=1e-12)


RENAMED = {
    "b1": "beta1", "b2": "beta2", "b3": "beta3", "decay": "rho", "eps_in_sqrt": "eps_inside_sqrt",
    "initial_accumulator_value": "initial_accumulator", "decay_rate": "beta2_decay",
    "clipping_threshold": "threshold", "beta": "momentum", "eta_minus": "shrink",
    "eta_plus": "grow", "min_step_size": "minimum", "max_step_size": "maximum",
    "ns_steps": "iterations", "ns_coeffs": "coefficients", "initial_scale": "initial_accumulator",
}  # fmt: skip
FUNCTIONS = {
    "SignSGD": optax.sign_sgd, "ScheduleFreeSGD": optax.contrib.schedule_free_sgd,
    "ScheduleFreeAdamW": optax.contrib.schedule_free_adamw, "Muon": optax.contrib.muon,
}  # fmt: skip


def test_recorded_defaults_are_optax_s():
    recorded = {name: row[0] for name, row in load_tables().OTHERS.items() if row[0]}
    for name, row in recorded.items():
        function = FUNCTIONS.get(name) or getattr(optax, name.lower())
        theirs = {
            RENAMED.get(key, key): parameter.default
            for key, parameter in inspect.signature(function).parameters.items()
        }
        if name == "Adafactor":
            theirs["eps1"] = theirs.pop("eps")
        for field, value in theirs.items():
            if field in row and value is not None:
                assert row[field] in (value, "required"), (name, field)
        required = theirs["learning_rate"] is inspect.Parameter.empty
        assert required == (row.get("learning_rate", "required") == "required"), name
