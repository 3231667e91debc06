"""The recurrences of keras, and the RMSprop of autograd, in plain loops over floats."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.engine.trace import trace

STEPS = 30


def sgd(x, grad, rate, decay, momentum=0.0, nesterov=False):
    m = 0.0
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        m = momentum * m - rate(t) * g
        x += momentum * m - rate(t) * g if nesterov else m
        yield x


def rmsprop(x, grad, rate, decay, rho=0.8, momentum=0.0, eps=1e-3, centered=False):
    velocity = change = mean = 0.0
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        velocity = rho * velocity + (1 - rho) * g * g
        mean = rho * mean + (1 - rho) * g
        denominator = velocity - mean * mean + eps if centered else velocity + eps
        change = momentum * change + rate(t) * g / math.sqrt(denominator)
        x -= change
        yield x


def adagrad(x, grad, rate, decay, eps=1e-3, start=0.1):
    total = start
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        total += g * g
        x -= rate(t) * g / math.sqrt(total + eps)
        yield x


def adadelta(x, grad, rate, decay, rho=0.8, eps=1e-3):
    squares = changes = 0.0
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        squares = rho * squares + (1 - rho) * g * g
        change = -math.sqrt(changes + eps) * g / math.sqrt(squares + eps)
        changes = rho * changes + (1 - rho) * change * change
        x += rate(t) * change
        yield x


def adamax(x, grad, rate, decay, b1=0.8, b2=0.95):
    m = u = 0.0
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        m += (g - m) * (1 - b1)
        u = max(b2 * u, abs(g))
        x -= rate(t) * m / ((1 - b1 ** (t + 1)) * u)
        yield x


def adam(x, grad, rate, decay, b1=0.8, b2=0.95, eps=1e-3):
    m = v = 0.0
    for t in range(STEPS):
        g = grad(x)
        x -= x * decay * rate(t)
        alpha = rate(t) * math.sqrt(1 - b2 ** (t + 1)) / (1 - b1 ** (t + 1))
        m += (g - m) * (1 - b1)
        v += (g * g - v) * (1 - b2)
        x -= m * alpha / (math.sqrt(v) + eps)
        yield x


def nadam(x, grad, rate, decay, b1=0.8, b2=0.95, eps=1e-3):
    m = v = 0.0
    product = 1.0
    for t in range(1, STEPS + 1):
        g = grad(x)
        x -= x * decay * rate(t - 1)
        now, after = (b1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
        product *= now
        m += (g - m) * (1 - b1)
        v += (g * g - v) * (1 - b2)
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        x -= ahead * rate(t - 1) / (math.sqrt(v / (1 - b2**t)) + eps)
        yield x


def falling(step):
    return 0.1 * 0.95**step


def constant(step):
    return 0.1


SHRINKING = {"weight_decay": 0.3, "decoupled": True}
MOMENTS = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, **SHRINKING}
INSIDE = {"eps": 1e-3, "eps_inside_sqrt": True, **SHRINKING}
# Rates inside the momentum are compared at a constant rate only.
ROWS = [
    (sgd, falling, {}, lambda rate: fl.SGD(rate, **SHRINKING)),
    (sgd, constant, {"momentum": 0.8}, lambda rate: fl.SGD(rate, momentum=0.8, **SHRINKING)),
    (
        sgd, constant, {"momentum": 0.8, "nesterov": True},
        lambda rate: fl.SGD(rate, momentum=0.8, nesterov=True, **SHRINKING),
    ),
    (rmsprop, falling, {}, lambda rate: fl.RMSprop(rate, rho=0.8, **INSIDE)),
    (
        rmsprop, constant, {"momentum": 0.5, "centered": True},
        lambda rate: fl.RMSprop(rate, rho=0.8, momentum=0.5, centered=True, **INSIDE),
    ),
    (adagrad, falling, {}, lambda rate: fl.Adagrad(rate, initial_accumulator=0.1, **INSIDE)),
    (adadelta, falling, {}, lambda rate: fl.Adadelta(rate, rho=0.8, eps=1e-3, **SHRINKING)),
    (adamax, falling, {}, lambda rate: fl.Adamax(rate, **(MOMENTS | {"eps": 0.0}))),
    (adam, falling, {}, lambda rate: fl.Adam(rate, eps_hat=True, **MOMENTS)),
    (adam, falling, {}, lambda rate: fl.AdamW(rate, eps_hat=True, **MOMENTS)),
    (nadam, falling, {}, lambda rate: fl.NAdam(rate, momentum_decay=1.0, **MOMENTS)),
]  # fmt: skip


def slope(x):
    return x**3 - x + 0.5


def compare(rule, loops, starts=(0.7, -1.3), rtol=1e-12):
    """Step, and compare each point with those of loops for each element."""
    x = np.asarray(starts)
    opt = fl.Optimizer(x, rule)
    for expected in zip(*(loops(start) for start in starts), strict=True):
        opt.step(slope(x))
        np.testing.assert_allclose(x, expected, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize(
    ("loops", "rate", "kwargs", "make"), ROWS, ids=[repr(make(0.1)) for *_, make in ROWS]
)
def test_decoupled_decay_is_keras_s(loops, rate, kwargs, make):
    rule = make(rate if rate is falling else 0.1)
    compare(rule, lambda start: loops(start, slope, rate, 0.3, **kwargs))


def test_the_decay_of_adagrad_falls_with_its_rate():
    x, y = np.asarray([0.7]), np.asarray([0.7])
    one = fl.Optimizer(x, fl.Adagrad(0.1, learning_rate_decay=0.5, **SHRINKING))
    other = fl.Optimizer(y, fl.Adagrad(lambda step: 0.1 / (1 + 0.5 * step), **SHRINKING))
    for _ in range(5):
        one.step(slope(x))
        other.step(slope(y))
        np.testing.assert_allclose(x, y, rtol=1e-14)


@pytest.mark.parametrize("cls", [fl.SGD, fl.RMSprop, fl.Adagrad, fl.Adadelta, fl.Adamax, fl.Adam])
def test_a_decay_of_zero_is_not_there(cls):
    with_, without = (str(trace(cls(0.1, decoupled=x), "float32")) for x in (True, False))
    assert with_ == without
    assert "shrink" not in with_
    text = str(trace(cls(0.1, weight_decay=0.1, decoupled=True), "float32"))
    assert "t1 = shrink * p\n" in text
    assert "weight_decay" not in text


# -- where the second moment starts ----------------------------------------------------------------


def autograd_rmsprop(x, grad, step_size=0.1, gamma=0.9, eps=1e-8):
    average = 1.0
    for _ in range(STEPS):
        g = grad(x)
        average = average * gamma + g * g * (1 - gamma)
        x -= step_size * g / (math.sqrt(average) + eps)
        yield x


def test_rmsprop_that_starts_at_one_is_autograd_s():
    rule = fl.RMSprop(0.1, rho=0.9, initial_accumulator=1.0)
    compare(rule, lambda start: autograd_rmsprop(start, slope))
    z = np.zeros(2, complex)
    parts = fl.RMSprop(initial_accumulator=2.0, complex_moment="components")
    np.testing.assert_array_equal(fl.Optimizer(z, parts).state["v"], 2 + 2j)
    later = fl.RMSprop(initial_accumulator=lambda step: 3.0 + step)
    np.testing.assert_array_equal(fl.Optimizer(z, later).state["v"], 3.0)


# -- FTRL ------------------------------------------------------------------------------------------


def ftrl(x, grad, rate=0.3, power=-0.5, start=0.1, l1=0.0, l2=0.0, shrinkage=0.0, beta=0.0):
    # The parameter is made anew from the sum in each step, so that it has to start at 0.
    assert x == 0
    n, linear = start, 0.0
    for _ in range(STEPS):
        g = grad(x)
        new = n + g * g
        linear += g + 2 * shrinkage * x - (new**-power - n**-power) / rate * x
        quadratic = new**-power / rate + 2 * (l2 + beta / (2 * rate))
        x = (min(max(linear, -l1), l1) - linear) / quadratic
        n = new
        yield x


@pytest.mark.parametrize("power", [-0.5, 0.0, -0.3, -1.0])
@pytest.mark.parametrize("start", [0.1, 2.0])
@pytest.mark.parametrize(
    "more",
    [{}, {"l1": 0.2}, {"l2": 0.3}, {"l1": 0.2, "l2": 0.1, "shrinkage": 0.2, "beta": 0.5}],
    ids=str,
)
def test_ftrl_is_keras_s(power, start, more):
    # keras counts both strengths of L2 double.
    fields = {
        "l1": more.get("l1", 0.0),
        "l2": 2 * more.get("l2", 0.0),
        "l2_shrinkage": 2 * more.get("shrinkage", 0.0),
        "beta": more.get("beta", 0.0),
    }
    rule = fl.FTRL(0.3, learning_rate_power=power, initial_accumulator=start, **fields)
    loops = lambda x: ftrl(x, slope, power=power, start=start, **more)  # noqa: E731
    compare(rule, loops, starts=(0.0, 0.0), rtol=1e-10)


def test_ftrl_of_another_power_runs_eagerly():
    params = {"real": np.ones(3), "complex": np.ones(2, complex)}
    rule = fl.FTRL(0.1, learning_rate_power=-0.7)
    opt = fl.Optimizer(params, rule)
    assert opt.engine == "eager"
    opt.step({"real": np.full(3, 2.0), "complex": np.full(2, 1.2 - 1.6j)})
    length = 0.1 / (1 + 4**0.7)
    np.testing.assert_allclose(params["real"], 1 - 2 * length, rtol=1e-14)
    np.testing.assert_allclose(params["complex"], 1 - (1.2 - 1.6j) * length, rtol=1e-14)
    with pytest.raises(TypeError, match=r"xp\.pow cannot be traced"):
        fl.Optimizer(np.ones(3), rule, engine="blocked")
    assert fl.Optimizer(np.ones(3), fl.FTRL(0.1)).engine != "eager"


def test_the_power_of_ftrl_may_be_a_schedule():
    x, y = np.ones(3), np.ones(3)
    one = fl.Optimizer(x, fl.FTRL(0.1, learning_rate_power=lambda step: -0.3 - 0.2 * step))
    other = fl.Optimizer(y, fl.FTRL(0.1, learning_rate_power=-0.3))
    one.step(np.full(3, 2.0))
    other.step(np.full(3, 2.0))
    np.testing.assert_array_equal(x, y)
    other.rule = fl.FTRL(0.1)
    one.step(np.full(3, 2.0))
    other.step(np.full(3, 2.0))
    np.testing.assert_allclose(x, y, rtol=1e-15)


@pytest.mark.parametrize(
    "bad",
    [{"learning_rate_power": 0.1}, {"learning_rate_power": float("-inf")}, {"l2_shrinkage": -1.0},
     {"initial_accumulator": -0.1}],
    ids=str,
)  # fmt: skip
def test_ftrl_refuses_what_it_has_no_formula_for(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"FTRL\({name}=\):? is .*, expected a finite number in"):
        fl.FTRL(**bad)
