"""ASGD."""

from __future__ import annotations

from .. import _arrays
from .._arrays._pairs import select
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper
from ._descent import descent


class ASGD(Rule):
    r"""Averaged stochastic gradient descent: the answer is the mean of the last parameters.

    .. math::
        g &\leftarrow \pm g + \lambda p \\
        \eta_t &= \eta \,/\, (1 + \kappa \eta (t - 1))^\alpha,
            \qquad \mu_t = 1 / \max(1,\, t - 1 - t_0) \\
        p &\leftarrow (1 - \kappa \eta_t)\, p - \eta_t g \\
        a &\leftarrow a + \mu_t (p - a) \qquad (a = p \text{ while } \mu_t = 1)

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`\eta \ge 0`.
    decay : float or schedule, default 1e-4
        :math:`\kappa \ge 0`, torch's lambd: of the parameter, and in the rate.
    power : float or schedule, default 0.75
        :math:`\alpha \ge 0`, torch's alpha.
    start : float or schedule, default 1e6
        :math:`t_0 \ge 0`, torch's t0: the updates of the leaf before averaging begins.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, added to the gradient.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: one array, the average, ``ax`` as in torch, which is never written into the parameter:
    read ``opt.state[...]["ax"]``. Matches ``torch.optim.ASGD``, whose rate follows a schedule one
    step late. optax and keras have no ASGD.

    References
    ----------
    B. T. Polyak, A. B. Juditsky, Acceleration of stochastic approximation by averaging,
    SIAM J. Control Optim. 30, 838-855, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([0.0])
    >>> opt = fl.Optimizer(x, fl.ASGD(1.0, decay=0.0, start=1))
    >>> for g in (-1.0, -1.0, 2.0, -2.0):
    ...     _ = opt.step(np.asarray([g]))
    >>> x, opt.state["ax"]
    (array([2.]), array([1.]))
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    decay: Hyperparameter = hyper(default=1e-4)
    power: Hyperparameter = hyper(default=0.75)
    start: Hyperparameter = hyper(default=1e6)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("ax"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        before = t - 1
        rate = self.learning_rate / (1 + self.decay * self.learning_rate * before) ** self.power
        count = before - self.start
        return {
            "learning_rate": rate,
            "shrink": 1 - self.decay * rate,
            "new": 1 / _arrays.choose(count > 1, count, 1.0),
            "weight_decay": self.weight_decay,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, ax: Array
    ) -> tuple[Array, ...]:
        g = descent(self, s, p, g)
        p = (s.shrink * p if self.decay else p) - s.learning_rate * g
        return p, select(xp, s.new == 1.0, p, ax + s.new * (p - ax))
