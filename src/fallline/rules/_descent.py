"""Parts that formulas share: the gradient's sign, weight decay, a root with epsilons."""

from __future__ import annotations

from typing import Protocol

from .._arrays._types import Array, Namespace, Number, Scalars


class Decaying(Protocol):
    """A rule with weight decay."""

    @property
    def weight_decay(self) -> Number: ...


class Descending(Decaying, Protocol):
    """A rule that goes down a gradient, or up."""

    @property
    def maximize(self) -> bool: ...


class Decoupling(Descending, Protocol):
    """A rule whose weight decay may act beside the gradient."""

    @property
    def decoupled(self) -> bool: ...


class Rooted(Protocol):
    """A rule with an epsilon inside a root."""

    @property
    def eps_root(self) -> Number: ...


def decay_scalars(rule: Decaying, rate: Number) -> dict[str, Number]:
    """Return the scalars that `descent` and `decayed` use, for a learning rate."""
    return {"weight_decay": rule.weight_decay, "shrink": 1 - rate * rule.weight_decay}


def descent(rule: Descending, s: Scalars, p: Array, g: Array) -> Array:
    """Return ``g``, negated if the rule maximizes, plus ``weight_decay * p`` if there is decay."""
    if rule.maximize:
        g = -g
    if rule.weight_decay:
        g = g + s.weight_decay * p
    return g


def decayed(rule: Decoupling, s: Scalars, p: Array, g: Array) -> tuple[Array, Array]:
    """Return ``shrink * p`` and the gradient, or ``p`` and `descent`, as ``decoupled`` says."""
    if rule.decoupled and rule.weight_decay:
        return s.shrink * p, -g if rule.maximize else g
    return p, descent(rule, s, p, g)


def summed(momentum: float, take: float = 1.0) -> float:
    """Return the limit of ``b = momentum * b + take``; 1 where there is none."""
    return take / (1 - momentum) if momentum < 1 else 1.0


def floored_root(rule: Rooted, xp: Namespace, s: Scalars, v: Array) -> Array:
    """Return the root of a second moment with the epsilons inside and outside of it."""
    return xp.sqrt(v + s.inside if rule.eps_root else v) + s.eps_hat
