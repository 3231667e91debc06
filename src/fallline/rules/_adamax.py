"""Adamax."""

from __future__ import annotations

from .._arrays._pairs import modulus
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Slot, hyper
from ._descent import decayed
from ._moments import MomentRule


class Adamax(MomentRule):
    r"""Adamax: Adam with the largest gradient, slowly forgotten, in place of the second moment.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        u &\leftarrow \max(\beta_2 u, |g| + \epsilon) \\
        p &\leftarrow p - \frac{\eta}{1 - \beta_1^t} \, \frac{m}{u}

    Parameters
    ----------
    learning_rate : float or schedule, default 2e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, added to each magnitude; without it an element whose gradients
        were all zero becomes NaN.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient, as keras does.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`u` per element, or one per part as in torch.

    Notes
    -----
    State: two arrays (``m``, ``u``). Matches ``torch.optim.Adamax`` and optax's; keras has the rate
    1e-3, adds its epsilon of 1e-7 to the maximum instead, and its weight_decay is decoupled.

    References
    ----------
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, arXiv:1412.6980, section 7.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0])
    >>> fl.Optimizer(x, fl.Adamax(0.1)).step(np.asarray([50.0])).round(6)
    array([2.9])
    """

    learning_rate: Hyperparameter = hyper(default=2e-3)

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"), Slot("u", real=True))

    def scalars(self, t: Number) -> dict[str, Number]:
        return self._moment_scalars(t, 1.0)  # a maximum needs no correction

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, u: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        u = xp.maximum(s.beta2 * u, modulus(xp, g) + s.eps)
        return p - s.size * (m / u), m, u

    def _divisor(self, xp: Namespace, s: Scalars, *u: Array) -> Array:
        return u[0]
