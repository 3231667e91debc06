"""L-BFGS whose steps are projected: what the L1 penalty and the bounds share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from ._lbfgs import CHANGE, DIRECTION, GRADIENT, PAIRS, LBFGSRun
from ._search import NoProgress, Trial, no_step
from ._space import numbers


class ProjectedRun(LBFGSRun):
    """L-BFGS where `DIRECTION` and `GRADIENT` are the projected step and the pseudo-gradient.

    The pseudo-gradient is zero where no feasible direction goes down.
    """

    proximal = True
    remembers = (*LBFGSRun.remembers, "_idle", "_lowest", "_least")

    def _restart(self) -> None:
        self._idle = 0  # iterations in a row with neither a lowest value nor a least gradient
        self._lowest = self._least = math.inf
        super()._restart()

    def _pseudo(self, x: Any, gradient: Any) -> Any:
        raise NotImplementedError

    def _land(self, x: Any) -> Any:
        """Return where a step to `x` ends."""
        raise NotImplementedError

    def _bend(self, step: Any, change: Any) -> Any:
        """Return the part of the gradient's change that tells of the curvature."""
        return change

    def _penalty(self, x: Any) -> Sequence[Any]:
        """Return what is added to the objective, or nothing."""
        return ()

    def _path(self, x: Any, gradient: Any) -> Sequence[Any]:
        """Return the slopes of the path of the search, at its start and at `x`, or nothing."""
        return ()

    def _turn(self, d: Any, pseudo: Any) -> Any:
        """Return the part of a direction that may be taken."""
        raise NotImplementedError

    def _evaluated(self, t: float, x: Any) -> Trial:
        value, gradient = self.objective(x)
        pseudo = self._pseudo(x, gradient)
        penalty = self._penalty(x)
        arrays = [self.space.peak(pseudo), *penalty]
        path: Sequence[Any] = ()
        if self._d is None:
            arrays.append(pseudo @ pseudo)
        else:
            self._put(x, gradient, pseudo)
            rows = self._rows[: PAIRS + 2 * len(self._slots), :]
            path = self._path(x, gradient)
            arrays += [self.at.pseudo @ rows[DIRECTION, :], *path, self.space.products(rows, PAIRS)]
        got = numbers(self.space, value, arrays)
        n = 2 + len(penalty)
        total, norm, slope = float(got[0] + sum(got[2:n])), float(got[1]), float(got[n])
        ends = n if self._d is None else n + 1 + len(path)
        trial = Trial(t, total, slope, x, gradient, got[ends:], norm, pseudo)
        trial.path = [float(x) for x in got[ends - len(path) : ends]]
        return trial

    def _put(self, x: Any, gradient: Any, pseudo: Any) -> None:
        step = x - self.at.x
        change = self._bend(step, gradient - self.at.gradient)
        for i, row in ((DIRECTION, step), (CHANGE, change), (GRADIENT, pseudo)):
            self._rows = _arrays.with_row(self._rows, i, row)
        self._filled = gradient

    def _fill(self, trial: Trial) -> None:
        self._put(trial.x, trial.gradient, trial.pseudo)

    def _uphill(self, trial: Trial) -> Any:
        return trial.pseudo

    def _line(self, t: float) -> Trial:
        trial = self._evaluated(t, self._land(self.at.x + t * self._d))
        if t == self._tried:
            self._probe = None
            if trial.finite and t > 0:
                bend = float(trial.measured.reshape(PAIRS, -1)[CHANGE, DIRECTION]) / t
                self._probe = t, self.at.slope + bend
        return trial

    def _searched(self) -> Trial | None:
        t = self._tried = 1.0 if self._slots else self._first
        # A direction that needs a very short step is given up for the pseudo-gradient.
        for _ in range(6 if self._slots else 60):
            trial = self._line(t)
            lower = trial.value <= self.at.value + 1e-4 * trial.slope < self.at.value
            # Where values differ by rounding only, the pseudo-gradient decides.
            level = trial.value <= self.at.value + self.noise and trial.norm < self.at.norm
            if trial.finite and (lower or level):
                return self._taken(trial.after(self._tried))
            t *= 0.5
        return None

    def _taken(self, trial: Trial) -> Trial:
        # The step is what it ended as, and not a multiple of the direction: it takes its place, and
        # the slope is in its length.
        self.at.slope *= trial.t
        self._length, trial.t, self._d = trial.t, 1.0, trial.x - self.at.x
        return trial

    def _advance(self) -> Trial:
        trial = super()._advance()
        trial.t = self._length
        # At a bound, steps within rounding may go around in circles.
        gains = trial.value < self._lowest or trial.norm < 0.9 * self._least
        self._idle = 0 if gains else self._idle + 1
        self._lowest = min(self._lowest, trial.value)
        self._least = min(self._least, trial.norm)
        if self._idle > 4:
            raise NoProgress(no_step(at_precision=True), at_precision=True)
        return trial

    def _turned(self, gradient: Any, g_s: np.ndarray[Any, Any], g_y: np.ndarray[Any, Any]) -> float:
        slope = super()._turned(gradient, g_s, g_y)
        self._d = self._turn(self._d, gradient)
        return slope
