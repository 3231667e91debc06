"""The gradient a rule descends along: its sign and the coupled weight decay."""

from __future__ import annotations

from typing import Any


def descent(rule: Any, s: Any, p: Any, g: Any) -> Any:
    """Return ``g``, negated to maximize, plus ``weight_decay * p`` where there is such a term."""
    if rule.maximize:
        g = -g
    if rule.weight_decay:
        g = g + s.weight_decay * p
    return g
