"""Gradient methods for arrays of any library."""

from . import constraints, losses, penalties, rules
from ._gradcheck import GradientCheck, check_gradient
from .constraints import (
    Box,
    L1Ball,
    L2Ball,
    MaxModulus,
    Modulus,
    NonNegative,
    Simplex,
    Support,
)
from .data import Batches
from .optimizer import Optimizer
from .penalties import L1, L2, ElasticNet, GroupL1, TotalVariation
from .rules import SGD, Adadelta, Adagrad, Adam, AdamW, GradientDescent, RMSprop

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Batches",
    "Box",
    "ElasticNet",
    "GradientCheck",
    "GradientDescent",
    "GroupL1",
    "L1Ball",
    "L2Ball",
    "MaxModulus",
    "Modulus",
    "NonNegative",
    "Optimizer",
    "RMSprop",
    "Simplex",
    "Support",
    "TotalVariation",
    "check_gradient",
    "constraints",
    "losses",
    "penalties",
    "rules",
]
