"""Solvers: methods that evaluate an objective where they like.

Each is a frozen dataclass; ``solver.start(fun, x0)`` gives a run, which `fallline.minimize` or a
loop of one's own drives. An update rule is a solver too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _checks, rules
from ._base import NoProgress, Record, Run, Solver
from ._conjugate import ConjugateGradient
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._owlqn import OWLQN
from ._proximal import ProximalGradient
from ._rules import RuleRun
from ._steepest import SteepestDescent

__all__ = [
    "LBFGS", "LBFGSB", "OWLQN", "ConjugateGradient", "NoProgress", "ProximalGradient", "Record",
    "RuleRun", "Run", "Solver", "SteepestDescent", "get", "start",
]  # fmt: skip

_NAMES: dict[str, Callable[[], Solver]] = {
    "lbfgs": LBFGS,
    "lbfgsb": LBFGSB,
    "owlqn": OWLQN,
    "conjugategradient": ConjugateGradient,
    "cg": ConjugateGradient,
    "steepestdescent": SteepestDescent,
    "proximalgradient": ProximalGradient,
    "fista": lambda: ProximalGradient(accelerated=True),
}


def get(method: Any) -> Any:
    """Return the solver of a name; a rule's name gives the rule, what is no name stays.

    Parameters
    ----------
    method : str, Solver, Rule or tree of rules
        Names in any case, such as ``"lbfgs"``, ``"cg"``, ``"fista"`` or ``"adam"``.

    Returns
    -------
    Solver, Rule or tree of rules
        The method.

    Raises
    ------
    ValueError
        If there is no method of this name.
    """
    if not isinstance(method, str):
        return method
    key = method.replace("_", "").replace("-", "").lower()
    if key in _NAMES:
        return _NAMES[key]()
    try:
        return rules.get(key)
    except ValueError:
        raise _checks.unknown_name("method", method, [*_NAMES, *rules.names()]) from None


def start(method: Any, fun: Callable[..., Any], x0: Any, **options: Any) -> Any:
    """Return a run of a solver, or of a rule.

    Parameters
    ----------
    method : Solver, Rule or tree of rules
        The method.
    fun, x0, **options
        As in `Solver.start`.

    Returns
    -------
    Run or RuleRun
        At `x0`, evaluated.
    """
    if isinstance(method, Solver):
        return method.start(fun, x0, **options)
    return RuleRun(method, fun, x0, **options)
