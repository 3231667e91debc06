"""L-BFGS between bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import _arrays
from .._arrays import _checks
from ..constraints import Box
from ._lbfgs import LBFGS
from ._projected import ProjectedRun
from ._search import Trial, strong_wolfe


class LBFGSBRun(ProjectedRun):
    """The bounds are two vectors; elements at one, with the gradient towards it, stay."""

    solver: LBFGSB

    def _setup(self, penalty: Any, constraint: Any) -> None:
        super()._setup(penalty, constraint)
        structure, xp = self.space.structure, self.space.xp
        smooth = structure.broadcast(penalty, "penalty")
        for path, p in zip(structure.paths, smooth, strict=True):
            if p is not None and not p.smooth:
                msg = f"{_checks.where('penalty', path)}: LBFGSB needs a smooth one, got {p!r}"
                raise ValueError(msg)
        self.objective.penalise(smooth)
        leaves = structure.flatten(self.space.unpack(self.space.zeros(1)[0, :]), "x0")
        sets = structure.broadcast(constraint, "constraint")
        low, high = [], []
        for path, c, x in zip(structure.paths, sets, leaves, strict=True):
            place = _checks.where("constraint", path)
            low.append(_bound(x, -math.inf if c is None else _ends(c, place)[0], place))
            high.append(_bound(x, math.inf if c is None else _ends(c, place)[1], place))
            if c is not None and x is not None and _arrays.is_complex(x):
                msg = f"{place}: is of real arrays, got {_arrays.dtype_name(x)}"
                raise TypeError(msg)
        self._low = self.space.pack(structure.unflatten(low), "constraint")
        self._high = self.space.pack(structure.unflatten(high), "constraint")
        if _arrays.to_float(xp.sum(xp.astype(self._low > self._high, self.space.dtype))):
            msg = "constraint: low is above high somewhere"
            raise ValueError(msg)

    def _begin(self, x: Any) -> None:
        super()._begin(self._land(x))

    def _land(self, x: Any) -> Any:
        xp = self.space.xp
        return xp.minimum(xp.maximum(x, self._low), self._high)

    def _pseudo(self, x: Any, gradient: Any) -> Any:
        xp = self.space.xp
        stays = xp.logical_or(
            xp.logical_and(x <= self._low, gradient > 0),
            xp.logical_and(x >= self._high, gradient < 0),
        )
        return xp.where(stays, xp.zeros_like(x), gradient)

    def _bend(self, step: Any, change: Any) -> Any:
        # Of the elements that moved: the curvature of the face on which the search goes on.
        return self.space.xp.where(step == 0, self.space.xp.zeros_like(step), change)

    def _turn(self, d: Any, pseudo: Any) -> Any:
        return self.space.xp.where(pseudo == 0, self.space.xp.zeros_like(d), d)

    def _path(self, x: Any, gradient: Any) -> Sequence[Any]:
        # The slopes along the path that bends where it meets a bound: at its start, and at x.
        start = self.at.gradient @ self._onward(self.at.x)
        return [start, gradient @ self._onward(x)]

    def _onward(self, x: Any) -> Any:
        # The part of the direction in which a point can go on.
        xp, d = self.space.xp, self._d
        ends = xp.logical_or(
            xp.logical_and(x <= self._low, d < 0), xp.logical_and(x >= self._high, d > 0)
        )
        return xp.where(ends, xp.zeros_like(d), d)

    def _searched(self) -> Trial | None:
        # Along that path, as far as its slopes tell: where all bounds are far away, as without
        # them. By halving, where that finds nothing.
        t = self._tried = 1.0 if self._slots else self._first
        ahead = [self._line(t)]
        start = replace(self.at, slope=ahead[0].path[0])

        def line(t: float) -> Trial:
            trial = ahead.pop() if ahead else self._line(t)
            trial.slope = trial.path[1]
            return trial

        found = strong_wolfe(line, start, t, noise=self.noise) if start.slope < 0 else None
        return super()._searched() if found is None else self._taken(found)


def _ends(constraint: Any, place: str) -> tuple[Any, Any]:
    if isinstance(constraint, Box):
        low = -math.inf if constraint.low is None else constraint.low
        return low, math.inf if constraint.high is None else constraint.high
    msg = f"{place}: LBFGSB takes Box and NonNegative, got {constraint!r}; ProximalGradient fits"
    raise ValueError(msg)


def _bound(x: Any, bound: Any, place: str) -> Any:
    if x is None:
        return None
    if not _arrays.is_array(bound):
        return _arrays.full(x, float(bound), x.dtype)
    _checks.same_kind(place, x, bound)
    xp = _arrays.namespace(x)
    return xp.astype(xp.broadcast_to(bound, x.shape), x.dtype)


@dataclass(frozen=True, repr=False)
class LBFGSB(LBFGS):
    r"""L-BFGS between bounds, for smooth objectives.

    Elements at a bound to which the negative gradient points stay there; for the others the
    quasi-Newton step is projected on the bounds [1]_. How far it goes is searched along this path
    as by ``LBFGS``, whose points these are where no bound is met.

    Parameters
    ----------
    history : int, optional
        Pairs kept, as for ``LBFGS``.

    Notes
    -----
    The constraint is a ``Box`` or ``NonNegative``, or a prefix tree of them. This is not the
    algorithm of Byrd, Lu, Nocedal and Zhu that SciPy runs under this name: the set of elements at
    their bounds is found by projection, not along the Cauchy arc, which needs no loop over elements
    on the host. The solutions are the same. One read from the device for each evaluation. Records'
    `gradient_norm` is that of the gradient without the elements that stay.

    References
    ----------
    .. [1] Gafni, Bertsekas, "Two-metric projection methods for constrained optimization", 1984.
    """

    _run = LBFGSBRun
