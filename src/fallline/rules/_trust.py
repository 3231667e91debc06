"""LAMB and LARS: steps in proportion to the size of the parameter."""

from __future__ import annotations

from .. import _arrays
from .._arrays._reductions import norm
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Read, Rule, Slot, bias_correction, hyper, weighted_abs2
from ._descent import descent, floored_root


def _ratio(p: Array, d: Array, factor: Array = 1.0, eps: Number = 0.0) -> Array:
    # The factor times the norm of the parameter over that of the direction; 1 where either is 0.
    size, length = norm(p), norm(d)
    some = (size > 0.0) & (length > 0.0)
    divisor = _arrays.choose(some, length, 1.0) + eps
    return _arrays.choose(some, factor * size / divisor, 1.0)


class LAMB(Rule):
    r"""LAMB: Adam's direction, scaled to the norm of the parameter, for large batches.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g; \qquad
            v \leftarrow \beta_2 v + (1 - \beta_2) |g|^2 \\
        d &= \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t) + \epsilon_r} + \epsilon}
            + \lambda p \\
        p &\leftarrow p - \eta \frac{\|p\|}{\|d\|} d

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-6
        :math:`\epsilon \ge 0`, outside the root.
    eps_root : float or schedule, default 0
        :math:`\epsilon_r \ge 0`, inside the root; see `Adam`.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, part of the direction.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part.

    Notes
    -----
    State: two arrays (``m``, ``v``). The norms are those of a leaf; where one is zero, their ratio
    counts as 1. Measuring them before the step takes temporary arrays of the leaf's size. Matches
    optax's ``lamb``; keras takes the decay out of the direction, and others have no bias
    corrections.

    References
    ----------
    Y. You et al., Large batch optimization for deep learning: training BERT in 76 minutes,
    arXiv:1904.00962.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0, 4.0])
    >>> fl.Optimizer(x, fl.LAMB(0.1, eps=0.0)).step(np.asarray([7.0, 1.0])).round(4)
    array([2.6464, 3.6464])
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    beta1: Hyperparameter = hyper(default=0.9, high=1.0, below=True)
    beta2: Hyperparameter = hyper(default=0.999, high=1.0, below=True)
    eps: Hyperparameter = hyper(default=1e-6)
    eps_root: Hyperparameter = hyper(default=0.0)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"), Slot("v", real=True))

    @property
    def reads(self) -> tuple[Read, ...]:
        return (Read("ratio"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        correction = bias_correction(self.beta2, t)
        root = _arrays.square_root(correction)
        return {
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "new1": 1 - self.beta1,
            "beta2": self.beta2,
            "new2": 1 - self.beta2,
            "size": root / bias_correction(self.beta1, t),
            "eps_hat": self.eps * root,
            "inside": self.eps_root * correction,
            "weight_decay": self.weight_decay,
        }

    def _direction(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array, ratio: Array = None
    ) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        m = s.beta1 * m + s.new1 * g
        v = s.beta2 * v + weighted_abs2(s.new2, g)
        d = s.size * (m / floored_root(self, xp, s, v))
        return (d + s.weight_decay * p if self.weight_decay else d), m, v

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        return (_ratio(p, self._direction(xp, s, p, g, *slots)[0]),)

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        d, m, v = self._direction(xp, s, p, g, *slots)
        return p - s.learning_rate * (slots[-1] * d), m, v


class LARS(Rule):
    r"""LARS: gradients scaled by the size of the parameter, then momentum.

    .. math::
        g &\leftarrow \pm g + \lambda p \\
        d &= \eta \kappa \frac{\|p\|}{\|g\| + \epsilon} \, g \\
        b &\leftarrow \mu b + d \\
        p &\leftarrow p - b \quad\text{or, with Nesterov,}\quad p - (\mu b + d)

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`; inside the buffer.
    momentum : float or schedule, default 0.9
        :math:`\mu \ge 0`.
    trust_coefficient : float or schedule, default 1e-3
        :math:`\kappa \ge 0`.
    eps : float or schedule, default 0
        :math:`\epsilon \ge 0`, in units of the norm of a leaf's gradient.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, added to the gradient.
    nesterov : bool, default False
        Look ahead by one step of momentum.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: one array (``b``). Where either norm is zero, their ratio and the coefficient count as 1.
    Matches optax's ``lars``, where the decay is inside the norm of the gradient, too; Chainer's
    hook adds both norms.

    References
    ----------
    Y. You, I. Gitman, B. Ginsburg, Large batch training of convolutional networks,
    arXiv:1708.03888.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.LARS(0.1, weight_decay=1e-4)
    LARS(learning_rate=0.1, weight_decay=0.0001)
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    momentum: Hyperparameter = hyper(default=0.9)
    trust_coefficient: Hyperparameter = hyper(default=1e-3)
    eps: Hyperparameter = hyper(default=0.0)
    weight_decay: Hyperparameter = hyper(default=0.0)
    nesterov: bool = False
    maximize: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("b"),)

    @property
    def reads(self) -> tuple[Read, ...]:
        return (Read("ratio"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "coefficient": self.trust_coefficient,
            "momentum": self.momentum,
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        return (_ratio(p, descent(self, s, p, g), s.coefficient, s.eps),)

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, b: Array, ratio: Array
    ) -> tuple[Array, ...]:
        d = s.learning_rate * (ratio * descent(self, s, p, g))
        b = s.momentum * b + d
        return p - (s.momentum * b + d if self.nesterov else b), b
