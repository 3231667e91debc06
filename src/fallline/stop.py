"""When to stop: conditions on the records of a run, combined with ``|`` and ``&``.

A condition is a frozen dataclass without memory; `watch` makes what remembers one run's values.

Examples
--------
>>> from fallline import stop
>>> stop.GradientNorm(1e-8) | stop.MaxTime(60)
GradientNorm(tolerance=1e-08) | MaxTime(seconds=60)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import _checks

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
        return self._watch(epsilon)

    def _watch(self, epsilon: float) -> Watch:
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

    def _watch(self, epsilon: float) -> Watch:
        one, other = self.one._watch(epsilon), self.other._watch(epsilon)

        def judge(record: Any) -> Verdict | None:
            a, b = one(record), other(record)  # both: they remember
            return a or b

        return judge


@dataclass(frozen=True, repr=False)
class _Both(Condition):
    one: Condition
    other: Condition

    def __repr__(self) -> str:
        sides = (f"({c!r})" if isinstance(c, _Either) else repr(c) for c in (self.one, self.other))
        return " & ".join(sides)

    def _watch(self, epsilon: float) -> Watch:
        one, other = self.one._watch(epsilon), self.other._watch(epsilon)

        def judge(record: Any) -> Verdict | None:
            a, b = one(record), other(record)
            if a is None or b is None:
                return None
            message = f"{a.message}; {b.message}"
            return Verdict(message, a.success and b.success, max(a.status, b.status))

        return judge


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

    def _watch(self, epsilon: float) -> Watch:
        good = Verdict(f"the gradient is at most {self.tolerance:g}")
        return lambda record: good if record.gradient_norm <= self.tolerance else None


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

    def _watch(self, epsilon: float) -> Watch:
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = 1e7 * epsilon if epsilon < 1e-12 else 2 * epsilon
        before = math.inf
        good = Verdict(f"the objective fell by a fraction of at most {tolerance:.2g}")

        def judge(record: Any) -> Verdict | None:
            nonlocal before
            last, before = before, record.value
            small = 0 <= last - before <= tolerance * max(abs(last), abs(before), 1.0)
            return good if small and record.iteration > 0 and last < math.inf else None

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

    def _watch(self, epsilon: float) -> Watch:
        good = Verdict(f"the point changed by a fraction of at most {self.tolerance:g}")

        def judge(record: Any) -> Verdict | None:
            if record.iteration == 0:
                return None
            step, size = record.change()
            return good if step <= self.tolerance * max(size, 1.0) else None

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

    def _watch(self, epsilon: float) -> Watch:
        end = time.monotonic() + self.seconds
        over = Verdict(f"{self.seconds:g} seconds have passed", False, 1)
        return lambda record: over if time.monotonic() >= end else None


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

    def _watch(self, epsilon: float) -> Watch:
        over = Verdict(f"the objective was evaluated {self.n} times", False, 1)
        return lambda record: over if record.evaluations >= self.n else None


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

    def _watch(self, epsilon: float) -> Watch:
        best, since = math.inf, 0
        over = Verdict(f"nothing better in {self.iterations} iterations", True, 0)

        def judge(record: Any) -> Verdict | None:
            nonlocal best, since
            if record.value < best - self.by:
                best, since = record.value, record.iteration
            return over if record.iteration - since >= self.iterations else None

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

    def _watch(self, epsilon: float) -> Watch:
        good = Verdict(f"the objective is at most {self.value:g}")
        return lambda record: good if record.value <= self.value else None


@dataclass(frozen=True)
class NonFinite(Condition):
    """The value or the gradient is not finite; `fallline.minimize` always watches for this."""

    def _watch(self, epsilon: float) -> Watch:

        def judge(record: Any) -> Verdict | None:
            what = record.not_finite()
            return Verdict(f"{what} in iteration {record.iteration}", False, 3) if what else None

        return judge
