"""Solvers: methods that choose the points at which the objective is evaluated.

Each is a frozen dataclass; ``solver.start(fun, x0)`` returns a run, which `fallline.minimize` or a
loop of your own drives. An update rule may take the place of a solver.
"""

from __future__ import annotations

from ._base import Run, Solver
from ._conjugate import ConjugateGradient
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._methods import get, start
from ._newton import Newton
from ._owlqn import OWLQN
from ._proximal import ProximalGradient
from ._record import Record
from ._rule_run import RuleRun
from ._search import NoProgress
from ._steepest import SteepestDescent

__all__ = [
    "LBFGS", "LBFGSB", "OWLQN", "ConjugateGradient", "Newton", "NoProgress", "ProximalGradient",
    "Record", "RuleRun", "Run", "Solver", "SteepestDescent", "get", "start",
]  # fmt: skip
