"""Gradient methods for arrays of any library."""

from . import losses, rules
from ._gradcheck import GradientCheck, check_gradient
from .data import Batches
from .optimizer import Optimizer
from .rules import SGD, Adadelta, Adagrad, Adam, AdamW, GradientDescent, RMSprop

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Batches",
    "GradientCheck",
    "GradientDescent",
    "Optimizer",
    "RMSprop",
    "check_gradient",
    "losses",
    "rules",
]
