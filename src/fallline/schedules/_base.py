"""The base class of the schedules: the call, the printed form, checks of the fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from numbers import Integral

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Number

# A constant, or any callable from the step to a float.
ScheduleLike = float | Callable[[Array], Array]


class Schedule:
    """Base of the schedules: callables from the step, which starts at 0, to a float.

    A subclass is a dataclass that defines `_value` so that it also works for a step traced by
    ``jax.jit``: without a branch on the step, and with the functions of `_arrays` where floats and
    symbols differ, or where an integer may be too large for a symbol.
    """

    def __call__(self, step: Number) -> Number:
        """Return the value at a step.

        Parameters
        ----------
        step : int
            The number of steps done before; a traced integer under ``jax.jit``.

        Returns
        -------
        float
            The value in double precision; a traced number for a traced step.
        """
        if isinstance(step, Integral):
            step = int(step)  # NumPy's integers have powers of their own
        value = self._value(step)
        return value if _arrays.is_array(value) else float(value)

    def _value(self, step: Number) -> Number:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the call that makes this schedule, without defaults."""
        fields = [field for field in dataclasses.fields(self) if field.init]  # type: ignore[arg-type]
        parts = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields
            if getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    # -- checks: each also converts a field to what the formulas expect -------------------------

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}({name}=)"

    def _numbers(self, *names: str, low: float = 0.0, high: float = math.inf) -> None:
        for name in names:
            value = _checks.number(self._place(name), getattr(self, name), low, high)
            object.__setattr__(self, name, value)

    def _positive(self, *names: str, below: float = math.inf) -> None:
        for name in names:
            _checks.positive(self._place(name), getattr(self, name), below)
            self._numbers(name)

    def _counts(self, *names: str, low: int = 1) -> None:
        for name in names:
            value = _checks.count(self._place(name), getattr(self, name), low)
            object.__setattr__(self, name, value)

    def _increasing(self, name: str) -> None:
        place, found = self._place(name), self._sequence(name, "integers")
        steps = tuple(_checks.count(place, step) for step in found)
        if any(step <= before for before, step in zip((0, *steps), steps, strict=False)):
            raise ValueError(_checks.unlike(place, steps, "increasing steps above 0"))
        object.__setattr__(self, name, steps)

    def _inner(self, name: str, value: Number) -> Number:
        if callable(value):
            return value
        what = "a number or a schedule"
        return _checks.number(self._place(name), value, 0.0, math.inf, what=what)

    def _number_sequence(self, name: str) -> None:
        values = (
            _checks.number(self._place(name), value, 0.0, math.inf)
            for value in self._sequence(name, "numbers")
        )
        object.__setattr__(self, name, tuple(values))

    def _inner_sequence(self, name: str) -> None:
        found = self._sequence(name, "numbers and schedules")
        object.__setattr__(self, name, tuple(self._inner(name, value) for value in found))

    def _sequence(self, name: str, of: str) -> tuple[Number, ...]:
        return _checks.sequence(self._place(name), getattr(self, name), of)

    def _lengths(self, name: str) -> None:
        # One piece more than there are boundaries.
        pieces, boundaries = (len(getattr(self, key)) for key in (name, "boundaries"))
        if pieces != boundaries + 1:
            msg = _checks.mismatch(self._place(name), "length", pieces, boundaries + 1)
            raise ValueError(f"{msg}, one more than boundaries")

    def _flag(self, name: str) -> None:
        _checks.flag(self._place(name), getattr(self, name))

    def _choice(self, name: str, options: Sequence[str]) -> None:
        if getattr(self, name) not in options:
            raise _checks.unknown_name(self._place(name), str(getattr(self, name)), options)


def at(schedule: ScheduleLike, step: Number) -> Number:
    """Return the value of a schedule or number at a step."""
    return schedule(step) if callable(schedule) else schedule


def least(a: Array, b: Array) -> Number:
    """Return the smaller of two numbers, either of which may be a symbol."""
    return _arrays.choose(a < b, a, b)


def line(start: Number, end: Number, share: Number) -> Number:
    """Return the number at a share of the way between two others; exact at both ends."""
    return start * (1 - share) + end * share


def half_cosine(start: Number, end: Number, share: Number) -> Number:
    """Return the number at a share of the way between two others, along half a cosine."""
    return line(end, start, (1 + _arrays.cosine(math.pi * share)) / 2)
