"""Time of one whole step, alone and between matrix products."""

from __future__ import annotations

from .common import PLACES, Timed, few
from .runners import RULES, RUNNERS, steps


class Step(Timed):
    """A step by a runner, alone or after a product."""

    def setup(self, runner, place, *params):
        """Make the step."""
        self.place = place
        super().setup(runner, place, *params)


class Adam(Step):
    """Adam in float32 on one array."""

    params = (tuple(RUNNERS), PLACES, few((1000, 100_000, 1_000_000, 10_000_000)))
    param_names = ("runner", "place", "size")

    def make(self, runner, place, size):
        """Return the step."""
        return steps(runner, 1, size)


class ManyArrays(Step):
    """Adam in float32 on 300 arrays."""

    params = (tuple(RUNNERS), few(PLACES), (1000,))
    param_names = ("runner", "place", "size")

    def make(self, runner, place, size):
        """Return the step."""
        return steps(runner, 300, size)


class Rules(Step):
    """Every elementwise rule on one array."""

    params = (("fallline numba",), PLACES, few(RULES, 2), few((1_000_000,)))
    param_names = ("runner", "place", "rule", "size")
    budget = 0.15

    def make(self, runner, place, rule, size):
        """Return the step."""
        return steps(runner, 1, size, rule)
