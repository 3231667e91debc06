"""The limited-memory quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from ._base import Run, Solver
from ._search import Trial, strong_wolfe

# Rows of the matrix; from `PAIRS` on they hold s and y of each pair, one behind the other.
DIRECTION, CHANGE, GRADIENT, PAIRS = range(4)


class LBFGSRun(Run):
    """Rows of one matrix hold the direction, the last y and g, and the pairs (s, y).

    All inner products of an iteration are one matrix product, as Chen, Wang and Zhou compute them,
    and one read; the two loops are done on the small matrices of products, on the host, in the
    compact form of Byrd, Nocedal and Schnabel (1994, theorem 2.2).
    """

    solver: LBFGS
    remembers = (
        *Run.remembers, "_rows", "_slots", "_yy", "_inverse", "_sy", "_square", "_first", "_reach"
    )  # fmt: skip

    def _setup(self, penalty: Any, constraint: Any) -> None:
        self._most = self.solver.pairs(self.space.size)
        self._rows = self.space.zeros(PAIRS + 2 * self._most)

    def _restart(self) -> None:
        self._reach = 1.0  # of the last step, in the space
        square = float(self.at.measured[0])
        self.at.slope = self._downhill(self._uphill(self.at), square)

    def _uphill(self, trial: Trial) -> Any:
        return trial.gradient

    def _downhill(self, gradient: Any, square: float) -> float:
        # Forget all pairs; square: of the norm of the gradient. Returns the slope.
        self._slots: list[int] = []  # of the pairs, oldest first
        self._yy = np.zeros((0, 0))  # products of every y with every y
        self._inverse = np.zeros((0, 0))  # of R, which holds the products s_i y_j for i <= j
        self._sy = np.zeros(0)  # its diagonal
        self._square, self._d = square, -gradient
        self._rows = _arrays.with_row(self._rows, DIRECTION, self._d)
        self._first = self._reach * square**-0.5 if square > 0 else 1.0
        return -square

    def _measured(self, gradient: Any) -> Sequence[Any]:
        if self._d is None:
            return [gradient @ gradient]
        self._put_gradient(gradient)
        rows = self._rows[: PAIRS + 2 * len(self._slots), :]
        return [self.space.products(rows, PAIRS)]

    def _fill(self, trial: Trial) -> None:
        self._put_gradient(trial.gradient)

    def _put_gradient(self, gradient: Any) -> None:
        self._rows = _arrays.with_row(self._rows, CHANGE, gradient - self.at.gradient)
        self._rows = _arrays.with_row(self._rows, GRADIENT, gradient)
        self._filled = gradient

    def _slope(self, measured: np.ndarray[Any, Any]) -> float:
        return float(measured.reshape(PAIRS, -1)[GRADIENT, DIRECTION])

    def _advance(self) -> Trial:
        if self._square == 0:
            raise self._failed()
        trial = self._searched()
        if trial is None and self._slots and not self._failed().at_precision:
            self.at.slope = self._downhill(self._uphill(self.at), self._square)
            trial = self._searched()
        if trial is None:
            raise self._failed()
        trial.slope = self._learn(trial)
        return trial

    def _searched(self) -> Trial | None:
        self._tried = 1.0 if self._slots else self._first
        return strong_wolfe(self._line, self.at, self._tried, noise=self.noise)

    def _learn(self, trial: Trial) -> float:
        # Take the pair of this step, then the direction of the next; returns its slope.
        products = trial.measured.reshape(PAIRS, -1)
        if self._filled is not trial.gradient:
            self._fill(trial)
        sy, yy = trial.t * products[CHANGE, DIRECTION], products[CHANGE, CHANGE]
        self._reach = trial.t * math.sqrt(products[DIRECTION, DIRECTION])
        s = PAIRS + 2 * np.asarray(self._slots, dtype=int)
        g_s, g_y = products[GRADIENT, s], products[GRADIENT, s + 1]
        if sy > self.space.epsilon * -self.at.slope * trial.t:
            s_y, y_y = products[CHANGE, s], products[CHANGE, s + 1]
            slot = len(self._slots)
            if slot == self._most:
                slot = self._slots.pop(0)
                s_y, y_y, g_s, g_y = (x[1:] for x in (s_y, y_y, g_s, g_y))
                self._inverse, self._yy = self._inverse[1:, 1:], self._yy[1:, 1:]
                self._sy = self._sy[1:]
            self._slots.append(slot)
            self._inverse = _bordered(self._inverse, -(self._inverse @ s_y) / sy, 0.0, 1.0 / sy)
            self._yy = _bordered(self._yy, y_y, y_y, yy)
            self._sy = np.concatenate([self._sy, (sy,)])
            g_s = np.concatenate([g_s, (trial.t * products[GRADIENT, DIRECTION],)])
            g_y = np.concatenate([g_y, (products[GRADIENT, CHANGE],)])
            pair = PAIRS + 2 * slot
            rows = _arrays.with_row(self._rows, pair, trial.t * self._d)
            self._rows = _arrays.with_row(rows, pair + 1, rows[CHANGE, :])
        self._square = float(products[GRADIENT, GRADIENT])
        return self._turned(self._uphill(trial), g_s, g_y)

    def _turned(self, gradient: Any, g_s: np.ndarray[Any, Any], g_y: np.ndarray[Any, Any]) -> float:
        if not self._slots:
            return self._downhill(gradient, self._square)
        # Liu and Nocedal's two loops as one product (Byrd, Nocedal, Schnabel, theorem 2.2): with
        # u = R^-1 S'g and w = R^-T (D u + gamma (Y'Y u - Y'g)), H g is gamma g + S w - gamma Y u.
        gamma = self._sy[-1] / self._yy[-1, -1]
        u = self._inverse @ g_s
        w = (self._sy * u + gamma * (self._yy @ u - g_y)) @ self._inverse
        slope = -(gamma * self._square + g_s @ w - gamma * (g_y @ u))
        if not slope < 0:
            return self._downhill(gradient, self._square)
        # The coefficients of the rows from GRADIENT on, of which the first is -gamma.
        coefficients = np.zeros(1 + 2 * len(self._slots))
        s = 1 + 2 * np.asarray(self._slots)
        coefficients[0], coefficients[s], coefficients[s + 1] = -gamma, -w, gamma * u
        row = self.space.xp.astype(
            _arrays.from_numpy(coefficients, self.space.like), self.space.dtype, copy=False
        )
        self._d = row @ self._rows[GRADIENT : PAIRS + 2 * len(self._slots), :]
        self._rows = _arrays.with_row(self._rows, DIRECTION, self._d)
        return float(slope)


def _bordered(
    a: np.ndarray[Any, Any], column: Any, row: Any, corner: float
) -> np.ndarray[Any, Any]:
    n = len(a)
    out = np.empty((n + 1, n + 1))
    out[:n, :n], out[:n, n], out[n, :n], out[n, n] = a, column, row, corner
    return out


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
        Pairs kept: the memory is 3 + 2 * history vectors. By default 10; 30 for at most 100
        variables, where pairs cost little and badly scaled problems need fewer iterations for it.

    Notes
    -----
    One read from the device for each evaluation. A pair whose curvature is not positive is left
    out. The first step is of length 1.

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
    _run = LBFGSRun

    def __post_init__(self) -> None:
        """Check the length of the history."""
        if self.history is not None:
            object.__setattr__(self, "history", _checks.count("history", self.history, 1))

    def pairs(self, size: int) -> int:
        """Return how many pairs are kept for a number of real variables."""
        return self.history or (30 if size <= 100 else 10)
