"""Steepest descent with its choices of the step length."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._arrays import _checks
from .._arrays._types import Array
from ._base import Solver
from ._line_run import LineRun
from ._search import Trial, armijo, strong_wolfe

_MEMORY = 10  # values that a Barzilai-Borwein step may not exceed


class SteepestDescentRun(LineRun):
    """The direction is always the negative gradient."""

    solver: SteepestDescent
    remembers = (*LineRun.remembers, "_values", "_t")

    def _restart(self) -> None:
        square = float(self.at.measured[0])
        self._values = deque([self.at.value], maxlen=_MEMORY)
        self._d = -self.at.gradient
        self.at.slope = -square
        self._t = max(square**-0.5, self._loud(square)) if square > 0 else 1.0

    def _measured(self, trial: Trial) -> Sequence[Array]:
        square = trial.gradient @ trial.gradient
        return [square] if self._d is None else [trial.gradient @ self._d, square]

    def _take(self, trial: Trial) -> None:
        trial.slope = float(trial.measured[0])

    def _advance(self) -> Trial:
        if self.at.slope == 0:
            raise self._failed()
        size, at, self._tried = self.solver.step_size, self.at, self._t
        if size == "wolfe":
            trial = strong_wolfe(self._line, at, self._t, noise=self.noise, c1=1e-4)
        elif size == "armijo":
            trial = armijo(self._line, at, self._t, reference=at.value)
        elif size == "barzilai-borwein":
            trial = armijo(self._line, at, self._t, reference=max(self._values))
        else:
            trial = self._line(float(size(self.iteration) if callable(size) else size))
        if trial is None:
            raise self._failed()
        slope, square = (float(x) for x in trial.measured)
        if size == "barzilai-borwein":
            # With s = -t g and y: s s / s y is t g g / (g g - g g_new).
            bend = slope - at.slope
            self._t = trial.t * -at.slope / bend if bend > 0 else 10 * trial.t
        elif square > 0:
            self._t = 2 * trial.t * at.slope / -square
        self._values.append(trial.value)
        self._d = -trial.gradient
        trial.slope = -square
        return trial


@dataclass(frozen=True, repr=False)
class SteepestDescent(Solver):
    r"""Steps along the negative gradient, for smooth objectives.

    .. math:: x_{k+1} = x_k - t_k g_k

    Parameters
    ----------
    step_size : {"barzilai-borwein", "wolfe", "armijo"}, float, or callable
        The step length t: :math:`s s / s y` of the last step, with a nonmonotone safeguard [1]_
        [2]_; a search for the strong Wolfe conditions; halving; or a fixed number, or a schedule
        ``iteration -> float``.

    References
    ----------
    .. [1] Barzilai, Borwein, "Two-point step size gradient methods", 1988.
    .. [2] Raydan, "The Barzilai and Borwein gradient method for the large scale unconstrained
       minimization problem", 1997.
    """

    step_size: str | float | Callable[[int], float] = "barzilai-borwein"
    _run = SteepestDescentRun

    def __post_init__(self) -> None:
        """Check the step length."""
        if isinstance(self.step_size, str):
            known = ("barzilai-borwein", "wolfe", "armijo")
            if self.step_size not in known:
                raise _checks.unknown_name("step_size", self.step_size, known)
        elif not callable(self.step_size):
            _checks.positive("step_size", self.step_size, math.inf)
