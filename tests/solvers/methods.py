"""Methods for smooth problems, and problems for them."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from tests.problems import PROBLEMS, logistic

SMOOTH = [
    fl.LBFGS(),
    fl.LBFGS(history=2),
    fl.ConjugateGradient(),
    fl.ConjugateGradient("dai-yuan"),
    fl.ConjugateGradient("hager-zhang"),
    fl.SteepestDescent(),
    fl.SteepestDescent("wolfe"),
    fl.SteepestDescent("armijo"),
    fl.SteepestDescent(0.2),
    fl.SteepestDescent(lambda k: 0.2),
    fl.ProximalGradient(),
    fl.ProximalGradient(0.2),
    fl.ProximalGradient(accelerated=True),
    fl.OWLQN(),
]
CONVERGES = stop.GradientNorm(1e-7)


def problems():
    pytest.importorskip("scipy.optimize")
    pytest.importorskip("sklearn")
    return {**PROBLEMS, "logistic": logistic()}


def quadratic(backend, dtype="float64"):
    """Return a well-conditioned problem of two leaves and a None, its start and its solution."""
    xp = backend.xp
    scale = backend.array(np.linspace(0.5, 2.0, 6).reshape(2, 3).astype(dtype))
    aim = np.arange(6.0).reshape(2, 3).astype(dtype)
    target = backend.array(aim)

    def fun(x):
        d, e = x["a"] - target, x["b"][0] + 1
        value = 0.5 * xp.sum(scale * d * d) + xp.sum(e * e)
        return value, {"a": scale * d, "b": [2 * e, None]}

    x0 = {"a": np.zeros((2, 3), dtype), "b": [np.ones((), dtype), None]}
    return fun, x0, {"a": aim, "b": [np.asarray(-1.0)]}


def quartic(x):
    return np.sum((x - 3) ** 4) + np.sum(x**2), 4 * (x - 3) ** 3 + 2 * x
