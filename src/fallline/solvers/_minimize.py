"""`minimize`: the driver of the solvers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import stop as conditions
from .._arrays import _checks
from .._arrays._results import Result
from .._arrays._types import FilePath, Fun, Method, Number, Tree
from ..stop import Verdict
from . import _methods, _resume
from ._bounds import box
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._monitor import Monitor, View, hooks
from ._newton import Newton
from ._record import Record
from ._search import NoProgress
from .batched import finish, start_batch


class MinimizeResult(Result):
    """What `minimize` found, with SciPy's names; entries are attributes too.

    Attributes
    ----------
    x : tree
        The last point, like `x0`; the best point if the run was interrupted or met a value that is
        not finite.
    fun : float
        The objective at `x`, penalties included.
    jac : tree
        The gradient at `x`, without penalties that are not smooth.
    gradient_norm : float
        The largest magnitude of an element of the gradient, as in records.
    nit, nfev, njev : int
        Number of iterations, and of evaluations of the objective and of its gradient.
    success : bool
        Whether a condition of convergence was met.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 98 interrupted, 99 a
        callback stopped.
    message : str
        Why the run ended.
    history : dict of lists
        What `record` asked for, from the start.

    Notes
    -----
    For a batch, ``fun, gradient_norm, nit, success, status`` are arrays with an entry for each
    problem, of the library and on the device of `x0`; `nfev` counts evaluations of the whole batch,
    and `message` says how many problems ended for which reason.
    """

    x: Tree
    fun: Number
    jac: Tree
    gradient_norm: Number
    nit: Any
    nfev: int
    njev: int
    success: Any
    status: Any
    message: str
    history: dict[str, list[Any]]
    _named = ("history",)


_RECORDED: dict[str, Callable[[Record], object]] = {
    "fun": lambda record: record.value,
    "gradient_norm": lambda record: record.gradient_norm,
    "nfev": lambda record: record.evaluations,
    "nit": lambda record: record.iteration,
    "step_length": lambda record: record.step_length,
    "x": lambda record: record.x,
}


def minimize(
    fun: Fun | None,
    x0: Tree,
    *,
    method: Method = "lbfgs",
    gradient: Fun | None = None,
    hessian: Fun | None = None,
    penalty: Tree = None,
    constraint: Tree = None,
    bounds: Any = None,
    stop: conditions.Condition | None = None,
    max_iterations: int | None = None,
    callback: Callable[[Record], object] | None = None,
    record: Sequence[str] = ("fun",),
    args: Sequence[Any] = (),
    check_every: int | None = None,
    batched: bool = False,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    resume: FilePath | None = None,
) -> MinimizeResult:
    r"""Minimize a function of an array, or of a tree of arrays.

    .. math:: \min_{x \in C} f(x) + P(x)

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args)`` returns the value, a real number or one-element array, and the gradient,
        a tree like `x`; for complex leaves dL/dRe + i dL/dIm. It must not write into `x`. It
        may be `None` if `gradient` is given and the method compares no values: update rules, and
        ``ProximalGradient`` with a `step_size`; `fun` of the result is NaN then.
    x0 : array or tree of arrays
        Where to start: real or complex arrays of one library, on one device. Not modified.
    method : str, solver, rule or tree of rules, default "lbfgs"
        A name, a solver of `fallline.solvers`, or an update rule such as ``fl.Adam(0.1)``.
    gradient : callable, optional
        ``gradient(x, *args)`` returns the gradient; `fun` then returns the value only.
    hessian : callable, optional
        ``hessian(x, *args)`` returns the matrix of second derivatives, for `Newton`. Its rows and
        columns are the elements of the leaves one behind the other, in the order of `x0`, entries
        of dicts by their sorted keys.
    penalty : penalty, callable, or tree of these, optional
        P, a prefix of the structure of `x0`. Every method supports smooth penalties;
        ``ProximalGradient`` and update rules support all, ``OWLQN`` also L1 and ElasticNet. A
        function is taken as a ``ProximalOperator``; `fun` is then reported without P.
    constraint : constraint, callable, or tree of these, optional
        C, a set onto which points are projected: by ``ProximalGradient``, and by update rules
        after each step, in the rule's own metric. ``LBFGSB`` supports ``Box`` and ``NonNegative``.
    bounds : sequence of (low, high), or scipy.optimize.Bounds, optional
        SciPy's form of a ``Box``, for a single array; `None` means that there is no bound.
        ``"lbfgs"`` then means ``LBFGSB``.
    stop : Condition, optional
        A condition of `fallline.stop`. By default ``RelativeGradient() |
        RelativeDecrease(times=2, floor=0)``, which do not depend on the units of the objective;
        for proximal gradients ``RelativeGradient()``; for update rules none.
    max_iterations : int, optional
        By default 15000, and 1000 for update rules.
    callback : callable, optional
        Called with a record after every iteration; its arrays are on their device. The run ends if
        it returns True or raises StopIteration.
    record : sequence of str
        What `history` keeps: ``"fun", "gradient_norm", "nfev", "nit", "step_length", "x"``.
    args : sequence
        More arguments of `fun` and `gradient`.
    check_every : int, optional
        Number of iterations between records for `stop`, callbacks and history. By default 1; update
        rules without `stop` and callbacks make a record only at the end.
    batched : bool, default False
        Whether the leading axis of every leaf counts independent problems; `fun` then returns an
        array with one value for each. Supported by ``LBFGS``, ``SteepestDescent`` and update rules;
        see Notes.
    callbacks : sequence of functions and Callbacks
        As in `fit`, from `fallline.callbacks`: ``Checkpoint(path, every=100)``, ``Log()``. They are
        called after every iteration, which counts as an epoch.
    progress : bool, default False
        Whether to show a progress bar, by tqdm.
    resume : str or path, optional
        A file that ``callbacks.Checkpoint`` wrote in a run with the same arguments. The run
        continues from it bit for bit, without evaluating anything twice; `stop` and
        `max_iterations` may differ.

    Returns
    -------
    MinimizeResult
        With ``x, fun, jac, gradient_norm, nit, nfev, njev, success, status, message, history``.
        Ctrl-C ends a run at the best point so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it, and the leaf.

    Notes
    -----
    A value or gradient that is not finite ends the run with ``success=False``, at the best point.
    Solvers synchronise with the device once for each evaluation, update rules once for each
    record.

    With ``batched=True`` every evaluation covers all problems, and each problem has its own
    iteration. Finished problems are still passed to `fun`, but their part of `x` no longer changes.
    ``fun, nit, success, status`` and the numbers of records are arrays with an entry for each
    problem. The history has an entry, and callbacks are called, for each evaluation; a problem in a
    line search is reported at its last accepted point. For `callbacks` and `progress` the loss is
    the mean of the values. A run that goes on from a file leaves problems as they are that had
    ended, unless that was by the largest number of iterations. `penalty` may be an ``L2``; update
    rules also support a `constraint` that is elementwise.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> res = fl.minimize(lambda x: (np.sum((x - 3) ** 2), 2 * (x - 3)), np.zeros(2))
    >>> res.x
    array([3., 3.])
    >>> res.message
    'the gradient is at most 1e-08 of the objective'
    """
    keep = {name: _recorder(name) for name in record}
    method = _methods.get(method)
    if bounds is not None:
        if constraint is not None:
            msg = "bounds: give either bounds or constraint, not both"
            raise ValueError(msg)
        constraint = box(bounds, x0)
        if type(method) is LBFGS:
            method = LBFGSB(history=method.history)
    found = hooks(callbacks, progress)
    if batched and fun is None:
        msg = "fun: is None, expected a function; many problems are compared by their values"
        raise TypeError(msg)
    more: dict[str, Any] = {} if resume is None else {"begin": False}
    if isinstance(method, Newton):
        more["hessian"] = hessian
    elif hessian is not None:
        msg = f"hessian: is given, and the method is {method!r}; only Newton uses it"
        raise ValueError(msg)
    begin: Any = start_batch if batched else _methods.start
    run: Any = begin(
        method, fun, x0, args=args, gradient=gradient, penalty=penalty, constraint=constraint,
        **more,
    )  # fmt: skip
    if stop is None:
        stop = run.default_stop
    most = max_iterations
    if max_iterations is None:
        max_iterations = run._default_iterations
    max_iterations = _checks.count("max_iterations", max_iterations)
    idle = callback is None and stop is None and not found
    every = check_every if check_every is not None else (max_iterations or 1) if idle else 1
    every = _checks.count("check_every", every, 1)
    check_condition(stop)
    if batched:
        return MinimizeResult(
            finish(
                run, stop=stop, max_iterations=max_iterations, every=every, callback=callback,
                keep=keep, method=method, hooks=found, resume=resume,
            )
        )  # fmt: skip
    view = View(run, method, None if most is None else max_iterations)
    monitor = Monitor(run.space.epsilon, stop, callback, keep, view, found)
    states: Sequence[tuple[Any, Any]] = ()
    if resume is None:
        verdict = monitor(run.record, first=True)
    else:
        states = _resume.load(resume, run, method, monitor)
        verdict = monitor.resumed()
    try:
        for hook in found:
            hook.on_start(view)
        for hook, state in states:
            hook.load_state_dict(state)
        while verdict is None:
            if run.iteration >= max_iterations:
                verdict = Verdict(f"{max_iterations} iterations were made", False, 1)
                break
            try:
                run.advance()
            except NoProgress as end:
                verdict = Verdict(str(end), end.at_precision, 0 if end.at_precision else 2)
                break
            if run.iteration % every == 0 or run.iteration == max_iterations:
                verdict = monitor(run.record)
    except KeyboardInterrupt:
        verdict = monitor.interrupted(run.record)
    finally:
        for hook in found:
            hook.on_end(view)
    at = monitor.best if verdict.status in (3, 98) else monitor.last
    evaluations = run.objective.evaluations
    return MinimizeResult(
        message=verdict.message, success=verdict.success, status=verdict.status, fun=at.value,
        x=run.space.unpack(at._x), nit=run.iteration, jac=run.space.unpack(at._gradient),
        gradient_norm=at.gradient_norm, nfev=evaluations, njev=evaluations, history=monitor.history,
    )  # fmt: skip


def check_condition(stop: Any) -> None:
    """Check that something is a condition, or nothing."""
    if stop is not None and not isinstance(stop, conditions.Condition):
        msg = f"stop: is a {type(stop).__name__}, expected a condition of fallline.stop"
        raise TypeError(msg)


def _recorder(name: str) -> Callable[[Record], object]:
    if name not in _RECORDED:
        raise _checks.unknown_name("record", name, _RECORDED)
    return _RECORDED[name]
