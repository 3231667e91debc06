"""The driver of a batch: conditions, history and verdicts for many problems side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays, callbacks
from ..._arrays._types import Array, Fun, Method, Tree
from ...penalties import L2
from ...stop import Condition, NonFinite, Verdict
from .._base import INTERRUPTED, Solver
from .._lbfgs import LBFGS
from .._monitor import Keep, View
from .._objective import Objective
from .._record import Record
from .._search import no_step
from .._steepest import SteepestDescent
from ._ends import ends
from ._rule_run import BatchedRuleRun
from ._runs import BatchedLBFGSRun, BatchedRun, BatchedSteepestDescentRun
from ._search import chosen
from ._space import BatchedSpace, Stand

_RUNS: dict[type[Solver], type[BatchedRun]] = {
    LBFGS: BatchedLBFGSRun,
    SteepestDescent: BatchedSteepestDescentRun,
}


def start_batch(
    method: Method, fun: Fun, x0: Tree, *, constraint: Tree = None, **options: Any
) -> BatchedRun | BatchedRuleRun:
    """Return a run of many problems side by side.

    Parameters
    ----------
    method : LBFGS, SteepestDescent, Rule or tree of rules
        The method.
    fun, x0, constraint, **options
        As in `fallline.minimize` with ``batched=True``.

    Returns
    -------
    BatchedRun or BatchedRuleRun
        At `x0`, evaluated.
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
    return run(method, objective, x0, constraint)


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

    Returns
    -------
    dict
        The entries of a `MinimizeResult`.
    """
    run.limit = max_iterations
    view = View(run, method, None, _of_all)
    monitor = BatchMonitor(run, stop, max_iterations, callback, keep, hooks, view)
    try:
        going = monitor()
        for hook in hooks:
            hook.on_start(view)
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
    return record.evaluations - 1, float(np.mean(values)), float(np.max(norms))


class BatchMonitor:
    """What is done with each record of a batch, as `Monitor` does it for one problem.

    A problem's code is zero, or one more than the index of its verdict; the codes are what is read
    from the device, once for each look.
    """

    def __init__(
        self,
        run: BatchedRun | BatchedRuleRun,
        stop: Condition | None,
        max_iterations: int,
        callback: Callable[[Record], object] | None,
        keep: Keep,
        hooks: Sequence[callbacks.Callback],
        view: View,
    ) -> None:
        self._run, self._most, self._callback, self._keep = run, max_iterations, callback, keep
        self._hooks, self._view = hooks, view
        epsilon = run.space.epsilon
        self._finite = NonFinite().judge(epsilon)
        self._judge = None if stop is None else stop.judge(epsilon)
        self._history: dict[str, list[Any]] = {name: [] for name in keep}
        self._verdicts: list[Verdict] = []
        self._codes = run.space.xp.zeros_like(run.iteration)
        self._ended = 0
        self._read: Any = None
        self._best: Stand | None = None
        self._seen: int = -1

    def __call__(self) -> bool:
        """Judge the problems, freeze those that have ended, and tell whether some go on."""
        run, first = self._run, self._best is None
        record = run.look()
        for name, value in self._keep.items():
            self._history[name].append(value(record))
        with _arrays.guard(run.space.like)():
            best, broken = self._judged(record)
        if self._hooks:
            self._view.move(record)
        if not first:
            if self._view.stopped_by(self._callback, record):
                self._mark(True, Verdict("the callback stopped the run", False, 99))
            self._view.tell(self._hooks)
        if self._view.verdict is not None:
            self._mark(True, self._view.verdict)
        limit = Verdict(f"{self._most} iterations were made", False, 1)
        self._mark(record.iteration >= self._most, limit)
        codes = self._read = _arrays.to_numpy(self._codes)
        ended = int(np.count_nonzero(codes))
        if ended > self._ended:
            self._ended = ended
            with _arrays.guard(run.space.like)():
                run.freeze(self._codes == 0, broken, best)
        return ended < codes.size

    def _judged(self, record: Record) -> tuple[Stand, Array]:
        # Returns the best points, and which problems were found not finite.
        run, best = self._run, self._bettered(record)
        # A problem in the midst of a line search was judged where it stands.
        moved, self._seen = record.iteration > self._seen, record.iteration
        before = self._codes
        for holds, verdict in self._finite(record):
            self._mark(holds & moved, verdict)
        broken = self._codes != before
        for holds, verdict in self._judge(record) if self._judge is not None else ():
            self._mark(holds if isinstance(holds, bool) else holds & moved, verdict)
        self._mark(run.stuck & run.at_precision(), Verdict(no_step(True)))
        self._mark(run.stuck, Verdict(no_step(False), False, 2))
        return best, broken

    def _bettered(self, record: Record) -> Stand:
        # The best points so far.
        xp, at = self._run.space.xp, self._run.at
        best = at if self._best is None else self._best
        better = ~record.broken & ((at.value < best.value) | xp.isnan(best.value))
        best = self._best = chosen(xp, better, at, best)
        return best

    @property
    def begun(self) -> bool:
        """Whether the first record was judged."""
        return self._read is not None

    def interrupted(self) -> bool:
        """End what has not ended, each problem at its best point; tell whether there are any."""
        run = self._run
        if self._best is None:
            return False
        with _arrays.guard(run.space.like)():
            best = self._bettered(run.look())
            going = self._codes == 0
            self._mark(True, Verdict(INTERRUPTED, False, 98))
            run.freeze(self._codes == 0, going, best)
        self._read = _arrays.to_numpy(self._codes)
        return True

    def _mark(self, holds: Array, verdict: Verdict) -> None:
        if holds is False:
            return
        if verdict not in self._verdicts:
            self._verdicts.append(verdict)
        code = self._verdicts.index(verdict) + 1
        xp, new = self._run.space.xp, (self._codes == 0) & holds
        self._codes = self._codes + code * xp.astype(new, xp.int32)

    def result(self) -> dict[str, Any]:
        """Return the entries of a `MinimizeResult`."""
        space, at = self._run.space, self._run.at
        evaluations = self._run.objective.evaluations
        return {
            **ends(self._read - 1, self._verdicts, space.like),
            "fun": at.value,
            "x": space.unpack(at.x),
            "nit": self._run.iteration,
            "jac": space.unpack(at.gradient),
            "gradient_norm": at.norm,
            "nfev": evaluations,
            "njev": evaluations,
            "history": self._history,
        }
