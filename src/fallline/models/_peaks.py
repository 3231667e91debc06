"""Peaks along a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._arrays._types import Array, Namespace
from ._base import Held, Scaled
from ._starts import bump

# The second moment of the part of a peak above half its height, in squares of the width.
_HALF = math.sqrt(2 * math.log(2))  # a Gaussian falls to half its height there, in its widths
_AREA = math.sqrt(2 * math.pi) * math.erf(_HALF / math.sqrt(2)) - _HALF
_GAUSSIAN = 1 - _HALF**3 / 3 / _AREA
_LORENTZIAN = (5 / 3 - math.pi / 2) / (math.pi / 2 - 1)


@dataclass(frozen=True)
class Gaussian(Scaled):
    r"""A Gaussian peak on an offset.

    .. math:: f(x) = A \exp\left(-\frac{(x - c)^2}{2 \sigma^2}\right) + b

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of y; negative for a dip. A number holds
        it there, `None` lets it be found.
    center : float, optional
        :math:`c`, in units of x.
    width : float, optional
        :math:`\sigma`, the standard deviation, in units of x. The full width at half maximum is
        :math:`2 \sqrt{2 \ln 2}\,\sigma \approx 2.355\,\sigma`, the area
        :math:`\sqrt{2 \pi} A \sigma`.
    offset : float, optional
        :math:`b`, in units of y. ``offset=0.0`` is a peak on nothing.

    Notes
    -----
    Only the square of the width matters, so a fit without bounds may end at a negative one. The
    guess takes the moments of what is higher than half of the peak.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> peak, x = fl.models.Gaussian(offset=0.0), np.asarray([-1.0, 0.0, 1.0])
    >>> peak(x, {"amplitude": 2.0, "center": 0.0, "width": 1.0})
    array([1.21306132, 2.        , 1.21306132])
    >>> fl.models.Gaussian(width=1.3).names
    ('amplitude', 'center', 'offset')
    """

    amplitude: Held = None
    center: Held = None
    width: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, amplitude, center, width = numbers
        u = (x - center) / width
        return amplitude, width, u, xp.exp(-0.5 * u * u)

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width, u, profile = shared
        slope = amplitude * profile * u / width
        return slope, slope * u

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        return _start(xp, points, y, _GAUSSIAN, raised)


@dataclass(frozen=True)
class Lorentzian(Scaled):
    r"""A Lorentzian (Cauchy) peak on an offset.

    .. math:: f(x) = \frac{A}{1 + (x - c)^2 / \gamma^2} + b

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of y; negative for a dip. A number holds
        it there, `None` lets it be found.
    center : float, optional
        :math:`c`, in units of x.
    width : float, optional
        :math:`\gamma`, half the width at half maximum, in units of x. The area is
        :math:`\pi A \gamma`.
    offset : float, optional
        :math:`b`, in units of y. ``offset=0.0`` is a peak on nothing.

    Notes
    -----
    Only the square of the width matters, so a fit without bounds may end at a negative one. The
    tails fall slowly: data that end within a few widths leave much of the offset open.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> peak, x = fl.models.Lorentzian(), np.asarray([-1.0, 0.0, 1.0])
    >>> peak(x, {"amplitude": 2.0, "center": 0.0, "width": 1.0, "offset": 1.0})
    array([2., 3., 2.])
    """

    amplitude: Held = None
    center: Held = None
    width: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, amplitude, center, width = numbers
        u = (x - center) / width
        return amplitude, width, u, 1 / (1 + u * u)

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width, u, profile = shared
        slope = 2 * amplitude * profile * profile * u / width
        return slope, slope * u

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        return _start(xp, points, y, _LORENTZIAN, raised)


@dataclass(frozen=True)
class PseudoVoigt(Scaled):
    r"""A sum of a Gaussian and a Lorentzian of one width, in place of Voigt's convolution.

    .. math::
        f(x) = A \left(\frac{\eta}{1 + u^2} + (1 - \eta)\, e^{-u^2 \ln 2}\right) + b,
        \qquad u = \frac{x - c}{w}

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset, in units of y; negative for a dip. A number holds
        it there, `None` lets it be found.
    center : float, optional
        :math:`c`, in units of x.
    width : float, optional
        :math:`w`, half the width at half maximum, in units of x.
    fraction : float, optional
        :math:`\eta`, the part of the Lorentzian in the height: 0 for a Gaussian, 1 for a
        Lorentzian. Noise may take it out of that interval where there are no bounds.
    offset : float, optional
        :math:`b`, in units of y. ``offset=0.0`` is a peak on nothing.

    Notes
    -----
    The guess of the fraction is one half. The area is
    :math:`A w (\eta \pi + (1 - \eta) \sqrt{\pi / \ln 2})`.

    References
    ----------
    G. K. Wertheim, M. A. Butler, K. W. West, D. N. E. Buchanan, Determination of the Gaussian and
    Lorentzian content of experimental line shapes, Review of Scientific Instruments 45,
    1369-1371, 1974, doi:10.1063/1.1686503.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> peak, x = fl.models.PseudoVoigt(offset=0.0), np.asarray([-1.0, 0.0, 1.0])
    >>> peak(x, {"amplitude": 2.0, "center": 0.0, "width": 1.0, "fraction": 0.3})
    array([1., 2., 1.])
    """

    amplitude: Held = None
    center: Held = None
    width: Held = None
    fraction: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, amplitude, center, width, fraction = numbers
        u = (x - center) / width
        lorentzian, gaussian = 1 / (1 + u * u), xp.exp(-math.log(2) * u * u)
        profile = fraction * lorentzian + (1 - fraction) * gaussian
        return amplitude, width, fraction, u, lorentzian, gaussian, profile

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, width, fraction, u, lorentzian, gaussian, _ = shared
        fall = fraction * lorentzian * lorentzian + (1 - fraction) * math.log(2) * gaussian
        slope = 2 * amplitude * fall * u / width
        return slope, slope * u, amplitude * (lorentzian - gaussian)

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        moment = (_GAUSSIAN / _HALF**2 + _LORENTZIAN) / 2
        *found, offset = _start(xp, points, y, moment, raised)
        return *found, xp.full_like(offset, 0.5), offset


def _start(
    xp: Namespace, points: Sequence[Array], y: Array, moment: float, raised: bool
) -> tuple[Array, ...]:
    # Height, center, width and offset of a peak with a second moment of its upper half.
    found = bump(xp, points, y, raised=raised)
    width = found.width(xp, found.moments[0], moment)
    return found.height, found.centers[0], width, found.ground
