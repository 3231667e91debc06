"""FTRL-Proximal."""

from __future__ import annotations

import math

from .. import _arrays
from .._arrays._pairs import modulus, select, sign
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, abs2, hyper

SMALLEST = 1e-30


class FTRL(Rule):
    r"""FTRL-Proximal: rates of Adagrad with an L1 term that makes zeros, for sparse linear models.

    .. math::
        n &\leftarrow n + |g|^2, \qquad
            h = \frac{\beta + n^{-\kappa}}{\alpha} + \lambda_2, \qquad
            g \leftarrow g + \lambda_s p \\
        \zeta &= z + g - h p \qquad (h - \lambda_2 \text{ at the first update}) \\
        z' &= \zeta \text{ where } |\zeta| \le \lambda_1,
            \text{ else } \lambda_1 \,\mathrm{sign}(\zeta) \\
        p &\leftarrow 0 \text{ where } |\zeta| \le \lambda_1,
            \text{ else } p - (g + z - z') / h; \qquad z \leftarrow z'

    Parameters
    ----------
    learning_rate : float or schedule, default 0.1
        :math:`\alpha \ge 0`; with beta it is the rate of the first steps.
    beta : float or schedule, default 1
        :math:`\beta \ge 0`, in units of the gradient.
    l1, l2 : float or schedule, default 0
        :math:`\lambda_1, \lambda_2 \ge 0`, of the sum of all losses so far, so that their weight
        falls as steps are made.
    l2_shrinkage : float or schedule, default 0
        :math:`\lambda_s \ge 0`, of each loss: added to the gradient as a weight decay, but not to
        what :math:`n` sums.
    learning_rate_power : float or schedule, default -0.5
        :math:`\kappa \le 0`, how fast rates fall with the squared gradients; 0 is a constant rate.
        With other powers than -0.5 the rule runs eagerly.
    initial_accumulator : float or schedule, default 0
        :math:`n \ge 0` before the first update; a schedule is read at step 0.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`n` per element and an L1 term of the moduli, or both
        for each part.

    Notes
    -----
    State: one array (``n``), one more with l1 (``z``). The paper keeps the sum :math:`\zeta` of
    gradients and proximal terms and computes the parameter from it alone; here that sum is read off
    the last parameter, where it is :math:`z - h p`. The iterates are equal, so the parameter may
    start anywhere (in the paper: at 0), and may be changed or projected between steps. The rate may
    be a schedule, under which keras shrinks the parameter to 0. The proximal terms are centred at
    the start, the L1 and L2 terms at 0. The power, the shrinkage and the start of n are not in the
    paper but in keras, which starts n at 0.1, with beta 0 and the rate 1e-3, overwrites the start,
    and doubles its L2 strengths: from a start at 0 the iterates are equal to those of keras with
    half of our l2 and l2_shrinkage. optax and torch have no FTRL.

    References
    ----------
    H. B. McMahan et al., Ad click prediction: a view from the trenches, KDD 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([0.0, 0.0])
    >>> fl.Optimizer(x, fl.FTRL(0.5, l1=1.0)).step(np.asarray([3.0, 0.9]))
    array([-0.25,  0.  ])
    """

    learning_rate: Hyperparameter = hyper(default=0.1)
    beta: Hyperparameter = hyper(default=1.0)
    l1: Hyperparameter = hyper(default=0.0)
    l2: Hyperparameter = hyper(default=0.0)
    l2_shrinkage: Hyperparameter = hyper(default=0.0)
    learning_rate_power: Hyperparameter = hyper(default=-0.5, low=-math.inf, high=0.0)
    initial_accumulator: Hyperparameter = hyper(default=0.0)
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        n = Slot("n", real=True, fill=self.initial_accumulator)
        return (n, Slot("z")) if self.l1 else (n,)

    def scalars(self, t: Number) -> dict[str, Number]:
        rate = self.learning_rate
        return {
            "scale": 1 / _arrays.choose(rate > SMALLEST, rate, SMALLEST),
            "beta": self.beta,
            "l1": self.l1,
            "l2": self.l2,
            "pull": self.l2_shrinkage + _arrays.choose(t == 1, self.l2, 0.0),
            "power": -self.learning_rate_power,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, n: Array, *z: Array
    ) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        n = n + abs2(g)
        h = self._curvature(xp, s, n)
        g = g + s.pull * p if self.l2 or self.l2_shrinkage else g
        if not self.l1:
            return p - g / h, n
        zeta = z[0] + g - h * p
        some = modulus(xp, zeta) > s.l1
        new = select(xp, some, s.l1 * sign(xp, zeta), zeta)
        return select(xp, some, p - (g + (z[0] - new)) / h, 0.0), n, new

    def _curvature(self, xp: Namespace, s: Scalars, n: Array) -> Array:
        root = xp.sqrt(n) if self.learning_rate_power == -0.5 else xp.pow(n, s.power)
        h = s.scale * (s.beta + root)
        return h + s.l2 if self.l2 else h

    def lengths(self, xp: Namespace, s: Scalars, n: Array, *z: Array) -> Array:
        return 1.0 / self._curvature(xp, s, n)
