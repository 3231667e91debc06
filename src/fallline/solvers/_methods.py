"""The names of methods, and how a method is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import rules
from .._arrays import _checks
from .._arrays._types import Fun, Method, Tree
from ._base import Solver, with_penalties
from ._conjugate import ConjugateGradient
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._newton import Newton
from ._owlqn import OWLQN
from ._proximal import ProximalGradient
from ._rule_run import RuleRun
from ._steepest import SteepestDescent

_NAMES: dict[str, Callable[[], Solver]] = {
    "lbfgs": LBFGS,
    "lbfgsb": LBFGSB,
    "newton": Newton,
    "owlqn": OWLQN,
    "conjugategradient": ConjugateGradient,
    "cg": ConjugateGradient,
    "steepestdescent": SteepestDescent,
    "proximalgradient": ProximalGradient,
    "fista": lambda: ProximalGradient(accelerated=True),
}
# SciPy's methods that are not here, and the nearest that is.
_SCIPY = dict.fromkeys(
    ["bfgs", "newtoncg", "dogleg", "trustncg", "trustexact", "trustkrylov", "neldermead", "powell"],
    "lbfgs",
) | dict.fromkeys(["tnc", "slsqp", "trustconstr", "cobyla", "cobyqa"], "lbfgsb")


def get(method: Method) -> Any:
    """Return the solver or rule with this name; anything but a string is returned unchanged.

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
        If no method has this name.
    """
    if not isinstance(method, str):
        return method
    key = method.replace("_", "").replace("-", "").lower()
    if key in _NAMES:
        return _NAMES[key]()
    if key in _SCIPY:
        msg = (
            f"method: is {method!r}, which is SciPy's, expected one of fallline's; the nearest is "
        )
        raise ValueError(msg + repr(_SCIPY[key]))
    try:
        return rules.get(key)
    except ValueError:
        raise _checks.unknown_name("method", method, [*_NAMES, *rules.names()]) from None


def start(method: Method, fun: Fun | None, x0: Tree, **options: Any) -> Any:
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
        The run, at `x0`, where the objective has been evaluated.
    """
    if isinstance(method, Solver):
        return method.start(fun, x0, **options)
    return RuleRun(method, fun, x0, **with_penalties(x0, options))
