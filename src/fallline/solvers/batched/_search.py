"""The line searches of `_search` for many problems side by side.

Every number is an array with one entry for each problem, on its device. A search is a state; each
evaluation of all problems makes the next of it. Nothing is read, and no problem waits for another.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

from ..._arrays._types import Array, Namespace, Number

T = TypeVar("T")


def chosen(xp: Namespace, mask: Array, a: T, b: T) -> T:
    """Return `a` where the mask holds, else `b`: arrays, or tuples of them."""
    if not isinstance(a, tuple) or not isinstance(b, tuple):
        result: T = xp.where(mask, a, b)
        return result
    return type(a)(*(chosen(xp, mask, x, y) for x, y in zip(a, b, strict=True)))


class Point(NamedTuple):
    """A step length, the value and the slope there."""

    t: Number
    value: Array
    slope: Array


class Wolfe(NamedTuple):
    """A search of `strong_wolfe`: the next step length, and what is known.

    `low` is the best point and `high` the other end of the interval; `again` says that the next
    trial is `low` once more, to be taken as it is.
    """

    t: Number
    trials: Array
    low: Point
    high: Point
    bracketed: Array
    tilted: Array
    least: Array
    largest: Array
    wall: Array
    width: Array
    before: Array
    again: Array


class Halving(NamedTuple):
    """A search of `armijo`: the next step length, and how many there were."""

    t: Number
    trials: Array


class Outcome(NamedTuple):
    """The next state of a search, and where it ended, well or badly."""

    search: Any
    accepted: Array
    failed: Array


def begin_wolfe(xp: Namespace, start: Point, t: Number) -> Wolfe:
    """Return searches that begin at `start`, whose `t` is zero, with first step lengths."""
    trials = xp.zeros_like(t, dtype=xp.int32)
    yes, no = xp.ones_like(t, dtype=xp.bool), xp.zeros_like(t, dtype=xp.bool)
    far = xp.full_like(t, math.inf)
    return Wolfe(t, trials, start, start, no, yes, start.t, 5.0 * t, far, far, far, no)


def begin_halving(xp: Namespace, t: Number) -> Halving:
    """Return searches that begin with first step lengths."""
    return Halving(t, xp.zeros_like(t, dtype=xp.int32))


def armijo(
    xp: Namespace,
    s: Halving,
    start: Point,
    trial: Point,
    *,
    reference: Array,
    c1: float = 1e-4,
    most: int = 40,
) -> Outcome:
    """Return what `_search.armijo` makes of a trial."""
    t, value, slope = trial
    finite = xp.isfinite(value) & xp.isfinite(slope)
    accepted = finite & (value <= reference + c1 * t * start.slope)
    curve = value - start.value - t * start.slope
    least = -start.slope * t * t / (2 * curve)
    least = xp.where(least < 0.1 * t, 0.1 * t, least)
    least = xp.where(least > 0.5 * t, 0.5 * t, least)
    shorter = xp.where(finite & (curve > 0), least, 0.1 * t)
    trials = s.trials + 1
    return Outcome(Halving(shorter, trials), accepted, ~accepted & (trials >= most))


def strong_wolfe(
    xp: Namespace,
    s: Wolfe,
    start: Point,
    trial: Point,
    *,
    noise: Array,
    c1: float = 1e-3,
    c2: float = 0.9,
    most: int = 30,
) -> Outcome:
    """Return what `_search.strong_wolfe` makes of a trial.

    Where that ends with the best point so far, here that point is tried again and taken: its
    gradient is not kept.
    """
    t, value, slope = trial
    test = c1 * start.slope
    finite = xp.isfinite(value) & xp.isfinite(slope)
    enough = value <= start.value + t * test
    flat = (slope <= start.slope * (2 * c1 - 1)) & (slope >= c2 * start.slope)
    good = (enough & (xp.abs(slope) <= -c2 * start.slope)) | (flat & (value <= start.value + noise))
    accepted = finite & (good | s.again)
    trials = s.trials + 1
    bottomless = value == -math.inf
    near = _nearer(xp, s, t, trials)
    inside = _narrowed(xp, s, trial, trials, test, enough)
    after, over = (chosen(xp, finite, a, b) for a, b in zip(inside, near, strict=True))
    # A step within rounding: shorter ones change nothing either.
    still = xp.abs(slope - start.slope) <= 1e-9 * -start.slope
    still = still & s.bracketed & (value == start.value)
    over = ~accepted & (over | still | (trials >= most) | s.again | bottomless)
    low = after.low
    bottomless = bottomless | (~after.bracketed & (after.wall == math.inf) & (low.t == t))
    lower = (low.value < start.value) & (low.value <= start.value + low.t * test) & ~bottomless
    again = over & lower & ~s.again
    after = after._replace(t=xp.where(again, low.t, after.t), again=again)
    return Outcome(after, accepted, over & ~again)


def _nearer(xp: Namespace, s: Wolfe, t: Number, trials: Any) -> tuple[Wolfe, Array]:
    # After a trial that was too far: the next state, and whether there is nothing between.
    nearer = s.low.t + 0.1 * (t - s.low.t)
    return s._replace(t=nearer, trials=trials, wall=t), (nearer == s.low.t) | (nearer == t)


def _narrowed(
    xp: Namespace, s: Wolfe, trial: Point, trials: Any, test: Array, enough: Array
) -> tuple[Wolfe, Array]:
    # After a trial that is not good enough: the next state, and whether nothing is left.
    tilted = s.tilted & ~(enough & (trial.slope >= 0))
    tilt = xp.where(tilted & (trial.value <= s.low.value) & ~enough, test, xp.zeros_like(test))
    a, b, c = (Point(p.t, p.value - p.t * tilt, p.slope - tilt) for p in (s.low, s.high, trial))
    t = _interpolated(xp, a, b, c, s.least, s.largest, s.bracketed)
    above, crossed = c.value > a.value, c.slope * a.slope < 0
    bracketed = s.bracketed | above | crossed
    high = chosen(xp, above, trial, chosen(xp, crossed, s.low, s.high))
    low = chosen(xp, above, s.low, trial)
    wide = xp.abs(high.t - low.t)
    between = xp.where(wide >= 0.66 * s.before, low.t + 0.5 * (high.t - low.t), t)
    least = xp.where(low.t < high.t, low.t, high.t)
    largest = xp.where(low.t < high.t, high.t, low.t)
    over = ~((between > least) & (between < largest)) | (largest - least <= 1e-14 * largest)
    wall = 0.5 * (low.t + s.wall)
    after = Wolfe(
        xp.where(bracketed, between, xp.where(t < wall, t, wall)),
        trials,
        low,
        high,
        bracketed,
        tilted,
        xp.where(bracketed, least, t + 1.1 * (t - low.t)),
        xp.where(bracketed, largest, t + 4.0 * (t - low.t)),
        s.wall,
        xp.where(bracketed, wide, s.width),
        xp.where(bracketed, s.width, s.before),
        s.again,
    )
    return after, bracketed & over


def _interpolated(
    xp: Namespace,
    low: Point,
    high: Point,
    trial: Point,
    least: Array,
    largest: Array,
    bracketed: Array,
) -> Array:
    # The next step length: section 4 of Moré and Thuente, case by case.
    t, far = trial.t, xp.where(trial.t > low.t, largest, least)
    higher = trial.value > low.value
    crossed = trial.slope * low.slope < 0
    flatter = xp.abs(trial.slope) < xp.abs(low.slope)
    steep = ~(higher | crossed | flatter)
    cubic = _cubic(
        xp,
        chosen(xp, higher, low, trial),
        chosen(xp, higher, trial, chosen(xp, steep, high, low)),
    )
    secant = t + trial.slope / (trial.slope - low.slope) * (low.t - t)
    secant = xp.where(trial.slope != low.slope, secant, math.inf)
    # 1: a higher value.
    chord = (low.value - trial.value) / (t - low.t) + low.slope
    parabola = low.t + 0.5 * low.slope / chord * (t - low.t)
    near = xp.abs(cubic - low.t) < xp.abs(parabola - low.t)
    first = xp.where(near, cubic, cubic + 0.5 * (parabola - cubic))
    # 2: a slope of the other sign.
    second = xp.where(xp.abs(cubic - t) > xp.abs(secant - t), cubic, secant)
    # 3: a smaller slope.
    onward = xp.isfinite(cubic) & ((cubic - t) * (t - low.t) > 0)
    ahead = xp.where(onward, cubic, far)
    closer = xp.abs(ahead - t) < xp.abs(secant - t)
    farther = xp.abs(ahead - t) > xp.abs(secant - t)
    free = xp.where(farther, ahead, secant)
    free = xp.where(free < least, least, free)
    free = xp.where(free > largest, largest, free)
    held, bound = xp.where(closer, ahead, secant), t + 0.66 * (high.t - t)
    held = xp.where((held > bound) == (t > low.t), bound, held)
    third = xp.where(bracketed, held, free)
    # 4: neither.
    fourth = xp.where(bracketed, cubic, far)
    rest = xp.where(crossed, second, xp.where(flatter, third, fourth))
    return xp.where(higher, first, rest)


def _cubic(xp: Namespace, a: Point, b: Point) -> Array:
    # The minimum of the cubic with these values and slopes.
    (t, f, d), (t_b, f_b, d_b) = a, b
    theta = 3 * (f - f_b) / (t_b - t) + d + d_b
    scale = xp.abs(theta)
    for other in (xp.abs(d), xp.abs(d_b)):
        scale = xp.where(scale > other, scale, other)
    square = (theta / scale) * (theta / scale) - (d / scale) * (d_b / scale)
    root = scale * xp.sqrt(xp.where(square > 0, square, xp.zeros_like(square)))
    root = xp.where(t_b < t, -root, root)
    below = root - d + root + d_b
    least = xp.where(below != 0, t + (root - d + theta) / below * (t_b - t), math.inf)
    return xp.where(scale > 0, least, t)
