"""Schedules that are composed of values and of other schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Number
from ._base import Schedule, ScheduleLike, at, line


@dataclass(frozen=True, repr=False)
class LinearWarmup(Schedule):
    """A ramp up to the first value of a schedule, then the schedule.

    The clock of the schedule starts when the ramp is over: step `steps` is its step 0.

    Parameters
    ----------
    schedule : float or schedule
        The schedule after the ramp.
    steps : int
        Length of the ramp, 1 or more.
    start_factor : float, default 1/3
        Where the ramp starts, as a share of the schedule's first value, in [0, 1].

    Notes
    -----
    With a number it matches ``torch.optim.lr_scheduler.LinearLR``, with a `Cosine` optax's
    ``warmup_cosine_decay_schedule``, whose ``decay_steps`` include the ramp. If the clock of the
    schedule should run during the ramp, use ``Product((LinearWarmup(1.0, steps=n), schedule))``.

    Examples
    --------
    >>> import fallline as fl
    >>> cosine = fl.schedules.Cosine(1.0, steps=10)
    >>> rate = fl.schedules.LinearWarmup(cosine, steps=4, start_factor=0.0)
    >>> rate(0), rate(2), rate(4), rate(9), rate(14)
    (0.0, 0.5, 1.0, 0.5, 0.0)
    """

    schedule: ScheduleLike
    _: KW_ONLY
    steps: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        object.__setattr__(self, "schedule", self._inner("schedule", self.schedule))
        self._counts("steps")
        self._numbers("start_factor", high=1.0)

    def _value(self, step: Number) -> Number:
        share = _arrays.capped(step, self.steps) / _arrays.held(step, self.steps)
        rest = at(self.schedule, _arrays.since(step, self.steps))
        return line(self.start_factor, 1.0, share) * rest


@dataclass(frozen=True, repr=False)
class Piecewise(Schedule):
    """Values between boundaries: constant, or joined by straight lines.

    Parameters
    ----------
    values : sequence of float
        The first value, and the value from each boundary on; each 0 or more.
    boundaries : sequence of int
        The steps of the changes: one fewer than values, increasing and above 0.
    interpolate : bool, default False
        Interpolate linearly from each value to the next, which is reached at its boundary.

    Notes
    -----
    optax's ``piecewise_constant_schedule`` and ``piecewise_interpolate_schedule`` take factors
    instead of values; so does `MultiStep`. ``torch.optim.lr_scheduler.ConstantLR`` has one
    boundary.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.Piecewise((1.0, 0.5), boundaries=(10,))
    >>> rate(9), rate(10)
    (1.0, 0.5)
    >>> fl.schedules.Piecewise((1.0, 0.5), boundaries=(10,), interpolate=True)(5)
    0.75
    """

    values: Sequence[float]
    _: KW_ONLY
    boundaries: Sequence[int]
    interpolate: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._number_sequence("values")
        self._increasing("boundaries")
        self._lengths("values")
        self._flag("interpolate")

    def _value(self, step: Number) -> Number:
        starts = (0, *self.boundaries)
        result: Number = self.values[0]
        for i, start in enumerate(starts):
            value: Number = self.values[i]
            if self.interpolate and i < len(self.boundaries):
                length = starts[i + 1] - start
                gone = _arrays.capped(_arrays.since(step, start), length)
                share = gone / _arrays.held(step, length)
                value = line(value, self.values[i + 1], share)
            result = _arrays.choose(_arrays.reached(step, start), value, result)
        return result


@dataclass(frozen=True, repr=False)
class Join(Schedule):
    """One schedule after another, each with its own clock.

    Parameters
    ----------
    schedules : sequence of float or schedule
        The schedules in their order; the first step of each is 0.
    boundaries : sequence of int
        The steps at which the second and those after it start, increasing and above 0.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.SequentialLR`` and optax's ``join_schedules``. A schedule is
    called only with steps of its own part; its values before or after do not matter.

    Examples
    --------
    >>> import fallline as fl
    >>> decay = fl.schedules.Exponential(1.0, decay=0.5)
    >>> rate = fl.schedules.Join((0.1, decay), boundaries=(10,))
    >>> rate(9), rate(10), rate(11)
    (0.1, 1.0, 0.5)
    """

    schedules: Sequence[ScheduleLike]
    _: KW_ONLY
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        """Check the schedules and boundaries."""
        self._inner_sequence("schedules")
        self._increasing("boundaries")
        self._lengths("schedules")

    def _value(self, step: Number) -> Number:
        starts = (0, *self.boundaries)
        result: Number = 0.0
        for i, (schedule, start) in enumerate(zip(self.schedules, starts, strict=True)):
            clock = _arrays.since(step, start)
            if i < len(self.boundaries):
                clock = _arrays.capped(clock, starts[i + 1] - start - 1)
            value = at(schedule, clock)
            result = _arrays.choose(_arrays.reached(step, start), value, result)
        return result


@dataclass(frozen=True, repr=False)
class Product(Schedule):
    """The product of schedules that share one clock.

    Parameters
    ----------
    factors : sequence of float or schedule
        One or more. One of them usually carries the unit, and the others start or end at 1.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.ChainedScheduler`` for schedulers that multiply the rate.

    Examples
    --------
    >>> import fallline as fl
    >>> warmup = fl.schedules.LinearWarmup(1.0, steps=2, start_factor=0.5)
    >>> rate = fl.schedules.Product((fl.schedules.Exponential(1.0, decay=0.5), warmup))
    >>> rate(0), rate(1), rate(2)
    (0.5, 0.375, 0.25)
    """

    factors: Sequence[ScheduleLike]

    def __post_init__(self) -> None:
        """Check the factors."""
        self._inner_sequence("factors")
        if not self.factors:
            raise ValueError(_checks.mismatch(self._place("factors"), "length", 0, "1 or more"))

    def _value(self, step: Number) -> Number:
        result: Number = 1.0
        for factor in self.factors:
            result = result * at(factor, step)
        return result
