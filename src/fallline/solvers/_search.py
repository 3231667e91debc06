"""Line searches: how far to go along a direction. Numbers on the host only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._arrays._types import Array

UNBOUNDED = "the objective falls without bound along a line"


@dataclass(slots=True)
class Trial:
    """The objective at a step length: value, slope, and what the solver measured there."""

    t: float
    value: float
    slope: float
    x: Array = None
    gradient: Array = None
    measured: Array = None
    norm: float = math.nan
    pseudo: Array = None
    shortened: bool = False
    path: Any = ()

    @property
    def finite(self) -> bool:
        """Whether value and slope are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.slope)

    @property
    def steep(self) -> Array:
        """What is to vanish: the pseudo-gradient, or the gradient where there is none."""
        return self.gradient if self.pseudo is None else self.pseudo

    def after(self, first: float) -> Trial:
        """Return this with a note whether the search went back from its first step length."""
        self.shortened = self.t <= 0.5 * first
        return self


class NoProgress(ArithmeticError):
    """No step lowers the objective; `at_precision` if rounding alone explains it."""

    def __init__(self, message: str, *, at_precision: bool = False) -> None:
        super().__init__(message)
        self.at_precision = at_precision


def no_step(at_precision: bool) -> str:
    """Return why a solver makes no progress."""
    return f"no step {'at this precision ' if at_precision else ''}lowers the objective"


Line = Callable[[float], Trial]


def armijo(
    line: Line, start: Trial, t: float, *, reference: float, c1: float = 1e-4, most: int = 40
) -> Trial | None:
    """Halve the step, or go to the minimum of the parabola, until the value is low enough.

    The value must be at most ``reference + c1 * t * slope``; with `reference` the value at the
    start this is Armijo's rule, with the largest of the last few Grippo, Lampariello and Lucidi's.
    Returns `None` if no step is short enough.
    """
    first = t
    for _ in range(most):
        trial = line(t)
        if trial.finite and trial.value <= reference + c1 * t * start.slope:
            return trial.after(first)
        shorter = 0.1 * t
        if trial.finite:
            curve = trial.value - start.value - t * start.slope
            if curve > 0:
                shorter = min(max(-start.slope * t * t / (2 * curve), 0.1 * t), 0.5 * t)
        t = shorter
    return None


def strong_wolfe(
    line: Line,
    start: Trial,
    t: float,
    *,
    noise: float,
    c1: float = 1e-3,
    c2: float = 0.9,
    most: int = 30,
) -> Trial | None:
    r"""Search a step that lowers the value enough and the slope enough.

    .. math:: f(t) \le f(0) + c_1 t f'(0), \qquad |f'(t)| \le c_2 |f'(0)|

    by the intervals (sections 2 and 3) and the interpolations (section 4) of [1]_. Where values
    differ by rounding only, the approximate Wolfe conditions of [2]_ (section 4) accept a step by
    its slope alone:

    .. math:: (2 c_1 - 1) f'(0) \ge f'(t) \ge c_2 f'(0)

    Returns `None` if there is no such step in `most` trials.

    Parameters
    ----------
    line : callable
        From a step length to a `Trial`.
    start : Trial
        At zero; its slope is negative.
    t : float
        First step length.
    noise : float
        Differences of values that mean nothing.
    c1, c2 : float
        Constants of the two conditions.
    most : int
        Evaluations.

    Raises
    ------
    NoProgress
        If the objective still falls after `most` ever longer steps.

    References
    ----------
    .. [1] Moré, Thuente, "Line search algorithms with guaranteed sufficient decrease", 1994.
    .. [2] Hager, Zhang, "A new conjugate gradient method with guaranteed descent and an efficient
       line search", 2005.
    """
    test = c1 * start.slope
    start = Trial(0.0, start.value, start.slope)
    low = high = start  # the best point, and the other end of the interval
    bracketed, tilted = False, True
    first, least, largest, wall = t, 0.0, 5.0 * t, math.inf
    width = before = math.inf
    for _ in range(most):
        trial = line(t)
        if trial.value == -math.inf:
            raise NoProgress(UNBOUNDED)
        if not trial.finite:  # too far
            wall = t
            t = low.t + 0.1 * (t - low.t)
            if t in (low.t, wall):
                break
            continue
        enough = trial.value <= start.value + t * test
        flat = start.slope * (2 * c1 - 1) >= trial.slope >= c2 * start.slope
        if enough and abs(trial.slope) <= -c2 * start.slope:
            return trial.after(first)
        if flat and trial.value <= start.value + noise:
            return trial.after(first)
        still = abs(trial.slope - start.slope) <= 1e-9 * -start.slope
        if bracketed and still and trial.value == start.value:
            break  # the step is within rounding, and so are shorter ones
        tilted = tilted and not (enough and trial.slope >= 0)
        # Section 3: until a point with enough decrease and a rising slope is found, psi is
        # searched, the function less the line of enough decrease; from then on the function.
        tilt = test if tilted and trial.value <= low.value and not enough else 0.0
        a, b, c = ((p.t, p.value - p.t * tilt, p.slope - tilt) for p in (low, high, trial))
        t = _interpolated(a, b, c, least, largest, bracketed)
        (_, value_low, slope_low), (_, value, slope) = a, c
        # Section 2, the updating algorithm.
        if value > value_low:
            high, bracketed = trial, True
        else:
            if slope * slope_low < 0:
                high, bracketed = low, True
            low = trial
        if bracketed:
            if abs(high.t - low.t) >= 0.66 * before:
                t = low.t + 0.5 * (high.t - low.t)
            before, width = width, abs(high.t - low.t)
            least, largest = sorted((low.t, high.t))
            if t <= least or t >= largest or largest - least <= 1e-14 * largest:
                break
        else:
            least, largest = t + 1.1 * (t - low.t), t + 4.0 * (t - low.t)
            t = min(t, 0.5 * (low.t + wall))
    else:
        if not bracketed and wall == math.inf and low.t == trial.t:
            raise NoProgress(UNBOUNDED)
    lower = low.value < start.value and low.value <= start.value + low.t * test
    return low.after(first) if lower else None


Knot = tuple[float, float, float]  # step length, value, slope


def _interpolated(
    low: Knot, high: Knot, trial: Knot, least: float, largest: float, bracketed: bool
) -> float:
    # The next step length: section 4 of Moré and Thuente.
    (t, f, d), (t_low, f_low, d_low), t_high = trial, low, high[0]
    if f > f_low:  # case 1
        cubic = _cubic(low, trial)
        chord = (f_low - f) / (t - t_low) + d_low
        parabola = t_low + 0.5 * d_low / chord * (t - t_low) if chord else t_low
        near = abs(cubic - t_low) < abs(parabola - t_low)
        return cubic if near else cubic + 0.5 * (parabola - cubic)
    if d * d_low < 0:  # case 2
        cubic, secant = _cubic(trial, low), _secant(trial, low)
        return cubic if abs(cubic - t) > abs(secant - t) else secant
    end = largest if t > t_low else least
    if abs(d) < abs(d_low):  # case 3
        cubic = _cubic(trial, low)
        if not math.isfinite(cubic) or (cubic - t) * (t - t_low) <= 0:
            cubic = end
        secant = _secant(trial, low)
        if not bracketed:
            t_new = cubic if abs(cubic - t) > abs(secant - t) else secant
            return min(max(t_new, least), largest)
        t_new = cubic if abs(cubic - t) < abs(secant - t) else secant
        bound = t + 0.66 * (t_high - t)
        return min(t_new, bound) if t > t_low else max(t_new, bound)
    return _cubic(trial, high) if bracketed else end  # case 4


def _cubic(a: Knot, b: Knot) -> float:
    # The minimum of the cubic with these values and slopes.
    (t, f, d), (t_b, f_b, d_b) = a, b
    theta = 3 * (f - f_b) / (t_b - t) + d + d_b
    scale = max(abs(theta), abs(d), abs(d_b))
    if not scale > 0:
        return t
    root = scale * math.sqrt(max(0.0, (theta / scale) ** 2 - (d / scale) * (d_b / scale)))
    root = math.copysign(root, t_b - t)
    below = root - d + root + d_b
    return t + (root - d + theta) / below * (t_b - t) if below else math.inf


def _secant(a: Knot, b: Knot) -> float:
    # Where the slope between two points is zero.
    (t, _, d), (t_b, _, d_b) = a, b
    return t + d / (d - d_b) * (t_b - t) if d != d_b else math.inf
