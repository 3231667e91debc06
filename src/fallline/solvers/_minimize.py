"""The driver of the solvers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import stop as conditions
from .._arrays import _checks
from ..stop import Verdict
from . import _methods
from ._base import NoProgress, Record
from ._bounds import box
from ._lbfgs import LBFGS
from ._lbfgsb import LBFGSB
from ._rule_run import RuleRun
from .batched import BatchedRuleRun, finish, start_batch


class MinimizeResult(dict[str, Any]):
    """What `minimize` found, with SciPy's names; entries are attributes too.

    Attributes
    ----------
    x : tree
        Like `x0`: the last point, or the best one if the run ended with a value that is not finite.
    fun : float
        The objective at `x`, penalties included.
    jac : tree
        The gradient at `x`, without that of penalties that are not smooth.
    nit, nfev, njev : int
        Iterations; evaluations of the objective and of its gradient.
    success : bool
        Whether a condition of convergence was met.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 99 the callback stopped.
    message : str
        Why the run ended.
    history : dict of lists
        What `record` asked for, from the start on.

    Notes
    -----
    Of a batch, ``fun, nit, success, status`` are arrays with an entry for each problem, of the
    library and on the device of `x0`; `nfev` counts evaluations of all of them, and `message` says
    how many ended why.
    """

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        """Return one line for each entry."""
        width = max(map(len, self))
        lines = []
        for name, value in self.items():
            shown = f"{{{', '.join(value)}}}" if name == "history" else str(value)
            lines.append(f"{name:>{width}}: " + shown.replace("\n", "\n" + " " * (width + 2)))
        return "\n".join(lines)

    def __dir__(self) -> list[str]:
        """Return the names of the entries."""
        return list(self)


_RECORDED: dict[str, Callable[[Record], Any]] = {
    "fun": lambda record: record.value,
    "gradient_norm": lambda record: record.gradient_norm,
    "nfev": lambda record: record.evaluations,
    "nit": lambda record: record.iteration,
    "step_length": lambda record: record.step_length,
    "x": lambda record: record.x,
}


def minimize(
    fun: Callable[..., Any],
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
) -> MinimizeResult:
    r"""Minimize a function of an array, or of a tree of arrays.

    .. math:: \min_{x \in C} f(x) + P(x)

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value, a real number or one-element array, and the gradient,
        a tree like `x`; for complex leaves dL/dRe + i dL/dIm. It must not write into `x`.
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
        From `fallline.stop`. By default ``RelativeGradient() | RelativeDecrease(times=3,
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
        Iterations between two looks at the numbers: for callback, stop and history. By default 1;
        for update rules without `stop` and `callback`, only at the end.
    batched : bool, default False
        Whether the leading axis of every leaf counts independent problems; `fun` then returns one
        value for each, as an array. For ``LBFGS``, ``SteepestDescent`` and update rules; see Notes.

    Returns
    -------
    MinimizeResult
        With ``x, fun, jac, nit, nfev, njev, success, status, message, history``.

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
    run: Any = (start_batch if batched else _methods.start)(
        method, fun, x0, args=args, gradient=gradient, penalty=penalty, constraint=constraint
    )
    a_rule = isinstance(run, RuleRun | BatchedRuleRun)
    if stop is None:
        stop = run.default_stop
    if max_iterations is None:
        max_iterations = 1000 if a_rule else 15000
    max_iterations = _checks.count("max_iterations", max_iterations)
    idle = a_rule and callback is None and stop is None
    every = check_every if check_every is not None else (max_iterations or 1) if idle else 1
    every = _checks.count("check_every", every, 1)
    _check_condition(stop)
    if batched:
        return MinimizeResult(
            finish(
                run, stop=stop, max_iterations=max_iterations, every=every, callback=callback,
                keep=keep,
            )
        )  # fmt: skip
    look = _Look(run.space.epsilon, stop, callback, keep)
    verdict = look(run.record, first=True)
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
            verdict = look(run.record)
    at = look.best if verdict.status == 3 else look.last
    evaluations = run.objective.evaluations
    return MinimizeResult(
        message=verdict.message, success=verdict.success, status=verdict.status, fun=at.value,
        x=at.x, nit=run.iteration, jac=at.gradient, nfev=evaluations, njev=evaluations,
        history=look.history,
    )  # fmt: skip


def _check_condition(stop: Any) -> None:
    if stop is not None and not isinstance(stop, conditions.Condition):
        msg = f"stop: is a {type(stop).__name__}, expected a condition of fallline.stop"
        raise TypeError(msg)


def _recorder(name: str) -> Callable[[Record], Any]:
    if name not in _RECORDED:
        raise _checks.unknown_name("record", name, _RECORDED)
    return _RECORDED[name]


class _Look:
    # What is done with each record: history, the best point, the conditions, the callback.

    def __init__(
        self,
        epsilon: float,
        stop: Any,
        callback: Callable[[Record], Any] | None,
        keep: dict[str, Callable[[Record], Any]],
    ) -> None:
        self._finite = conditions.NonFinite().watch(epsilon)
        self._watch = None if stop is None else stop.watch(epsilon)
        self._callback, self._keep = callback, keep
        self.history: dict[str, list[Any]] = {name: [] for name in keep}
        self.best: Any = None
        self.last: Any = None

    def __call__(self, record: Record, *, first: bool = False) -> Verdict | None:
        self.last = record
        for name, value in self._keep.items():
            self.history[name].append(value(record))
        verdict = self._finite(record)
        if self.best is None or record.value < self.best.value or math.isnan(self.best.value):
            self.best = record if verdict is None or self.best is None else self.best
        if verdict is None and self._watch is not None:
            verdict = self._watch(record)
        if self._callback is not None and not first:
            try:
                ended = bool(self._callback(record))
            except StopIteration:
                ended = True
            if ended and verdict is None:
                verdict = Verdict("the callback stopped the run", False, 99)
        return verdict
