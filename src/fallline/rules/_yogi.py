"""Yogi."""

from __future__ import annotations

from .._arrays._types import Array, Namespace, Scalars
from ._base import Hyperparameter, Slot, abs2, hyper, weighted_abs2
from ._descent import decayed
from ._moments import MomentRule


class Yogi(MomentRule):
    r"""Yogi: Adam whose second moment changes in proportion to the squared gradient only.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow v - (1 - \beta_2) \,\mathrm{sign}(v - |g|^2)\, |g|^2 \\
        p &\leftarrow p - \frac{\eta}{1 - \beta_1^t} \,
            \frac{m}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \epsilon}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-3
        :math:`\epsilon \ge 0`, outside the root.
    initial_accumulator : float or schedule, default 1e-6
        :math:`v` before the first update; a schedule is read at step 0.
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
    State: two arrays (``m``, ``v``). Matches optax's, except that optax starts :math:`m` at 1e-6,
    too; here it starts at 0, as in the paper. The paper has no bias corrections; optax and the
    other packages do. torch and keras have no Yogi.

    References
    ----------
    M. Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.Yogi().eps
    0.001
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    eps: Hyperparameter = hyper(default=1e-3)
    initial_accumulator: Hyperparameter = hyper(default=1e-6)

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"), Slot("v", real=True, fill=self.initial_accumulator))

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        # Where |g|^2 alone is infinite, the sign of the difference is still right.
        v = v - xp.sign(v - abs2(g)) * weighted_abs2(s.new2, g)
        return p - s.size * (m / self._divisor(xp, s, v)), m, v
