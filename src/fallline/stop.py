"""When to stop: conditions on the records of a run, combined with ``|`` and ``&``.

A condition is a frozen dataclass without memory; `watch` makes what remembers one run's values,
and `judge` the same for many problems side by side.

Examples
--------
>>> from fallline import stop
>>> stop.GradientNorm(1e-8) | stop.MaxTime(60)
GradientNorm(tolerance=1e-08) | MaxTime(seconds=60)
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _arrays
from ._arrays import _checks

__all__ = [
    "Condition", "GradientNorm", "MaxEvaluations", "MaxTime", "NonFinite", "NotImproved",
    "ParameterChange", "RelativeDecrease", "Target", "Verdict",
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Why a run ended.

    Attributes
    ----------
    message : str
        The reason in words.
    success : bool
        Whether that is a good end.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 99 the callback.
    """

    message: str
    success: bool = True
    status: int = 0


Watch = Callable[[Any], Verdict | None]
# What a record holds, in order: truths, for a batch an array or one for all, and their verdicts.
# The judges below know of no difference: they compute with what numbers and arrays share.
Findings = Sequence[tuple[Any, Verdict]]
Judge = Callable[[Any], Findings]


class Condition:
    """Base of the conditions."""

    def watch(self, epsilon: float) -> Watch:
        """Return what judges the records of one run, in their order.

        Parameters
        ----------
        epsilon : float
            Precision of the numbers.

        Returns
        -------
        callable
            From a record to a `Verdict`, or `None` to go on.
        """
        judge = self._judge(epsilon)
        return lambda record: next((verdict for holds, verdict in judge(record) if holds), None)

    def judge(self, epsilon: float) -> Judge:
        """Return what judges the records of one run, of one problem or of a batch, in their order.

        Parameters
        ----------
        epsilon : float
            Precision of the numbers.

        Returns
        -------
        callable
            From a record to pairs of a truth, or an array of one for each problem, and the
            `Verdict` where it holds; the first pair that holds counts.
        """
        return self._judge(epsilon)

    def _judge(self, epsilon: float) -> Judge:
        raise NotImplementedError

    def __or__(self, other: Condition) -> Condition:
        """Stop when either holds."""
        return _Either(self, other)

    def __and__(self, other: Condition) -> Condition:
        """Stop when both hold."""
        return _Both(self, other)


@dataclass(frozen=True, repr=False)
class _Either(Condition):
    one: Condition
    other: Condition

    def __repr__(self) -> str:
        return f"{self.one!r} | {self.other!r}"

    def _judge(self, epsilon: float) -> Judge:
        one, other = self.one._judge(epsilon), self.other._judge(epsilon)
        return lambda record: [*one(record), *other(record)]


@dataclass(frozen=True, repr=False)
class _Both(Condition):
    one: Condition
    other: Condition

    def __repr__(self) -> str:
        sides = (f"({c!r})" if isinstance(c, _Either) else repr(c) for c in (self.one, self.other))
        return " & ".join(sides)

    def _judge(self, epsilon: float) -> Judge:
        one, other = self.one._judge(epsilon), self.other._judge(epsilon)

        def judge(record: Any) -> Findings:
            pairs = itertools.product(one(record), other(record))
            return [
                (a & b, _joined(x, y))
                for (a, x), (b, y) in pairs
                if a is not False and b is not False
            ]

        return judge


def _joined(a: Verdict, b: Verdict) -> Verdict:
    message = f"{a.message}; {b.message}"
    return Verdict(message, a.success and b.success, max(a.status, b.status))


@dataclass(frozen=True)
class GradientNorm(Condition):
    """No element of the gradient is larger than a tolerance.

    Parameters
    ----------
    tolerance : float, default 1e-5
        In units of the gradient.
    """

    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        """Check the tolerance."""
        _checks.number("tolerance", self.tolerance, 0.0, math.inf)

    def _judge(self, epsilon: float) -> Judge:
        good = Verdict(f"the gradient is at most {self.tolerance:g}")
        return lambda record: [(record.gradient_norm <= self.tolerance, good)]


@dataclass(frozen=True)
class RelativeDecrease(Condition):
    r"""The objective fell by no more than a fraction of its size.

    .. math:: 0 \le f_k - f_{k+1} \le \text{tolerance} \cdot \max(|f_k|, |f_{k+1}|, 1)

    Parameters
    ----------
    tolerance : float, optional
        By default 1e7 times the precision in double, twice the precision below.
    """

    tolerance: float | None = None

    def __post_init__(self) -> None:
        """Check the tolerance."""
        if self.tolerance is not None:
            _checks.number("tolerance", self.tolerance, 0.0, math.inf)

    def _judge(self, epsilon: float) -> Judge:
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = 1e7 * epsilon if epsilon < 1e-12 else 2 * epsilon
        before = math.inf
        good = Verdict(f"the objective fell by a fraction of at most {tolerance:.2g}")

        def judge(record: Any) -> Findings:
            nonlocal before
            last, before = before, record.value
            fall = last - before
            small = fall <= tolerance
            for value in (last, before):
                small = small | (fall <= tolerance * abs(value))
            return [((fall >= 0) & small & (last < math.inf), good)]

        return judge


@dataclass(frozen=True)
class ParameterChange(Condition):
    """The last step was no longer than a fraction of the point: one more read for each look.

    Parameters
    ----------
    tolerance : float
        Of the Euclidean norms; a point of norm below 1 counts as 1.
    """

    tolerance: float

    def __post_init__(self) -> None:
        """Check the tolerance."""
        _checks.number("tolerance", self.tolerance, 0.0, math.inf)

    def _judge(self, epsilon: float) -> Judge:
        good = Verdict(f"the point changed by a fraction of at most {self.tolerance:g}")

        def judge(record: Any) -> Findings:
            step, size = record.change()
            small = (step <= self.tolerance) | (step <= self.tolerance * size)
            return [(small & (record.iteration > 0), good)]

        return judge


@dataclass(frozen=True)
class MaxTime(Condition):
    """So many seconds have passed since the start.

    Parameters
    ----------
    seconds : float
        By a clock that is never set back.
    """

    seconds: float

    def __post_init__(self) -> None:
        """Check the time."""
        _checks.number("seconds", self.seconds, 0.0, math.inf)

    def _judge(self, epsilon: float) -> Judge:
        end = time.monotonic() + self.seconds
        over = Verdict(f"{self.seconds:g} seconds have passed", False, 1)
        return lambda record: [(time.monotonic() >= end, over)]


@dataclass(frozen=True)
class MaxEvaluations(Condition):
    """The objective was evaluated so many times; a line search under way is finished first.

    Parameters
    ----------
    n : int
        Evaluations.
    """

    n: int

    def __post_init__(self) -> None:
        """Check the number."""
        _checks.count("n", self.n)

    def _judge(self, epsilon: float) -> Judge:
        over = Verdict(f"the objective was evaluated {self.n} times", False, 1)
        return lambda record: [(record.evaluations >= self.n, over)]


@dataclass(frozen=True)
class NotImproved(Condition):
    """The best value is so many iterations old.

    Parameters
    ----------
    iterations : int
        How long to wait.
    by : float, default 0
        What counts as better: lower by more than this.
    """

    iterations: int
    by: float = 0.0

    def __post_init__(self) -> None:
        """Check both."""
        _checks.count("iterations", self.iterations)
        _checks.number("by", self.by, 0.0, math.inf)

    def _judge(self, epsilon: float) -> Judge:
        best: Any = math.inf
        since: Any = 0
        over = Verdict(f"nothing better in {self.iterations} iterations", True, 0)

        def judge(record: Any) -> Findings:
            nonlocal best, since
            better = record.value < best - self.by
            best = _arrays.choose(better, record.value, best)
            since = _arrays.choose(better, record.iteration, since)
            return [(record.iteration - since >= self.iterations, over)]

        return judge


@dataclass(frozen=True)
class Target(Condition):
    """The objective is low enough.

    Parameters
    ----------
    value : float
        At most this.
    """

    value: float

    def _judge(self, epsilon: float) -> Judge:
        good = Verdict(f"the objective is at most {self.value:g}")
        return lambda record: [(record.value <= self.value, good)]


@dataclass(frozen=True)
class NonFinite(Condition):
    """The value or the gradient is not finite; `fallline.minimize` always watches for this."""

    def _judge(self, epsilon: float) -> Judge:

        def judge(record: Any) -> Findings:
            broken = record.broken
            if broken is False:
                return ()
            return [(broken, Verdict(record.not_finite(), False, 3))]

        return judge
