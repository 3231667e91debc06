"""Curves to fit, on any array library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fallline as fl


@dataclass
class Decays:
    """Exponential decays with an offset, side by side."""

    backend: Any
    start: Any
    data: Any
    t: Any
    truth: Any

    def residuals(self, x, y, t):
        """Return the residuals of one problem, or of many."""
        return x["height"][..., None] * self.falling(x, t) + x["floor"][..., None] - y

    def falling(self, x, t):
        return self.backend.xp.exp(-x["rate"][..., None] * t)

    def slopes(self, x, y, t):
        """Return the Jacobian."""
        e = self.falling(x, t)
        one = e * 0 + 1
        return {"height": e, "rate": -x["height"][..., None] * t * e, "floor": one}

    def both(self, x, y, t):
        return self.residuals(x, y, t), self.slopes(x, y, t)

    def jacobian(self, kind):
        """Return what `least_squares` is given for a Jacobian, and the function."""
        if kind is True:
            return True, self.both
        return (self.slopes if kind == "callable" else kind), self.residuals


def decays(backend, n, dtype="float64", noise=0.05, seed=0):
    """Return n decays."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, 20)
    truth = {
        "height": rng.uniform(2, 4, n), "rate": rng.uniform(0.7, 1.5, n),
        "floor": rng.uniform(0.2, 0.6, n),
    }  # fmt: skip
    y = truth["height"][:, None] * np.exp(-truth["rate"][:, None] * t) + truth["floor"][:, None]
    y = y + noise * rng.standard_normal(y.shape)
    start = {"height": np.full(n, 2.0), "rate": np.ones(n), "floor": np.full(n, 0.1)}
    made = backend.tree(
        {"start": start, "y": y, "t": t}
        if dtype == "float64"
        else {
            "start": {k: v.astype(dtype) for k, v in start.items()},
            "y": y.astype(dtype),
            "t": t.astype(dtype),
        }
    )
    return Decays(backend, made["start"], (made["y"],), made["t"], truth)


def singles(problem, fun, **options):
    """Return runs of the problems one by one."""
    n = problem.data[0].shape[0]
    return [
        fl.least_squares(
            fun, {k: v[i, ...] for k, v in problem.start.items()},
            args=(problem.data[0][i, ...], problem.t), **options,
        )
        for i in range(n)
    ]  # fmt: skip
