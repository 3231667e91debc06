"""Our methods inside ``scipy.optimize.minimize``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import stop
from . import _methods
from ._minimize import MinimizeResult, minimize


def scipy_method(method: Any = "lbfgs", **options: Any) -> Callable[..., MinimizeResult]:
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
        given, and its option ``maxiter`` is `max_iterations`. The function sees vectors, as in
        SciPy, and needs a gradient: ``jac=True`` or a callable.

    Raises
    ------
    ValueError
        If there is no method of this name; when called, if there is no gradient, or there are
        constraints, a Hessian or other options of SciPy.
    """
    chosen = _methods.get(method)

    def run(
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        *,
        jac: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[[Any], Any] | None = None,
        tol: float | None = None,
        maxiter: int | None = None,
        **others: Any,
    ) -> MinimizeResult:
        if not callable(jac):
            msg = "jac: is missing; give jac=True or a function that returns the gradient"
            raise ValueError(msg)
        for name, value in {"constraints": constraints, **others}.items():
            if value is not None and not (isinstance(value, tuple) and value == ()):
                msg = f"{name}: is not known to the methods of fallline"
                raise ValueError(msg)
        given = dict(options)
        if maxiter is not None:
            given["max_iterations"] = maxiter
        if tol is not None:
            given.setdefault("stop", stop.GradientNorm(tol))
        if bounds is not None:
            given["bounds"] = bounds
        if callback is not None:
            given["callback"] = lambda record: callback(record.x)
        x0 = np.asarray(x0, dtype=np.result_type(x0, np.float32))

        def gradient(x: Any, *more: Any) -> Any:
            return np.asarray(jac(x, *more), dtype=x0.dtype)

        return minimize(fun, x0, method=chosen, gradient=gradient, args=args, **given)

    return run
