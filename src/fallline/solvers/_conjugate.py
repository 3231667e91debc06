"""Nonlinear conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._arrays import _checks
from .._arrays._types import Array
from ._base import Solver
from ._line_run import LearningRun
from ._search import Trial, strong_wolfe

BENDS = 30  # curvatures that are remembered


class ConjugateGradientRun(LearningRun):
    """Three inner products for each evaluation: g g, g d, and g with the gradient before."""

    solver: ConjugateGradient
    remembers = (*LearningRun.remembers, "_square", "_length", "_t", "_fresh", "_reach", "_bends")

    def _restart(self) -> None:
        self._reach = 1.0  # of the last step, in the space
        self._bends: list[float] = []  # the curvatures along the last directions
        self._downhill(float(self.at.measured[0]))

    def _downhill(self, square: float) -> None:
        self._square = self._length = square  # of the norms of the gradient and the direction
        self._d = -self.at.gradient
        self.at.slope = -square
        self._t = self._reach * square**-0.5 if square > 0 else 1.0
        self._fresh = True

    def _measured(self, trial: Trial) -> Sequence[Array]:
        gradient = trial.gradient
        if self._d is None:
            return [gradient @ gradient]
        return [gradient @ self._d, gradient @ gradient, gradient @ self.at.gradient]

    def _take(self, trial: Trial) -> None:
        trial.slope = float(trial.measured[0])

    def _advance(self) -> Trial:
        if self._square == 0:
            raise self._failed()
        trial = self._found()
        slope, square, mixed = (float(x) for x in trial.measured)
        self._reach = trial.t * math.sqrt(self._length)
        along = slope - self.at.slope  # y d
        if along > 0:
            self._bends = [*self._bends[1 - BENDS :], along / (trial.t * self._length)]
        beta = self._beta(square, mixed, slope, along)
        new_slope = -square + beta * slope
        self._t = trial.t * self.at.slope / new_slope if new_slope < 0 else trial.t
        if new_slope < -1e-10 * square:
            self._d = beta * self._d - trial.gradient
            self._length = beta * beta * self._length - 2 * beta * slope + square
            self._fresh = False
        else:
            self._d, new_slope, self._fresh = -trial.gradient, -square, True
            self._length = square
            self._t = trial.t * self.at.slope / -square if square > 0 else 1.0
        self._square = square
        trial.slope = new_slope
        return trial

    def _afresh(self, size: float) -> bool:
        tried = self._fresh and self._t
        self._downhill(self._square)
        self._t = self._seen_from(self._t, size)
        return self._t != tried

    def _searched(self) -> Trial | None:
        self._tried = self._t
        return strong_wolfe(self._line, self.at, self._t, noise=self.noise, c1=1e-4, c2=0.1)

    @property
    def _outlook(self) -> tuple[float, float] | None:
        # Along the flattest of the last directions: a step along a steep one gains next to nothing
        # where there is much to gain yet.
        if not self._bends:
            return None
        flattest = min(self._bends)
        return 0.5 * self._square / flattest, math.sqrt(self._square) / flattest

    def _beta(self, square: float, mixed: float, slope: float, along: float) -> float:
        if self.solver.beta == "polak-ribiere":
            return max(0.0, (square - mixed) / self._square)
        if not along > 0:
            return 0.0
        if self.solver.beta == "dai-yuan":
            return square / along
        change = square - 2 * mixed + self._square  # y y
        beta = (square - mixed) / along - 2 * change * slope / along**2
        length, norm = math.sqrt(self._length), math.sqrt(self._square)
        return max(beta, -1.0 / (length * min(0.01, norm)))


@dataclass(frozen=True, repr=False)
class ConjugateGradient(Solver):
    r"""Nonlinear conjugate gradients with a strong Wolfe line search, for smooth objectives.

    .. math:: d_{k+1} = -g_{k+1} + \beta_k d_k

    Parameters
    ----------
    beta : {"polak-ribiere", "dai-yuan", "hager-zhang"}
        With :math:`y = g_{k+1} - g_k`: Polak and Ribière's
        :math:`\max(0, g_{k+1} y / g_k g_k)` [1]_, Dai and Yuan's
        :math:`g_{k+1} g_{k+1} / d_k y` [2]_, or Hager and Zhang's
        :math:`(y - 2 d_k\, y y / d_k y)\, g_{k+1} / d_k y`, truncated below [3]_.

    Notes
    -----
    Each evaluation synchronises with the device once. The memory is four vectors. If a direction
    is not downhill, the method restarts from the negative gradient.

    References
    ----------
    .. [1] Nocedal, Wright, "Numerical Optimization", 2nd edition, 2006, section 5.2.
    .. [2] Dai, Yuan, "A nonlinear conjugate gradient method with a strong global convergence
       property", 1999.
    .. [3] Hager, Zhang, "A new conjugate gradient method with guaranteed descent", 2005.
    """

    beta: str = "polak-ribiere"
    _run = ConjugateGradientRun

    def __post_init__(self) -> None:
        """Check the formula's name."""
        known = ("polak-ribiere", "dai-yuan", "hager-zhang")
        if self.beta not in known:
            raise _checks.unknown_name("beta", str(self.beta), known)
