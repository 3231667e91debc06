"""Time of one whole step."""

from __future__ import annotations

import fallline as fl

from .common import draw, load
from .runners import RUNNERS

SHAPES = {name: (1, int(float(name))) for name in ("10", "1e3", "1e5", "1e6", "1e7")}
SHAPES["300 x 1e3"] = (300, 1000)
FOUND = map(fl.rules.get, fl.rules.names())
RULES = [type(rule).__name__ for rule in FOUND if rule.elementwise and not rule.reads]


class Base:
    """A step of a rule, by a runner, on arrays of a shape."""

    rounds = 1
    repeat = (3, 15, 2.0)
    warmup_time = 0.1
    sample_time = 0.01
    timeout = 300

    def setup(self, runner, rule, shape, gradients, dtype="float32"):
        """Make the runner."""
        if runner.startswith("optax") and dtype == "float64":
            load("jax").config.update("jax_enable_x64", True)
        count, n = SHAPES[shape]
        params = [draw(n, dtype, seed=i) for i in range(count)]
        total = count * n
        size = 1 if gradients == "same" else 4 if total > 10**6 else 32
        pool = [[draw(n, dtype, seed=1000 + i + j) for i in range(count)] for j in range(size)]
        self.step = RUNNERS[runner](rule, params, pool)
        for _ in range(3):
            self.step()


class Adam(Base):
    """Adam on every shape."""

    params = (list(RUNNERS), ["Adam"], list(SHAPES), ["fresh", "same"])
    param_names = ("runner", "rule", "shape", "gradients")

    def time_step(self, runner, rule, shape, gradients):
        """One step."""
        self.step()


class AdamInALoop(Base):
    """Adam after a product of two matrices of 400 x 400, as in the training of a network.

    The threads of NumPy's BLAS still spin when the step begins.
    """

    params = (
        ["fallline numba", "fallline blocked", "numpy by hand", "torch fused"],
        ["Adam"],
        ["1e3", "1e5", "1e6", "1e7"],
        ["fresh"],
    )
    param_names = ("runner", "rule", "shape", "gradients")

    def setup(self, runner, rule, shape, gradients):
        """Make the runner and the matrix."""
        self.matrix = draw((400, 400), "float32", seed=99)
        super().setup(runner, rule, shape, gradients)

    def time_product_and_step(self, runner, rule, shape, gradients):
        """One product and one step."""
        self.matrix @ self.matrix
        self.step()


class Rules(Base):
    """Every elementwise rule on a large array."""

    params = (
        [
            "fallline numba",
            "fallline blocked",
            "fallline:cupy",
            "torch foreach",
            "optax jit",
            "stream",
        ],
        RULES,
        ["1e7"],
        ["fresh"],
        ["float32", "float64"],
    )
    param_names = ("runner", "rule", "shape", "gradients", "dtype")

    def time_step(self, runner, rule, shape, gradients, dtype):
        """One step."""
        self.step()
