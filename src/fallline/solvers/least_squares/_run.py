"""The iteration: Levenberg and Marquardt's method for many problems side by side.

Every number of the state is an array with the problems along its last axis; a single problem is a
batch of one. An iteration is one trial of each problem, and synchronises with the device once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ... import _arrays
from ..._arrays._types import Array, HostArray
from ...stop import Condition, Verdict
from ...stop._seen import Fit
from . import _steps
from ._batch import Batch
from ._columns import Layout
from ._criteria import Criterion
from ._record import FitRecord
from ._residuals import Bounds, Residuals
from ._steps import Judged, State

# The largest damping whose small steps tell that a point is at its end.
_TRUSTED = 1e3


class Run:
    """A run of some problems from their starts until each has ended.

    Parameters
    ----------
    residuals : Residuals
        Gives residuals and Jacobians.
    criterion : callable
        Returns what is minimized, once the residuals are known.
    bounds : pair of array or None
        Lower and upper bounds, (n, problems).
    x : array, shape (n, problems)
        Where they start.
    scale : array, shape (n, problems), or None
        D, if it does not follow the columns.
    stop : Condition
        When a problem has converged.
    most : int
        Largest number of iterations.
    verdicts : list of Verdict
        Those that were found so far, by the codes of the state; this grows.
    """

    def __init__(
        self, residuals: Residuals, criterion: Callable[[Layout], Criterion],
        bounds: Bounds, x: Array, scale: Array, stop: Condition, most: int,
        verdicts: list[Verdict],
    ) -> None:  # fmt: skip
        space = residuals.layout.space
        self.most, self._fixed = most, scale is not None
        self.xp, self.epsilon, self._host = space.xp, space.epsilon, space.host
        self._guard = _arrays.guard(space.like)
        self._verdicts = verdicts
        self._memory: dict[str, Any] = {}
        self._judge = stop._judge(lambda: self.epsilon, self._memory)
        self.r = residuals(x)
        self.batch = Batch(residuals, criterion(residuals.layout), bounds)
        self.columns = residuals.columns(x, self.r)
        with self._guard():
            self._begin(x, scale)

    def _begin(self, x: Array, scale: Array) -> None:
        xp, batch = self.xp, self.batch
        cost = batch.criterion.cost(self.r)
        factor, rotated = batch.factored(self.r, self.columns)
        ones = xp.ones_like(cost)
        whole = xp.astype(ones, xp.int32)
        self.state = State(
            x, cost, factor, rotated, scale if self._fixed else xp.zeros_like(x),
            _steps.FIRST * ones, _steps.EASE * ones, whole == 0, whole == 0, 0 * whole, 0 * whole,
            whole * (1 + batch.residuals.evaluations), whole,
        )  # fmt: skip
        far = math.inf * ones
        fit = Fit(cost, far, far, far, ones, cost)
        self._look(Judged(self.state, whole == 1, whole == 1, fit), self.state, first=True)

    @property
    def problems(self) -> int:
        """How many problems are at work."""
        return int(self.state.cost.shape[0])

    # -- an iteration ---------------------------------------------------------------------------

    def advance(self) -> None:
        """Make a trial step of every problem."""
        s, batch = self.state, self.batch
        with self._guard():
            trial = _steps.trials(self.xp, s, batch.bounds)
        r = batch.residuals(trial)
        with self._guard():
            cost, evaluations = batch.criterion.cost(r), batch.residuals.evaluations
            judged = _steps.judged(self.xp, s, trial, cost, self.epsilon, evaluations)
            some, every = self._known(judged.accepted)
            if some and not every:
                r = self.xp.where(judged.accepted[:, None], r, self.r)
        columns = batch.residuals.columns(judged.state.x, r) if some else self.columns
        with self._guard():
            if some:
                state, columns = self._refactored(judged, r, columns, every)
            else:
                state, r = judged.state, self.r
            # At once: an interruption finds what belongs together.
            self.state, self.r, self.columns = state, r, columns
            self._look(judged, s, first=False)
            self._stuck(judged, s)

    def _known(self, accepted: Array) -> tuple[bool, bool]:
        # Whether some trials were taken, and whether all were, where that is known without waiting.
        if not self._host:
            return True, False
        count = int(np.count_nonzero(accepted))
        return count > 0, count == self.problems

    def _refactored(
        self, judged: Judged, r: Array, columns: Array, every: bool
    ) -> tuple[State, Array]:
        # R and the rotated residuals at the new points.
        xp, s, taken = self.xp, judged.state, judged.accepted
        if self.batch.residuals.beside and not every:
            columns = xp.where(taken[None, :, None], columns, self.columns)
        factor, rotated = self.batch.factored(r, columns)
        if not every:
            factor = xp.where(taken, factor, s.factor)
            rotated = xp.where(taken, rotated, s.rotated)
        return s._replace(factor=factor, rotated=rotated), columns

    def _look(self, judged: Judged, before: State, *, first: bool) -> None:
        # Make a record of where the problems stand, and judge it.
        if not self._fixed:
            self.state = _steps.rescaled(self.xp, self.state)
        s = self.state
        at = _steps.measured(self.xp, s, self.batch.bounds)
        self.record = FitRecord(
            s.cost, at.optimality, s.nit, s.nfev, s.damping, judged.accepted, self.batch.layout,
            s.x, before.x, at.gradient, judged.fit._replace(cosine=at.cosine), at.finite,
        )  # fmt: skip
        self._end(self.record, before.damping, first=first)

    # -- ends -----------------------------------------------------------------------------------

    def mark(self, holds: Any, verdict: Verdict) -> None:
        """End problems that have not ended yet."""
        if holds is False:
            return
        if verdict not in self._verdicts:
            self._verdicts.append(verdict)
        xp, s = self.xp, self.state
        code = self._verdicts.index(verdict) + 1
        new = (s.code == 0) & holds
        self.state = s._replace(code=s.code + code * xp.astype(new, xp.int32))

    def _end(self, record: FitRecord, damping: Array, *, first: bool) -> None:
        self.mark(record.broken, Verdict(record.not_finite(), False, 3))
        moved = record.accepted
        trusted = moved & (damping <= _TRUSTED)
        self.mark(record.cost == 0, Verdict("the cost is zero"))
        for holds, verdict in self._judge(record):
            known = trusted if verdict.success else moved
            self.mark(holds if isinstance(holds, bool) else holds & known, verdict)
        if not first or self.most == 0:
            limit = Verdict(f"{self.most} iterations were made", False, 1)
            self.mark(record.iteration >= self.most, limit)

    def _stuck(self, judged: Judged, before: State) -> None:
        # What is too near to be told from the point by its cost, or by its numbers. Residuals may
        # be differences of large numbers, rounded more than they tell: repeated failure shows that.
        fit, refused = judged.fit, (before.code == 0) & ~judged.accepted
        noise = 32 * self.epsilon * fit.before
        flat = (abs(fit.predicted) <= noise) & (abs(fit.fall) <= noise)
        often, still = self.state.pace >= _steps.GROW**4, fit.step <= self.epsilon * fit.size
        near = refused & judged.finite & self.state.near & (flat | often | still)
        self.mark(near, Verdict("no step lowers the cost by more than rounding"))
        walled = Verdict("the residuals are not finite around the point", False, 3)
        self.mark(refused & still & self.state.blind, walled)
        self.mark(refused & still, Verdict("no step was found that lowers the cost", False, 2))

    def codes(self) -> HostArray:
        """Return the codes of all problems; this synchronises with the device.

        The numbers in the record of a single problem are read with its code.
        """
        s, record = self.state, self.record
        if self.batch.layout.batched:
            return np.asarray(_arrays.to_numpy(s.code))
        names = ("cost", "optimality", "damping", "iteration", "evaluations", "accepted")
        numbers = [getattr(record, name) for name in names]
        with self._guard():
            wide = [self.xp.astype(x, s.x.dtype) for x in (*numbers, s.code)]
            *values, code = _arrays.to_numpy(self.xp.concat(wide)).tolist()
        read: dict[str, Any] = dict(zip(names, values, strict=True))
        read |= {name: int(read[name]) for name in ("iteration", "evaluations")}
        self.record = replace(record, **{**read, "accepted": bool(read["accepted"])})
        return np.array([int(code)])

    def take(self, index: HostArray) -> None:
        """Keep some of the problems only."""
        xp, s = self.xp, self.state
        where = _arrays.from_numpy(index, s.x)
        count = self.problems
        with self._guard():
            state = State(*(xp.take(x, where, axis=x.ndim - 1) for x in s))
            r, columns = xp.take(self.r, where, axis=0), xp.take(self.columns, where, axis=1)
            memory = _remembered(self._memory, where, count)
            self.batch = self.batch.take(where, s.x)
        self.state, self.r, self.columns = state, r, columns
        self._memory.update(memory)


def _remembered(memory: dict[str, Any], where: Array, count: int) -> dict[str, Any]:
    # What conditions remember of some of the problems.
    found = {}
    for key, x in memory.items():
        if isinstance(x, dict):
            x.update(_remembered(x, where, count))
        elif _arrays.is_array(x) and tuple(x.shape) == (count,):
            x = _arrays.namespace(x).take(x, where, axis=0)
        found[key] = x
    return found
