"""The driver of a batch: many problems side by side, advanced until all have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays, callbacks
from ..._arrays._types import FilePath, Fun, Method, Tree
from ...penalties import L2
from ...stop import Condition
from .. import _resume
from .._base import Solver
from .._lbfgs import LBFGS
from .._monitor import Keep, View
from .._objective import Objective
from .._record import Record
from .._steepest import SteepestDescent
from ._monitor import BatchMonitor
from ._rule_run import BatchedRuleRun
from ._runs import BatchedLBFGSRun, BatchedRun, BatchedSteepestDescentRun
from ._space import BatchedSpace

_RUNS: dict[type[Solver], type[BatchedRun]] = {
    LBFGS: BatchedLBFGSRun,
    SteepestDescent: BatchedSteepestDescentRun,
}


def start_batch(
    method: Method,
    fun: Fun,
    x0: Tree,
    *,
    constraint: Tree = None,
    begin: bool = True,
    **options: Any,
) -> BatchedRun | BatchedRuleRun:
    """Return a run of many problems side by side.

    Parameters
    ----------
    method : LBFGS, SteepestDescent, Rule or tree of rules
        The method.
    fun, x0, constraint, **options
        As in `fallline.minimize` with ``batched=True``.
    begin : bool, default True
        Whether to evaluate at `x0`, which a run that goes on does not.

    Returns
    -------
    BatchedRun or BatchedRuleRun
        At `x0`.
    """
    run = BatchedRuleRun if not isinstance(method, Solver) else _RUNS.get(type(method))
    if run is None:
        can = ", ".join(solver.__name__ for solver in _RUNS)
        msg = f"batched: {type(method).__name__} solves one problem at a time; "
        raise ValueError(msg + f"use {can} or an update rule")
    objective = Objective(fun, x0, space=BatchedSpace, **options)
    for p in objective.penalties:
        if p is not None and type(p) is not L2:
            msg = f"penalty: a batch supports L2 only, got {p!r}"
            raise ValueError(msg)
    return run(method, objective, x0, constraint, begin=begin)


def finish(
    run: BatchedRun | BatchedRuleRun,
    *,
    stop: Condition | None,
    max_iterations: int,
    every: int,
    callback: Callable[[Record], object] | None,
    keep: Keep,
    method: Method,
    hooks: Sequence[callbacks.Callback],
    resume: FilePath | None,
) -> dict[str, Any]:
    """Advance a batch until every problem has ended.

    Parameters
    ----------
    run : BatchedRun or BatchedRuleRun
        At its start.
    stop, max_iterations, callback
        As in `fallline.minimize`.
    every : int
        Evaluations between two looks.
    keep : dict of callables
        What of a record the history keeps, by name.
    method : LBFGS, SteepestDescent, Rule or tree of rules
        The method.
    hooks : sequence of Callback
        Callbacks that are told of each look.
    resume : str, path or None
        A file from which the run, which has not begun then, is to go on.

    Returns
    -------
    dict
        The entries of a `MinimizeResult`.
    """
    run.limit = max_iterations
    view = View(run, method, None, _of_all)
    monitor = BatchMonitor(run, stop, max_iterations, callback, keep, hooks, view)
    try:
        states: Sequence[tuple[Any, Any]] = ()
        if resume is None:
            going = monitor()
        else:
            states = _resume.load(resume, run, method, monitor)
            going = monitor.resumed()
        for hook in hooks:
            hook.on_start(view)
        for hook, state in states:
            hook.load_state_dict(state)
        while going:
            run.advance()
            while run.ticks % every and run.ticks != max_iterations:
                run.advance()
            going = monitor()
    except KeyboardInterrupt:
        if not monitor.interrupted():
            raise
    finally:
        if monitor.begun:
            for hook in hooks:
                hook.on_end(view)
    return monitor.result()


def _of_all(record: Record) -> tuple[int, float, float]:
    # What callbacks see of a batch: evaluations after the first, since each problem has its own
    # iteration, the mean of the values, and the largest norm. It synchronises with the device.
    values, norms = (_arrays.to_numpy(x) for x in (record.value, record.gradient_norm))
    mean = float(np.mean(values)) if values.size else 0.0
    return record.evaluations - 1, mean, float(np.max(norms, initial=0.0))
