"""Adan."""

from __future__ import annotations

from .. import _arrays
from .._arrays._pairs import select
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, bias_correction, hyper, weighted_abs2


class Adan(Rule):
    r"""Adan: Nesterov's momentum from differences of gradients, over a running root mean square.

    .. math::
        c &= g - g_{\text{last}} \qquad \text{(0 at the first update)} \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        d &\leftarrow \beta_2 d + (1 - \beta_2) c \\
        v &\leftarrow \beta_3 v + (1 - \beta_3) |g + \beta_2 c|^2 \\
        p &\leftarrow \frac{1}{1 + \eta \lambda} \left( p - \eta \,
            \frac{m / (1 - \beta_1^t) + \beta_2 d / (1 - \beta_2^t)}
            {\sqrt{v} / \sqrt{1 - \beta_3^t} + \epsilon} \right)

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    beta1, beta2, beta3 : float or schedule, default 0.98, 0.92 and 0.99
        In [0, 1); what the averages keep. The paper writes 1 minus these.
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, outside the root.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`; the parameter is divided after the step, the paper's proximal form.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part.

    Notes
    -----
    State: four arrays (``m``, ``d``, ``v`` and the last gradient, ``last``; the paper's m, v, n
    and g). Follows the paper and its authors' code. optax up to 0.2.8 has :math:`1 - \beta_2`
    where :math:`\beta_2` multiplies the differences, and decays as AdamW does. torch and keras have
    no Adan.

    References
    ----------
    X. Xie et al., Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models,
    arXiv:2208.06677.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.Adan(1e-3, weight_decay=0.02)
    Adan(learning_rate=0.001, weight_decay=0.02)
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    beta1: Hyperparameter = hyper(default=0.98, high=1.0, below=True)
    beta2: Hyperparameter = hyper(default=0.92, high=1.0, below=True)
    beta3: Hyperparameter = hyper(default=0.99, high=1.0, below=True)
    eps: Hyperparameter = hyper(default=1e-8)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"), Slot("d"), Slot("v", real=True), Slot("last"))

    def scalars(self, t: Number) -> dict[str, Number]:
        root = _arrays.square_root(bias_correction(self.beta3, t))
        rate = self.learning_rate * root
        return {
            "first": _arrays.choose(t == 1, 1.0, 0.0),
            "beta1": self.beta1,
            "new1": 1 - self.beta1,
            "beta2": self.beta2,
            "new2": 1 - self.beta2,
            "beta3": self.beta3,
            "new3": 1 - self.beta3,
            "size": rate / bias_correction(self.beta1, t),
            "ahead": rate * self.beta2 / bias_correction(self.beta2, t),
            "eps_hat": self.eps * root,
            "grow": 1 + self.learning_rate * self.weight_decay,
        }

    def formula(
        self,
        xp: Namespace,
        s: Scalars,
        p: Array,
        g: Array,
        m: Array,
        d: Array,
        v: Array,
        last: Array,
    ) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        c = g - select(xp, s.first != 0.0, g, last)
        m = s.beta1 * m + s.new1 * g
        d = s.beta2 * d + s.new2 * c
        v = s.beta3 * v + weighted_abs2(s.new3, g + s.beta2 * c)
        p = p - (s.size * m + s.ahead * d) / self._divisor(xp, s, v)
        return p / s.grow if self.weight_decay else p, m, d, v, g

    def _divisor(self, xp: Namespace, s: Scalars, v: Array) -> Array:
        return xp.sqrt(v) + s.eps_hat

    def lengths(
        self, xp: Namespace, s: Scalars, m: Array, d: Array, v: Array, last: Array
    ) -> Array:
        return s.size / self._divisor(xp, s, v)
