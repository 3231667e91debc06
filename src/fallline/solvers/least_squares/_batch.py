"""Problems at work together, and where they stand."""

from __future__ import annotations

from typing import NamedTuple

from ..._arrays._types import Array
from . import _algebra
from ._criteria import Criterion
from ._residuals import Bounds, Residuals, taken


class State(NamedTuple):
    """Where the problems stand."""

    x: Array  # (n, problems)
    cost: Array
    factor: Array  # R of the Jacobian at x, (n, n, problems)
    rotated: Array  # Q^T r
    scale: Array  # D, (n, problems)
    damping: Array
    pace: Array  # the next factor of the damping: below 1 after good trials, above after bad ones
    near: Array  # whether the first of the bad trials promised no more than rounding may hide
    blind: Array  # whether none of the bad trials was finite
    code: Array  # 0, or one more than the index of a verdict
    nit: Array
    nfev: Array
    njev: Array


class Batch:
    """Problems at work together.

    Parameters
    ----------
    residuals : Residuals
        Gives residuals and Jacobians.
    criterion : Criterion
        What is minimized.
    bounds : pair of array or None
        Lower and upper bounds, (n, problems).
    """

    def __init__(self, residuals: Residuals, criterion: Criterion, bounds: Bounds) -> None:
        self.residuals, self.criterion, self.bounds = residuals, criterion, bounds
        self.layout = residuals.layout
        self.xp = self.layout.space.xp

    def take(self, index: Array, x: Array) -> Batch:
        """Return some of the problems; all stand at `x`."""
        layout = self.layout.take(x, index)
        bounds = taken(self.xp, self.bounds, index)
        return Batch(self.residuals.take(layout, index), self.criterion.take(index), bounds)

    def factored(self, r: Array, columns: Array) -> tuple[Array, Array]:
        """Return R and the rotated residuals."""
        rhs, scaled = self.criterion.model(r, columns)
        return _algebra.factored(self.xp, scaled, rhs)

    def free(self, x: Array, gradient: Array) -> Array | None:
        """Return which parameters no bound holds back; `None` without bounds."""
        if self.bounds is None:
            return None
        low, high = self.bounds
        return ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)) | (low == high))

    def inside(self, x: Array) -> Array:
        """Return a point between the bounds."""
        if self.bounds is None:
            return x
        low, high = self.bounds
        x = self.xp.where(x < low, low, x)
        return self.xp.where(x > high, high, x)
