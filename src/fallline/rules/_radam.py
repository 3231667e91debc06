"""RAdam."""

from __future__ import annotations

from .. import _arrays
from .._arrays._pairs import select
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import bias_correction, weighted_abs2
from ._descent import decayed
from ._moments import MomentRule


class RAdam(MomentRule):
    r"""RAdam: Adam that divides by the second moment only once its average can be trusted.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) |g|^2 \\
        \rho_t &= \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t},
            \qquad \rho_\infty = \frac{2}{1 - \beta_2} - 1 \\
        p &\leftarrow p - \frac{\eta}{1 - \beta_1^t} \cdot
            \begin{cases}
                r_t \sqrt{1 - \beta_2^t} \, m / (\sqrt{v} + \epsilon) & \rho_t > 5 \\
                m & \text{else}
            \end{cases} \\
        r_t^2 &= \frac{(\rho_t - 4) (\rho_t - 2) \rho_\infty}
            {(\rho_\infty - 4) (\rho_\infty - 2) \rho_t}

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1). Below 2/3, :math:`\beta_2` never divides.
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, added to the uncorrected root as in torch.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`.
    decoupled : bool, default False
        Shrink the parameter instead of adding to the gradient.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part as in torch.

    Notes
    -----
    State: two arrays (``m``, ``v``). Matches ``torch.optim.RAdam``, which calls `decoupled`
    decoupled_weight_decay. optax adds its epsilon to the corrected root, and keras has no RAdam.
    The first five steps of the defaults are momentum in units of the gradient.

    References
    ----------
    L. Liu et al., On the variance of the adaptive learning rate and beyond, arXiv:1908.03265.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0])
    >>> fl.Optimizer(x, fl.RAdam(0.1)).step(np.asarray([2.0])).round(6)
    array([2.8])
    """

    def scalars(self, t: Number) -> dict[str, Number]:
        longest, length = 2 / (1 - self.beta2) - 1, _length(self.beta2, t)
        divides = length > 5
        above = _arrays.choose(divides, (length - 4) * (length - 2) * longest, 1.0)
        below = _arrays.choose(divides, (longest - 4) * (longest - 2) * length, 1.0)
        correction = bias_correction(self.beta2, t)
        weight = _arrays.choose(divides, correction, 1.0)
        found = self._moment_scalars(t, correction)
        rectified = self.learning_rate * _arrays.square_root(weight * above / below)
        found["size"] = rectified / bias_correction(self.beta1, t)
        found["divides"] = _arrays.choose(divides, 1.0, 0.0)
        return found

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        v = s.beta2 * v + weighted_abs2(s.new2, g)
        return p - s.size * (m / self._divisor(xp, s, v)), m, v

    def _divisor(self, xp: Namespace, s: Scalars, *v: Array) -> Array:
        return select(xp, s.divides != 0.0, xp.sqrt(v[0]) + s.eps, xp.ones_like(v[0]))


def _length(beta: Number, t: Number) -> Number:
    """Return the effective number of terms in the average of the second moment."""
    longest = 2 / (1 - beta) - 1
    if isinstance(t, int) or (isinstance(beta, float) and beta == 0):
        return longest - 2 * t * beta**t / (1 - beta**t)
    # For small t it is the difference of two large numbers, which leaves no digits in single
    # precision. With l = -log(beta) and x = l t it is a + t - 2/l (x / expm1(x) - 1 + x/2), where
    # a is small and computed in double, and the bracket has a series.
    decay = -_arrays.function("log", beta)
    x = decay * t
    far = longest - 2.0 * t / _arrays.function("expm1", _arrays.choose(x > 1, x, 1.0))
    y = _arrays.choose(x > 1, 1.0, x * x)
    bracket = y / 12 * (1 - y / 60 * (1 - y / 42 * (1 - y / 40 * (1 - y * 5 / 198))))
    return _arrays.choose(x > 1, far, (longest - 2 / decay) + t - 2 / decay * bracket)
