"""Gaussian spots as the pixels of a camera collect them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace
from ._base import Held, Scaled
from ._spots import MOMENT, PLANE, round_start
from ._starts import bump


@dataclass(frozen=True)
class PixelGaussian2D(Scaled):
    r"""A round Gaussian spot, integrated over square pixels, on an offset.

    .. math::
        f(x, y) &= N\, E(x - c_x)\, E(y - c_y) + b \\
        E(u) &= \tfrac12 \operatorname{erf} \frac{u + a/2}{\sqrt2\,\sigma}
            - \tfrac12 \operatorname{erf} \frac{u - a/2}{\sqrt2\,\sigma}

    Parameters
    ----------
    total : float, optional
        :math:`N`, the sum over all pixels of a plane, for instance the photons of a spot, in units
        of the data. A number holds it there, `None` lets it be found.
    center_x, center_y : float, optional
        :math:`c_x` and :math:`c_y`, in units of the coordinates.
    width : float, optional
        :math:`\sigma`, the standard deviation before pixels collect it, in units of the
        coordinates.
    offset : float, optional
        :math:`b`, the background of a pixel, in units of the data.
    pixel : float, default 1
        :math:`a`, the side of a pixel, positive, in units of the coordinates. Coordinates are
        those of the centres of pixels.

    Notes
    -----
    It is called as `Gaussian2D` is. Pixels far from the spot get values with all their digits,
    down to the smallest number of the precision.

    References
    ----------
    C. S. Smith, N. Joseph, B. Rieger, K. A. Lidke, Fast, single-molecule localization that
    achieves theoretically minimum uncertainty, Nature Methods 7, 373-375, 2010,
    doi:10.1038/nmeth.1449.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> y, x = np.mgrid[:9, :9].reshape(2, -1)
    >>> spot = fl.models.PixelGaussian2D(width=0.8, offset=0.0)
    >>> image = spot((x, y), {"total": 100.0, "center_x": 4.0, "center_y": 4.2})
    >>> round(float(image.sum()), 4), round(float(image.max()), 4)
    (100.0, 21.3132)
    """

    total: Held = None
    center_x: Held = None
    center_y: Held = None
    width: Held = None
    offset: Held = None
    pixel: float = 1.0

    coordinates: ClassVar[tuple[str, ...]] = PLANE
    settings: ClassVar[tuple[str, ...]] = ("pixel",)

    def __post_init__(self) -> None:
        """Check the side of a pixel too."""
        super().__post_init__()
        _checks.positive("PixelGaussian2D(pixel=)", self.pixel)

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, y, total, center_x, center_y, width = numbers
        along_x = _part(xp, x - center_x, width, self.pixel)
        along_y = _part(xp, y - center_y, width, self.pixel)
        return total, *along_x, *along_y, along_x[0] * along_y[0]

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        total, part_x, shift_x, widen_x, part_y, shift_y, widen_y, _ = shared
        return (
            total * shift_x * part_y,
            total * part_x * shift_y,
            total * (widen_x * part_y + part_x * widen_y),
        )

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        found, width = round_start(xp, points, y, raised)
        total = found.height * width * width * (2 * math.pi / self.pixel**2)
        return total, *found.centers, width, found.ground


@dataclass(frozen=True)
class EllipticPixelGaussian2D(Scaled):
    r"""A Gaussian spot with a width along each coordinate, integrated over square pixels.

    .. math:: f(x, y) = N\, E_x(x - c_x)\, E_y(y - c_y) + b

    with the integrals E of `PixelGaussian2D` for the widths :math:`\sigma_x` and
    :math:`\sigma_y`.

    Parameters
    ----------
    total : float, optional
        :math:`N`, the sum over all pixels of a plane, in units of the data. A number holds it
        there, `None` lets it be found.
    center_x, center_y : float, optional
        :math:`c_x` and :math:`c_y`, in units of the coordinates.
    width_x, width_y : float, optional
        :math:`\sigma_x` and :math:`\sigma_y`, the standard deviations before pixels collect the
        spot, in units of the coordinates.
    offset : float, optional
        :math:`b`, the background of a pixel, in units of the data.
    pixel : float, default 1
        The side of a pixel, positive, in units of the coordinates.

    Notes
    -----
    It is called as `Gaussian2D` is. With a cylindrical lens the two widths tell how far a molecule
    is from the plane of focus.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.models.EllipticPixelGaussian2D(pixel=0.1).names
    ('total', 'center_x', 'center_y', 'width_x', 'width_y', 'offset')
    """

    total: Held = None
    center_x: Held = None
    center_y: Held = None
    width_x: Held = None
    width_y: Held = None
    offset: Held = None
    pixel: float = 1.0

    coordinates: ClassVar[tuple[str, ...]] = PLANE
    settings: ClassVar[tuple[str, ...]] = ("pixel",)

    def __post_init__(self) -> None:
        """Check the side of a pixel too."""
        super().__post_init__()
        _checks.positive("EllipticPixelGaussian2D(pixel=)", self.pixel)

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, y, total, center_x, center_y, width_x, width_y = numbers
        along_x = _part(xp, x - center_x, width_x, self.pixel)
        along_y = _part(xp, y - center_y, width_y, self.pixel)
        return total, *along_x, *along_y, along_x[0] * along_y[0]

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        total, part_x, shift_x, widen_x, part_y, shift_y, widen_y, _ = shared
        return (
            total * shift_x * part_y,
            total * part_x * shift_y,
            total * widen_x * part_y,
            total * part_x * widen_y,
        )

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        found = bump(xp, points, y, raised=raised)
        xx, _, yy = found.moments
        widths = [found.width(xp, moment, MOMENT) for moment in (xx, yy)]
        total = found.height * widths[0] * widths[1] * (2 * math.pi / self.pixel**2)
        return total, *found.centers, *widths, found.ground


def _part(xp: Namespace, u: Array, width: Array, pixel: float) -> tuple[Array, Array, Array]:
    # The part of a Gaussian along one coordinate that a pixel at u collects, and its derivatives in
    # the centre and in the width. As a difference of erfc beside the centre, where it is small, it
    # keeps its digits in the tail.
    scale = 1 / (math.sqrt(2) * width)
    side = xp.where(u < 0, -xp.ones_like(u), xp.ones_like(u))
    near, far = (side * u - pixel / 2) * scale, (side * u + pixel / 2) * scale
    part = 0.5 * (_arrays.erfc(near) - _arrays.erfc(far))
    bell_near, bell_far = xp.exp(-near * near), xp.exp(-far * far)
    shift = side * (bell_near - bell_far) * scale / math.sqrt(math.pi)
    widen = (near * bell_near - far * bell_far) / (width * math.sqrt(math.pi))
    return part, shift, widen
