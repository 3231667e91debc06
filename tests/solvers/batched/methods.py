"""Methods that take many problems, and what single runs of them do."""

from __future__ import annotations

import numpy as np

import fallline as fl

SOLVERS = [
    fl.LBFGS(),
    fl.LBFGS(history=2),
    fl.SteepestDescent(),
    fl.SteepestDescent("wolfe"),
    fl.SteepestDescent("armijo"),
    fl.SteepestDescent(0.2),
    fl.SteepestDescent(lambda k: 0.2 / (1 + 0.01 * k)),
]
RULES = [fl.Adam(0.1), fl.GradientDescent(0.2)]
ALL = [*SOLVERS, *RULES]


def name(method):
    return repr(method).partition(" at ")[0]


def singles(fun, x0, **options):
    """Return runs of ``fun(x, i)`` from each row of x0."""
    return [
        fl.minimize(fun, np.array(row), args=(i,), **options)
        for i, row in enumerate(np.asarray(x0))
    ]


def plain(method):
    """Tell whether every trial is a step."""
    return method in RULES or not isinstance(getattr(method, "step_size", ""), str)


def agree(batch, runs, atol, *, nit=True):
    for i, one in enumerate(runs):
        assert np.allclose(batch.x[i], one.x, rtol=0, atol=atol), i
        assert np.isclose(batch.fun[i], one.fun, rtol=1e-10, atol=1e-10), i
        assert (batch.status[i], batch.success[i]) == (one.status, one.success), i
        assert not nit or batch.nit[i] == one.nit, i


def valleys(x, i=None):
    """Return Rosenbrock's function of two variables, and its gradient."""
    a, b = x[..., 0], x[..., 1]
    slopes = np.stack([-400 * a * (b - a * a) - 2 * (1 - a), 200 * (b - a * a)], axis=-1)
    return 100 * (b - a * a) ** 2 + (1 - a) ** 2, slopes


def bowls(n=6, size=4):
    """Return quadratic functions with ripples, one by one and side by side, and their starts."""
    rng = np.random.default_rng(1)
    scale, aim = np.exp(rng.uniform(-1, 1, (n, size))), rng.standard_normal((n, size))

    def fun(x, i):
        d = x - aim[i]
        value = 0.5 * np.sum(scale[i] * d * d, axis=-1) + 0.05 * np.sum(np.cos(2 * d), axis=-1)
        return value, scale[i] * d - 0.1 * np.sin(2 * d)

    return fun, lambda x: fun(x, slice(None)), 3 * rng.standard_normal((n, size))
