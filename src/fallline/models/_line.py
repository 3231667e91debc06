"""Straight lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._arrays._types import Array, Namespace
from ._base import Held, Model
from ._starts import combined, spans


@dataclass(frozen=True)
class Line(Model):
    r"""A straight line.

    .. math:: f(x) = s x + b

    Parameters
    ----------
    slope : float, optional
        :math:`s`, in units of y over units of x. A number holds it there, `None` lets it be found.
    offset : float, optional
        :math:`b`, the value at x = 0, in units of y. ``offset=0.0`` is a line through the origin.

    Notes
    -----
    The guess is the least-squares line itself.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> line, x = fl.models.Line(), np.asarray([0.0, 1.0, 2.0])
    >>> line(x, {"slope": 2.0, "offset": 1.0})
    array([1., 3., 5.])
    >>> {name: float(value) for name, value in line.guess(x, 2 * x + 1).items()}
    {'slope': 2.0, 'offset': 1.0}
    """

    slope: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        return numbers

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        x, slope = shared
        return slope * x

    def _columns(self, xp: Namespace, *shared: Array) -> tuple[Array, ...]:
        x, _ = shared
        return (x,)

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        low, length = spans(xp, points[0])
        bottom, height = spans(xp, y)
        if not raised:
            low, bottom = xp.zeros_like(low), xp.zeros_like(bottom)
        (slope,), offset, _ = combined(
            xp, [(points[0] - low) / length], (y - bottom) / height, raised=raised
        )
        slope = slope * height / length
        return slope, bottom + height * offset - slope * low
