"""Gaussian spots in a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .._arrays._types import Array, Namespace
from ._base import Held, Scaled
from ._starts import Bump, bump

PLANE = ("x", "y")
# The second moment along one axis of the part of a spot above half its height, in squares of the
# width: from integrals of exp(-r^2 / 2) - 1/2 over a disc.
MOMENT = (1 - math.log(2) - math.log(2) ** 2 / 2) / (1 - math.log(2))


@dataclass(frozen=True)
class Gaussian2D(Scaled):
    r"""A round Gaussian spot on an offset.

    .. math::
        f(x, y) = A \exp\left(-\frac{(x - c_x)^2 + (y - c_y)^2}{2 \sigma^2}\right) + b

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of the data; negative for a dip. A number
        holds it there, `None` lets it be found.
    center_x, center_y : float, optional
        :math:`c_x` and :math:`c_y`, in units of the coordinates.
    width : float, optional
        :math:`\sigma`, the standard deviation, in units of the coordinates.
    offset : float, optional
        :math:`b`, in units of the data. ``offset=0.0`` is a spot on nothing.

    Notes
    -----
    The model is called with the coordinates of all pixels, flat, as the pair ``(x, y)``; an image
    is ``data.reshape(-1)``. The values are those at the centres of pixels, which is near enough to
    a mean over the pixel for widths above about a pixel; `PixelGaussian2D` integrates.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> y, x = np.mgrid[:3, :3].reshape(2, -1)
    >>> spot = fl.models.Gaussian2D(offset=0.0)
    >>> image = spot((x, y), {"amplitude": 9.0, "center_x": 1.0, "center_y": 1.0, "width": 0.5})
    >>> image.reshape(3, 3).round(2)
    array([[0.16, 1.22, 0.16],
           [1.22, 9.  , 1.22],
           [0.16, 1.22, 0.16]])
    """

    amplitude: Held = None
    center_x: Held = None
    center_y: Held = None
    width: Held = None
    offset: Held = None

    coordinates: ClassVar[tuple[str, ...]] = PLANE

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, y, amplitude, center_x, center_y, width = numbers
        u, v = (x - center_x) / width, (y - center_y) / width
        return amplitude, width, u, v, xp.exp(-0.5 * (u * u + v * v))

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width, u, v, profile = shared
        slope = amplitude * profile / width
        return slope * u, slope * v, slope * (u * u + v * v)

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        found, width = round_start(xp, points, y, raised)
        return found.height, *found.centers, width, found.ground


@dataclass(frozen=True)
class EllipticGaussian2D(Scaled):
    r"""A Gaussian spot with a width along each coordinate, on an offset.

    .. math::
        f(x, y) = A \exp\left(-\frac{(x - c_x)^2}{2 \sigma_x^2}
            - \frac{(y - c_y)^2}{2 \sigma_y^2}\right) + b

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of the data; negative for a dip. A number
        holds it there, `None` lets it be found.
    center_x, center_y : float, optional
        :math:`c_x` and :math:`c_y`, in units of the coordinates.
    width_x, width_y : float, optional
        :math:`\sigma_x` and :math:`\sigma_y`, the standard deviations, in units of the
        coordinates.
    offset : float, optional
        :math:`b`, in units of the data. ``offset=0.0`` is a spot on nothing.

    Notes
    -----
    It is called as `Gaussian2D` is. `RotatedGaussian2D` has axes of any direction.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.models.EllipticGaussian2D(offset=0.0).names
    ('amplitude', 'center_x', 'center_y', 'width_x', 'width_y')
    """

    amplitude: Held = None
    center_x: Held = None
    center_y: Held = None
    width_x: Held = None
    width_y: Held = None
    offset: Held = None

    coordinates: ClassVar[tuple[str, ...]] = PLANE

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, y, amplitude, center_x, center_y, width_x, width_y = numbers
        u, v = (x - center_x) / width_x, (y - center_y) / width_y
        return amplitude, width_x, width_y, u, v, xp.exp(-0.5 * (u * u + v * v))

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width_x, width_y, u, v, profile = shared
        value = amplitude * profile
        slope_x, slope_y = value * u / width_x, value * v / width_y
        return slope_x, slope_y, slope_x * u, slope_y * v

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        found = bump(xp, points, y, raised=raised)
        xx, _, yy = found.moments
        widths = (found.width(xp, moment, MOMENT) for moment in (xx, yy))
        return found.height, *found.centers, *widths, found.ground


@dataclass(frozen=True)
class RotatedGaussian2D(Scaled):
    r"""A Gaussian spot with axes of any direction, on an offset.

    .. math::
        f(x, y) &= A \exp\left(-\frac{p^2}{2 \sigma_x^2} - \frac{q^2}{2 \sigma_y^2}\right) + b \\
        p &= \cos\theta\,(x - c_x) + \sin\theta\,(y - c_y) \\
        q &= -\sin\theta\,(x - c_x) + \cos\theta\,(y - c_y)

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of the data; negative for a dip. A number
        holds it there, `None` lets it be found.
    center_x, center_y : float, optional
        :math:`c_x` and :math:`c_y`, in units of the coordinates.
    width_x, width_y : float, optional
        :math:`\sigma_x` and :math:`\sigma_y`, the standard deviations along the axes of the
        spot, in units of the coordinates.
    angle : float, optional
        :math:`\theta`, from the x coordinate to the first axis of the spot, in radians.
    offset : float, optional
        :math:`b`, in units of the data. ``offset=0.0`` is a spot on nothing.

    Notes
    -----
    It is called as `Gaussian2D` is. An angle more by pi is the same spot; more by pi / 2, the same
    with the widths exchanged. A guess makes the first width the longer one. A round spot has no
    angle: its standard error is infinite there.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> y, x = np.mgrid[:9, :9].reshape(2, -1)
    >>> spot = fl.models.RotatedGaussian2D(center_x=4.0, center_y=4.0, offset=0.0)
    >>> params = {"amplitude": 1.0, "width_x": 3.0, "width_y": 1.0, "angle": np.pi / 4}
    >>> round(float(spot.guess((x, y), spot((x, y), params))["angle"] / np.pi), 6)
    0.25
    """

    amplitude: Held = None
    center_x: Held = None
    center_y: Held = None
    width_x: Held = None
    width_y: Held = None
    angle: Held = None
    offset: Held = None

    coordinates: ClassVar[tuple[str, ...]] = PLANE

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, y, amplitude, center_x, center_y, width_x, width_y, angle = numbers
        cos, sin = xp.cos(angle), xp.sin(angle)
        right, up = x - center_x, y - center_y
        u, v = (cos * right + sin * up) / width_x, (cos * up - sin * right) / width_y
        profile = xp.exp(-0.5 * (u * u + v * v))
        return amplitude, width_x, width_y, cos, sin, u, v, profile

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width_x, width_y, cos, sin, u, v, profile = shared
        value = amplitude * profile
        slope_u, slope_v = value * u / width_x, value * v / width_y
        return (
            cos * slope_u - sin * slope_v,
            sin * slope_u + cos * slope_v,
            slope_u * u,
            slope_v * v,
            value * u * v * (width_x / width_y - width_y / width_x),
        )

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        found = bump(xp, points, y, raised=raised)
        xx, xy, yy = found.moments
        middle, half = (xx + yy) / 2, (xx - yy) / 2
        # The roots of the matrix of moments; where they are equal, no derivative tells the angle.
        reach = xp.maximum(xp.sqrt(half * half + xy * xy), 0.05 * middle)
        widths = (found.width(xp, m, MOMENT) for m in (middle + reach, middle - reach))
        angle = xp.atan2(xy, half) / 2
        return found.height, *found.centers, *widths, angle, found.ground


def round_start(
    xp: Namespace, points: Sequence[Array], y: Array, raised: bool
) -> tuple[Bump, Array]:
    """Return a spot in data and its width as if it were round."""
    found = bump(xp, points, y, raised=raised)
    xx, _, yy = found.moments
    return found, found.width(xp, (xx + yy) / 2, MOMENT)
