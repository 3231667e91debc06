"""Muon."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._pairs import length, scaled
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, hyper, option

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SCALES = ("original", "match_rms_adamw")


class Muon(Rule):
    r"""Muon: momentum that is made orthogonal, for weight matrices.

    .. math::
        b &\leftarrow \mu b + (1 - \mu) g; \qquad
            d = (1 - \mu) g + \mu b \quad\text{(Nesterov), or } b \\
        X &\leftarrow d / \|d\|, \qquad X \leftarrow a X + (b' A + c A A) X,
            \quad A = X X^{\mathsf T} \quad\text{(some times)} \\
        p &\leftarrow (1 - \eta \lambda)\, p - \eta\, s\, X

    Parameters
    ----------
    learning_rate : float or schedule, default 1e-3
        :math:`\eta \ge 0`.
    momentum : float or schedule, default 0.95
        :math:`\mu` in [0, 1].
    nesterov : bool, default True
        Mix the gradient into the momentum once more.
    weight_decay : float or schedule, default 0.1
        :math:`\lambda \ge 0`, decoupled, times the rate.
    eps : float or schedule, default 1e-7
        Lower bound of the norm that is divided by.
    iterations : int, default 5
        Newton-Schulz iterations, in [1, 99].
    coefficients : sequence of three floats, default (3.4445, -4.775, 2.0315)
        :math:`a, b', c` of an iteration. The default brings small singular values near 1 in few
        iterations but not to it; (1.875, -1.25, 0.375) converges to 1, slowly.
    scale : {"original", "match_rms_adamw"}
        :math:`s` is :math:`\sqrt{\max(1, \text{rows} / \text{columns})}`, or
        :math:`0.2 \sqrt{\max(\text{rows}, \text{columns})}`.
    companion : Rule, optional
        The rule for leaves that are not real matrices. Without one, such leaves are an error.

    Notes
    -----
    State: one array (``b``). Matches ``torch.optim.Muon``, except that torch iterates in bfloat16,
    and this rule in the precision of its state. It runs eagerly, with the library's own matrix
    product. keras has a heavy ball and another scale; optax corrects the bias of the momentum.

    References
    ----------
    K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024,
    https://kellerjordan.github.io/posts/muon.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> params = {"weights": np.ones((3, 2)), "bias": np.zeros(2)}
    >>> opt = fl.Optimizer(params, fl.Muon(0.02, companion=fl.AdamW(1e-3)))
    >>> opt.rule["bias"]
    AdamW(learning_rate=0.001)
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    momentum: Hyperparameter = hyper(default=0.95, high=1.0)
    nesterov: bool = True
    weight_decay: Hyperparameter = hyper(default=0.1)
    eps: Hyperparameter = hyper(default=1e-7)
    iterations: int = option(5)
    coefficients: Sequence[float] = option(COEFFICIENTS)
    scale: str = "original"
    companion: Rule | None = option(None)

    _options = {"scale": SCALES}  # noqa: RUF012

    def _check(self) -> None:
        object.__setattr__(self, "iterations", _iterations(self.iterations))
        object.__setattr__(self, "coefficients", _coefficients(self.coefficients))
        if self.companion is not None and not isinstance(self.companion, Rule):
            raise TypeError(
                _checks.unlike(self._place("companion"), self.companion, "a rule or None")
            )

    def suited(self, place: str, p: Array) -> Rule:
        """Return this rule for a real matrix, else the companion."""
        if p.ndim == 2 and not _arrays.is_complex(p):
            return self
        if self.companion is None:
            what = "is complex" if _arrays.is_complex(p) else f"has {p.ndim} axes"
            msg = (
                f"{place}: {what}, expected a real matrix; give Muon a companion= for other leaves"
            )
            raise ValueError(msg)
        companion: Rule = self.companion
        return companion.suited(place, p)

    @property
    def elementwise(self) -> bool:
        """Whether `formula` acts on each element by itself: it does not."""
        return False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("b"),)

    def scalars(self, t: Number) -> dict[str, Number]:
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "new": 1 - self.momentum,
            "eps": self.eps,
            "shrink": 1 - self.learning_rate * self.weight_decay,
        }

    def formula(self, xp: Namespace, s: Scalars, p: Array, g: Array, b: Array) -> tuple[Array, ...]:
        b = s.momentum * b + s.new * g
        x = s.new * g + s.momentum * b if self.nesterov else b
        rows, columns = x.shape
        x = x.T if rows > columns else x
        x, scale = scaled(xp, x)
        size = length(xp, x)
        x = x / xp.where(scale * size > s.eps, size, s.eps / scale)
        first, second, third = self.coefficients
        for _ in range(self.iterations):
            a = x @ x.T
            x = first * x + (second * a + third * (a @ a)) @ x
        x = x.T if rows > columns else x
        p = s.shrink * p if self.weight_decay else p
        return p - s.learning_rate * (self._scale(rows, columns) * x), b

    def _scale(self, rows: int, columns: int) -> float:
        if self.scale == "original":
            return math.sqrt(max(1.0, rows / columns)) if columns else 1.0
        return 0.2 * math.sqrt(max(rows, columns))


def _iterations(value: Number) -> int:
    # As a Python int. Integers of other libraries are accepted, booleans are not.
    msg = f"Muon(iterations=): is {value!r}, expected an integer in [1, 99]"
    try:
        number = operator.index(_untrue(value))
    except TypeError as error:
        raise TypeError(msg) from error
    if not 0 < number < 100:
        raise ValueError(msg)
    return number


def _coefficients(value: Iterable[Number]) -> tuple[float, ...]:
    # A tuple of floats can be compared and hashed.
    place = "Muon(coefficients=)"
    try:
        numbers = tuple(_untrue(x) for x in value)
    except TypeError as error:
        msg = f"{place}: is {value!r}, expected a sequence of three numbers"
        raise TypeError(msg) from error
    if len(numbers) != 3:
        raise ValueError(_checks.mismatch(place, "number of entries", len(numbers), 3))
    return tuple(
        _checks.number(f"{place}[{i}]", x, -math.inf, math.inf) for i, x in enumerate(numbers)
    )


def _untrue(value: Number) -> Number:
    if isinstance(value, bool | np.bool_ | str):
        raise TypeError(value)
    return value
