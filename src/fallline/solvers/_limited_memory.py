"""What the L-BFGS methods share: the pairs, and the direction that they make."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays._types import Array, HostArray, Tree
from ._line_run import LearningRun
from ._search import Trial

# Rows of the matrix; from `PAIRS` on they hold s and y of each pair, one behind the other.
DIRECTION, CHANGE, GRADIENT, PAIRS = range(4)


class LimitedMemoryRun(LearningRun):
    """Rows of one matrix hold the direction, the last y and g, and the pairs (s, y).

    All inner products of an iteration are one matrix product, as in Chen, Wang and Zhou, and one
    transfer to the host. The two loops run there on the small matrices of products, in the compact
    form of Byrd, Nocedal and Schnabel (1994, theorem 2.2).
    """

    remembers = (
        *LearningRun.remembers, "_rows", "_slots", "_yy", "_inverse", "_sy", "_square", "_first",
        "_reach",
    )  # fmt: skip

    def _setup(self, penalty: Tree, constraint: Tree) -> None:
        self._most = self.solver.pairs(self.space.size)
        self._rows = self.space.zeros(PAIRS + 2 * self._most)
        self._restrict(penalty, constraint)

    def _restrict(self, penalty: Tree, constraint: Tree) -> None:
        """Take the penalties and constraints of a proximal solver: a hook."""

    def _restart(self) -> None:
        self._reach = 1.0  # of the last step, in the space
        square = float(self.at.measured[0])
        self.at.slope = self._downhill(self.at.steep, square)
        self._forget()

    def _forget(self) -> None:
        """Forget what else was learned: a hook."""

    def _downhill(self, gradient: Array, square: float) -> float:
        # Forget all pairs; square: of the norm of the gradient. Returns the slope.
        self._slots: list[int] = []  # of the pairs, oldest first
        self._yy = np.zeros((0, 0))  # products of every y with every y
        self._inverse = np.zeros((0, 0))  # of R, which holds the products s_i y_j for i <= j
        self._sy = np.zeros(0)  # its diagonal
        self._square, self._d = square, -gradient
        self._rows = _arrays.with_row(self._rows, DIRECTION, self._d)
        self._first = self._reach * square**-0.5 if square > 0 else 1.0
        return -square

    def _measured(self, trial: Trial) -> Sequence[Array]:
        if self._d is None:
            return [trial.steep @ trial.steep]
        self._fill(trial)
        rows = self._rows[: PAIRS + 2 * len(self._slots), :]
        return [*self._along(trial), self.space.products(rows, PAIRS)]

    def _fill(self, trial: Trial) -> None:
        # At this trial the rows below `PAIRS` are.
        for i, row in self._moving(trial):
            self._rows = _arrays.with_row(self._rows, i, row)
        self._filled = trial.gradient

    @abstractmethod
    def _moving(self, trial: Trial) -> Sequence[tuple[int, Any]]:
        """Return the rows below `PAIRS` that a trial changes, with their indices."""

    def _along(self, trial: Trial) -> Sequence[Array]:
        """Return what is measured before the products of the rows, 0-d: a hook."""
        return ()

    def _afresh(self, size: float) -> bool:
        tried = not self._slots and self._first
        self.at.slope = self._downhill(self.at.steep, self._square)
        self._first = self._seen_from(self._first, size)
        return self._first != tried

    def _accepted(self, trial: Trial) -> None:
        """Take note of the trial to which the run is going to move: a hook."""

    def _turn(self, d: Array, steep: Any) -> Array:
        """Return the part of a direction that may be taken: a hook."""
        return d

    def _advance(self) -> Trial:
        if self._square == 0:
            raise self._failed()
        trial = self._found()
        trial.slope = self._learn(trial)
        self._d = self._turn(self._d, trial.steep)
        self._accepted(trial)
        return trial

    def _learn(self, trial: Trial) -> float:
        # Take the pair of this step, then the direction of the next; returns its slope.
        products = trial.measured.reshape(PAIRS, -1)
        if self._filled is not trial.gradient:
            self._fill(trial)
        sy, yy = trial.t * products[CHANGE, DIRECTION], products[CHANGE, CHANGE]
        self._reach = trial.t * math.sqrt(products[DIRECTION, DIRECTION])
        (s_y, y_y), (g_s, g_y) = products[CHANGE:, _columns(tuple(self._slots))]
        if sy > self.space.epsilon * -self.at.slope * trial.t:
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
        return self._turned(trial.steep, g_s, g_y)

    def _turned(self, gradient: Array, g_s: HostArray, g_y: HostArray) -> float:
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
        coefficients = np.empty(PAIRS + 2 * len(self._slots))
        coefficients[GRADIENT] = -gamma
        coefficients[_columns(tuple(self._slots))] = -w, gamma * u
        row = self.space.xp.astype(
            _arrays.from_numpy(coefficients[GRADIENT:], self.space.like),
            self.space.dtype,
            copy=False,
        )
        self._d = row @ self._rows[GRADIENT : PAIRS + 2 * len(self._slots), :]
        self._rows = _arrays.with_row(self._rows, DIRECTION, self._d)
        return float(slope)


@lru_cache(maxsize=256)
def _columns(slots: tuple[int, ...]) -> HostArray:
    # The columns of the products with s, and those with y, of pairs in some slots.
    s = PAIRS + 2 * np.asarray(slots, dtype=int)
    return np.stack([s, s + 1])


def _bordered(a: HostArray, column: Array, row: Array, corner: float) -> HostArray:
    n = len(a)
    out = np.empty((n + 1, n + 1))
    out[:n, :n], out[:n, n], out[n, :n], out[n, n] = a, column, row, corner
    return out
