"""L-BFGS between bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace, Tree
from ..constraints import Box
from ._lbfgs import LBFGS
from ._objective import Objective
from ._projected import ProjectedRun, Region
from ._search import Trial


class Bounds(Region):
    """The bounds are two vectors; elements at one, with the gradient towards it, stay."""

    sloped: ClassVar[bool] = True

    def __init__(self, xp: Namespace, low: Any, high: Any) -> None:
        super().__init__(xp)
        self._low, self._high = low, high

    def feasible(self, x: Array) -> Array:
        """Return the nearest point between the bounds."""
        return self._xp.minimum(self._xp.maximum(x, self._low), self._high)

    def land(self, at: Trial, x: Array) -> Array:
        """Return the nearest point between the bounds."""
        return self.feasible(x)

    def pseudo(self, x: Array, gradient: Array) -> Array:
        """Return the gradient without the elements that stay."""
        return self._free(x, gradient > 0, gradient < 0, gradient)

    def slopes(self, at: Trial, d: Array, trial: Trial) -> Sequence[Array]:
        """Return the slopes along the path that bends where it meets a bound."""
        start = at.gradient @ self._free(at.x, d < 0, d > 0, d)
        return [start, trial.gradient @ self._free(trial.x, d < 0, d > 0, d)]

    def _free(self, x: Array, down: Any, up: Any, values: Array) -> Array:
        # The values of the elements that can move; zero at a bound that would be crossed.
        xp = self._xp
        held = xp.logical_or(
            xp.logical_and(x <= self._low, down), xp.logical_and(x >= self._high, up)
        )
        return xp.where(held, xp.zeros_like(values), values)


def _between(objective: Objective, penalty: Tree, constraint: Tree) -> Bounds:
    # The bounds of the constraints; the penalties, which are smooth, join the objective.
    space = objective.space
    structure, xp = space.structure, space.xp
    smooth = structure.broadcast(penalty, "penalty")
    for path, p in zip(structure.paths, smooth, strict=True):
        if p is not None and not p.smooth:
            msg = f"{_checks.where('penalty', path)}: LBFGSB needs a smooth penalty, got {p!r}"
            raise ValueError(msg)
    objective.penalise(smooth)
    sets = structure.broadcast(constraint, "constraint")
    low: list[Any] = []
    high: list[Any] = []
    for path, c, x in zip(structure.paths, sets, space._like, strict=True):
        place = _checks.where("constraint", path)
        ends = (-math.inf, math.inf) if c is None else _ends(c, place)
        for side, end in zip((low, high), ends, strict=True):
            side.append(_bound(x, end, place))
        if c is not None and x is not None and _arrays.is_complex(x):
            msg = f"{place}: bounds need real arrays, got {_arrays.dtype_name(x)}"
            raise TypeError(msg)
    lows, highs = (space.pack(structure.unflatten(x), "constraint") for x in (low, high))
    if _arrays.to_float(xp.sum(xp.astype(lows > highs, space.dtype))):
        msg = "constraint: some lower bounds are above their upper bounds"
        raise ValueError(msg)
    return Bounds(xp, lows, highs)


def _ends(constraint: Tree, place: str) -> tuple[Array, Array]:
    if isinstance(constraint, Box):
        low = -math.inf if constraint.low is None else constraint.low
        return low, math.inf if constraint.high is None else constraint.high
    msg = f"{place}: LBFGSB supports Box and NonNegative, got {constraint!r}; use ProximalGradient"
    raise ValueError(msg)


def _bound(x: Array, bound: Any, place: str) -> Array:
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

    Elements at a bound stay there if the negative gradient points out of it; the quasi-Newton step
    of the others is projected onto the bounds [1]_. The step length is searched along this path as
    in ``LBFGS``, and the points are the same as long as no bound is met.

    Parameters
    ----------
    history : int, optional
        Number of pairs to keep, as for ``LBFGS``.

    Notes
    -----
    The constraint is a ``Box`` or ``NonNegative``, or a prefix tree of them. This is not the
    algorithm of Byrd, Lu, Nocedal and Zhu that SciPy runs under this name: the set of elements at
    their bounds is found by projection, not along the Cauchy arc, which would need a loop over
    elements on the host. The solutions are the same. Each evaluation synchronises with the device
    once. The `gradient_norm` of records ignores the elements that stay.

    References
    ----------
    .. [1] Gafni, Bertsekas, "Two-metric projection methods for constrained optimization", 1984.
    """

    _run = ProjectedRun
    _region = staticmethod(_between)
