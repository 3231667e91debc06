"""Adafactor."""

from __future__ import annotations

import dataclasses
import math

from .. import _arrays
from .._arrays._pairs import Pair, count
from .._arrays._reductions import norm
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Read, Rule, Slot, hyper, weighted_abs2


class Adafactor(Rule):
    r"""Adafactor: second moments kept as averages of rows and columns.

    .. math::
        \gamma_t &= t^{\kappa}, \qquad \rho_t = \min(\eta, 1/\sqrt{t}) \\
        r &\leftarrow (1 - \gamma_t)\, r + \gamma_t \,\mathrm{mean}_{\text{columns}} |g|^2, \qquad
            c \leftarrow (1 - \gamma_t)\, c + \gamma_t \,\mathrm{mean}_{\text{rows}} |g|^2 \\
        v &= r c \,/ \max(\mathrm{mean}(r), \epsilon_1) \\
        d &= g \,/ \max(\sqrt{v}, \epsilon_1) \\
        p &\leftarrow (1 - \eta \lambda)\, p
            - \rho_t \frac{\max(\epsilon_2, \mathrm{rms}(p))}{\max(1, \mathrm{rms}(d) / D)}\, d

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`\eta \ge 0`, the largest relative step.
    beta2_decay : float or schedule, default 0.8
        :math:`-\kappa`, in [0, 1]; torch writes it with the other sign.
    eps1 : float or schedule, default 0
        :math:`\epsilon_1 \ge 0`; 0 stands for the machine epsilon of the leaf's dtype.
    eps2 : float or schedule, default 1e-3
        :math:`\epsilon_2 \ge 0`, a lower bound of the parameter's root mean square.
    threshold : float or schedule, default 1
        :math:`D > 0`, the root mean square above which a step is shortened.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, decoupled, times the rate.
    maximize : bool, default False
        Ascend instead of descend.
    factored : bool, default True
        Keep averages of rows and columns. Otherwise, and for leaves of fewer than two axes, keep
        all of :math:`v`.

    Notes
    -----
    State: for arrays of shape (..., n, m) the rows (``row``, n numbers) and columns (``col``, m
    numbers) of the last two axes, else one array (``v``). Matches ``torch.optim.Adafactor``; optax
    and keras add :math:`\epsilon_1` to the squares, optax factors the two largest axes from 128 on.
    Factored leaves are updated eagerly.

    References
    ----------
    N. Shazeer, M. Stern, Adafactor: adaptive learning rates with sublinear memory cost,
    arXiv:1804.04235.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> opt = fl.Optimizer(np.ones((2, 3)), fl.Adafactor())
    >>> opt.state["row"].shape, opt.state["col"].shape
    ((2, 1), (1, 3))
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    beta2_decay: Hyperparameter = hyper(default=0.8, high=1.0)
    eps1: Hyperparameter = hyper(default=0.0)
    eps2: Hyperparameter = hyper(default=1e-3)
    threshold: Hyperparameter = hyper(default=1.0, low=1e-30)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False
    factored: bool = True

    def suited(self, place: str, p: Array) -> Adafactor:
        """Return this rule as it applies to the axes and the precision of a leaf."""
        factored = self.factored and p.ndim > 1
        eps1 = self.eps1 or _arrays.EPSILON[_arrays.dtype_name(p)]
        if factored == self.factored and eps1 == self.eps1:
            return self
        return dataclasses.replace(self, factored=factored, eps1=eps1)

    @property
    def elementwise(self) -> bool:
        """Whether `formula` acts on each element by itself: only if nothing is factored."""
        return not self.factored

    @property
    def slots(self) -> tuple[Slot, ...]:
        if not self.factored:
            return (Slot("v", real=True),)
        return (
            Slot("row", real=True, shape=lambda shape: (*shape[:-1], 1)),
            Slot("col", real=True, shape=lambda shape: (*shape[:-2], 1, shape[-1])),
        )

    @property
    def reads(self) -> tuple[Read, ...]:
        return () if self.factored else (Read("size"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        limit = 1.0 / _arrays.square_root(t)
        new = t**-self.beta2_decay
        rate = _arrays.choose(limit < self.learning_rate, limit, self.learning_rate)
        return {
            "learning_rate": self.learning_rate,
            "new": new,
            "keep": 1 - new,
            "rate": rate,
            "eps1": self.eps1,
            "eps2": self.eps2,
            "threshold": self.threshold,
            "shrink": 1 - self.learning_rate * self.weight_decay,
        }

    def _moved(self, xp: Namespace, s: Scalars, g: Array, *slots: Array) -> tuple[Array, ...]:
        # The direction and the new slots.
        g = -g if self.maximize else g
        new = weighted_abs2(s.new, g)
        if self.factored:
            row, col = slots
            row = s.keep * row + _mean(xp, new, -1)
            col = s.keep * col + _mean(xp, new, -2)
            mean = _mean(xp, row, -2)
            v, slots = row / xp.where(mean > s.eps1, mean, s.eps1) * col, (row, col)
        else:
            slots = (s.keep * slots[0] + new,)
            v = slots[0]
        root = xp.sqrt(v)
        return g / xp.where(root > s.eps1, root, s.eps1), *slots

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        return (_size(s, p, self._moved(xp, s, g, *slots)[0]),)

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        if self.factored:
            d, *slots_ = self._moved(xp, s, g, *slots)
            size = _size(s, p, d)
        else:
            d, *slots_ = self._moved(xp, s, g, slots[0])
            size = slots[1]
        p = s.shrink * p if self.weight_decay else p
        return p - d * size, *slots_


def _mean(xp: Namespace, x: Array, axis: int) -> Array:
    n = (x.re if isinstance(x, Pair) else x).shape[axis]
    return xp.sum(x, axis=axis, keepdims=True) / max(n, 1)


def _size(s: Scalars, p: Array, d: Array) -> Array:
    # The length of the step, for the parameter before its decay and the direction.
    size, length = (norm(x) / math.sqrt(count(x)) for x in (p, d))
    size = _arrays.choose(size > s.eps2, size, s.eps2)
    size = s.rate * size / _arrays.choose(length > s.threshold, length / s.threshold, 1.0)
    like = p.re if isinstance(p, Pair) else p
    return _arrays.number_like(size, like, like.dtype)
