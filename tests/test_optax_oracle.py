"""Trajectories against optax, in float64, for rules that torch has not."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

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
    theirs = contrib.schedule_free(optax.sgd(0.1), 0.1, b1=0.8)
    yield fl.ScheduleFreeSGD(0.1, beta1=0.8), theirs
    theirs = contrib.schedule_free_adamw(0.1, b1=0.8, weight_decay=0.2)
    yield fl.ScheduleFreeAdamW(0.1, beta1=0.8, weight_decay=0.2), theirs
    for ours, other in ((fl.Adam, optax.adam), (fl.AdamW, optax.adamw)):
        more = {} if ours is fl.Adam else {"weight_decay": 1e-4}
        yield ours(0.1, **more), other(0.1)


CASES = list(cases())


@pytest.mark.parametrize(("rule", "theirs"), CASES, ids=[repr(rule) for rule, _ in CASES])
def test_trajectory(rule, theirs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))
    opt = fl.Optimizer(x, rule)
    with jax.enable_x64(True):
        y = jax.numpy.array(x, copy=True)
        state = theirs.init(y)
        for t in range(25):
            g = rng.standard_normal((3, 4)) * 10.0 ** (t % 5 - 2)
            opt.step(g)
            updates, state = theirs.update(jax.numpy.asarray(g), state, y)
            y = optax.apply_updates(y, updates)
            np.testing.assert_allclose(x, np.asarray(y), rtol=1e-10, atol=1e-12)
