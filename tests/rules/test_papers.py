"""The papers' algorithms in plain loops over floats, written apart from the package."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl


def gradient_descent(x, grad, rate=0.05):
    for _ in range(30):
        x -= rate * grad(x)
        yield x


def heavy_ball(x, grad, rate=0.05, momentum=0.8):
    velocity = 0.0
    for _ in range(30):
        velocity = momentum * velocity - rate * grad(x)
        x += velocity
        yield x


def nesterov(x, grad, rate=0.05, momentum=0.8):
    # Sutskever et al. 2013, equations 3 and 4; yields theta + momentum * velocity, the point
    # where the gradient is taken, which is the parameter of the common reformulation.
    theta, velocity = x, 0.0
    for _ in range(30):
        velocity = momentum * velocity - rate * grad(theta + momentum * velocity)
        theta += velocity
        yield theta + momentum * velocity


def adagrad(x, grad, rate=0.3, eps=1e-3):
    total = 0.0
    for _ in range(30):
        g = grad(x)
        total += g**2
        x -= rate * g / (math.sqrt(total) + eps)
        yield x


def adadelta(x, grad, rho=0.8, eps=1e-3):
    average_g = average_x = 0.0
    for _ in range(30):
        g = grad(x)
        average_g = rho * average_g + (1 - rho) * g**2
        change = -math.sqrt(average_x + eps) / math.sqrt(average_g + eps) * g
        average_x = rho * average_x + (1 - rho) * change**2
        x += change
        yield x


def rmsprop_graves(x, grad, rate=0.05, rho=0.8, momentum=0.5, eps=1e-3):
    # Graves 2013, equations 38 to 41, with epsilon inside the root.
    n = mean = change = 0.0
    for _ in range(30):
        g = grad(x)
        n = rho * n + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        change = momentum * change - rate * g / math.sqrt(n - mean**2 + eps)
        x += change
        yield x


def adam(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3):
    m = v = 0.0
    for t in range(1, 31):
        g = grad(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        x -= rate * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
        yield x


def amsgrad(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3):
    m = v = largest = 0.0
    for t in range(1, 31):
        g = grad(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = max(largest, v)
        x -= rate * (m / (1 - b1**t)) / (math.sqrt(largest / (1 - b2**t)) + eps)
        yield x


def adamw(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3, decay=0.1):
    m = v = 0.0
    for t in range(1, 31):
        g = grad(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        step = (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
        x -= rate * (step + decay * x)
        yield x


def adabelief(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3):
    # Zhuang et al. 2020, algorithm 2, with the epsilon of its code also in s.
    m = s = 0.0
    for t in range(1, 31):
        g = grad(x)
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps
        x -= rate * (m / (1 - b1**t)) / (math.sqrt(s / (1 - b2**t)) + eps)
        yield x


def yogi(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3, start=0.1):
    # Zaheer et al. 2018, algorithm 2, with Adam's corrections.
    m, v = 0.0, start
    for t in range(1, 31):
        g = grad(x)
        m = b1 * m + (1 - b1) * g
        v -= (1 - b2) * math.copysign(1, v - g * g) * g * g if v != g * g else 0.0
        x -= rate * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
        yield x


def lion(x, grad, rate=0.05, b1=0.8, b2=0.95, decay=0.1):
    # Chen et al. 2023, program 1.
    m = 0.0
    for _ in range(30):
        g = grad(x)
        update = b1 * m + (1 - b1) * g
        m = b2 * m + (1 - b2) * g
        x -= rate * ((update > 0) - (update < 0) + decay * x)
        yield x


def signum(x, grad, rate=0.05, momentum=0.8):
    # Bernstein et al. 2018, algorithm 2.
    m = 0.0
    for _ in range(30):
        m = momentum * m + (1 - momentum) * grad(x)
        x -= rate * ((m > 0) - (m < 0))
        yield x


def adan(x, grad, rate=0.05, b1=0.2, b2=0.1, b3=0.05, eps=1e-3, decay=0.1):
    # Xie et al. 2022, algorithm 1; its betas are one minus ours. Bias corrections as in its code.
    m = v = n = 0.0
    last = None
    for t in range(1, 31):
        g = grad(x)
        change = 0.0 if last is None else g - last
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * change
        n = (1 - b3) * n + b3 * (g + (1 - b2) * change) ** 2
        size = rate / (math.sqrt(n / (1 - (1 - b3) ** t)) + eps)
        step = m / (1 - (1 - b1) ** t) + (1 - b2) * v / (1 - (1 - b2) ** t)
        x = (x - size * step) / (1 + rate * decay)
        last = g
        yield x


def ftrl(x, grad, alpha=0.3, beta=0.5, l1=0.2, l2=0.1):
    # McMahan et al. 2013, algorithm 1, for one coordinate; it starts at 0.
    assert x == 0
    z = n = 0.0
    for _ in range(30):
        g = grad(x)
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / alpha
        z += g - sigma * x
        n += g * g
        if abs(z) <= l1:
            x = 0.0
        else:
            x = -(z - math.copysign(l1, z)) / ((beta + math.sqrt(n)) / alpha + l2)
        yield x


def schedule_free_sgd(x, grad, rate=0.05, b1=0.8, decay=0.1):
    # Defazio et al. 2024, equations 3 to 5; yields y, where gradients are taken.
    average, z, y = x, x, x
    for t in range(1, 31):
        z -= rate * (grad(y) + decay * y)
        average = (1 - 1 / t) * average + z / t
        y = (1 - b1) * z + b1 * average
        yield y


def schedule_free_adamw(x, grad, rate=0.05, b1=0.8, b2=0.95, eps=1e-3, decay=0.1):
    # The same, algorithm 1 without warm-up.
    average, z, y, v = x, x, x, 0.0
    for t in range(1, 31):
        g = grad(y)
        v = b2 * v + (1 - b2) * g * g
        z -= rate * (g / (math.sqrt(v / (1 - b2**t)) + eps) + decay * y)
        average = (1 - 1 / t) * average + z / t
        y = (1 - b1) * z + b1 * average
        yield y


MOMENTS = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3}
ROWS = [
    (gradient_descent, fl.GradientDescent(0.05)),
    (gradient_descent, fl.SGD(0.05)),
    (heavy_ball, fl.SGD(0.05, momentum=0.8)),
    (nesterov, fl.SGD(0.05, momentum=0.8, nesterov=True)),
    (adagrad, fl.Adagrad(0.3, eps=1e-3)),
    (adadelta, fl.Adadelta(rho=0.8, eps=1e-3)),
    (
        rmsprop_graves,
        fl.RMSprop(0.05, rho=0.8, momentum=0.5, eps=1e-3, eps_inside_sqrt=True, centered=True),
    ),
    (adam, fl.Adam(0.05, **MOMENTS)),
    (amsgrad, fl.Adam(0.05, **MOMENTS, amsgrad=True)),
    (adamw, fl.AdamW(0.05, **MOMENTS, weight_decay=0.1)),
    (adabelief, fl.AdaBelief(0.05, **MOMENTS)),
    (yogi, fl.Yogi(0.05, **MOMENTS, initial_accumulator=0.1)),
    (lion, fl.Lion(0.05, beta1=0.8, beta2=0.95, weight_decay=0.1)),
    (signum, fl.SignSGD(0.05, momentum=0.8)),
    (adan, fl.Adan(0.05, beta1=0.8, beta2=0.9, beta3=0.95, eps=1e-3, weight_decay=0.1)),
    (ftrl, fl.FTRL(0.3, beta=0.5, l1=0.2, l2=0.1)),
    (schedule_free_sgd, fl.ScheduleFreeSGD(0.05, beta1=0.8, weight_decay=0.1)),
    (schedule_free_adamw, fl.ScheduleFreeAdamW(0.05, **MOMENTS, weight_decay=0.1)),
]


@pytest.mark.parametrize(("loops", "rule"), ROWS, ids=lambda row: getattr(row, "__name__", ""))
def test_points_are_those_of_the_paper_s_algorithm(loops, rule):
    starts = [0.0, 0.0] if loops is ftrl else [0.7, -1.3]
    x = np.asarray(starts)
    opt = fl.Optimizer(x, rule)
    for expected in zip(*(loops(start, lambda x: x**3 - x + 0.5) for start in starts), strict=True):
        opt.step(x**3 - x + 0.5)
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)


def test_ftrl_makes_zeros_and_starts_anywhere():
    x = np.asarray([0.0, 3.0])
    opt = fl.Optimizer(x, fl.FTRL(0.3, l1=0.5))
    opt.step(np.asarray([0.1, 0.1]))
    assert x[0] == 0
    np.testing.assert_allclose(x[1], 3 - (0.1 + 0.5) * 0.3 / (1 + 0.1), rtol=1e-12)
    y = np.asarray([3.0])
    plain = fl.Optimizer(y, fl.FTRL(0.3))
    for _ in range(3):
        plain.step(np.asarray([1.0]))
    # Without penalties: gradient descent with the rate alpha / (beta + sqrt(n)).
    np.testing.assert_allclose(y, 3 - sum(0.3 / (1 + n**0.5) for n in (1, 2, 3)), rtol=1e-12)


def test_the_point_of_evaluation_is_the_average_of_the_steps():
    y = np.asarray([0.7])
    opt = fl.Optimizer(y, fl.ScheduleFreeSGD(0.05, beta1=0.8))
    average = z = 0.7
    for t in range(1, 11):
        g = y[0] ** 3 - y[0]
        opt.step(np.asarray([g]))
        z -= 0.05 * g
        average = (1 - 1 / t) * average + z / t
        found = opt.rule.evaluation(opt.params, opt.state)
        np.testing.assert_allclose(found, average, rtol=1e-12)
