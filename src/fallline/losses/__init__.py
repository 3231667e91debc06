"""Losses with analytic gradients: they compare a prediction with a target.

Every loss is a frozen dataclass with three methods, ``loss(pred, target)``, ``loss.gradient``
and ``loss.value_and_gradient``, each with optional `weights`. Arrays of any library; results are
of the library and on the device of `pred`.
"""

from ._base import Loss
from ._softmax_cross_entropy import SoftmaxCrossEntropy
from ._squared_error import SquaredError

__all__ = ["Loss", "SoftmaxCrossEntropy", "SquaredError"]
