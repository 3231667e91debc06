"""Adam and AdamW."""

from __future__ import annotations

from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Slot, bias_correction, hyper, weighted_abs2
from ._descent import decayed, floored_root
from ._moments import MomentRule


class Adam(MomentRule):
    r"""Adam: momentum over a running root mean square, both corrected for their start at zero.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) |g|^2 \\
        p &\leftarrow p - \frac{\eta}{1 - \beta_1^t} \,
            \frac{m}{\sqrt{v / (1 - \beta_2^t) + \epsilon_r} + \epsilon}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, outside the root.
    eps_hat : bool, default False
        Add :math:`\epsilon` to the uncorrected root, as keras does: the same as
        :math:`\epsilon / \sqrt{1 - \beta_2^t}` here.
    eps_root : float or schedule, default 0
        :math:`\epsilon_r \ge 0`, inside the root, as in optax. With it a step can be differentiated
        where all gradients were zero.
    amsgrad : bool, default False
        Divide by the largest :math:`v` so far, taken before the correction as in torch.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient; `AdamW` does.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part as in torch.

    Notes
    -----
    State: two arrays (``m``, ``v``), one more with amsgrad (``vmax``). Matches
    ``torch.optim.Adam``. optax takes the maximum of corrected moments in AMSGrad. keras has eps
    1e-7 and `eps_hat`, and its weight_decay is decoupled. :math:`t` counts the updates of the leaf.

    References
    ----------
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, arXiv:1412.6980;
    S. J. Reddi, S. Kale, S. Kumar, On the convergence of Adam and beyond, arXiv:1904.09237.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0])
    >>> opt = fl.Optimizer(x, fl.Adam(0.1))
    >>> opt.step(np.asarray([50.0])).round(6)
    array([2.9])
    """

    eps_hat: bool = False
    eps_root: Hyperparameter = hyper(default=0.0)
    amsgrad: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        vmax = Slot("vmax", real=True, counted=False)
        return (*super().slots, vmax) if self.amsgrad else super().slots

    def scalars(self, t: Number) -> dict[str, Number]:
        correction = bias_correction(self.beta2, t)
        found = self._moment_scalars(t, correction)
        if self.eps_hat:
            found["eps_hat"] = self.eps
        if self.eps_root:
            found["inside"] = self.eps_root * correction
        return found

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array, *vmax: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        v = s.beta2 * v + weighted_abs2(s.new2, g)
        vmax = tuple(xp.maximum(x, v) for x in vmax)
        return p - s.size * (m / self._divisor(xp, s, v, *vmax)), m, v, *vmax

    def _divisor(self, xp: Namespace, s: Scalars, *v: Array) -> Array:
        return floored_root(self, xp, s, v[-1])


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    `Adam` with ``decoupled=True`` and ``weight_decay=0.01``, torch's default:

    .. math:: p \leftarrow (1 - \eta \lambda) p, \quad\text{then Adam's step}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`; also multiplies the decay.
    weight_decay : float or schedule, default 1e-2
        :math:`\lambda \ge 0`. Others have other defaults: optax 1e-4, keras 4e-3.
    beta1, beta2, eps, eps_hat, eps_root, amsgrad, decoupled, maximize, complex_moment
        As in `Adam`.

    Notes
    -----
    State: that of `Adam`. Matches ``torch.optim.AdamW``.

    References
    ----------
    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, arXiv:1711.05101.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.AdamW(1e-3, weight_decay=0.1)
    AdamW(learning_rate=0.001, weight_decay=0.1)
    """

    weight_decay: Hyperparameter = hyper(default=1e-2)
    decoupled: bool = True
