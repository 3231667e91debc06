"""Exponential decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from .._arrays._types import Array, Namespace
from ._base import Held, Model, Scaled
from ._starts import combined, largest, spans

# Lifetimes that a guess tries: so many, up to so many lengths of the data.
_ONE, _LONGEST = 24, 4.0
_TWO, _SLOWEST = 10, 2.0


@dataclass(frozen=True)
class ExponentialDecay(Scaled):
    r"""An exponential decay towards an offset.

    .. math:: f(x) = A e^{-x / \tau} + b

    Parameters
    ----------
    amplitude : float, optional
        :math:`A`, the height above the offset at x = 0, in units of y; negative for a rise. A
        number holds it there, `None` lets it be found.
    lifetime : float, optional
        :math:`\tau`, the time in which the height falls to 1/e, in units of x. The half-life is
        :math:`\tau \ln 2`, the rate :math:`1 / \tau`.
    offset : float, optional
        :math:`b`, in units of y. ``offset=0.0`` is a decay to zero.

    Notes
    -----
    The amplitude belongs to x = 0, so x should be counted from where the decay begins. A bound
    ``lifetime > 0`` keeps a fit to noise from a curve that grows. The guess tries 24 lifetimes,
    each with the amplitude and the offset that fit best.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> decay, t = fl.models.ExponentialDecay(offset=0.0), np.asarray([0.0, 1.0, 2.0])
    >>> decay(t, {"amplitude": 8.0, "lifetime": 1 / np.log(2)})
    array([8., 4., 2.])
    >>> decay.jacobian(t, {"amplitude": 8.0, "lifetime": 1.0})["amplitude"]
    array([1.        , 0.36787944, 0.13533528])
    """

    amplitude: Held = None
    lifetime: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, amplitude, lifetime = numbers
        times = x / lifetime
        return amplitude, lifetime, times, xp.exp(-times)

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        amplitude, lifetime, times, fall = shared
        return (amplitude * fall * times / lifetime,)

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        return _nearest(xp, points[0], y, 1, _grid(_ONE, 0.5 / y.shape[-1], _LONGEST), raised)


@dataclass(frozen=True)
class TwoExponentialDecays(Model):
    r"""The sum of two exponential decays towards an offset.

    .. math:: f(x) = A_1 e^{-x / \tau_1} + A_2 e^{-x / \tau_2} + b

    Parameters
    ----------
    amplitude_1 : float, optional
        :math:`A_1`, the height of the first decay at x = 0, in units of y. A number holds it
        there, `None` lets it be found.
    lifetime_1 : float, optional
        :math:`\tau_1`, in units of x. A guess gives the first decay the shorter lifetime.
    amplitude_2 : float, optional
        :math:`A_2`, in units of y.
    lifetime_2 : float, optional
        :math:`\tau_2`, in units of x.
    offset : float, optional
        :math:`b`, in units of y. ``offset=0.0`` is a decay to zero.

    Notes
    -----
    Two decays can be told apart only if the lifetimes differ by far more than the noise allows for
    one; standard errors show it. The guess tries 45 pairs of lifetimes, each with the amplitudes
    and the offset that fit best.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> t = np.linspace(0, 10, 50)
    >>> model = fl.models.TwoExponentialDecays(offset=0.0)
    >>> model.names
    ('amplitude_1', 'lifetime_1', 'amplitude_2', 'lifetime_2')
    >>> start = model.guess(t, 3 * np.exp(-t) + np.exp(-t / 5))
    >>> bool(start["lifetime_1"] < start["lifetime_2"])
    True
    """

    amplitude_1: Held = None
    lifetime_1: Held = None
    amplitude_2: Held = None
    lifetime_2: Held = None
    offset: Held = None

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        x, amplitude_1, lifetime_1, amplitude_2, lifetime_2 = numbers
        one = ExponentialDecay()
        first = one._shared(xp, x, amplitude_1, lifetime_1)
        return *first, *one._shared(xp, x, amplitude_2, lifetime_2)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        one = ExponentialDecay()
        return one._value(xp, *shared[:4]) + one._value(xp, *shared[4:])

    def _columns(self, xp: Namespace, *shared: Array) -> tuple[Array, ...]:
        one = ExponentialDecay()
        return *one._columns(xp, *shared[:4]), *one._columns(xp, *shared[4:])

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        return _nearest(xp, points[0], y, 2, _grid(_TWO, 1 / y.shape[-1], _SLOWEST), raised)


def _grid(n: int, first: float, last: float) -> list[float]:
    # Numbers from the first to the last in equal ratios.
    return [first * (last / first) ** (i / (n - 1)) for i in range(n)]


def _nearest(
    xp: Namespace, x: Array, y: Array, terms: int, grid: Sequence[float], raised: bool
) -> tuple[Array, ...]:
    # Amplitudes and lifetimes, decay by decay, and the offset of the sum of decays that is nearest
    # to data among those with lifetimes of the grid, which are in lengths of the data.
    low, length = spans(xp, x)
    height = largest(xp, y)
    u, v = (x - low) / length, y / height
    best: list[Array] = []
    for lifetimes in combinations(grid, terms):
        falls = [xp.exp(u * (-1 / lifetime)) for lifetime in lifetimes]
        factors, level, left = combined(xp, falls, v, raised=raised)
        times = [xp.full_like(left, lifetime) for lifetime in lifetimes]
        found = [left, level, *factors, *times]
        better = left < best[0] if best else None
        best = [xp.where(better, a, b) for a, b in zip(found, best, strict=True)] if best else found
    _, level, *rest = best
    start = []
    for factor, lifetime in zip(rest[:terms], rest[terms:], strict=True):
        start += [height * factor * xp.exp(low / length / lifetime), length * lifetime]
    return *start, height * level
