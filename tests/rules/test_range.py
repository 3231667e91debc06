"""How large finite gradients may be: as far as torch's second moments go."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline._arrays._pairs import Pair
from fallline.engine.trace import trace
from tests.cases import ours
from tests.helpers import COMPILED, same_bits

LARGEST = float(np.finfo(np.float32).max)
# A rule, and the smallest weight that it gives to a square of the gradient.
WEIGHTS = [
    (fl.Adam(0.1), 1e-3),
    (fl.Adam(0.1, amsgrad=True, eps_root=1e-8), 1e-3),
    (fl.AdamW(0.1), 1e-3),
    (fl.NAdam(0.1), 1e-3),
    (fl.RAdam(0.1, beta2=0.99), 1e-2),
    (fl.RMSprop(0.1), 1e-2),
    (fl.RMSprop(0.1, centered=True, momentum=0.9), 1e-2),
    (fl.Adadelta(100.0), 0.1),
    (fl.AdaBelief(0.1), 1e-3),
    (fl.Yogi(0.1), 1e-3),
    (fl.ScheduleFreeAdamW(0.1), 1e-3),
    (fl.LAMB(0.1), 1e-3),
    (fl.Adan(0.1), 4e-2),  # of up to twice the gradient
    (fl.Adafactor(0.1, factored=False), 0.08),  # in step 25
    (fl.Lookahead(fl.Adam(0.1), k=3), 1e-3),
]


@pytest.mark.parametrize(("rule", "weight"), WEIGHTS, ids=[repr(rule) for rule, _ in WEIGHTS])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_moment_is_finite_where_the_square_of_the_gradient_is_not(rule, weight, dtype):
    size = 0.5 * np.sqrt(LARGEST / weight)
    assert size * size > LARGEST
    x = np.ones(3, dtype)
    opt = fl.Optimizer(x, rule)
    for g in [1.0] * 24 + [size]:
        opt.step(np.full(3, g, dtype))
    for name, value in opt.state.items():
        assert np.all(np.isfinite(value)), name
    before = x.copy()
    for _ in range(20):
        opt.step(np.full(3, 0.03 * size, dtype))
    assert np.all(np.isfinite(x))
    assert np.all(np.abs(x - before) > 1e-3)


@pytest.mark.parametrize("rule", [rule for rule, _ in WEIGHTS], ids=repr)
@pytest.mark.parametrize("engine", COMPILED)
def test_engines_agree_at_the_ends_of_the_range(rule, engine):
    size = np.asarray([1e-30, 1e-19, 1e-10, 1e10, 3e19, 1e20, 5e20, 1e38], "float32")
    x, y = (np.ones((2, 8), "complex64") for _ in range(2))
    one, other = fl.Optimizer(x, rule, engine=engine), fl.Optimizer(y, rule, engine="eager")
    for turn in (1.0, 0.6 - 0.8j, -1.0):
        g = np.stack([size * turn, size * 1j]).astype("complex64")
        one.step(g)
        other.step(g)
        same_bits(x, y)


ORACLES = [
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.99)}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "centered": True}),
    ("Adadelta", {"lr": 1.0}),
]


@pytest.mark.parametrize(("name", "kwargs"), ORACLES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_after_a_spike_the_movement_is_torch_s(name, kwargs, dtype):
    torch = pytest.importorskip("torch")
    x = np.zeros(1, dtype)
    opt = fl.Optimizer(x, ours(name, kwargs), nonfinite="raise")
    theirs = torch.zeros(1, dtype=getattr(torch, dtype), requires_grad=True)
    oracle = getattr(torch.optim, name)([theirs], **kwargs)
    unit = 0.6 - 0.8j if dtype == "complex64" else 1.0
    for t, size in enumerate([1.0] * 24 + [3e19] + [1e18, 2e17] * 250):
        g = np.full(1, size * unit, dtype)
        theirs.grad = torch.tensor(g)
        opt.step(g)
        oracle.step()
        if t == 24:
            start = x.copy(), theirs.detach().numpy().copy()
    moved, expected = x - start[0], theirs.detach().numpy() - start[1]
    assert np.abs(expected) > 0.5
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_a_weighted_square_is_one_product_after_the_other():
    weight, x = np.float32(1e-3), np.asarray([3e19, -7.0, 1e-25], "float32")
    with np.errstate(under="ignore"):
        expected = (weight * x) * x
        same_bits(fl.rules.weighted_abs2(weight, x), expected)
        pair = fl.rules.weighted_abs2(weight, Pair(x, x[::-1]))
    assert pair.im is None
    with np.errstate(under="ignore"):
        same_bits(pair.re, expected + expected[::-1])
        same_bits(fl.rules.weighted_abs2(weight, Pair(x)).re, expected)
    assert "t2 = new2 * g\n  t3 = t2 * g\n" in str(trace(fl.ScheduleFreeAdamW(), "float32"))
