"""Gradient methods for arrays of any library."""

from . import callbacks, constraints, gradients, losses, penalties, rules, schedules, solvers, stop, testing
from ._autodiff import value_and_gradient
from ._fit import FitResult, fit
from ._gradcheck import GradientCheck, check_gradient
from ._minimize import MinimizeResult, minimize
from ._model import LinearModel
from ._record import RunRecord, fingerprint
from ._scipy import scipy_method
from ._sparse import RowSparse
from .averages import EMA
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
from .gradients import LossScale
from .optimizer import Optimizer
from .penalties import L1, L2, ElasticNet, GroupL1, TotalVariation
from .rules import (
    LAMB,
    LARS,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    GradientDescent,
    Lookahead,
    Muon,
    RMSprop,
)
from .solvers import LBFGS, LBFGSB, OWLQN, ConjugateGradient, ProximalGradient, SteepestDescent

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "L1",
    "L2",
    "LAMB",
    "LARS",
    "LBFGS",
    "LBFGSB",
    "OWLQN",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Batches",
    "Box",
    "ConjugateGradient",
    "ElasticNet",
    "FitResult",
    "GradientCheck",
    "GradientDescent",
    "GroupL1",
    "L1Ball",
    "L2Ball",
    "Lookahead",
    "LossScale",
    "LinearModel",
    "MaxModulus",
    "MinimizeResult",
    "Modulus",
    "Muon",
    "NonNegative",
    "Optimizer",
    "ProximalGradient",
    "RMSprop",
    "RowSparse",
    "RunRecord",
    "Simplex",
    "SteepestDescent",
    "Support",
    "TotalVariation",
    "callbacks",
    "check_gradient",
    "constraints",
    "fingerprint",
    "fit",
    "gradients",
    "losses",
    "minimize",
    "penalties",
    "rules",
    "schedules",
    "scipy_method",
    "solvers",
    "stop",
    "testing",
    "value_and_gradient",
]
