"""Losses with analytic gradients: they compare a prediction with a target.

Every loss is a frozen dataclass with three methods, ``loss(pred, target)``, ``loss.gradient``
and ``loss.value_and_gradient``, each with optional `weights`. They accept arrays of any library;
results belong to the library and the device of `pred`.
"""

from ._base import Domain, Loss
from ._binary import BinaryCrossEntropy, Hinge, ModifiedHuber, SquaredHinge
from ._cosine import CosineDistance
from ._intensities import AmplitudeError, PoissonIntensity
from ._loglinear import Gamma, Poisson
from ._regression import AbsoluteError, Huber, Quantile, SquaredError
from ._softmax import KLDivergence, SoftmaxCrossEntropy

__all__ = [
    "AbsoluteError",
    "AmplitudeError",
    "BinaryCrossEntropy",
    "CosineDistance",
    "Domain",
    "Gamma",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "ModifiedHuber",
    "Poisson",
    "PoissonIntensity",
    "Quantile",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "SquaredHinge",
]
