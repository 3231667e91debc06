"""Adadelta."""

from __future__ import annotations

from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper, weighted_abs2
from ._descent import decay_scalars, decayed


class Adadelta(Rule):
    r"""Adadelta: steps in the units of the parameter.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        v &\leftarrow \rho v + (1 - \rho) |g|^2 \\
        d &= \frac{\sqrt{u + \epsilon}}{\sqrt{v + \epsilon}} \, g \\
        u &\leftarrow \rho u + (1 - \rho) |d|^2 \\
        p &\leftarrow p - \eta d

    Parameters
    ----------
    learning_rate : float or schedule, default 1
        :math:`\eta \ge 0`; not part of what :math:`u` averages.
    rho : float or schedule, default 0.9
        :math:`\rho` in [0, 1].
    eps : float or schedule, default 1e-6
        :math:`\epsilon \ge 0`, inside both roots; it sets the size of the first steps.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient, as keras does.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: real averages per element, or one per part as in torch.

    Notes
    -----
    State: two arrays (``v``, ``u``). Matches ``torch.optim.Adadelta``; keras has other defaults
    (rate 1e-3, rho 0.95, eps 1e-7), and its weight_decay is decoupled.

    References
    ----------
    M. D. Zeiler, ADADELTA: an adaptive learning rate method, arXiv:1212.5701.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.Adadelta(rho=0.95)
    Adadelta(learning_rate=1.0, rho=0.95)
    """

    learning_rate: Hyperparameter = hyper(default=1.0)
    rho: Hyperparameter = hyper(default=0.9, high=1.0)
    eps: Hyperparameter = hyper(default=1e-6)
    weight_decay: Hyperparameter = hyper(default=0.0)
    decoupled: bool = False
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("v", real=True), Slot("u", real=True))

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "rho": self.rho,
            "new": 1 - self.rho,
            "eps": self.eps,
            **decay_scalars(self, self.learning_rate),
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, v: Array, u: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        v = s.rho * v + weighted_abs2(s.new, g)
        d = xp.sqrt(u + s.eps) / xp.sqrt(v + s.eps) * g
        u = s.rho * u + weighted_abs2(s.new, d)
        return p - s.learning_rate * d, v, u

    def lengths(self, xp: Namespace, s: Scalars, v: Array, u: Array) -> Array:
        return s.learning_rate * (xp.sqrt(u + s.eps) / xp.sqrt(v + s.eps))
