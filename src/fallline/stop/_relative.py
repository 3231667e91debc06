"""Conditions that do not depend on the units of the objective and of large parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from .. import _arrays
from .._arrays import _checks, _settings
from .._arrays._types import Array, Number
from ._conditions import Condition, Epsilon, Findings, Judge, Memory, Verdict
from ._seen import Seen


@dataclass(frozen=True)
class RelativeGradient(Condition):
    r"""The gradient is small beside the objective, in units of the parameters, and so is the step.

    .. math::
        \max_i |g_i| \max(|x_i|, 1) &\le \max(\text{tolerance} \cdot |f|,\;
            \delta\, |f_0 - f|) \\
        \|x - x_{k-1}\| &\le \epsilon^{1/3} \max(\|x\|, 1)

    where :math:`f_0` is the first value that was seen, :math:`\epsilon` the precision, and
    :math:`\delta` is 1e-12 in double and the precision below. An objective with a factor ends at
    the same point. The second line tells a minimum from a slope that is flat only beside where the
    run came from. Before the first step nothing tells the units of the parameters, so only a
    gradient of zero counts there.

    Parameters
    ----------
    tolerance : float, optional
        By default 1e-8 in double, and 16 times the precision below.

    Notes
    -----
    Where bounds, constraints or penalties that are not smooth hold elements back, g is the
    gradient without these elements, or the proximal step over its length. Complex elements count by
    component. Of conjugate gradients, whose steps may be short where much is left to do, the way
    along the flattest of the last directions counts too. All but the largest element of the
    gradient is checked only where that is small enough already, which synchronises with the device
    twice more.
    """

    tolerance: float | None = None
    _needs = ("value", "gradient", "params")

    def __post_init__(self) -> None:
        """Check the tolerance."""
        if self.tolerance is not None:
            _settings.own_number(self, "tolerance", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        memory["first"] = math.nan

        def judge(record: Seen) -> Findings:
            precision, tolerance = epsilon(), self.tolerance
            if tolerance is None:
                tolerance = _least_gradient(precision)
            good = _vanished(tolerance)
            value, first = record.value, memory["first"]
            first = memory["first"] = _arrays.choose(first == first, first, value)
            least = small_gradient(precision, value, abs(first - value), tolerance)
            near = record.gradient_norm <= least
            if not _arrays.is_array(near) and not near:
                return [(False, good)]
            step, size = record.change()
            way = record._outlook[1]
            step = _arrays.choose(step > way, step, way)
            part = precision ** (1 / 3)
            still = ((step <= part) | (step <= part * size)) & (record.iteration > 0)
            still = still | (record.gradient_norm == 0)
            return [(near & still & (record.scaled_gradient() <= least), good)]

        return judge


@lru_cache(maxsize=64)
def _vanished(tolerance: float) -> Verdict:
    return Verdict(f"the gradient is at most {tolerance:.2g} of the objective")


@lru_cache(maxsize=64)
def _fell(tolerance: float, times: int) -> Verdict:
    words = f"the objective fell by a fraction of at most {tolerance:.2g}"
    return Verdict(words if times == 1 else f"{words} {times} times in a row")


def _least_gradient(epsilon: float) -> float:
    return 1e-8 if epsilon < 1e-12 else 16 * epsilon


def small_gradient(
    epsilon: float, value: Number, fallen: Number, tolerance: float | None = None
) -> Number:
    """Return the gradient that `RelativeGradient` takes for none, given how far a value fell."""
    tolerance = _least_gradient(epsilon) if tolerance is None else tolerance
    least, other = tolerance * abs(value), (1e-12 if epsilon < 1e-12 else epsilon) * fallen
    return _arrays.choose(other > least, other, least)


@dataclass(frozen=True)
class RelativeDecrease(Condition):
    r"""The objective fell by no more than a fraction of its size.

    .. math:: 0 \le f_k - f_{k+1} \le \text{tolerance} \cdot \max(|f_k|, |f_{k+1}|, \text{floor})

    Parameters
    ----------
    tolerance : float, optional
        By default 1e7 times the precision in double, twice the precision below.
    times : int, default 1
        Number of iterations in a row in which this must hold. It does not hold where a line search
        had to shorten the step: a short step lowers any objective by little. For conjugate
        gradients, what the flattest of the last directions promises must be as small.
    floor : float, default 1
        In units of the objective; 0 for a condition that does not depend on them.
    """

    tolerance: float | None = None
    times: int = 1
    floor: float = 1.0
    _needs = ("value",)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.tolerance is not None:
            _settings.own_number(self, "tolerance", 0.0, math.inf)
        object.__setattr__(self, "times", _checks.count("times", self.times, 1))
        _settings.own_number(self, "floor", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        memory |= {"before": math.inf, "small": 0}

        def judge(record: Seen) -> Findings:
            tolerance = least_fall(epsilon()) if self.tolerance is None else self.tolerance
            good = _fell(tolerance, self.times)
            last = memory["before"]
            before = memory["before"] = record.value
            fall = last - before
            small = fall <= tolerance * self.floor
            for value in (last, before):
                small = small | (fall <= tolerance * abs(value))
            small = (fall >= 0) & small & (last < math.inf)
            if self.times == 1:
                return [(small, good)]
            short = record.shortened
            small = small & (~short if _arrays.is_array(short) else not short)
            small = small & (record._outlook[0] <= tolerance * abs(record.value))
            count = memory["small"] = _counted(small) * (memory["small"] + 1)
            return [(count >= self.times, good)]

        return judge


def _counted(truth: Array) -> Number:
    # 1 or 0.
    if not _arrays.is_array(truth):
        return int(truth)
    xp = _arrays.namespace(truth)
    return xp.astype(truth, xp.int32)


def least_fall(epsilon: float) -> float:
    """Return the fraction of the objective that a small decrease is, for a precision."""
    return 1e7 * epsilon if epsilon < 1e-12 else 2 * epsilon
