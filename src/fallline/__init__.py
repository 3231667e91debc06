"""Gradient methods for arrays of any library."""

from importlib import import_module as _imported
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import (
        callbacks,
        constraints,
        gradients,
        losses,
        models,
        penalties,
        plotting,
        rules,
        schedules,
        solvers,
        stop,
        testing,
    )
    from .constraints import Box, L1Ball, L2Ball, MaxModulus, Modulus, NonNegative, Simplex, Support
    from .data import Batches
    from .fitting import FitResult, RateTest, RunRecord, find_learning_rate, fingerprint, fit
    from .gradients import LossScale
    from .objectives import (
        GradientCheck,
        LinearModel,
        check_gradient,
        check_jacobian,
        residuals_and_jacobian,
        value_and_gradient,
    )
    from .optimizer import (
        EMA,
        CheckpointContents,
        Optimizer,
        RowSparse,
        from_torch,
        read_checkpoint,
    )
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
    from .solvers import (
        LBFGS,
        LBFGSB,
        OWLQN,
        ConjugateGradient,
        Newton,
        ProximalGradient,
        SteepestDescent,
    )
    from .solvers._minimize import MinimizeResult, minimize
    from .solvers._scipy import scipy_method
    from .solvers.least_squares import (
        CurveFitResult,
        LeastSquaresResult,
        curve_fit,
        least_squares,
    )

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
    "CheckpointContents",
    "ConjugateGradient",
    "CurveFitResult",
    "ElasticNet",
    "FitResult",
    "GradientCheck",
    "GradientDescent",
    "GroupL1",
    "L1Ball",
    "L2Ball",
    "LeastSquaresResult",
    "LinearModel",
    "Lion",
    "Lookahead",
    "LossScale",
    "MaxModulus",
    "MinimizeResult",
    "Modulus",
    "Muon",
    "NAdam",
    "Newton",
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
    "check_jacobian",
    "constraints",
    "curve_fit",
    "find_learning_rate",
    "fingerprint",
    "fit",
    "from_torch",
    "gradients",
    "least_squares",
    "losses",
    "minimize",
    "models",
    "penalties",
    "plotting",
    "read_checkpoint",
    "residuals_and_jacobian",
    "rules",
    "schedules",
    "scipy_method",
    "solvers",
    "stop",
    "testing",
    "value_and_gradient",
]

# The same for a running program, which imports a module when one of its names is first used: where
# the public names are that are neither modules nor rules.
_HOMES = {
    "constraints": "Box L1Ball L2Ball MaxModulus Modulus NonNegative Simplex Support",
    "data": "Batches",
    "fitting": "FitResult RateTest RunRecord find_learning_rate fingerprint fit",
    "gradients": "LossScale",
    "objectives": "GradientCheck LinearModel check_gradient check_jacobian "
    "residuals_and_jacobian value_and_gradient",
    "optimizer": "EMA CheckpointContents Optimizer RowSparse from_torch read_checkpoint",
    "penalties": "ElasticNet GroupL1 L1 L2 TotalVariation",
    "solvers": "ConjugateGradient LBFGS LBFGSB Newton OWLQN ProximalGradient SteepestDescent",
    "solvers._minimize": "MinimizeResult minimize",
    "solvers._scipy": "scipy_method",
    "solvers.least_squares": "CurveFitResult LeastSquaresResult curve_fit least_squares",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
_MODULES = {*_HOMES, "callbacks", "engine", "losses", "plotting", "rules", "schedules", "stop"}
_MODULES |= {"models", "testing"}

if not TYPE_CHECKING:  # a checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        """Return a public name, and keep it."""
        if name in _MODULES:
            found: object = _imported(f"{__name__}.{name}")
        elif name in __all__:
            found = getattr(_imported(f"{__name__}.{_HOME.get(name, 'rules')}"), name)
        else:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return globals().setdefault(name, found)

    def __dir__() -> list[str]:
        """Return the public names, and those that every module has."""
        return sorted({*globals(), *__all__})
