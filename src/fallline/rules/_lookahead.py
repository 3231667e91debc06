"""Lookahead: slow weights that follow another rule's fast ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

from .. import _arrays
from .._arrays import _checks
from .._arrays._pairs import select
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Read, Rule, Slot, hyper, option


class Lookahead(Rule, kw_only=False):
    r"""Lookahead: every k steps, move back towards the point where they began.

    .. math::
        p &\leftarrow \text{the inner rule's step}, \text{ and when } t \bmod k = 0: \\
        q &\leftarrow q + \alpha (p - q), \qquad p \leftarrow q

    Parameters
    ----------
    rule : Rule
        The inner rule.
    k : int, default 5
        Steps between two synchronisations.
    alpha : float or schedule, default 0.5
        :math:`\alpha` in [0, 1].

    Notes
    -----
    State: that of the inner rule and one array (``slow``), which starts as the parameter. :math:`t`
    counts the updates of the leaf. Both rules run as one program.

    References
    ----------
    M. Zhang, J. Lucas, G. Hinton, J. Ba, Lookahead optimizer: k steps forward, 1 step back,
    arXiv:1907.08610.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.Lookahead(fl.Adam(1e-3))
    Lookahead(rule=Adam(learning_rate=0.001))
    """

    rule: Rule = option(None)
    k: int = option(5)
    alpha: Hyperparameter = hyper(default=0.5, high=1.0)

    def _check(self) -> None:
        if not isinstance(self.rule, Rule):
            raise TypeError(_checks.unlike(self._place("rule"), self.rule, "a rule"))
        object.__setattr__(self, "k", _checks.count(self._place("k"), self.k, 1))

    @property
    def wrapped(self) -> Rule:
        """The inner rule."""
        return self._inner

    @property
    def _inner(self) -> Rule:
        inner: Rule = self.rule
        return inner

    def suited(self, place: str, p: Array) -> Self:
        """Return this rule around the form of the inner rule that suits a leaf."""
        inner = self._inner.suited(place, p)
        return self if inner is self.rule else dataclasses.replace(self, rule=inner)

    def owned(self) -> Self:
        """Return this rule around the inner rule with a new, empty memory of its own."""
        inner = self._inner.owned()
        return self if inner is self.rule else dataclasses.replace(self, rule=inner)

    def at(self, step: Number) -> Self:
        """Return this rule with the numbers of both rules at a global step."""
        fixed, inner = super().at(step), self._inner.at(step)
        if inner is self.rule:
            return fixed
        twin = object.__new__(type(self))
        twin.__dict__.update(fixed.__dict__, rule=inner)
        return twin

    def hyperparameters(self, step: Number = 0) -> dict[str, Number]:
        """Return the numeric fields of both rules by name."""
        return {**self._inner.hyperparameters(step), **super().hyperparameters(step)}

    @property
    def name(self) -> str:
        """The name of this rule and that of the inner one."""
        return f"Lookahead of {self._inner.name}"

    @property
    def elementwise(self) -> bool:
        """Whether the inner rule acts on each element by itself."""
        return self._inner.elementwise

    @property
    def _by_components(self) -> bool:
        return self._inner._by_components

    @property
    def scales(self) -> bool:
        """Whether the step lengths of the inner rule differ between elements."""
        return self._inner.scales

    @property
    def gains(self) -> bool:
        """Whether steps are shorter or longer than the lengths of the inner rule: always."""
        return True

    def gain(self, scalars: Mapping[str, Number]) -> float:
        """Return that of the inner rule, and where the weights meet, times `alpha`.

        There a constant gradient moves the slow weights by alpha times the last fast step.
        """
        met: float = 1.0 + scalars["lookahead.due"] * (scalars["lookahead.alpha"] - 1.0)
        return self._inner.gain(scalars) * met

    @property
    def ascends(self) -> bool:
        """Whether the inner rule's steps go up the gradient."""
        return self._inner.ascends

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (*self._inner.slots, Slot("slow", counted=False))

    @property
    def reads(self) -> tuple[Read, ...]:
        return self._inner.reads

    def _init_leaf(self, p: Array, step: int = 0) -> dict[str, Array]:
        slow = self._slot_dtype(self.slots[-1], p)
        inner = self._inner._init_leaf(p, step)
        return {**inner, "slow": _arrays.moved(p, p, slow)}

    def scalars(self, t: Number) -> dict[str, Number]:
        due, begins = (
            _arrays.choose(_arrays.remainder(n, self.k) == 0, 1.0, 0.0) for n in (t, t - 1)
        )
        own = {"alpha": self.alpha, "due": due, "begins": begins}
        return {
            **self._inner.scalars(t),
            **{f"lookahead.{name}": value for name, value in own.items()},
        }

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        return self._inner.measure(xp, s, p, g, *slots[: len(self._inner.slots)])

    def lengths(self, xp: Namespace, s: Scalars, *slots: Array) -> Array:
        """Return the step lengths of the inner rule."""
        return self._inner.lengths(xp, s, *slots[:-1])

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        n = len(self._inner.slots)
        slow, reads = slots[n], slots[n + 1 :]
        # Both copies are equal when k steps begin, unless something wrote into the parameter.
        slow = select(xp, getattr(s, "lookahead.begins") != 0.0, p, slow)
        p, *inner = self._inner.formula(xp, s, p, g, *slots[:n], *reads)
        nearer = slow + getattr(s, "lookahead.alpha") * (p - slow)
        due = getattr(s, "lookahead.due") != 0.0
        return select(xp, due, nearer, p), *inner, select(xp, due, nearer, slow)
