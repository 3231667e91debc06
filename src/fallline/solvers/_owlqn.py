"""The orthant-wise form of L-BFGS, for L1 penalties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arrays, _checks
from ..penalties import L1, L2, ElasticNet
from ._lbfgs import LBFGS, LBFGSRun
from ._search import Trial
from ._space import numbers


class OWLQNRun(LBFGSRun):
    """L-BFGS where rows 0 and 2 are the projected step and the pseudo-gradient."""

    solver: OWLQN
    proximal = True

    def _setup(self, penalty: Any, constraint: Any) -> None:
        super()._setup(penalty, constraint)
        if constraint is not None:
            msg = "constraint: OWLQN has none; ProximalGradient has"
            raise ValueError(msg)
        structure = self.space.structure
        smooth, weights = [], []
        leaves = structure.flatten(self.space.unpack(self.space.zeros(1)[0, :]), "x0")
        for path, p, x in zip(
            structure.paths, structure.broadcast(penalty, "penalty"), leaves, strict=True
        ):
            alpha, other = _split(p, _checks.where("penalty", path))
            if alpha and x is not None and _arrays.is_complex(x):
                msg = f"{_checks.where('penalty', path)}: OWLQN takes {p!r} of real leaves only; "
                raise TypeError(msg + "ProximalGradient fits")
            smooth.append(other)
            weights.append(None if x is None else _arrays.full(x, alpha, x.dtype))
        self.objective.penalise(smooth)
        self._weights = self.space.pack(structure.unflatten(weights), "penalty")

    def _pseudo(self, x: Any, gradient: Any) -> Any:
        # The gradient of the side on which the objective falls, zero where it rises on both.
        xp, w = self.space.xp, self._weights
        right, left = gradient + w, gradient - w
        zero = xp.zeros_like(x)
        still = xp.where(right < 0, right, xp.where(left > 0, left, zero))
        return xp.where(x > 0, right, xp.where(x < 0, left, still))

    def _evaluated(self, t: float, x: Any) -> Trial:
        xp = self.space.xp
        value, gradient = self.objective(x)
        pseudo = self._pseudo(x, gradient)
        arrays = [self.space.peak(pseudo), xp.sum(self._weights * xp.abs(x))]
        if self._d is None:
            arrays.append(pseudo @ pseudo)
        else:
            step = x - self.at.x
            self._rows = _arrays.with_row(self._rows, 0, step)
            self._rows = _arrays.with_row(self._rows, 1, gradient - self.at.gradient)
            self._rows = _arrays.with_row(self._rows, 2, pseudo)
            self._filled = gradient
            rows = self._rows[: 3 + 2 * len(self._slots), :]
            arrays += [self.at.pseudo @ step, self.space.products(rows, 3)]
        got = numbers(self.space, value, arrays)
        total, norm = float(got[0] + got[2]), float(got[1])
        first = 3 if self._d is None else 4
        return Trial(t, total, float(got[3]), x, gradient, got[first:], norm, pseudo)

    def _uphill(self, trial: Trial) -> Any:
        return trial.pseudo

    def _line(self, t: float) -> Trial:
        # The step, stopped where an element would change its sign.
        xp, at = self.space.xp, self.at
        side = xp.where(at.x == 0, -xp.sign(at.pseudo), xp.sign(at.x))
        x = at.x + t * self._d
        inside = xp.logical_or(x * side > 0, self._weights == 0)
        return self._evaluated(t, xp.where(inside, x, xp.zeros_like(x)))

    def _searched(self) -> Trial | None:
        t = 1.0 if self._slots else self._first
        for _ in range(40):
            trial = self._line(t)
            lower = trial.value <= self.at.value + 1e-4 * trial.slope < self.at.value
            # Where values differ by rounding only, the pseudo-gradient decides.
            level = trial.value <= self.at.value + self.noise and trial.norm < self.at.norm
            if trial.finite and (lower or level):
                # The step is row 0, and not a multiple of the direction.
                self._length, trial.t, self._d = t, 1.0, self._rows[0, :]
                return trial
            t *= 0.5
        return None

    def _advance(self) -> Trial:
        trial = super()._advance()
        trial.t = self._length
        return trial

    def _turned(self, gradient: Any, g_s: np.ndarray[Any, Any], g_y: np.ndarray[Any, Any]) -> float:
        slope = super()._turned(gradient, g_s, g_y)
        xp, d = self.space.xp, self._d
        downhill = xp.logical_or(d * gradient < 0, self._weights == 0)
        self._d = xp.where(downhill, d, xp.zeros_like(d))
        return slope


def _split(penalty: Any, place: str) -> tuple[float, Any]:
    # The weight of the L1 part, and the smooth part.
    if penalty is None or penalty.smooth:
        return 0.0, penalty
    if isinstance(penalty, L1):
        return penalty.alpha, None
    if isinstance(penalty, ElasticNet):
        ratio = penalty.l1_ratio
        return penalty.alpha * ratio, L2(penalty.alpha * (1 - ratio))
    msg = f"{place}: OWLQN takes L1, ElasticNet and smooth penalties, got {penalty!r}; "
    raise ValueError(msg + "ProximalGradient fits")


@dataclass(frozen=True, repr=False)
class OWLQN(LBFGS):
    r"""Orthant-wise L-BFGS, for a smooth objective with an L1 penalty.

    The steepest descent direction is that of the pseudo-gradient, the one-sided gradient of least
    magnitude; the quasi-Newton step keeps its signs, and stops where an element would change sign
    [1]_. Elements become exactly zero.

    Parameters
    ----------
    history : int, default 10
        Pairs kept.

    Notes
    -----
    Penalties may be ``L1``, ``ElasticNet`` and smooth ones; complex leaves only the last. One read
    from the device for each evaluation. Records' `gradient_norm` is that of the pseudo-gradient.

    References
    ----------
    .. [1] Andrew, Gao, "Scalable training of L1-regularized log-linear models", 2007.
    """

    _run = OWLQNRun
