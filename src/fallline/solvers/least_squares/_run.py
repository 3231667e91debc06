"""The iteration: Levenberg and Marquardt's method for many problems side by side.

Every number of the state is an array with the problems along its last axis; a single problem is a
batch of one. An iteration is one trial of each problem, and synchronises with the device once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._arrays._types import Array, HostArray
from ...stop import Condition, Verdict
from ...stop._seen import Fit
from . import _algebra
from ._batch import Batch, State
from ._columns import Layout
from ._criteria import Criterion
from ._record import FitRecord
from ._residuals import Bounds, Residuals

# The first damping, beside columns of length one, and what bounds it.
_FIRST, _LEAST = 1e-3, 1e-45
# The least share of the predicted fall for which a trial is taken: MINPACK's.
_ENOUGH = 1e-4
# The largest damping whose small steps tell that a point is at its end.
_TRUSTED = 1e3
# From which share on a trial is good, and factors of the damping: after the first good trial, after
# the first bad one, and the fastest.
_GOOD, _EASE, _GROW, _FASTEST = 0.75, 0.2, 3.0, 1e-8


class _Judged(NamedTuple):
    state: State
    accepted: Array
    finite: Array
    fit: Fit


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
            _FIRST * ones, _EASE * ones, whole == 0, whole == 0, 0 * whole, 0 * whole,
            whole * (1 + batch.residuals.evaluations), whole,
        )  # fmt: skip
        self._rescale()
        self._damped = self.state.damping
        far = math.inf * ones
        self._look(Fit(cost, far, far, far, ones, cost), whole == 1, x, first=True)

    @property
    def problems(self) -> int:
        """How many problems are at work."""
        return int(self.state.cost.shape[0])

    # -- an iteration ---------------------------------------------------------------------------

    def advance(self) -> None:
        """Make a trial step of every problem."""
        s, batch = self.state, self.batch
        with self._guard():
            going = s.code == 0
            trial = self.xp.where(going, batch.inside(s.x + self._step()), s.x)
        r = batch.residuals(trial)
        with self._guard():
            judged = self._judged(trial, r, going)
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
            self._rescale()
            self._damped = s.damping
            self._look(judged.fit, judged.accepted, s.x, first=False)
            self._stuck(judged.fit, going & ~judged.accepted, judged.finite)

    def _judged(self, trial: Array, r: Array, going: Array) -> _Judged:
        # Which trials are taken, and what follows for the damping.
        xp, s, batch = self.xp, self.state, self.batch
        step = trial - s.x
        along = _algebra.product(xp, s.factor, step)
        predicted = -xp.sum(along * (s.rotated + 0.5 * along), axis=0)
        cost = batch.criterion.cost(r)
        finite, fall = xp.isfinite(cost), s.cost - cost
        accepted = going & finite & (predicted > 0) & (fall > _ENOUGH * predicted)
        ratio = fall / xp.where(predicted > 0, predicted, xp.ones_like(predicted))
        damping, pace = self._damping(ratio, accepted)
        one, better = xp.astype(going, xp.int32), xp.astype(accepted, xp.int32)
        state = s._replace(
            x=xp.where(accepted, trial, s.x), cost=xp.where(accepted, cost, s.cost),
            damping=damping, pace=pace, nit=s.nit + one, njev=s.njev + better,
            nfev=s.nfev + one + better * batch.residuals.evaluations,
        )  # fmt: skip
        moved, size = self._lengths(step, state.x, s.scale)
        near = (abs(predicted) <= self.epsilon**0.5 * s.cost) | (moved <= 8 * self.epsilon * size)
        again = s.pace > 1  # after a bad trial
        blind = xp.where(moved > 0, ~finite & (~again | s.blind), s.blind)
        state = state._replace(near=xp.where(again, s.near, near), blind=blind)
        return _Judged(state, accepted, finite, Fit(s.cost, fall, predicted, moved, size, cost))

    def _known(self, accepted: Array) -> tuple[bool, bool]:
        # Whether some trials were taken, and whether all were, where that is known without waiting.
        if not self._host:
            return True, False
        count = int(np.count_nonzero(accepted))
        return count > 0, count == self.problems

    def _step(self) -> Array:
        xp, s = self.xp, self.state
        free = self.batch.free(s.x, self.gradient())
        if free is None:
            diagonal = xp.sqrt(s.damping) * s.scale
            return _algebra.damped(xp, s.factor, s.rotated, diagonal)
        # What would leave the bounds goes as far as they are, and the others make the best of it.
        zero = xp.zeros_like(s.x)
        aim = s.x + self._free_step(free, zero)
        within = self.batch.inside(aim)
        crossing = within != aim
        return self._free_step(free & ~crossing, xp.where(crossing, within - s.x, zero))

    def _free_step(self, free: Array, given: Array) -> Array:
        # The step of parameters that are free, while others make a given one.
        xp, s = self.xp, self.state
        zero = xp.zeros_like(s.factor)
        factor = xp.where(free[None, ...], s.factor, zero)
        diagonal = xp.where(free, xp.sqrt(s.damping) * s.scale, s.scale)
        rotated = s.rotated + _algebra.product(xp, s.factor, given)
        return xp.where(free, _algebra.damped(xp, factor, rotated, diagonal), given)

    def _damping(self, ratio: Array, accepted: Array) -> tuple[Array, Array]:
        # Nielsen's for middling trials; runs of good and of bad ones change it faster and faster.
        xp, s = self.xp, self.state
        less = xp.where(s.pace < 1, s.pace, xp.full_like(s.pace, _EASE))
        more = xp.where(s.pace > 1, s.pace, xp.full_like(s.pace, _GROW))
        good = accepted & (ratio > _GOOD)
        middling = 1 - (2 * ratio - 1) ** 3
        damping = s.damping * xp.where(good, less, xp.where(accepted, middling, more))
        damping = xp.where(damping < _LEAST, xp.full_like(damping, _LEAST), damping)
        faster = xp.where(less > _FASTEST, _EASE * less, less)
        pace = xp.where(good, faster, xp.where(accepted, xp.full_like(less, _EASE), _GROW * more))
        return damping, pace

    def _refactored(
        self, judged: _Judged, r: Array, columns: Array, every: bool
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

    def _rescale(self) -> None:
        if self._fixed:
            return
        xp, s = self.xp, self.state
        norms = _algebra.column_norms(xp, s.factor)
        scale = xp.where(norms > s.scale, norms, s.scale)
        self.state = s._replace(scale=xp.where(scale > 0, scale, xp.ones_like(scale)))

    # -- what is looked at ----------------------------------------------------------------------

    def gradient(self) -> Array:
        """Return the gradients."""
        return _algebra.transposed_product(self.xp, self.state.factor, self.state.rotated)

    def held(self) -> tuple[Array, Array | None]:
        """Return the gradients without what bounds hold back, and what is free."""
        xp, gradient = self.xp, self.gradient()
        free = self.batch.free(self.state.x, gradient)
        if free is None:
            return gradient, None
        return xp.where(free, gradient, xp.zeros_like(gradient)), free

    def _look(self, fit: Fit, accepted: Array, before: Array, *, first: bool) -> None:
        # Make a record of where the problems stand, and judge it.
        xp, s = self.xp, self.state
        gradient, _ = self.held()
        norms = _algebra.column_norms(xp, s.factor) * xp.sqrt(2 * s.cost)
        some = norms > 0
        cosines = xp.abs(gradient) / xp.where(some, norms, xp.ones_like(norms))
        # A column of zeros has nothing to do, and so have residuals of zero.
        cosine = xp.max(xp.where(some | xp.isnan(norms), cosines, xp.zeros_like(norms)), axis=0)
        optimality = xp.max(xp.abs(gradient), axis=0)
        self.record = FitRecord(
            s.cost, optimality, s.nit, s.nfev, s.damping, accepted, self.batch.layout, s.x, before,
            gradient, fit._replace(cosine=cosine), xp.isfinite(s.cost) & xp.isfinite(optimality),
        )  # fmt: skip
        self._mark_all(self.record, first=first)

    def _lengths(self, step: Array, x: Array, scale: Array) -> tuple[Array, Array]:
        xp, (a, b) = self.xp, (scale * step, scale * x)
        return xp.sqrt(xp.sum(a * a, axis=0)), xp.sqrt(xp.sum(b * b, axis=0))

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

    def _mark_all(self, record: FitRecord, *, first: bool) -> None:
        self.mark(record.broken, Verdict(record.not_finite(), False, 3))
        moved = record.accepted
        trusted = moved & (self._damped <= _TRUSTED)
        self.mark(record.cost == 0, Verdict("the cost is zero"))
        for holds, verdict in self._judge(record):
            known = trusted if verdict.success else moved
            self.mark(holds if isinstance(holds, bool) else holds & known, verdict)
        if not first or self.most == 0:
            limit = Verdict(f"{self.most} iterations were made", False, 1)
            self.mark(record.iteration >= self.most, limit)

    def _stuck(self, fit: Fit, refused: Array, finite: Array) -> None:
        # What is too near to be told from the point by its cost, or by its numbers. Residuals may
        # be differences of large numbers, rounded more than they tell: repeated failure shows that.
        noise = 32 * self.epsilon * fit.before
        flat = (abs(fit.predicted) <= noise) & (abs(fit.fall) <= noise)
        often, still = self.state.pace >= _GROW**4, fit.step <= self.epsilon * fit.size
        near = refused & finite & self.state.near & (flat | often | still)
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
