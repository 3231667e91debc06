"""L-BFGS whose steps are projected: what the L1 penalty and the bounds share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from .._arrays._types import Array, Namespace, Number, Tree
from ._limited_memory import CHANGE, DIRECTION, GRADIENT, PAIRS, LimitedMemoryRun
from ._search import NoProgress, Trial, no_step, strong_wolfe


class Region(ABC):
    """Where the points of a run may be, and what becomes of a step that leaves it."""

    sloped: ClassVar[bool] = False  # whether the slopes of the path of a search are known

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp

    def feasible(self, x: Array) -> Array:
        """Return where a run that is to begin at `x` may begin: a hook."""
        return x

    @abstractmethod
    def land(self, at: Trial, x: Array) -> Array:
        """Return where a step from `at` to `x` ends."""

    @abstractmethod
    def pseudo(self, x: Array, gradient: Array) -> Array:
        """Return the pseudo-gradient: zero where no feasible direction goes down."""

    def turn(self, d: Array, pseudo: Array) -> Array:
        """Return the direction of the elements that do not stay, whichever way they go."""
        return self._xp.where(pseudo == 0, self._xp.zeros_like(d), d)

    def bend(self, step: Number, change: Array) -> Array:
        """Return the change of the gradient's elements that moved: on their face the search is."""
        return self._xp.where(step == 0, self._xp.zeros_like(step), change)

    def penalty(self, x: Array) -> Sequence[Array]:
        """Return what is added to the objective, 0-d, or nothing: a hook."""
        return ()

    def slopes(self, at: Trial, d: Array, trial: Trial) -> Sequence[Array]:
        """Return the slopes of the path along `d` at its start and at a trial: a hook."""
        return ()


class ProjectedRun(LimitedMemoryRun):
    """L-BFGS where `DIRECTION` and `GRADIENT` are the projected step and the pseudo-gradient."""

    proximal = True
    remembers = (*LimitedMemoryRun.remembers, "_idle", "_lowest", "_least")

    def _restrict(self, penalty: Tree, constraint: Tree) -> None:
        self._region: Region = self.solver._region(self.objective, penalty, constraint)

    def _forget(self) -> None:
        self._idle = 0  # iterations in a row with neither a lowest value nor a least gradient
        self._lowest = self._least = math.inf

    def _feasible(self, x: Array) -> Array:
        return self._region.feasible(x)

    def _land(self, x: Array) -> Array:
        return self._region.land(self.at, x)

    def _pseudo(self, x: Array, gradient: Array) -> Array:
        return self._region.pseudo(x, gradient)

    def _penalty(self, x: Array) -> Sequence[Array]:
        return self._region.penalty(x)

    def _turn(self, d: Array, steep: Any) -> Array:
        return self._region.turn(d, steep)

    def _moving(self, trial: Trial) -> Sequence[tuple[int, Any]]:
        step = trial.x - self.at.x
        change = self._region.bend(step, trial.gradient - self.at.gradient)
        return (DIRECTION, step), (CHANGE, change), (GRADIENT, trial.pseudo)

    def _along(self, trial: Trial) -> Sequence[Array]:
        slope = self.at.pseudo @ self._rows[DIRECTION, :]
        return [slope, *self._region.slopes(self.at, self._d, trial)]

    def _take(self, trial: Trial) -> None:
        n = 1 + 2 * self._region.sloped
        trial.slope, *trial.path = map(float, trial.measured[:n])
        trial.measured = trial.measured[n:]

    def _change(self, trial: Trial) -> float:
        products = trial.measured.reshape(PAIRS, -1)
        return float(products[CHANGE, DIRECTION]) / trial.t if trial.t > 0 else 0.0

    def _searched(self) -> Trial | None:
        t = self._tried = 1.0 if self._slots else self._first
        found, bends = self._along_path(t) if self._region.sloped else (None, True)
        if found is None and bends:
            found = self._halved(t)
        if found is None:
            return None
        # The step is what it ended as, and not a multiple of the direction: it takes its place, and
        # the slope is in its length.
        self.at.slope *= found.t
        self._length, found.t, self._d = found.t, 1.0, found.x - self.at.x
        return found

    def _along_path(self, t: float) -> tuple[Trial | None, bool]:
        # As far as the slopes of the path tell: where all bounds are far away, as without them.
        # And whether a bound was met.
        ahead = [self._line(t)]
        start = replace(self.at, slope=ahead[0].path[0])
        # Steps next to rounding tell nothing of that; the first is the longest of a search back.
        bends = not math.isclose(ahead[0].slope, t * start.slope, rel_tol=1e-3)

        def line(t: float) -> Trial:
            trial = ahead.pop() if ahead else self._line(t)
            trial.slope = trial.path[1]
            return trial

        found = strong_wolfe(line, start, t, noise=self.noise) if start.slope < 0 else None
        return found, bends

    def _halved(self, t: float) -> Trial | None:
        # A direction that needs a very short step is given up for the pseudo-gradient.
        for _ in range(6 if self._slots else 60):
            trial = self._line(t)
            lower = trial.value <= self.at.value + 1e-4 * trial.slope < self.at.value
            # Where values differ by rounding only, the pseudo-gradient decides.
            level = trial.value <= self.at.value + self.noise and trial.norm < self.at.norm
            if trial.finite and (lower or level):
                return trial.after(self._tried)
            t *= 0.5
        return None

    def _accepted(self, trial: Trial) -> None:
        trial.t = self._length
        # At a bound, steps within rounding may go around in circles.
        gains = trial.value < self._lowest or trial.norm < 0.9 * self._least
        self._idle = 0 if gains else self._idle + 1
        self._lowest = min(self._lowest, trial.value)
        self._least = min(self._least, trial.norm)
        if self._idle > 4:
            raise NoProgress(no_step(at_precision=True), at_precision=True)
