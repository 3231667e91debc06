"""What an iteration of a least-squares fit tells conditions and callbacks."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..._arrays._types import Array, Number, Tree
from ...stop._seen import Fit, Seen
from ._columns import Layout


@dataclass(frozen=True)
class FitRecord(Seen):
    """Where a fit stands after an iteration, which is one trial of a step.

    In a batch all numbers are arrays, with an entry for each problem that is still at work.

    Attributes
    ----------
    x : tree
        The best point so far: read-only, or a copy where the library has no read-only arrays.
    cost : float
        The cost there.
    optimality : float
        The largest element of the gradient, without those that bounds hold back.
    iteration, evaluations : int
        Trials, and evaluations of the residuals, so far.
    damping : float
        The damping of the next step.
    accepted : bool
        Whether the trial was better.
    """

    cost: Number
    optimality: Number
    iteration: Number
    evaluations: Number
    damping: Number
    accepted: Number
    _layout: Layout
    _x: Array
    _before: Array
    _gradient: Array
    _fit: Fit
    _finite: Number

    @property
    def value(self) -> Number:
        """The cost."""
        return self.cost

    @property
    def gradient_norm(self) -> Number:
        """The same as `optimality`."""
        return self.optimality

    @property
    def x(self) -> Tree:
        """The best point so far."""
        return self._layout.shown(self._x)

    @property
    def broken(self) -> Number:
        """Whether the cost or the gradient is not finite."""
        return ~self._finite

    def not_finite(self) -> str:
        """Return what is not finite where something is."""
        return "the residuals or their derivatives are not finite"

    def fit(self) -> Fit:
        """Return what the step did."""
        return self._fit

    def change(self) -> tuple[Number, Number]:
        """Return the norms of the last step and of the point."""
        xp, x = self._layout.space.xp, self._x
        step = x - self._before
        return xp.sqrt(xp.sum(step * step, axis=0)), xp.sqrt(xp.sum(x * x, axis=0))

    def scaled_gradient(self) -> Number:
        """Return the largest product of the gradient's elements and the point's, as at least 1."""
        xp, size = self._layout.space.xp, self._layout.space.xp.abs(self._x)
        size = xp.where(size > 1, size, xp.ones_like(size))
        return xp.max(xp.abs(self._gradient) * size, axis=0)

    def __repr__(self) -> str:
        """Return the class and the numbers."""
        names = [f.name for f in fields(self) if not f.name.startswith("_")]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"
