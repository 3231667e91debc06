"""The driver of the solvers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import stop as conditions
from .._arrays import _checks
from .._arrays._results import Result
from ..stop import Verdict
from . import _methods, _resume
from ._bounds import box
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._monitor import Monitor, View, hooks
from ._record import Record
from ._search import NoProgress
from .batched import finish, start_batch


class MinimizeResult(Result):
    """What `minimize` found, with SciPy's names; entries are attributes too.

    Attributes
    ----------
    x : tree
        Like `x0`: the last point; the best one if the run was interrupted or met a value that is
        not finite.
    fun : float
        The objective at `x`, penalties included.
    jac : tree
        The gradient at `x`, without that of penalties that are not smooth.
    gradient_norm : float
        The largest element of it in magnitude, as in records.
    nit, nfev, njev : int
        Iterations; evaluations of the objective and of its gradient.
    success : bool
        Whether a condition of convergence was met.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 98 interrupted, 99 a
        callback stopped.
    message : str
        Why the run ended.
    history : dict of lists
        What `record` asked for, from the start on.

    Notes
    -----
    Of a batch, ``fun, gradient_norm, nit, success, status`` are arrays with an entry for each
    problem, of the library and on the device of `x0`; `nfev` counts evaluations of all of them, and
    `message` says how many ended why.
    """

    x: Any
    fun: Any
    jac: Any
    gradient_norm: Any
    nit: Any
    nfev: int
    njev: int
    success: Any
    status: Any
    message: str
    history: dict[str, list[Any]]
    _named = ("history",)


_RECORDED: dict[str, Callable[[Record], Any]] = {
    "fun": lambda record: record.value,
    "gradient_norm": lambda record: record.gradient_norm,
    "nfev": lambda record: record.evaluations,
    "nit": lambda record: record.iteration,
    "step_length": lambda record: record.step_length,
    "x": lambda record: record.x,
}


def minimize(
    fun: Callable[..., Any] | None,
    x0: Any,
    *,
    method: Any = "lbfgs",
    gradient: Callable[..., Any] | None = None,
    penalty: Any = None,
    constraint: Any = None,
    bounds: Any = None,
    stop: conditions.Condition | None = None,
    max_iterations: int | None = None,
    callback: Callable[[Record], Any] | None = None,
    record: Sequence[str] = ("fun",),
    args: Sequence[Any] = (),
    check_every: int | None = None,
    batched: bool = False,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    resume: Any = None,
) -> MinimizeResult:
    r"""Minimize a function of an array, or of a tree of arrays.

    .. math:: \min_{x \in C} f(x) + P(x)

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args)`` returns the value, a real number or one-element array, and the gradient,
        a tree like `x`; for complex leaves dL/dRe + i dL/dIm. It must not write into `x`. `None`
        beside `gradient`, for methods that compare no values: update rules, and
        ``ProximalGradient`` with a `step_size`; `fun` of the result is NaN then.
    x0 : array or tree of arrays
        Where to start: real, complex, or both; of one library and on one device. Never written.
    method : str, solver, rule or tree of rules, default "lbfgs"
        A name, one of `fallline.solvers`, or an update rule such as ``fl.Adam(0.1)``.
    gradient : callable, optional
        ``gradient(x, *args)``; `fun` then returns the value only.
    penalty : penalty, callable, or tree of these, optional
        P, a prefix of the structure of `x0`. Smooth ones suit every method, the others
        ``ProximalGradient`` and update rules; L1 and ElasticNet also ``OWLQN``. A function is
        taken as a ``ProximalOperator``: `fun` is then reported without P.
    constraint : constraint, callable, or tree of these, optional
        C, by its projection, for ``ProximalGradient``, and for update rules after each step, in
        the rule's own metric; ``Box`` and ``NonNegative`` also for ``LBFGSB``.
    bounds : sequence of (low, high), or scipy.optimize.Bounds, optional
        SciPy's form of a ``Box``, for one array; `None` is no bound. ``"lbfgs"`` then means
        ``LBFGSB``.
    stop : Condition, optional
        From `fallline.stop`. By default ``RelativeGradient() | RelativeDecrease(times=2,
        floor=0)``, which know no units of the objective; for proximal gradients
        ``RelativeGradient()``; for update rules none.
    max_iterations : int, optional
        By default 15000; 1000 for update rules.
    callback : callable, optional
        Called with a record after every iteration, its arrays on their device. If it returns true
        or raises StopIteration, the run ends.
    record : sequence of str
        What `history` keeps: ``"fun", "gradient_norm", "nfev", "nit", "step_length", "x"``.
    args : sequence
        More arguments of `fun` and `gradient`.
    check_every : int, optional
        Iterations between two looks at the numbers: for callbacks, stop and history. By default 1;
        for update rules without `stop` and callbacks, only at the end.
    batched : bool, default False
        Whether the leading axis of every leaf counts independent problems; `fun` then returns one
        value for each, as an array. For ``LBFGS``, ``SteepestDescent`` and update rules; see Notes.
    callbacks : sequence of functions and Callbacks
        As in `fit`, of `fallline.callbacks`, told of the run after every iteration, which counts as
        an epoch: ``Checkpoint(path, every=100)``, ``Log()``.
    progress : bool, default False
        Show a bar, by tqdm.
    resume : str or path, optional
        A file of ``callbacks.Checkpoint`` of a run with the same arguments, which goes on, bit for
        bit and without an evaluation more; `stop` and `max_iterations` may be others.

    Returns
    -------
    MinimizeResult
        With ``x, fun, jac, gradient_norm, nit, nfev, njev, success, status, message, history``.
        Ctrl-C ends a run with the best point so far.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it, and the leaf.

    Notes
    -----
    A value or gradient that is not finite ends the run with ``success=False``, at the best point.
    Solvers read one small array from the device for each evaluation, update rules one for each
    look.

    With ``batched=True`` every evaluation is of all problems, and each problem is in an iteration
    of its own. One that has ended is evaluated on, but its part of `x` stays as it is, bit for
    bit. ``fun, nit, success, status`` and the numbers of records are arrays with an entry for each
    problem; history and callback have an entry for each evaluation, in which problems in the midst
    of a line search stand where they stood. `penalty` may be an ``L2``; `constraint`, for update
    rules, what acts on each element by itself.

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
            msg = "bounds: give these or constraint, not both"
            raise ValueError(msg)
        constraint = box(bounds, x0)
        if type(method) is LBFGS:
            method = LBFGSB(history=method.history)
    found = hooks(callbacks, progress)
    if batched and (found or resume is not None):
        msg = "batched: many problems at a time take no callbacks, no bar and no file"
        raise ValueError(msg)
    if batched and fun is None:
        msg = "fun: is None, expected a function; many problems at a time are told by their values"
        raise TypeError(msg)
    more = {} if resume is None else {"begin": False}
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
                keep=keep,
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


def _recorder(name: str) -> Callable[[Record], Any]:
    if name not in _RECORDED:
        raise _checks.unknown_name("record", name, _RECORDED)
    return _RECORDED[name]
