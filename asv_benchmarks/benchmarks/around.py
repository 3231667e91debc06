"""What surrounds a rule in a step, and steps of a few rows."""

from __future__ import annotations

import itertools

import fallline as fl

from .common import draw, load

AROUND = {
    "alone": {},
    "global norm": {"gradients": [fl.gradients.ClipByGlobalNorm(1.0)]},
    "values": {"gradients": [fl.gradients.ClipByValue(1.0)]},
    "L1": {"penalty": fl.L1(1e-4)},
    "nonnegative": {"constraint": fl.NonNegative()},
    "skip": {"nonfinite": "skip"},
}


class Around:
    """AdamW in float32 on one large array, with something before or after it."""

    params = (("numba", "blocked"), tuple(AROUND), ("1e7",))
    param_names = ("engine", "around", "size")
    rounds = 1
    repeat = (3, 15, 2.0)

    def setup(self, engine, around, size):
        """Make the Optimizer."""
        if engine == "numba":
            load("numba")
        n = int(float(size))
        opt = fl.Optimizer(draw(n), fl.AdamW(1e-3), engine=engine, **AROUND[around])
        self.grads = itertools.cycle([draw(n, seed=seed) for seed in (1, 2, 3)])
        self.step = opt.step
        self.step(next(self.grads))

    def time_step(self, engine, around, size):
        """One step."""
        self.step(next(self.grads))


class Rows:
    """Lazy Adam on 1,000 rows of 64 numbers, of tables of several sizes."""

    params = (("fallline", "torch"), ("1e4", "1e5", "1e6"))
    param_names = ("who", "rows")
    rounds = 1
    repeat = (3, 15, 2.0)

    def setup(self, who, rows):
        """Make the table, and gradients of rows drawn at random."""
        n = int(float(rows))
        pairs = []
        for seed in range(8):
            indices = abs(draw(1000, seed=100 + seed) * n / 8).astype("int64") % n
            pairs.append((indices, draw((1000, 64), seed=seed)))
        if who == "fallline":
            opt = fl.Optimizer(draw((n, 64)), fl.Adam(1e-3))
            grads = itertools.cycle([fl.RowSparse(*pair) for pair in pairs])
            self.step = lambda: opt.step(next(grads))
        else:
            torch = load("torch")
            p = torch.tensor(draw((n, 64)), requires_grad=True)
            opt = torch.optim.SparseAdam([p], lr=1e-3)
            grads = itertools.cycle(
                [
                    torch.sparse_coo_tensor(
                        i[None], torch.tensor(v), (n, 64), check_invariants=True
                    )
                    for i, v in pairs
                ]
            )

            def step():
                p.grad = next(grads)
                opt.step()

            self.step = step
        self.step()

    def time_step(self, who, rows):
        """One step."""
        self.step()
