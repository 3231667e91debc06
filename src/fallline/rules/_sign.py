"""Lion and SignSGD: steps of the same length for all elements."""

from __future__ import annotations

from .._arrays._pairs import sign
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper


class Lion(Rule):
    r"""Lion: the sign of a momentum that leans towards the newest gradient.

    .. math::
        d &= \mathrm{sign}(\beta_1 m + (1 - \beta_1) g) \\
        m &\leftarrow \beta_2 m + (1 - \beta_2) g \\
        p &\leftarrow (1 - \eta \lambda) p - \eta d

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-4
        :math:`\eta \ge 0`, the change of every element; a third to a tenth of Adam's.
    beta1, beta2 : float or schedule, default 0.9 and 0.99
        In [0, 1).
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, decoupled, times the rate; three to ten times that of AdamW.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: one array (``m``). For complex leaves the sign is :math:`z / |z|`, and 0 for 0. Follows
    the paper and its code; matches optax, whose default weight decay is 1e-3, and keras. torch has
    no Lion.

    References
    ----------
    X. Chen et al., Symbolic discovery of optimization algorithms, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0, 3.0])
    >>> fl.Optimizer(x, fl.Lion(0.1)).step(np.asarray([50.0, -1e-9]))
    array([2.9, 3.1])
    """

    learning_rate: Hyperparameter = hyper(default=1e-4)
    beta1: Hyperparameter = hyper(default=0.9, high=1.0, below=True)
    beta2: Hyperparameter = hyper(default=0.99, high=1.0, below=True)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "new1": 1 - self.beta1,
            "beta2": self.beta2,
            "new2": 1 - self.beta2,
            "shrink": 1 - self.learning_rate * self.weight_decay,
        }

    def formula(self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        d = sign(xp, s.beta1 * m + s.new1 * g)
        m = s.beta2 * m + s.new2 * g
        p = s.shrink * p if self.weight_decay else p
        return p - s.learning_rate * d, m


class SignSGD(Rule):
    r"""SignSGD: the sign of the gradient, or of its average (Signum).

    .. math::
        m &\leftarrow \mu m + (1 - \mu) g \\
        p &\leftarrow (1 - \eta \lambda) p - \eta \,\mathrm{sign}(m)

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`, the change of every element.
    momentum : float or schedule, default 0
        :math:`\mu` in [0, 1); without it there is no average. A heavy ball has the same signs.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, decoupled, times the rate.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: one array (``m``) with momentum, else none. For complex leaves the sign is
    :math:`z / |z|`, and 0 for 0. Matches optax's ``sign_sgd`` and ``signum``; torch and keras have
    neither.

    References
    ----------
    J. Bernstein et al., signSGD: compressed optimisation for non-convex problems,
    arXiv:1802.04434.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.SignSGD(0.01, momentum=0.9)
    SignSGD(learning_rate=0.01, momentum=0.9)
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    momentum: Hyperparameter = hyper(default=0.0, high=1.0, below=True)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"),) if self.momentum else ()

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "new": 1 - self.momentum,
            "shrink": 1 - self.learning_rate * self.weight_decay,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        slots = tuple(s.momentum * m + s.new * g for m in slots)
        p = s.shrink * p if self.weight_decay else p
        return p - s.learning_rate * sign(xp, slots[0] if slots else g), *slots
