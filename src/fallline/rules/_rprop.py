"""Rprop."""

from __future__ import annotations

from .._arrays import _checks
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper


class Rprop(Rule):
    r"""Rprop: steps that grow while the sign of the gradient stays, for gradients without noise.

    .. math::
        c &= g \, g_{\text{last}} \\
        s &\leftarrow \mathrm{clip}(s \cdot
            \{\eta_+ \text{ if } c > 0,\ \eta_- \text{ if } c < 0,\ 1 \text{ if } c = 0\},\
            s_{\min}, s_{\max}) \\
        g &\leftarrow 0 \quad \text{where } c < 0 \\
        p &\leftarrow p - s \,\mathrm{sign}(g), \qquad g_{\text{last}} \leftarrow g

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-2
        :math:`s` before the first update; a schedule is read when the state is made.
    shrink, grow : float or schedule, default 0.5 and 1.2
        :math:`\eta_-` in [0, 1) and :math:`\eta_+ \ge 1`; torch's etas.
    minimum, maximum : float or schedule, default 1e-6 and 50
        :math:`s_{\min}` and :math:`s_{\max}`, at least 0; torch's step_sizes. Every step is
        clipped, the first one too.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    State: two arrays (``size``, ``last``). Matches ``torch.optim.Rprop``: there is no weight
    backtracking, and the two parts of a complex leaf are stepped like two real leaves. optax
    applies each update one step late, and keras has no Rprop.

    References
    ----------
    M. Riedmiller, H. Braun, A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm, ICNN 1993; C. Igel, M. Hüsken, Improving the Rprop learning algorithm, NC 2000
    (this variant: iRprop-).

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([3.0])
    >>> opt = fl.Optimizer(x, fl.Rprop(0.1))
    >>> [opt.step(2 * x).item() for _ in range(2)]
    [2.9, 2.78]
    """

    learning_rate: Hyperparameter = hyper(default=1e-2)
    shrink: Hyperparameter = hyper(default=0.5, high=1.0, below=True)
    grow: Hyperparameter = hyper(default=1.2, low=1.0)
    minimum: Hyperparameter = hyper(default=1e-6)
    maximum: Hyperparameter = hyper(default=50.0)
    maximize: bool = False

    _by_components = True

    def _check(self) -> None:
        if {"minimum", "maximum"} & set(self._schedules):
            return
        if self.minimum > self.maximum:
            expected = f"a number <= maximum={self.maximum:g}"
            raise ValueError(_checks.unlike(self._place("minimum"), self.minimum, expected))

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("size", real=True, fill=self.learning_rate), Slot("last"))

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "shrink": self.shrink,
            "grow": self.grow,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, size: Array, last: Array
    ) -> tuple[Array, ...]:
        g = -g if self.maximize else g
        c = g * last
        factor = xp.where(c > 0.0, s.grow, xp.where(c < 0.0, s.shrink, xp.ones_like(c)))
        size = xp.minimum(xp.maximum(size * factor, s.minimum), s.maximum)
        g = xp.where(c < 0.0, 0.0, g)
        return p - size * xp.sign(g), size, g

    def lengths(self, xp: Namespace, s: Scalars, size: Array, last: Array) -> Array:
        return size
