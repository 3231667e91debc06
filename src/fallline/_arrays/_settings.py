"""Numbers of Python in the place of others: in settings, and in what files and states hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import _checks
from ._types import Array, Json


def settle(thing: Any) -> None:
    """Put numbers of Python in the place of NumPy's among the fields of a frozen dataclass.

    NumPy's would turn arrays of single precision into double, and other libraries refuse them.
    """
    for name, value in vars(thing).items():
        if isinstance(value, np.generic | np.ndarray) and not value.ndim:
            object.__setattr__(thing, name, value.item())


def own_number(thing: Any, name: str, low: float, high: float) -> None:
    """Check a field of a frozen dataclass, which `settle` treats then."""
    _checks.number(name, getattr(thing, name), low, high)
    settle(thing)


def plain_number(place: str, x: Json) -> Json:
    """Return a number as Python's."""
    return x if isinstance(x, int) and not isinstance(x, bool) else _checks.real(place, x)


def like_numbers(
    place: str, like: Array, saved: Json, number: Callable[[str, Json], Json] = plain_number
) -> Json:
    """Return nested dicts of numbers as Python's; they must have the keys of `like`.

    A function may be given that is called with the place and each number instead.
    """
    if not isinstance(like, Mapping):
        return number(place, saved)
    if not isinstance(saved, Mapping):
        msg = f"{place}: is {_checks.described(saved)}, expected a dict"
        raise TypeError(msg)
    if set(saved) != set(like):
        raise ValueError(_checks.mismatch(place, "entries", sorted(map(str, saved)), sorted(like)))
    return {key: like_numbers(f"{place}[{key!r}]", like[key], saved[key], number) for key in like}
