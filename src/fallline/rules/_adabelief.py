"""AdaBelief."""

from __future__ import annotations

from .._arrays._types import Array, Namespace, Scalars
from ._base import Hyperparameter, hyper, weighted_abs2
from ._descent import decayed
from ._moments import MomentRule


class AdaBelief(MomentRule):
    r"""AdaBelief: longer steps where the momentum predicts the gradient well.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) |g - m|^2 + \epsilon \\
        p &\leftarrow p - \frac{\eta}{1 - \beta_1^t} \,
            \frac{m}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \epsilon}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-16
        :math:`\epsilon \ge 0`, added to :math:`v` in every step, where it accumulates, and to the
        root.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part.

    Notes
    -----
    State: two arrays (``m``, ``v``; the paper's s). Follows the paper, with epsilon at both places
    as in its code; matches optax with equal eps and eps_root, which are its defaults. The
    authors' package also rectifies, as RAdam does, and decouples by default. torch and keras have
    no AdaBelief.

    References
    ----------
    J. Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients,
    arXiv:2010.07468.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.AdaBelief(1e-2, eps=1e-12)
    AdaBelief(learning_rate=0.01, eps=1e-12)
    """

    eps: Hyperparameter = hyper(default=1e-16)

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        v = s.beta2 * v + weighted_abs2(s.new2, g - m) + s.eps
        return p - s.size * (m / self._divisor(xp, s, v)), m, v
