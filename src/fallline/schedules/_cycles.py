"""Schedules that go up and down, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Number
from ._base import Schedule, half_cosine, least, line


@dataclass(frozen=True, repr=False)
class CosineRestarts(Schedule):
    r"""Decay along the cosine with restarts (SGDR).

    .. math::
        \eta_t = \text{minimum} + \frac{\text{initial} - \text{minimum}}{2}
            \left(1 + \cos \frac{\pi t_i}{T_i}\right)

    where :math:`t_i` counts from the last restart, :math:`T_0` is `steps` and
    :math:`T_{i+1} = \text{multiplier} \cdot T_i`.

    Parameters
    ----------
    initial : float
        Value at each start, 0 or more.
    steps : int
        Length of the first period, 1 or more.
    multiplier : int, default 1
        How many times longer each period is than the one before, 1 or more.
    minimum : float, default 0
        The limit of each period, in [0, initial]; the restart comes before it is reached.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    References
    ----------
    I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts,
    arXiv:1608.03983.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.CosineRestarts(1.0, steps=10, multiplier=2)
    >>> rate(0), rate(5), rate(10), rate(20), rate(30)
    (1.0, 0.5, 1.0, 0.5, 1.0)
    """

    initial: float
    _: KW_ONLY
    steps: int
    multiplier: int = 1
    minimum: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("initial")
        self._numbers("minimum", high=self.initial)
        self._counts("steps", "multiplier")

    def _periods(self, last: float) -> Iterator[tuple[int, float]]:
        start, length = self.steps, self.steps * self.multiplier
        while start <= last:
            yield start, float(length)  # the last may be too long for the step's integers
            start, length = start + length, length * self.multiplier

    def _value(self, step: Number) -> Number:
        if self.multiplier == 1:
            share = _arrays.remainder(step, self.steps) / _arrays.held(step, self.steps)
            return half_cosine(self.initial, self.minimum, share)
        clock, period = step, float(self.steps)
        # Not by a logarithm: it may round to the wrong side of a restart.
        for start, length in self._periods(_arrays.largest(step)):
            reached = step >= start
            if reached is False:
                break  # an int needs only the periods before it; a symbol is never False
            clock = _arrays.choose(reached, step - start, clock)
            period = _arrays.choose(reached, length, period)
        return half_cosine(self.initial, self.minimum, clock / period)


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """One cycle: from a low value up to the maximum, then down to almost nothing.

    It starts at ``maximum / div_factor``, is largest at step ``ascent * steps - 1``, which may
    lie between two integers, and ends at step ``steps - 1`` with
    ``maximum / (div_factor * final_div_factor)``, where it stays.

    Parameters
    ----------
    maximum : float
        The largest value, 0 or more.
    steps : int
        Length of the cycle.
    ascent : float, default 0.3
        Share of the steps that go up, in (0, 1); it must make more than one step.
    div_factor : float, default 25
        Greater than 0.
    final_div_factor : float, default 1e4
        Greater than 0.
    shape : {"cosine", "linear"}
        The shape of both parts.

    Notes
    -----
    Matches the rate of ``torch.optim.lr_scheduler.OneCycleLR`` with two phases; torch raises an
    error after the end. Its momentum moves in the opposite direction: give the rule a schedule for
    that, too.

    References
    ----------
    L. N. Smith, N. Topin, Super-convergence: very fast training of neural networks using large
    learning rates, arXiv:1708.07120.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.OneCycle(1.0, steps=100, div_factor=10)
    >>> rate(0), rate(29), round(rate(99), 9)
    (0.1, 1.0, 1e-05)
    """

    maximum: float
    _: KW_ONLY
    steps: int
    ascent: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    shape: str = "cosine"

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("maximum")
        self._counts("steps")
        self._positive("ascent", below=1.0)
        self._positive("div_factor", "final_div_factor")
        self._choice("shape", ("cosine", "linear"))
        if self.ascent * self.steps <= 1:
            expected = f"a share of more than one of {self.steps} steps"
            raise ValueError(_checks.unlike(self._place("ascent"), self.ascent, expected))

    def _value(self, step: Number) -> Number:
        low = self.maximum / self.div_factor
        final = low / self.final_div_factor
        between = half_cosine if self.shape == "cosine" else line
        peak, last = self.ascent * self.steps - 1, self.steps - 1
        up = between(low, self.maximum, least(step, peak) / peak)
        gone = _arrays.capped(step, last) - peak
        down = between(self.maximum, final, gone / (last - peak))
        return _arrays.choose(step <= peak, up, down)


@dataclass(frozen=True, repr=False)
class Cyclic(Schedule):
    r"""Straight lines up and down, again and again.

    Parameters
    ----------
    minimum : float
        Where every cycle starts and ends, 0 or more.
    maximum : float
        The peak of the first cycle, at least the minimum.
    up : int, default 2000
        Steps of the ascent, 1 or more.
    down : int, optional
        Steps of the descent; by default those of the ascent.
    shape : {"triangular", "triangular2", "exp_range"}
        How the height above the minimum changes: it stays, it is halved in each cycle, or it is
        multiplied by `decay` in each step.
    decay : float, default 1
        For ``"exp_range"``, in (0, 1].

    Notes
    -----
    Matches the rate of ``torch.optim.lr_scheduler.CyclicLR``.

    References
    ----------
    L. N. Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.Cyclic(1.0, maximum=3.0, up=4, shape="triangular2")
    >>> rate(0), rate(2), rate(4), rate(8), rate(12)
    (1.0, 2.0, 3.0, 1.0, 2.0)
    """

    minimum: float
    _: KW_ONLY
    maximum: float
    up: int = 2000
    down: int | None = None
    shape: str = "triangular"
    decay: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self._numbers("minimum")
        self._numbers("maximum", low=self.minimum)
        self._counts("up", *([] if self.down is None else ["down"]))
        self._choice("shape", ("triangular", "triangular2", "exp_range"))
        self._positive("decay")
        self._numbers("decay", high=1.0)

    def _value(self, step: Number) -> Number:
        down = self.up if self.down is None else self.down
        whole = self.up + down
        place = _arrays.remainder(step, whole)
        rise = place / _arrays.held(step, self.up)
        fall = (_arrays.held(step, whole) - place) / _arrays.held(step, down)
        height = least(rise, fall)
        if self.shape == "triangular2":
            height = height * _arrays.power(0.5, _arrays.periods(step, whole))
        elif self.shape == "exp_range":
            height = height * _arrays.power(self.decay, step)
        return line(self.minimum, self.maximum, height)
