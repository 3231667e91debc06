"""Gradient methods for arrays of any library."""

from . import rules
from .optimizer import Optimizer
from .rules import SGD, Adadelta, Adagrad, Adam, AdamW, GradientDescent, RMSprop

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "GradientDescent",
    "Optimizer",
    "RMSprop",
    "rules",
]
