"""The eager engine: the formula as it is, on any namespace. The reference for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _arrays
from ..rules import Rule


def compute(rule: Rule, xp: Any, s: Any, p: Any, g: Any, slots: Sequence[Any]) -> list[Any]:
    """Return the new parameter and slots of one leaf; nothing is written."""
    return rule._apply(xp, s, p, g, slots)


def write(targets: Sequence[Any], values: Sequence[Any]) -> None:
    """Write what `compute` returned."""
    for target, value in zip(targets, values, strict=True):
        _arrays.write(target, value)
