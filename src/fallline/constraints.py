"""Constraints: sets of arrays, and the projection onto them.

``project(x)`` returns the nearest array of the set as a new array. Any callable that maps an array
to an array of the same shape can serve as a constraint, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from . import _arrays
from ._arrays import _checks, _settings
from ._arrays._pairs import Pair, length, limited, modulus, on_parts, scaled, select, sign
from ._arrays._reductions import double_of
from ._arrays._types import Array, Namespace, Number, Scalars

__all__ = [
    "Box", "L1Ball", "L2Ball", "MaxModulus", "Modulus", "NonNegative", "Simplex", "Support",
]  # fmt: skip

# How far rounding may move a projected point off its set, in units of the machine epsilon.
_SLACK = 8


@dataclass(frozen=True)
class Constraint:
    """Base of the constraints.

    Attributes
    ----------
    elementwise : bool
        Whether the projection acts on each element by itself: by `formula`, which is fused into
        the program of a rule.
    real : bool
        Whether it is defined for real arrays only.
    """

    elementwise: ClassVar[bool] = True
    real: ClassVar[bool] = False

    def __call__(self, x: Array) -> Array:
        """Return the nearest array of the set, as `project` does."""
        return self.project(x)

    def project(self, x: Array) -> Array:
        """Return the nearest array of the set.

        Parameters
        ----------
        x : array
            Of any shape.

        Returns
        -------
        array
            Like `x`.

        Raises
        ------
        TypeError
            If `x` is not an array, or if it is complex and the set holds real arrays.
        """
        x = _arrays.unscalar(x)
        _checks.leaf("x", x)
        if self.real and _arrays.is_complex(x):
            expected = f"a real one, as {self!r} is a set of real arrays"
            raise TypeError(_checks.mismatch("x", "dtype", _arrays.dtype_name(x), expected))
        with np.errstate(all="ignore"):
            if self.elementwise:
                scalars = self.scalars().items()
                s = SimpleNamespace(**{name: _arrays.as_numbers(v, x) for name, v in scalars})
                return on_parts(lambda xp, x: self.formula(xp, s, x), x)
            wide = _arrays.widened(x)
            slack = _SLACK * _arrays.EPSILON[_arrays.dtype_name(x)]
            return _arrays.cast(self._project(_arrays.namespace(x), wide, slack), x)

    def scalars(self) -> dict[str, Number]:
        """Return the numbers of `formula` by name, or arrays that broadcast against a leaf."""
        return {}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        """Return the projection onto an elementwise set, element by element."""
        raise NotImplementedError

    @property
    def masks_gradient(self) -> bool:
        """Whether `gradient_formula` sets elements of gradients to zero."""
        return False

    def gradient_formula(self, xp: Namespace, s: Scalars, p: Array, g: Array) -> Array:
        """Return the gradient for a descent within the set from `p`, element by element."""
        return g

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}({name}=)"

    def _project(self, xp: Namespace, x: Array, slack: float) -> Array:
        # Arrays in the set, up to a relative error of `slack`, are returned unchanged.
        raise NotImplementedError


@dataclass(frozen=True)
class Box(Constraint):
    """Arrays between bounds.

    Parameters
    ----------
    low, high : float or array, optional
        Bounds: numbers, or arrays that broadcast against the array. `None` means no bound.
    mask_gradient : bool, default False
        Set the gradient to zero, before the rule sees it, where it pushes an element beyond a bound
        that the element has reached, so that no momentum builds up there. Otherwise an element
        whose gradient turns stays at the bound until its momentum has turned, too.
    """

    low: Array = None
    high: Array = None
    mask_gradient: bool = field(default=False, kw_only=True)
    real: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check numbers."""
        _settings.settle(self)
        bounds = {"low": self.low, "high": self.high}
        numbers = {
            name: _checks.real(self._place(name), x, "a number or an array")
            for name, x in bounds.items()
            if x is not None and not _arrays.is_array(x)
        }
        if len(numbers) == 2 and not numbers["low"] <= numbers["high"]:
            raise ValueError(
                _checks.unlike(self._place("high"), self.high, f"a number >= low={self.low}")
            )

    def scalars(self) -> dict[str, Number]:
        bounds = {"low": self.low, "high": self.high}
        return {name: x for name, x in bounds.items() if x is not None}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        if self.low is not None:
            x = xp.where(x < s.low, s.low, x)
        return x if self.high is None else xp.where(x > s.high, s.high, x)

    @property
    def masks_gradient(self) -> bool:
        return self.mask_gradient

    def gradient_formula(self, xp: Namespace, s: Scalars, p: Array, g: Array) -> Array:
        if self.low is not None:
            g = xp.where(p <= s.low, xp.where(g > 0.0, 0.0, g), g)
        if self.high is not None:
            g = xp.where(p >= s.high, xp.where(g < 0.0, 0.0, g), g)
        return g


@dataclass(frozen=True)
class NonNegative(Box):
    """Arrays without negative elements: a `Box` with the lower bound 0.

    Parameters
    ----------
    mask_gradient : bool, default False
        As in `Box`.
    """

    low: Array = field(default=0.0, init=False, repr=False)
    high: Array = field(default=None, init=False, repr=False)

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        return xp.maximum(x, xp.zeros_like(x))  # half the time of a choice


@dataclass(frozen=True)
class Support(Constraint):
    """Arrays that are zero outside of a mask.

    Parameters
    ----------
    mask : array of bool
        True where elements are free; it broadcasts against the array.
    """

    mask: Array

    def scalars(self) -> dict[str, Number]:
        return {"mask": self.mask}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        inside = s.mask != 0.0
        return select(xp, inside, x, 0.0)


@dataclass(frozen=True)
class Modulus(Constraint):
    """Arrays of given magnitudes; zeros are projected to real and positive numbers.

    Parameters
    ----------
    a : float or array
        The magnitudes, not negative.
    """

    a: Array

    def scalars(self) -> dict[str, Number]:
        return {"a": self.a}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        zero = modulus(xp, x) == 0.0
        y = s.a * sign(xp, x)
        if isinstance(y, Pair) and y.im is not None:
            return Pair(xp.where(zero, s.a, y.re).re, y.im)
        return xp.where(zero, s.a, y)


@dataclass(frozen=True)
class MaxModulus(Constraint):
    """Arrays whose magnitudes do not exceed given ones.

    Parameters
    ----------
    a : float or array
        The largest magnitudes, not negative.
    """

    a: Array

    def scalars(self) -> dict[str, Number]:
        return {"a": self.a}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        return limited(xp, x, s.a)


@dataclass(frozen=True)
class L2Ball(Constraint):
    """Arrays whose Euclidean norm is at most a radius.

    Parameters
    ----------
    radius : float
        The radius, greater than 0.
    """

    radius: float = 1.0
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the radius."""
        _settings.settle(self)
        _checks.positive(self._place("radius"), self.radius)

    def _project(self, xp: Namespace, x: Array, slack: float) -> Array:
        def shortened(xp: Namespace, x: Array) -> Array:
            y, scale = scaled(xp, x)
            size = length(xp, y)
            over = scale * size > self.radius * (1 + slack)
            return select(xp, over, y * (self.radius / xp.where(over, size, 1.0)), x)

        return on_parts(shortened, x)


@dataclass(frozen=True)
class Simplex(Constraint):
    """Arrays without negative elements whose sum is given.

    Parameters
    ----------
    radius : float
        The sum, greater than 0.

    References
    ----------
    Duchi, Shalev-Shwartz, Singer and Chandra (2008), ICML, figure 1.
    """

    radius: float = 1.0
    elementwise: ClassVar[bool] = False
    real: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the radius."""
        _settings.settle(self)
        _checks.positive(self._place("radius"), self.radius)

    def _project(self, xp: Namespace, x: Array, slack: float) -> Array:
        if not math.prod(x.shape):
            return x
        wide = _in_double(xp, x)
        near = xp.abs(xp.sum(wide) - self.radius) <= slack * self.radius
        inside = xp.logical_and(near, xp.min(x) >= 0)
        lowered = _lowered(xp, wide - xp.max(wide), self.radius)
        return xp.where(inside, x, _arrays.cast(lowered, x))


@dataclass(frozen=True)
class L1Ball(Constraint):
    """Arrays whose sum of magnitudes is at most a radius.

    Parameters
    ----------
    radius : float
        The radius, greater than 0.
    """

    radius: float = 1.0
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the radius."""
        _settings.settle(self)
        _checks.positive(self._place("radius"), self.radius)

    def _project(self, xp: Namespace, x: Array, slack: float) -> Array:
        if not math.prod(x.shape):
            return x

        def shortened(pairs: Namespace, x: Array) -> Array:
            # The magnitude of a complex number may be out of range where its parts are not.
            top = xp.max(_plain(modulus(pairs, x)))
            unit = xp.where(top < math.inf, xp.ones_like(top), 0.25)
            sizes = _plain(modulus(pairs, x * unit))
            wide = _in_double(xp, sizes)
            inside = xp.sum(wide) / unit <= self.radius * (1 + slack)
            lowered = _lowered(xp, (wide - xp.max(wide)) / unit, self.radius)
            return select(pairs, inside, x, sign(pairs, x) * _arrays.cast(lowered, sizes))

        return on_parts(shortened, x)


def _plain(x: Array) -> Array:
    return x.re if isinstance(x, Pair) else x


def _in_double(xp: Namespace, x: Array) -> Array:
    # Double precision, where the device has it, rounds sums of many elements less.
    double = double_of(x)
    return x if double is None else xp.astype(x, double, copy=False)


def _lowered(xp: Namespace, x: Array, radius: float) -> Array:
    # max(x - t, 0), whose sum is the radius, without synchronising with the device. The largest
    # element of x is 0, because a radius is lost beside large numbers. Elements that are smaller by
    # more than the radius become zero; they are capped, since they could add up to infinity.
    x = xp.where(x < -2 * radius, -2 * radius, x)
    flat = xp.flip(xp.sort(xp.reshape(x, (-1,))))
    count = _arrays.arange(flat.shape[0], flat) + 1
    levels = (xp.cumulative_sum(flat) - radius) / xp.astype(count, flat.dtype)
    # Elements above their level are the largest ones; the last of these has the answer.
    number = xp.sum(xp.astype(flat > levels, count.dtype))
    level = xp.sum(xp.where(count == number, levels, xp.zeros_like(levels)))
    y = xp.maximum(x - level, xp.zeros_like(x))
    # Undo the change that rounding the level has made to each of many elements.
    some = y > 0
    kept = xp.astype(xp.sum(xp.astype(some, count.dtype)), y.dtype)
    return xp.where(some, xp.maximum(y + (radius - xp.sum(y)) / kept, xp.zeros_like(y)), y)
