"""Adagrad."""

from __future__ import annotations

from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, abs2, hyper
from ._descent import decay_scalars, decayed


class Adagrad(Rule):
    r"""Adagrad: rates that fall with the sum of squared gradients.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta_t \lambda) p) \\
        v &\leftarrow v + |g|^2 \\
        p &\leftarrow p - \eta_t \, \frac{g}{\sqrt{v} + \epsilon},
            \qquad \eta_t = \frac{\eta}{1 + (t - 1) \kappa}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`\eta \ge 0`.
    learning_rate_decay : float or schedule, default 0
        :math:`\kappa \ge 0`; :math:`t` counts the updates of the leaf.
    initial_accumulator : float or schedule, default 0
        :math:`v` before the first update; a schedule is read at step 0.
    eps : float or schedule, default 1e-10
        :math:`\epsilon \ge 0`.
    eps_inside_sqrt : bool, default False
        Divide by :math:`\sqrt{v + \epsilon}`, as optax and keras do.
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
    State: one array (``v``). Matches ``torch.optim.Adagrad`` for real arrays; optax and keras start
    at 0.1 and have epsilon inside the root, and keras's weight_decay is decoupled.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, Adaptive subgradient methods for online learning and
    stochastic optimization, JMLR 12, 2121-2159, 2011.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.Adagrad(0.1).learning_rate
    0.1
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    learning_rate_decay: Hyperparameter = hyper(default=0.0)
    initial_accumulator: Hyperparameter = hyper(default=0.0)
    eps: Hyperparameter = hyper(default=1e-10)
    eps_inside_sqrt: bool = False
    weight_decay: Hyperparameter = hyper(default=0.0)
    decoupled: bool = False
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("v", real=True, fill=self.initial_accumulator),)

    def scalars(self, t: Number) -> dict[str, Number]:
        rate = self.learning_rate / (1 + (t - 1) * self.learning_rate_decay)
        return {"rate": rate, "eps": self.eps, **decay_scalars(self, rate)}

    def formula(self, xp: Namespace, s: Scalars, p: Array, g: Array, v: Array) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        v = v + abs2(g)
        return p - s.rate * (g / self._divisor(xp, s, v)), v

    def _divisor(self, xp: Namespace, s: Scalars, v: Array) -> Array:
        return xp.sqrt(v + s.eps) if self.eps_inside_sqrt else xp.sqrt(v) + s.eps

    def lengths(self, xp: Namespace, s: Scalars, v: Array) -> Array:
        return s.rate / self._divisor(xp, s, v)
