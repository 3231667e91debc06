"""Curves and spots to fit, each with its derivatives and a guess of where to begin.

Every model is a frozen dataclass: ``model(x, params)`` gives its values, ``model.jacobian`` their
derivatives, and ``model.guess(x, y)`` parameters near data, as dicts with the keys ``model.names``.
All accept arrays of any library. A number given to the class holds a parameter there, as in
``Gaussian(offset=0.0)``.
"""

from ._base import Model
from ._decays import ExponentialDecay, TwoExponentialDecays
from ._line import Line
from ._peaks import Gaussian, Lorentzian, PseudoVoigt
from ._pixels import EllipticPixelGaussian2D, PixelGaussian2D
from ._spots import EllipticGaussian2D, Gaussian2D, RotatedGaussian2D

__all__ = [
    "EllipticGaussian2D",
    "EllipticPixelGaussian2D",
    "ExponentialDecay",
    "Gaussian",
    "Gaussian2D",
    "Line",
    "Lorentzian",
    "Model",
    "PixelGaussian2D",
    "PseudoVoigt",
    "RotatedGaussian2D",
    "TwoExponentialDecays",
]
