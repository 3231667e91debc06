"""Our methods inside ``scipy.optimize.minimize``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import stop
from .._arrays import _checks
from .._arrays._types import Array, Fun, Method, Number, Tree
from . import _methods
from ._minimize import MinimizeResult, minimize
from ._record import Record


def scipy_method(method: Method = "lbfgs", **options: Any) -> Callable[..., MinimizeResult]:
    """Return a method for ``scipy.optimize.minimize``.

    Parameters
    ----------
    method : str, solver, rule or tree of rules, default "lbfgs"
        As in `minimize`.
    **options
        More of `minimize`: ``penalty, constraint, stop, max_iterations, record, check_every``.

    Returns
    -------
    callable
        For SciPy's ``method=``. SciPy's ``tol`` is the tolerance of the gradient, unless `stop` is
        given, and its option ``maxiter`` is `max_iterations`. The function sees vectors of its own,
        as in SciPy, and needs a gradient: ``jac=True`` or a callable. A callback gets such a
        vector, or, if its only parameter is called ``intermediate_result``, that.

    Raises
    ------
    ValueError
        If no method has this name; when called, if the gradient is missing, or if there are
        constraints, a Hessian or other options of SciPy.
    """
    chosen = _methods.get(method)

    def run(
        fun: Fun,
        x0: Tree,
        args: Any = (),
        *,
        jac: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Fun | None = None,
        tol: float | None = None,
        maxiter: int | None = None,
        **others: Any,
    ) -> MinimizeResult:
        if not callable(jac):
            msg = "jac: is missing; pass jac=True or a function that returns the gradient"
            raise ValueError(msg)
        _refuse(constraints, others)
        given = dict(options)
        if maxiter is not None:
            given["max_iterations"] = _checks.count("maxiter", maxiter)
        if tol is not None:
            tol = _checks.number("tol", tol, 0.0, math.inf)
            given.setdefault("stop", stop.GradientNorm(tol))
        if bounds is not None:
            given["bounds"] = bounds
        if callback is not None:
            given["callback"] = _called(callback)
        x0 = np.asarray(x0, dtype=np.result_type(x0, np.float32))

        # Like SciPy's own methods these hand out copies: the function may write into its point.
        def value(x: Array, *more: Any) -> Number:
            return fun(np.copy(x), *more)

        def gradient(x: Array, *more: Any) -> Tree:
            return np.asarray(jac(np.copy(x), *more), dtype=x0.dtype)

        return minimize(value, x0, method=chosen, gradient=gradient, args=args, **given)

    return run


# What SciPy's options are here; the others have no counterpart.
_ELSEWHERE = {
    "gtol": "stop=fl.stop.GradientNorm(...)",
    "ftol": "stop=fl.stop.RelativeDecrease(...)",
    "xtol": "stop=fl.stop.ParameterChange(...)",
    "maxfun": "stop=fl.stop.MaxEvaluations(...)",
    "maxcor": "fl.LBFGS(history=...)",
    "return_all": "record=('fun', 'x')",
}


def _refuse(constraints: Any, others: dict[str, Any]) -> None:
    # The arguments and options that say something which is not known here.
    arguments = {"constraints": constraints, "hess": None, "hessp": None}
    for name, value in {**arguments, **others}.items():
        if value is None or value is False or (isinstance(value, tuple | list) and not value):
            continue
        if name in arguments:
            msg = f"{name}: is not supported by the methods of fallline"
        elif name in _ELSEWHERE:
            msg = f"options[{name!r}]: is not supported; pass {_ELSEWHERE[name]} to scipy_method"
        else:
            msg = f"options[{name!r}]: is not supported, expected 'maxiter' only"
        raise ValueError(msg)


def _called(callback: Fun) -> Callable[[Record], object]:
    # By SciPy's protocol the name of the only parameter tells what a callback wants. Its result
    # means nothing, and StopIteration ends the run.
    try:
        wants = set(inspect.signature(callback).parameters)
    except ValueError:  # of functions that are not Python's
        wants = set()
    if wants != {"intermediate_result"}:

        def call_with_point(record: Record) -> None:
            callback(np.copy(record.x))

        return call_with_point

    def call(record: Record) -> None:
        result = MinimizeResult(
            x=np.copy(record.x), fun=record.value, jac=np.copy(record.gradient),
            nit=record.iteration, nfev=record.evaluations, njev=record.evaluations,
        )  # fmt: skip
        callback(intermediate_result=result)

    return call
