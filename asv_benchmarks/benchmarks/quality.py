"""How many steps the rules need on fixed problems, at fixed rates."""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import few

RULES = {
    "GradientDescent": fl.GradientDescent(0.01),
    "SGD": fl.SGD(0.01, momentum=0.9),
    "Adagrad": fl.Adagrad(0.5),
    "Adadelta": fl.Adadelta(1.0),
    "RMSprop": fl.RMSprop(0.01),
    "Adam": fl.Adam(0.05),
    "AdamW": fl.AdamW(0.05, weight_decay=1e-4),
}
LIMIT = 20_000


def quadratic(x):
    """Return an ill-conditioned bowl in 20 dimensions and its gradient."""
    scales = np.logspace(0, 2, 20)
    return 0.5 * np.sum(scales * x * x), scales * x


def rosenbrock(x):
    """Return Rosenbrock's valley, divided by 100, and its gradient."""
    a, b = x
    value = (1 - a) ** 2 + 100 * (b - a * a) ** 2
    return value / 100, np.asarray([2 * (a - 1) - 400 * a * (b - a * a), 200 * (b - a * a)]) / 100


class Quality:
    """Steps to one part in 10,000 of the starting value."""

    problems = ("quadratic", "rosenbrock")
    params = (few(RULES), problems)
    param_names = ("rule", "problem")
    unit = "steps"

    def track_steps(self, rule, problem):
        """Return the count; the limit means never."""
        fun, x = {
            "quadratic": (quadratic, np.ones(20)),
            "rosenbrock": (rosenbrock, np.asarray([-1.2, 1.0])),
        }[problem]
        opt = fl.Optimizer(x, RULES[rule])
        goal = 1e-4 * fun(x)[0]
        for count in range(LIMIT):
            value, gradient = fun(x)
            if value <= goal:
                return count
            opt.step(gradient)
        return LIMIT
