"""The eager engine: the formula as it is, on any namespace. The reference for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import _arrays


def compute(
    kernel: Callable[..., Sequence[Any]], xp: Any, s: Any, p: Any, g: Any, slots: Sequence[Any]
) -> Sequence[Any]:
    """Return the new parameter and slots of one leaf; nothing is written."""
    return kernel(xp, s, p, g, *slots)


def store(targets: Sequence[Any], values: Sequence[Any], *, immutable: bool) -> Sequence[Any]:
    """Write values into targets and return these, or, where that cannot be, the values as they."""
    if immutable:
        return [_arrays.cast(x, like) for x, like in zip(values, targets, strict=True)]
    for target, value in zip(targets, values, strict=True):
        _arrays.write(target, value)
    return targets
