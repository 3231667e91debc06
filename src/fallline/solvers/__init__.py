"""Solvers: methods that evaluate an objective where they like.

Each is a frozen dataclass; ``solver.start(fun, x0)`` gives a run, which `fallline.minimize` or a
loop of one's own drives. An update rule is a solver too.
"""

from __future__ import annotations

from ._base import Run, Solver
from ._conjugate import ConjugateGradient
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._methods import get, start
from ._owlqn import OWLQN
from ._proximal import ProximalGradient
from ._record import Record
from ._rule_run import RuleRun
from ._search import NoProgress
from ._steepest import SteepestDescent

__all__ = [
    "LBFGS", "LBFGSB", "OWLQN", "ConjugateGradient", "NoProgress", "ProximalGradient", "Record",
    "RuleRun", "Run", "Solver", "SteepestDescent", "get", "start",
]  # fmt: skip
