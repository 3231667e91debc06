"""Schedules that are constant, step down, or decay without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from .. import _arrays
from .._arrays._types import Number
from ._base import Schedule, least


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The same value at every step.

    Parameters
    ----------
    value : float
        The value, 0 or more.

    Notes
    -----
    A plain number does the same for a hyperparameter.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.schedules.Constant(0.1)(1000)
    0.1
    """

    value: float

    def __post_init__(self) -> None:
        """Check the value."""
        self._numbers("value")

    def _value(self, step: Number) -> Number:
        return self.value


@dataclass(frozen=True, repr=False)
class Step(Schedule):
    r"""A value that is multiplied by a factor at regular intervals.

    .. math:: \eta_t = \text{initial} \cdot \text{factor}^{\lfloor t / \text{every} \rfloor}

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    every : int
        Steps from one change to the next, 1 or more.
    factor : float, default 0.1
        Greater than 0.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.StepLR``.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.Step(1.0, every=30, factor=0.5)
    >>> rate(29), rate(30), rate(60)
    (1.0, 0.5, 0.25)
    """

    initial: float
    _: KW_ONLY
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial")
        self._counts("every")
        self._positive("factor")

    def _value(self, step: Number) -> Number:
        return self.initial * _arrays.power(self.factor, _arrays.periods(step, self.every))


@dataclass(frozen=True, repr=False)
class MultiStep(Schedule):
    """A value that is multiplied by a factor at chosen steps.

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    milestones : sequence of int
        The steps of the changes, increasing and above 0.
    factor : float, default 0.1
        Greater than 0.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.MultiStepLR``. `Piecewise` takes the values instead.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.MultiStep(1.0, milestones=(30, 80), factor=0.5)
    >>> rate(29), rate(30), rate(80)
    (1.0, 0.5, 0.25)
    """

    initial: float
    _: KW_ONLY
    milestones: Sequence[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial")
        self._increasing("milestones")
        self._positive("factor")

    def _value(self, step: Number) -> Number:
        reached = (_arrays.reached(step, milestone) for milestone in self.milestones)
        passed = sum(_arrays.choose(one, 1, 0) for one in reached)
        return self.initial * _arrays.power(self.factor, passed)


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    r"""A value that is multiplied by a factor gradually.

    .. math:: \eta_t = \text{initial} \cdot \text{decay}^{t / \text{every}}

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    decay : float
        The factor, greater than 0; above 1 the value grows, as in a search for the largest
        usable rate.
    every : int, default 1
        Steps in which the value is multiplied by the factor once, 1 or more.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.ExponentialLR``, and with `every` optax's
    ``exponential_decay``. `Step` keeps the value between the changes.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.schedules.Exponential(1.0, decay=0.5, every=10)(20)
    0.25
    """

    initial: float
    _: KW_ONLY
    decay: float
    every: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial")
        self._positive("decay")
        self._counts("every")

    def _value(self, step: Number) -> Number:
        share = step / _arrays.held(step, self.every)
        return self.initial * _arrays.power(self.decay, share)


@dataclass(frozen=True, repr=False)
class InverseTime(Schedule):
    r"""A value that is divided by a power of the time.

    .. math:: \eta_t = \text{initial} \, / \, (1 + \text{decay} \cdot t)^\text{power}

    Parameters
    ----------
    initial : float
        Value of the first step, 0 or more.
    decay : float, default 1
        In units of 1 / step, 0 or more.
    power : float, default 1
        0 or more. Between 0.5 (excluded) and 1 the rates satisfy the conditions of stochastic
        approximation: an infinite sum, a finite sum of squares.

    Notes
    -----
    scikit-learn's ``invscaling`` is ``decay=1`` with its ``power_t``; Adagrad's
    ``learning_rate_decay`` is ``power=1``. torch has no such schedule.

    References
    ----------
    H. Robbins, S. Monro, A stochastic approximation method, doi:10.1214/aoms/1177729586.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.schedules.InverseTime(1.0, decay=0.1)(10)
    0.5
    """

    initial: float
    _: KW_ONLY
    decay: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial", "decay", "power")

    def _value(self, step: Number) -> Number:
        return self.initial / (1 + self.decay * step) ** self.power


@dataclass(frozen=True, repr=False)
class InverseSqrt(Schedule):
    r"""A linear ascent, then decay with the inverse square root of the time ("Noam").

    .. math::
        \eta_t = \text{maximum} \cdot
            \min\left(\frac{s}{\text{warmup}}, \sqrt{\frac{\text{warmup}}{s}}\right),
        \qquad s = t + 1

    Parameters
    ----------
    maximum : float
        The value when the steps that count from 1 reach `warmup`, 0 or more.
    warmup : int
        Steps of the ascent, 1 or more; with 1 there is none.

    Notes
    -----
    The paper's rate for a model of width d is ``maximum=(d * warmup) ** -0.5``.

    References
    ----------
    A. Vaswani et al., Attention is all you need, arXiv:1706.03762, section 5.3.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.InverseSqrt(1.0, warmup=4)
    >>> rate(0), rate(3), rate(15)
    (0.25, 1.0, 0.5)
    """

    maximum: float
    _: KW_ONLY
    warmup: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("maximum")
        self._counts("warmup")

    def _value(self, step: Number) -> Number:
        t, warmup = step + 1.0, _arrays.held(step, self.warmup)
        return self.maximum * least(t / warmup, _arrays.square_root(warmup / t))
