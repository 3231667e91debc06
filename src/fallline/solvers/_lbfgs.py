"""The limited-memory quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .._arrays import _checks
from ._base import Run, Solver
from ._limited_memory import CHANGE, DIRECTION, GRADIENT, PAIRS, LimitedMemoryRun
from ._search import Trial, strong_wolfe


class LBFGSRun(LimitedMemoryRun):
    """Straight lines, searched for the strong Wolfe conditions."""

    def _moving(self, trial: Trial) -> Sequence[tuple[int, Any]]:
        return (CHANGE, trial.gradient - self.at.gradient), (GRADIENT, trial.gradient)

    def _take(self, trial: Trial) -> None:
        trial.slope = float(trial.measured.reshape(PAIRS, -1)[GRADIENT, DIRECTION])

    def _searched(self) -> Trial | None:
        self._tried = 1.0 if self._slots else self._first
        return strong_wolfe(self._line, self.at, self._tried, noise=self.noise)


@dataclass(frozen=True, repr=False)
class LBFGS(Solver):
    r"""L-BFGS with a strong Wolfe line search, for smooth objectives.

    The step is along :math:`-H g`, where H is the inverse Hessian that `history` pairs
    :math:`s = x_{k+1} - x_k`, :math:`y = g_{k+1} - g_k` make of a multiple of the identity [1]_.
    All inner products of an iteration are one matrix product [2]_, and the direction is computed
    from them in the compact form [3]_.

    Parameters
    ----------
    history : int, optional
        Number of pairs to keep; the memory is 3 + 2 * history vectors. By default 10, and 30 for
        at most 100 variables, where pairs are cheap and save iterations on badly scaled problems.

    Notes
    -----
    Each evaluation synchronises with the device once. A pair whose curvature is not positive is
    skipped. The first step has length 1.

    References
    ----------
    .. [1] Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
    .. [2] Chen, Wang, Zhou, "Large-scale L-BFGS using MapReduce", 2014.
    .. [3] Byrd, Nocedal, Schnabel, "Representations of quasi-Newton matrices and their use in
       limited memory methods", 1994, theorem 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> run = fl.LBFGS().start(lambda x: (np.sum((x - 3) ** 2), 2 * (x - 3)), np.zeros(2))
    >>> [round(record.value, 6) for record in run.steps(2)]
    [10.514719, 0.0]
    """

    history: int | None = None
    _run: ClassVar[type[Run]] = LBFGSRun

    def __post_init__(self) -> None:
        """Check the length of the history."""
        if self.history is not None:
            object.__setattr__(self, "history", _checks.count("history", self.history, 1))

    def pairs(self, size: int) -> int:
        """Return how many pairs are kept for a number of real variables."""
        return self.history or (30 if size <= 100 else 10)
