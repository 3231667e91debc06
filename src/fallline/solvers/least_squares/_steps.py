"""The arithmetic of an iteration, as functions of where the problems stand."""

from __future__ import annotations

from typing import NamedTuple

from ..._arrays._types import Array, Namespace
from ...stop._seen import Fit
from . import _algebra
from ._residuals import Bounds

# The first damping, beside columns of length one, and what bounds it.
FIRST, _LEAST = 1e-3, 1e-45
# The least share of the predicted fall for which a trial is taken: MINPACK's.
_ENOUGH = 1e-4
# From which share on a trial is good, and factors of the damping: after the first good trial, after
# the first bad one, and the fastest.
_GOOD, EASE, GROW, _FASTEST = 0.75, 0.2, 3.0, 1e-8


class State(NamedTuple):
    """Where the problems stand."""

    x: Array  # (n, problems)
    cost: Array
    factor: Array  # R of the Jacobian at x, (n, n, problems)
    rotated: Array  # Q^T r
    scale: Array  # D, (n, problems)
    damping: Array
    pace: Array  # the next factor of the damping: below 1 after good trials, above after bad ones
    near: Array  # whether the first of the bad trials promised no more than rounding may hide
    blind: Array  # whether none of the bad trials was finite
    code: Array  # 0, or one more than the index of a verdict
    nit: Array
    nfev: Array
    njev: Array


class Judged(NamedTuple):
    """What became of trials: where the problems stand, and which were taken."""

    state: State
    accepted: Array
    finite: Array
    fit: Fit


class Measured(NamedTuple):
    """Gradients, without what bounds hold back, and their sizes."""

    gradient: Array
    optimality: Array
    cosine: Array
    finite: Array


def free(xp: Namespace, x: Array, gradient: Array, bounds: Bounds) -> Array | None:
    """Return which parameters no bound holds back; `None` without bounds."""
    if bounds is None:
        return None
    low, high = bounds
    return ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)) | (low == high))


def inside(xp: Namespace, x: Array, bounds: Bounds) -> Array:
    """Return the nearest points between the bounds."""
    if bounds is None:
        return x
    low, high = bounds
    x = xp.where(x < low, low, x)
    return xp.where(x > high, high, x)


def trials(xp: Namespace, s: State, bounds: Bounds) -> Array:
    """Return the points to try next; problems that have ended stay where they are."""
    loose = free(xp, s.x, _algebra.transposed_product(xp, s.factor, s.rotated), bounds)
    if loose is None:
        step = _algebra.damped(xp, s.factor, s.rotated, xp.sqrt(s.damping) * s.scale)
    else:
        # What would leave the bounds goes as far as they are, and the others make the best of it.
        zero = xp.zeros_like(s.x)
        aim = s.x + _free_step(xp, s, loose, zero)
        within = inside(xp, aim, bounds)
        crossing = within != aim
        step = _free_step(xp, s, loose & ~crossing, xp.where(crossing, within - s.x, zero))
    return xp.where(s.code == 0, inside(xp, s.x + step, bounds), s.x)


def _free_step(xp: Namespace, s: State, loose: Array, given: Array) -> Array:
    # The step of parameters that are free, while others make a given one.
    factor = xp.where(loose[None, ...], s.factor, xp.zeros_like(s.factor))
    diagonal = xp.where(loose, xp.sqrt(s.damping) * s.scale, s.scale)
    rotated = s.rotated + _algebra.product(xp, s.factor, given)
    return xp.where(loose, _algebra.damped(xp, factor, rotated, diagonal), given)


def judged(
    xp: Namespace, s: State, trial: Array, cost: Array, epsilon: float, evaluations: int
) -> Judged:
    """Return which trials are taken, and what follows for the damping.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    s : State
        Where the problems stand.
    trial, cost : array
        Other points, and the costs there.
    epsilon : float
        Precision.
    evaluations : int
        How many more each Jacobian takes.
    """
    going, step = s.code == 0, trial - s.x
    along = _algebra.product(xp, s.factor, step)
    predicted = -xp.sum(along * (s.rotated + 0.5 * along), axis=0)
    finite, fall = xp.isfinite(cost), s.cost - cost
    accepted = going & finite & (predicted > 0) & (fall > _ENOUGH * predicted)
    ratio = fall / xp.where(predicted > 0, predicted, xp.ones_like(predicted))
    damping, pace = _damping(xp, s, ratio, accepted)
    x = xp.where(accepted, trial, s.x)
    moved, size = _length(xp, s.scale * step), _length(xp, s.scale * x)
    near = (xp.abs(predicted) <= epsilon**0.5 * s.cost) | (moved <= 8 * epsilon * size)
    again = s.pace > 1  # after a bad trial
    one, better = xp.astype(going, xp.int32), xp.astype(accepted, xp.int32)
    state = s._replace(
        x=x, cost=xp.where(accepted, cost, s.cost), damping=damping, pace=pace,
        near=xp.where(again, s.near, near),
        blind=xp.where(moved > 0, ~finite & (~again | s.blind), s.blind),
        nit=s.nit + one, njev=s.njev + better, nfev=s.nfev + one + better * evaluations,
    )  # fmt: skip
    return Judged(state, accepted, finite, Fit(s.cost, fall, predicted, moved, size, cost))


def _damping(xp: Namespace, s: State, ratio: Array, accepted: Array) -> tuple[Array, Array]:
    # Nielsen's for middling trials; runs of good and of bad ones change it faster and faster.
    less = xp.where(s.pace < 1, s.pace, xp.full_like(s.pace, EASE))
    more = xp.where(s.pace > 1, s.pace, xp.full_like(s.pace, GROW))
    good = accepted & (ratio > _GOOD)
    middling = 1 - (2 * ratio - 1) ** 3
    damping = s.damping * xp.where(good, less, xp.where(accepted, middling, more))
    damping = xp.where(damping < _LEAST, xp.full_like(damping, _LEAST), damping)
    faster = xp.where(less > _FASTEST, EASE * less, less)
    pace = xp.where(good, faster, xp.where(accepted, xp.full_like(less, EASE), GROW * more))
    return damping, pace


def _length(xp: Namespace, x: Array) -> Array:
    return xp.sqrt(xp.sum(x * x, axis=0))


def rescaled(xp: Namespace, s: State) -> State:
    """Return the state with columns' norms in D where they are larger than before."""
    norms = _algebra.column_norms(xp, s.factor)
    scale = xp.where(norms > s.scale, norms, s.scale)
    return s._replace(scale=xp.where(scale > 0, scale, xp.ones_like(scale)))


def measured(xp: Namespace, s: State, bounds: Bounds) -> Measured:
    """Return the gradients at the points."""
    gradient = _algebra.transposed_product(xp, s.factor, s.rotated)
    loose = free(xp, s.x, gradient, bounds)
    if loose is not None:
        gradient = xp.where(loose, gradient, xp.zeros_like(gradient))
    norms = _algebra.column_norms(xp, s.factor) * xp.sqrt(2 * s.cost)
    some = norms > 0
    cosines = xp.abs(gradient) / xp.where(some, norms, xp.ones_like(norms))
    # A column of zeros has nothing to do, and so have residuals of zero.
    cosine = xp.max(xp.where(some | xp.isnan(norms), cosines, xp.zeros_like(norms)), axis=0)
    optimality = xp.max(xp.abs(gradient), axis=0)
    finite = xp.isfinite(s.cost) & xp.isfinite(optimality)
    return Measured(gradient, optimality, cosine, finite)
