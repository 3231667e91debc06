"""Problems at work together."""

from __future__ import annotations

from ..._arrays._types import Array
from . import _algebra
from ._criteria import Criterion
from ._residuals import Bounds, Residuals, taken


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
