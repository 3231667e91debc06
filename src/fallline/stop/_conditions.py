"""The conditions, and the judges that they make of themselves."""

from __future__ import annotations

import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import _arrays
from .._arrays import _checks, _settings
from .._arrays._types import Array, Json
from ._seen import Seen
from ._watch import Watch


@dataclass(frozen=True)
class Verdict:
    """Why a run ended.

    Attributes
    ----------
    message : str
        The reason, in words.
    success : bool
        Whether the run ended well.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 99 the callback.
    """

    message: str
    success: bool = True
    status: int = 0


# What a record holds, in order: truths, for a batch an array or one for all, and their verdicts.
# The judges below know of no difference: they compute with what numbers and arrays share.
Findings = Sequence[tuple[bool | Array, Verdict]]
Judge = Callable[[Seen], Findings]
Epsilon = Callable[[], float]  # the precision of the numbers
Memory = dict[str, Json]  # what a judge remembers: numbers, or the memories of its parts


class Condition(ABC):
    """Base of the conditions."""

    _needs: ClassVar[tuple[str, ...]] = ()  # of what a loop of your own has to hand over

    def start(self, every: int = 1) -> Watch:
        """Return a watch that checks this condition in a loop of your own.

        Parameters
        ----------
        every : int, default 1
            Number of calls for one check; only a check synchronises with the device.

        Returns
        -------
        Watch
            The watch; call it once in each iteration.
        """
        return Watch(self, every)

    def watch(
        self, epsilon: float, memory: Memory | None = None
    ) -> Callable[[Seen], Verdict | None]:
        """Return a function that judges the records of one run, in their order.

        Parameters
        ----------
        epsilon : float
            Precision of the numbers.
        memory : dict, optional
            An empty dict, which holds the numbers that are remembered from record to record.

        Returns
        -------
        callable
            A function from a record to a `Verdict`, or to `None` if the run is to continue.
        """
        judge = self.judge(epsilon, memory)
        return lambda record: next((verdict for holds, verdict in judge(record) if holds), None)

    def judge(self, epsilon: float, memory: Memory | None = None) -> Judge:
        """Return a function that judges records of one problem, or with arrays of a batch.

        Parameters
        ----------
        epsilon, memory
            As of `watch`.

        Returns
        -------
        callable
            A function from a record to pairs of a bool, or an array with one for each problem, and
            the `Verdict` where it is true; the first pair that is true counts.
        """
        return self._judge(lambda: epsilon, {} if memory is None else memory)

    @abstractmethod
    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        """Return what judges records; it remembers numbers in `memory` only."""

    def _parts(self) -> tuple[Condition, ...]:
        """Return the conditions of which this is made: a hook."""
        return (self,)

    def __or__(self, other: Condition) -> Condition:
        """Stop when either holds."""
        return _Either(self, other)

    def __and__(self, other: Condition) -> Condition:
        """Stop when both hold."""
        return _Both(self, other)


@dataclass(frozen=True, repr=False)
class _Two(Condition):
    one: Condition
    other: Condition

    def _judges(self, epsilon: Epsilon, memory: Memory) -> tuple[Judge, Judge]:
        memory |= {"one": {}, "other": {}}
        one = self.one._judge(epsilon, memory["one"])
        return one, self.other._judge(epsilon, memory["other"])

    def _parts(self) -> tuple[Condition, ...]:
        return (*self.one._parts(), *self.other._parts())


class _Either(_Two):
    def __repr__(self) -> str:
        return f"{self.one!r} | {self.other!r}"

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        one, other = self._judges(epsilon, memory)
        return lambda record: [*one(record), *other(record)]


class _Both(_Two):
    def __repr__(self) -> str:
        sides = (f"({c!r})" if isinstance(c, _Either) else repr(c) for c in (self.one, self.other))
        return " & ".join(sides)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        one, other = self._judges(epsilon, memory)

        def judge(record: Seen) -> Findings:
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
        The largest magnitude that is allowed, in units of the gradient.
    """

    tolerance: float = 1e-5
    _needs = ("gradient",)

    def __post_init__(self) -> None:
        """Check the tolerance."""
        _settings.own_number(self, "tolerance", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        good = Verdict(f"the gradient is at most {self.tolerance:g}")
        return lambda record: [(record.gradient_norm <= self.tolerance, good)]


@dataclass(frozen=True)
class ParameterChange(Condition):
    """The last step was at most a fraction of the point; each check synchronises once more.

    Parameters
    ----------
    tolerance : float
        Ratio of the Euclidean norms; a norm of the point below 1 counts as 1.
    """

    tolerance: float
    _needs = ("params",)

    def __post_init__(self) -> None:
        """Check the tolerance."""
        _settings.own_number(self, "tolerance", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        good = Verdict(f"the point changed by a fraction of at most {self.tolerance:g}")

        def judge(record: Seen) -> Findings:
            step, size = record.change()
            small = (step <= self.tolerance) | (step <= self.tolerance * size)
            return [(small & (record.iteration > 0), good)]

        return judge


@dataclass(frozen=True)
class MaxTime(Condition):
    """The time since the start exceeds a limit.

    Parameters
    ----------
    seconds : float
        The limit, by a clock that is never set back.
    """

    seconds: float

    def __post_init__(self) -> None:
        """Check the time."""
        _settings.own_number(self, "seconds", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        memory["seconds"], last = 0.0, time.monotonic()
        over = Verdict(f"{self.seconds:g} seconds have passed", False, 1)

        def judge(record: Seen) -> Findings:
            nonlocal last
            before, last = last, time.monotonic()
            memory["seconds"] += last - before
            return [(memory["seconds"] >= self.seconds, over)]

        return judge


@dataclass(frozen=True)
class MaxEvaluations(Condition):
    """The objective was evaluated a number of times; a line search is finished first.

    Parameters
    ----------
    n : int
        Number of evaluations.
    """

    n: int

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "n", _checks.count("n", self.n))

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        over = Verdict(f"the objective was evaluated {self.n} times", False, 1)
        return lambda record: [(record.evaluations >= self.n, over)]


@dataclass(frozen=True)
class NotImproved(Condition):
    """The value has not improved for a number of iterations: no success if it only has risen.

    Parameters
    ----------
    iterations : int
        Number of iterations to wait.
    by : float, default 0
        A value is better if it is lower by more than this.
    """

    iterations: int
    by: float = 0.0
    _needs = ("value",)

    def __post_init__(self) -> None:
        """Check both."""
        object.__setattr__(self, "iterations", _checks.count("iterations", self.iterations))
        _settings.own_number(self, "by", 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        memory |= {"best": math.inf, "since": 0}
        over = Verdict(f"nothing better in {self.iterations} iterations")
        worse = Verdict(f"{over.message}, and the objective has risen", False, 2)

        def judge(record: Seen) -> Findings:
            better = record.value < memory["best"] - self.by
            memory["best"] = _arrays.choose(better, record.value, memory["best"])
            memory["since"] = _arrays.choose(better, record.iteration, memory["since"])
            late = record.iteration - memory["since"] >= self.iterations
            never = (memory["since"] == 0) & (record.value > memory["best"])
            return [(late & never, worse), (late, over)]

        return judge


@dataclass(frozen=True)
class Target(Condition):
    """The objective is low enough.

    Parameters
    ----------
    value : float
        The largest value that is low enough.
    """

    value: float
    _needs = ("value",)

    def __post_init__(self) -> None:
        """Check the value."""
        _settings.own_number(self, "value", -math.inf, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        good = Verdict(f"the objective is at most {self.value:g}")
        return lambda record: [(record.value <= self.value, good)]


@dataclass(frozen=True)
class NonFinite(Condition):
    """The value or the gradient is not finite; `fallline.minimize` always watches for this."""

    _needs = ("value",)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        def judge(record: Seen) -> Findings:
            broken = record.broken
            if broken is False:
                return ()
            return [(broken, Verdict(record.not_finite(), False, 3))]

        return judge
