"""What surrounds a rule in a step, and steps of a few rows."""

from __future__ import annotations

import itertools

import fallline as fl

from .common import PLACES, SMOKE, draw, few, load
from .step import Step

AROUND = {
    "alone": {},
    "global norm": {"gradients": [fl.gradients.ClipByGlobalNorm(1.0)]},
    "values": {"gradients": [fl.gradients.ClipByValue(1.0)]},
    "L1": {"penalty": fl.L1(1e-4)},
    "nonnegative": {"constraint": fl.NonNegative()},
    "skip": {"nonfinite": "skip"},
}


class Around(Step):
    """AdamW in float32 on one array, with something before or after it."""

    params = (("numba", "blocked"), PLACES, few(AROUND, 2), few((1_000_000,)))
    param_names = ("engine", "place", "around", "size")
    budget = 0.15

    def make(self, engine, place, around, size):
        """Return the step."""
        if engine == "numba":
            load("numba")
        n = min(size, 1000) if SMOKE else size
        opt = fl.Optimizer(draw(n), fl.AdamW(1e-3), engine=engine, **AROUND[around])
        grads = itertools.cycle([draw(n, seed=seed) for seed in (1, 2, 3)])
        return lambda: opt.step(next(grads))


class Rows(Step):
    """Lazy Adam on 1,000 rows of 64 numbers, of tables of several sizes."""

    params = (("fallline", "torch"), PLACES, few((10_000, 1_000_000)))
    param_names = ("who", "place", "rows")

    def make(self, who, place, rows):
        """Make the table and gradients of rows drawn at random, and return the step."""
        pairs = []
        for seed in range(8):
            indices = abs(draw(1000, seed=100 + seed) * rows / 8).astype("int64") % rows
            pairs.append((indices, draw((1000, 64), seed=seed)))
        if who == "fallline":
            opt = fl.Optimizer(draw((rows, 64)), fl.Adam(1e-3))
            grads = itertools.cycle([fl.RowSparse(*pair) for pair in pairs])
            return lambda: opt.step(next(grads))
        torch = load("torch")
        p = torch.tensor(draw((rows, 64)), requires_grad=True)
        opt = torch.optim.SparseAdam([p], lr=1e-3)
        grads = itertools.cycle(
            [
                torch.sparse_coo_tensor(i[None], torch.tensor(v), (rows, 64), check_invariants=True)
                for i, v in pairs
            ]
        )

        def step():
            p.grad = next(grads)
            opt.step()

        return step
