"""Time of one whole step."""

from __future__ import annotations

from .common import draw
from .runners import RUNNERS

SHAPES = {"10": (1, 10), "1e3": (1, 1000), "1e5": (1, 10**5), "1e7": (1, 10**7)}
SHAPES["300 x 1e3"] = (300, 1000)
RULES = ("GradientDescent", "SGD", "Adagrad", "Adadelta", "RMSprop", "AdamW")


class Base:
    """A step of a rule, by a runner, on arrays of a shape."""

    rounds = 1
    repeat = (3, 15, 2.0)
    warmup_time = 0.1
    sample_time = 0.01
    timeout = 300

    def setup(self, runner, rule, shape, gradients):
        """Make the runner."""
        count, n = SHAPES[shape]
        params = [draw(n, seed=i) for i in range(count)]
        total = count * n
        size = 1 if gradients == "same" else 4 if total > 10**6 else 32
        pool = [[draw(n, seed=1000 + i + j) for i in range(count)] for j in range(size)]
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


class Rules(Base):
    """The other rules on a small and a large array."""

    params = (
        ["fallline:numpy", "fallline:cupy", "torch", "torch foreach", "optax jit", "stream"],
        list(RULES),
        ["1e3", "1e7"],
        ["fresh"],
    )
    param_names = ("runner", "rule", "shape", "gradients")

    def time_step(self, runner, rule, shape, gradients):
        """One step."""
        self.step()
