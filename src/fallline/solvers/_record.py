"""What a run reports after each iteration."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .._arrays._types import Array, Tree
from ..stop._seen import Seen
from ._space import AbstractSpace


@dataclass(frozen=True)
class Record(Seen):
    """Where a run stands; value and gradient belong to the same point.

    In a batch, all numbers but `evaluations` are arrays with an entry for each problem. With
    momentum and a `step_size`, `ProximalGradient` gives value and gradient at the point where the
    next step begins.

    Attributes
    ----------
    x : tree
        The point, on its device: read-only, or a copy if its library has no read-only arrays.
    value : float
        The objective at `x`, smooth penalties included.
    gradient : tree
        The gradient at `x`.
    gradient_norm : float
        Largest magnitude of an element of the gradient, complex elements by component. For proximal
        solvers, that of the step divided by its length.
    iteration, evaluations : int
        Number of iterations, and of evaluations of the objective, so far.
    step_length : float
        Length of the last step, in units of its direction.
    shortened : bool
        Whether the line search had to shorten its first step.
    """

    value: float
    gradient_norm: float
    iteration: int
    evaluations: int
    step_length: float
    _space: AbstractSpace
    _x: Array
    _gradient: Array
    _before: Array
    shortened: Array = False
    _steep: Array = None  # what is to vanish, if that is not the gradient, times `_unit`
    _unit: float = 1.0
    _outlook: tuple[float, float] = (0.0, 0.0)  # of the run
    _valued: bool = True  # else there is no function to give a value

    @property
    def x(self) -> Tree:
        """The point; its arrays are read-only, or copies if the library has none such."""
        return self._space.shown(self._x)

    @property
    def gradient(self) -> Tree:
        """The gradient, like `x`."""
        return self._space.shown(self._gradient)

    def scaled_gradient(self) -> Array:
        """Return the largest product of `gradient_norm`'s elements and the point's, as at least 1.

        This synchronises with the device.
        """
        xp, x = self._space.xp, self._x
        steep = self._gradient if self._steep is None else self._steep
        size = xp.abs(x)
        products = steep * xp.where(size > 1, size, xp.ones_like(size))
        return self._space.read(self._space.peak(products)) / self._unit

    def change(self) -> tuple[Any, Any]:
        """Return the Euclidean norms of the last step and of the point; this synchronises."""
        x = self._x
        return self._space.lengths(x if self._before is None else x - self._before, x)

    def __repr__(self) -> str:
        """Return the class and the numbers."""
        names = [f.name for f in fields(self) if not f.name.startswith("_")]
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    @property
    def broken(self) -> Any:
        """Whether the value or the gradient is not finite."""
        known = (self.value,) if self._valued else ()
        return self._space.broken([*known, self.gradient_norm])

    def not_finite(self) -> str:
        """Return in words what is not finite at this point; empty if all is."""
        if self.broken is False:
            return ""
        return self._space.not_finite(self.gradient_norm, self._gradient, self.iteration)
