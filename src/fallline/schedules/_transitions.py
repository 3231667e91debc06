"""Schedules that go from one value to another in a number of steps."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from .. import _arrays
from .._arrays._types import Number
from ._base import Schedule, half_cosine, line


@dataclass(frozen=True, repr=False)
class Polynomial(Schedule):
    r"""A transition between two values by a power of the remaining time.

    .. math::
        \eta_t = \text{final} + (\text{initial} - \text{final})
            \left(1 - \frac{\min(t, \text{steps})}{\text{steps}}\right)^\text{power}

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    steps : int
        Length of the transition, 1 or more; the final value stays from then on.
    power : float, default 1
        Greater than 0; 1 is linear.
    final : float, default 0
        The final value, 0 or more; it may be above the initial one.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.PolynomialLR``, which has no final value, and optax's
    ``polynomial_schedule``; its ``transition_begin`` is a `Join` with a number before.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.Polynomial(1.0, steps=4, power=2)
    >>> rate(0), rate(2), rate(4), rate(100)
    (1.0, 0.25, 0.0, 0.0)
    """

    initial: float
    _: KW_ONLY
    steps: int
    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial", "final")
        self._counts("steps")
        self._positive("power")

    def _value(self, step: Number) -> Number:
        steps = _arrays.held(step, self.steps)
        left = (steps - _arrays.capped(step, self.steps)) / steps
        return line(self.final, self.initial, left**self.power)


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    r"""A transition between two values along half a period of the cosine.

    .. math::
        \eta_t = \text{final} + \frac{\text{initial} - \text{final}}{2}
            \left(1 + \cos \frac{\pi \min(t, \text{steps})}{\text{steps}}\right)

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    steps : int
        Length of the transition, 1 or more; the final value stays from then on.
    final : float, default 0
        The final value, 0 or more: the minimum of an annealed rate. It may be above the initial
        value, for a weight decay or a momentum that grows.

    Notes
    -----
    Up to `steps` it matches ``torch.optim.lr_scheduler.CosineAnnealingLR``, which then rises again;
    optax's ``cosine_decay_schedule`` and keras's ``CosineDecay`` stay as this one does. Their
    ``alpha`` is ``final / initial``.

    References
    ----------
    I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts,
    arXiv:1608.03983.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.Cosine(1.0, steps=10, final=0.5)
    >>> rate(0), rate(5), rate(10), rate(100)
    (1.0, 0.75, 0.5, 0.5)
    """

    initial: float
    _: KW_ONLY
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial", "final")
        self._counts("steps")

    def _value(self, step: Number) -> Number:
        share = _arrays.capped(step, self.steps) / _arrays.held(step, self.steps)
        return half_cosine(self.initial, self.final, share)
