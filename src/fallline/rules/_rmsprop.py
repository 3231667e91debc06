"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping

from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, abs2, hyper, weighted_abs2
from ._descent import decay_scalars, decayed, summed


class RMSprop(Rule):
    r"""RMSprop: gradients divided by a running root mean square.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        v &\leftarrow \rho v + (1 - \rho) |g|^2 \\
        a &\leftarrow a + (1 - \rho)(g - a) \qquad \text{(centered)} \\
        d &= g \,/\, \bigl(\sqrt{v - |a|^2} + \epsilon\bigr)
            \qquad (a = 0 \text{ if not centered}) \\
        b &\leftarrow \mu b + d; \qquad p \leftarrow p - \eta b

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`\eta \ge 0`; outside the momentum.
    rho : float or schedule, default 0.99
        :math:`\rho` in [0, 1]; torch calls it alpha.
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`.
    eps_inside_sqrt : bool, default False
        Divide by :math:`\sqrt{v - |a|^2 + \epsilon}`, as keras and optax's default do.
    centered : bool, default False
        Divide by an estimate of the standard deviation. The difference is not clamped: where
        rounding makes it negative the result is NaN, as in torch.
    momentum : float or schedule, default 0
        :math:`\mu \ge 0`.
    initial_accumulator : float or schedule, default 0
        :math:`v \ge 0` before the first update; a schedule is read at step 0.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient, as keras does.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part as in torch.

    Notes
    -----
    State: one array (``v``), one more if centered (``a``), one more with momentum (``b``). Matches
    ``torch.optim.RMSprop``. keras and optax have the rate inside the momentum, which differs under
    a schedule; keras's weight_decay is decoupled. ``autograd.misc.optimizers.rmsprop`` starts with
    an initial_accumulator of 1.

    References
    ----------
    T. Tieleman, G. Hinton, Lecture 6.5, Neural networks for machine learning, 2012;
    A. Graves, arXiv:1308.0850 (centered).

    Examples
    --------
    >>> import fallline as fl
    >>> [slot.name for slot in fl.RMSprop(centered=True, momentum=0.9).slots]
    ['v', 'a', 'b']
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    rho: Hyperparameter = hyper(default=0.99, high=1.0)
    eps: Hyperparameter = hyper(default=1e-8)
    eps_inside_sqrt: bool = False
    centered: bool = False
    momentum: Hyperparameter = hyper(default=0.0)
    initial_accumulator: Hyperparameter = hyper(default=0.0)
    weight_decay: Hyperparameter = hyper(default=0.0)
    decoupled: bool = False
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (
            Slot("v", real=True, fill=self.initial_accumulator),
            *((Slot("a", counted=False),) if self.centered else ()),
            *((Slot("b", counted=False),) if self.momentum else ()),
        )

    @property
    def gains(self) -> bool:
        """Whether there is momentum."""
        return bool(self.momentum)

    def gain(self, scalars: Mapping[str, Number]) -> float:
        """Return the limit of the buffer for scaled gradients of one."""
        return summed(scalars["momentum"])

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "rho": self.rho,
            "new": 1 - self.rho,
            "eps": self.eps,
            "momentum": self.momentum,
            **decay_scalars(self, self.learning_rate),
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, v: Array, *rest: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        v = s.rho * v + weighted_abs2(s.new, g)
        slots = [v]
        if self.centered:
            slots.append(rest[0] + s.new * (g - rest[0]))
        d = g / self._divisor(xp, s, *slots)
        if self.momentum:
            d = s.momentum * rest[-1] + d
            slots.append(d)
        return p - s.learning_rate * d, *slots

    def _divisor(self, xp: Namespace, s: Scalars, v: Array, *rest: Array) -> Array:
        w = v - abs2(rest[0]) if self.centered else v
        return xp.sqrt(w + s.eps) if self.eps_inside_sqrt else xp.sqrt(w) + s.eps

    def lengths(self, xp: Namespace, s: Scalars, *slots: Array) -> Array:
        return s.learning_rate / self._divisor(xp, s, *slots)
