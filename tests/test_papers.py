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
]


@pytest.mark.parametrize(("loops", "rule"), ROWS, ids=lambda row: getattr(row, "__name__", ""))
def test_trajectory(loops, rule):
    starts = [0.7, -1.3]
    x = np.asarray(starts)
    opt = fl.Optimizer(x, rule)
    for expected in zip(*(loops(start, lambda x: x**3 - x + 0.5) for start in starts), strict=True):
        opt.step(x**3 - x + 0.5)
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)
