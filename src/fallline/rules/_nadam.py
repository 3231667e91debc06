"""NAdam."""

from __future__ import annotations

import math
from functools import lru_cache, partial

from .. import _arrays
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, hyper, weighted_abs2
from ._descent import decayed
from ._moments import MomentRule

BASE = 0.96


class NAdam(MomentRule):
    r"""NAdam: Adam with Nesterov's momentum, which warms up.

    .. math::
        g &\leftarrow \pm g + \lambda p
            \qquad \text{(or, decoupled, } p \leftarrow (1 - \eta \lambda) p) \\
        \mu_t &= \beta_1 \left(1 - \tfrac12\, 0.96^{t \psi}\right) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) |g|^2 \\
        d &= \frac{1 - \mu_t}{1 - \prod_{i \le t} \mu_i} \, g
            + \frac{\mu_{t+1}}{1 - \prod_{i \le t + 1} \mu_i} \, m \\
        p &\leftarrow p - \frac{\eta\, d}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \epsilon}

    Parameters
    ----------
    learning_rate : float or schedule, default 2e-3
        :math:`\eta \ge 0`.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        In [0, 1).
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, outside the root.
    momentum_decay : float or schedule, default 4e-3
        :math:`\psi \ge 0`.
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
    State: two arrays (``m``, ``v``). Matches ``torch.optim.NAdam``, which calls `decoupled`
    decoupled_weight_decay; keras's is the same with a momentum_decay of 1, optax's with a very
    large one. The product is computed in closed form: if beta1 or momentum_decay is a
    schedule, as if the present value had held from the start, unlike torch's running product.

    References
    ----------
    T. Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0])
    >>> fl.Optimizer(x, fl.NAdam(0.1)).step(np.asarray([50.0])).round(4)
    array([2.8944])
    """

    learning_rate: Hyperparameter = hyper(default=2e-3)
    momentum_decay: Hyperparameter = hyper(default=4e-3)

    def scalars(self, t: Number) -> dict[str, Number]:
        # 1 - mu and 1 - product, so that single precision loses nothing where they are small.
        now, after = (
            1 - self.beta1 + self.beta1 * 0.5 * _arrays.power(BASE, n * self.momentum_decay)
            for n in (t, t + 1.0)
        )
        gathered = _gathered(self.beta1, self.momentum_decay, t)
        found = super().scalars(t)
        rate = self.learning_rate * found["root"]
        new = rate * now / gathered
        old = rate * (1 - after) / (gathered + (1 - gathered) * after)
        return {**found, "new": new, "old": old, "size": new + old}

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        p, g = decayed(self, s, p, g)
        m = s.beta1 * m + s.new1 * g
        v = s.beta2 * v + weighted_abs2(s.new2, g)
        return p - (s.new * g + s.old * m) / self._divisor(xp, s, v), m, v


def _gathered(beta: Number, decay: Number, t: Number) -> Number:
    # 1 - the product of beta (1 - q**i / 2) over i = 1 ... t, with q = 0.96**decay. The series of
    # the logarithm turns its sum into geometric sums, a few for any t, which may be a symbol.
    plain = isinstance(decay, float)
    if isinstance(beta, float) and beta == 0:
        return 1.0
    if plain and decay == 0:
        total = t * math.log(0.5)
    else:
        terms = _terms(decay) if plain else _terms.__wrapped__(decay)
        expm1 = math.expm1 if plain and isinstance(t, int) else partial(_arrays.function, "expm1")
        total = -sum(weight * expm1(rate * t) for rate, weight in terms)
    return -_arrays.function("expm1", t * _arrays.function("log", beta) + total)


@lru_cache(maxsize=64)
def _terms(decay: Number) -> list[tuple[Number, Number]]:
    # (k log(q), q**k / (q**k - 1) / (k 2**k)), the smallest first.
    terms = []
    for k in range(52, 0, -1):
        rate = k * decay * math.log(BASE)
        above, below = (_arrays.function(name, rate) for name in ("exp", "expm1"))
        terms.append((rate, above / (below * k * 2.0**k)))
    return terms
