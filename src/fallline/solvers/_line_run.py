"""Runs that search along a direction."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from .._arrays._types import Array
from ..stop._relative import least_fall, small_gradient
from ._base import Run
from ._search import NoProgress, Trial, no_step
from ._space import numbers


class LineRun(Run):
    """A run that goes from point to point along directions, and searches how far."""

    def _begin(self, x: Array) -> None:
        self._d = self._before = None
        self.at = self._evaluated(0.0, self._feasible(x))
        self._restart()

    def _feasible(self, x: Array) -> Array:
        """Return where a run that is to begin at `x` may begin: a hook."""
        return x

    @property
    def _vanishing(self) -> tuple[Any, float]:
        return self.at.pseudo, 1.0

    @abstractmethod
    def _restart(self) -> None:
        """Forget what was learned of the curvature, and take the direction downhill."""

    def _evaluated(self, t: float, x: Array) -> Trial:
        value, gradient = self.objective(x)
        trial = Trial(t, math.nan, math.nan, x, gradient, pseudo=self._pseudo(x, gradient))
        penalty = self._penalty(x)
        arrays = [self.space.peak(trial.steep), *penalty, *self._measured(trial)]
        got, n = numbers(self.space, value, arrays), 2 + len(penalty)
        trial.value, trial.norm = float(sum(got[2:n], got[0])), float(got[1])
        trial.measured = got[n:]
        if self._d is not None:
            self._take(trial)
        return trial

    def _pseudo(self, x: Array, gradient: Array) -> Array:
        """Return what is to vanish, if that is not the gradient: a hook."""
        return None

    def _penalty(self, x: Array) -> Sequence[Array]:
        """Return what is added to the objective, 0-d, or nothing: a hook."""
        return ()

    @abstractmethod
    def _measured(self, trial: Trial) -> Sequence[Array]:
        """Return small arrays that are read together with the value."""

    @abstractmethod
    def _take(self, trial: Trial) -> None:
        """Set the slope of a trial along the direction, from what was measured."""

    def _line(self, t: float) -> Trial:
        trial = self._evaluated(t, self._land(self.at.x + t * self._d))
        if t == self._tried:
            change = self._change(trial)
            slope = trial.slope if change is None else self.at.slope + change
            self._probe = (t, slope) if trial.finite else None
        return trial

    def _land(self, x: Array) -> Array:
        """Return where a step to `x` ends: a hook."""
        return x

    def _change(self, trial: Trial) -> float | None:
        """Return by how much the slope changed, where the trial's own does not tell: a hook."""
        return None

    def _loud(self, square: float) -> float:
        # A step length down the gradient that is seen in the value.
        return 100 * self.noise / square

    def _failed(self) -> NoProgress:
        # What could be gained, against what the rounding of values, points and residuals explains.
        # Where the slope is zero beside a gradient that is not, its square was out of range.
        at, xp, epsilon, outlook = self.at, self.space.xp, self.space.epsilon, self._outlook
        gain = self._gain() if outlook is None else outlook[0]
        # The flattest direction promises more than there is: as much is spared as by
        # `RelativeDecrease`.
        spared = 0.0 if outlook is None else least_fall(epsilon) * abs(at.value)
        moved = float(numbers(self.space, 0.0, [xp.abs(at.gradient) @ xp.abs(at.x)])[1])
        squares = epsilon**2 * abs(self._first_value - at.value)  # of residuals
        noise = 25 * self.noise + 100 * (epsilon * moved + squares)
        small = math.isfinite(gain) and gain <= max(noise, spared)
        small = small and not gain == 0 < at.norm
        return NoProgress(no_step(small), at_precision=small)

    def _gain(self) -> float:
        # What a step is expected to gain: by its slope, and the curvature along it.
        slope = abs(self.at.slope)
        gain = slope * self._tried
        if self._probe is not None and (bend := self._probe[1] + slope) > 0:
            gain = min(gain, 0.5 * slope * self._probe[0] * (slope / bend))
        return gain


class LearningRun(LineRun):
    """A run whose directions depend on what it has learned, and which may begin afresh."""

    @abstractmethod
    def _searched(self) -> Trial | None:
        """Return a trial that is good enough, if there is one; `trial.t` times `_d` is its step."""

    @abstractmethod
    def _afresh(self, size: float) -> bool:
        """Turn down the gradient, with a first step that is seen beside a point of this size.

        Returns whether a search may find more there than the last one.
        """

    def _found(self) -> Trial:
        # What a search finds. One that fails is made once more, down the gradient and with a step
        # that is seen, before a minimum is claimed.
        trial = self._searched()
        if trial is not None:
            return trial
        end, size = self._failed(), self.space.read(self.space.peak(self.at.x))
        if end.at_precision and self._settled(size):
            raise end
        trial = self._searched() if self._afresh(size) else None
        if trial is None:
            raise self._failed()
        return trial

    def _settled(self, size: float) -> bool:
        # Whether the gradient is as small as `RelativeGradient` asks, at a point of this size.
        # Before the first step nothing tells the units of the point.
        at = self.at
        fallen = abs(self._first_value - at.value)
        least: float = small_gradient(self.space.epsilon, at.value, fallen)
        return self.iteration > 0 and at.norm * max(size, 1.0) <= least

    def _seen_from(self, first: float, size: float) -> float:
        # The first step length down the gradient, long enough to be seen in the value, and beside
        # the rounding of a point of this size.
        square = -self.at.slope
        if not 0 < square < math.inf:
            return first
        return max(first, math.sqrt(self.space.epsilon / square) * size, self._loud(square))
