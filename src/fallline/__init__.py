"""Gradient methods for arrays of any library."""

from . import (
    callbacks,
    constraints,
    gradients,
    losses,
    penalties,
    plotting,
    rules,
    schedules,
    solvers,
    stop,
    testing,
)
from ._autodiff import value_and_gradient
from ._fit import FitResult, fit
from ._gradcheck import GradientCheck, check_gradient
from ._minimize import MinimizeResult, minimize
from ._model import LinearModel
from ._rate_test import RateTest, find_learning_rate
from ._record import RunRecord, fingerprint
from ._scipy import scipy_method
from ._sparse import RowSparse
from ._torch import from_torch
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
    ASGD,
    FTRL,
    LAMB,
    LARS,
    SGD,
    AdaBelief,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    GradientDescent,
    Lion,
    Lookahead,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    SignSGD,
    Yogi,
)
from .solvers import LBFGS, LBFGSB, OWLQN, ConjugateGradient, ProximalGradient, SteepestDescent

__version__ = "0.1.0"

__all__ = [
    "ASGD",
    "EMA",
    "FTRL",
    "L1",
    "L2",
    "LAMB",
    "LARS",
    "LBFGS",
    "LBFGSB",
    "OWLQN",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
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
    "LinearModel",
    "Lion",
    "Lookahead",
    "LossScale",
    "MaxModulus",
    "MinimizeResult",
    "Modulus",
    "Muon",
    "NAdam",
    "NonNegative",
    "Optimizer",
    "ProximalGradient",
    "RAdam",
    "RMSprop",
    "RateTest",
    "RowSparse",
    "Rprop",
    "RunRecord",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SignSGD",
    "Simplex",
    "SteepestDescent",
    "Support",
    "TotalVariation",
    "Yogi",
    "callbacks",
    "check_gradient",
    "constraints",
    "find_learning_rate",
    "fingerprint",
    "fit",
    "from_torch",
    "gradients",
    "losses",
    "minimize",
    "penalties",
    "plotting",
    "rules",
    "schedules",
    "scipy_method",
    "solvers",
    "stop",
    "testing",
    "value_and_gradient",
]
