"""Gradient descent and stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping

from .. import _arrays
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper
from ._descent import decay_scalars, decayed, summed


class GradientDescent(Rule):
    r"""Plain gradient descent.

    .. math:: p \leftarrow p - \eta g

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.

    See Also
    --------
    SGD : The same with momentum and weight decay.

    Notes
    -----
    It has no state. Matches SGD of torch, optax and keras without options.

    References
    ----------
    A. Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées, 1847.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([1.0, -2.0])
    >>> fl.Optimizer(x, fl.GradientDescent(0.5)).step(2 * x)
    array([0., 0.])
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)

    def scalars(self, t: Number) -> dict[str, Number]:
        return {"learning_rate": self.learning_rate}

    def formula(self, xp: Namespace, s: Scalars, p: Array, g: Array) -> tuple[Array, ...]:
        return (p - s.learning_rate * g,)


class SGD(Rule):
    r"""Stochastic gradient descent with momentum.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        b &\leftarrow \mu b + (1 - \tau) g \qquad (b = g \text{ at the first update}) \\
        p &\leftarrow p - \eta b \quad\text{or, with Nesterov,}\quad p - \eta (g + \mu b)

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`; outside the buffer, so a change acts at once.
    momentum : float or schedule, default 0
        :math:`\mu \ge 0`; without it there is no buffer.
    dampening : float or schedule, default 0
        :math:`\tau` in [0, 1]; not applied at a leaf's first update.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient, as keras does.
    nesterov : bool, default False
        Look ahead by one step of momentum; needs momentum and no dampening.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: one array (``b``) with momentum, else none. Matches ``torch.optim.SGD``. keras keeps the
    rate inside the buffer, which differs under a schedule, and its weight_decay is decoupled; optax
    has no dampening.

    References
    ----------
    I. Sutskever et al., On the importance of initialization and momentum in deep learning,
    ICML 2013.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9)
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    momentum: Hyperparameter = hyper(default=0.0)
    dampening: Hyperparameter = hyper(default=0.0, high=1.0)
    weight_decay: Hyperparameter = hyper(default=0.0)
    decoupled: bool = False
    nesterov: bool = False
    maximize: bool = False

    def _check(self) -> None:
        if self.nesterov and (not self.momentum or self.dampening):
            msg = "SGD(nesterov=): is True, which needs momentum > 0 and dampening = 0"
            raise ValueError(msg)

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("b"),) if self.momentum else ()

    @property
    def gains(self) -> bool:
        """Whether there is momentum."""
        return bool(self.momentum)

    def gain(self, scalars: Mapping[str, Number]) -> float:
        """Return the limit of the buffer for gradients of one."""
        return summed(scalars["momentum"], scalars["take"])

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            **decay_scalars(self, self.learning_rate),
            "momentum": self.momentum,
            "keep": _arrays.choose(t == 1, 0.0, self.momentum),
            "take": _arrays.choose(t == 1, 1.0, 1 - self.dampening),
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        if not self.momentum:
            return (p - s.learning_rate * g,)
        b = s.keep * slots[0] + s.take * g
        d = g + s.momentum * b if self.nesterov else b
        return p - s.learning_rate * d, b
