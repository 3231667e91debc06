"""What conditions look at."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from .._arrays._types import Number


class Fit(NamedTuple):
    """What an iteration of a least-squares fit did, in its own units.

    Attributes
    ----------
    before, fall, predicted : number
        The cost before the step, by how much it fell, and by how much its model did.
    step, size : number
        Lengths of the step and of the point, with scaled columns.
    cosine : number
        The largest cosine between the residuals and a column of the Jacobian.
    """

    before: Number
    fall: Number
    predicted: Number
    step: Number
    size: Number
    cosine: Number


class Seen:
    """Base of what stands for an iteration: records, and their like in loops and epochs.

    Attributes
    ----------
    value, gradient_norm : float
        The objective, and the largest magnitude of an element of its gradient.
    iteration, evaluations : int
        Iterations and evaluations so far.
    broken : bool
        Whether the value or the gradient is not finite.
    shortened : bool
        Whether a line search had to shorten the step.
    _outlook : pair of float
        How far the objective and the point have to go yet, where the steps of a run do not tell.
    """

    value: Number
    gradient_norm: Number
    iteration: Number
    evaluations: Number
    broken: Number
    shortened: Number = False
    _outlook: tuple[float, float] = (0.0, 0.0)

    def change(self) -> tuple[Number, Number]:
        """Return the norms of the last step and of the point; a step without end if unknown."""
        return inf, inf

    def scaled_gradient(self) -> Number:
        """Return the largest product of the gradient and the point, infinite if unknown."""
        return inf

    def fit(self) -> Fit | None:
        """Return what a step of a least-squares fit did, `None` for other runs."""
        return None

    def not_finite(self) -> str:
        """Return in words what is not finite; empty if all is."""
        return ""
