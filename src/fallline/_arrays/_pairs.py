"""Complex numbers as pairs of reals.

A formula sees a complex parameter as a `Pair`: sums, and products with reals, act on both
parts; `abs2` joins them. Native complex arithmetic is avoided because libraries fuse it
differently, and so that a formula written for reals is right for complex numbers as it stands.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from .. import _arrays


def abs2(x: Any) -> Any:
    """Return the squared magnitude, elementwise: ``x * x``, or ``re * re + im * im``."""
    if isinstance(x, Pair):
        return x.abs2()
    return x * x


def weighted_abs2(weight: Any, x: Any) -> Any:
    """Return ``weight * abs2(x)`` in the order ``(weight * x) * x``, part by part.

    With a small weight it stays finite where the square alone would not: in float32 up to
    magnitudes of about ``sqrt(3.4e38 / weight)``.
    """
    weighted = weight * x
    return weighted.dot(x) if isinstance(x, Pair) else weighted * x


def modulus(xp: Any, x: Any) -> Any:
    """Return the magnitude, elementwise and real."""
    return xp.sqrt(x.abs2()) if _is_complex(x) else xp.abs(x)


def sign(xp: Any, x: Any) -> Any:
    """Return ``x / |x|``, and 0 where `x` is 0."""
    if not _is_complex(x):
        return xp.sign(x)
    # Scaled first: squares of very small and of very large numbers are 0 and infinite.
    size = xp.maximum(xp.abs(x.re), xp.abs(x.im))
    zero = size == 0.0
    y = x / xp.where(zero, 1.0, size)
    return y / xp.where(zero, 1.0, xp.sqrt(y.abs2()))


def _is_complex(x: Any) -> bool:
    return isinstance(x, Pair) and x.im is not None


class Pair:
    """A complex array as its two parts, or a real one (``im is None``) beside such."""

    __slots__ = ("im", "re")
    __array_ufunc__ = None

    def __init__(self, re: Any, im: Any = None) -> None:
        self.re = re
        self.im = im

    def abs2(self) -> Pair:
        """Return ``re * re + im * im`` as a real."""
        return self.dot(self)

    def dot(self, other: Pair) -> Pair:
        """Return the sum of the products of the parts as a real."""
        product = self.re * other.re
        return Pair(product if self.im is None else product + self.im * other.im)

    def __neg__(self) -> Pair:
        return Pair(-self.re, None if self.im is None else -self.im)

    def __add__(self, other: Any) -> Pair:
        return _linear(operator.add, self, other)

    def __radd__(self, other: Any) -> Pair:
        return _linear(operator.add, other, self)

    def __sub__(self, other: Any) -> Pair:
        return _linear(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Pair:
        return _linear(operator.sub, other, self)

    def __mul__(self, other: Any) -> Pair:
        return _scaled(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Pair:
        return _scaled(operator.mul, self, other)

    def __truediv__(self, other: Any) -> Pair:
        return _scaled(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Pair:
        return Pair(other / _real(self, "a quotient"))

    def __gt__(self, other: Any) -> Pair:
        return Pair(_real(self, "order") > _real(other, "order"))

    def __lt__(self, other: Any) -> Pair:
        return Pair(_real(self, "order") < _real(other, "order"))

    def __ne__(self, other: object) -> Pair:  # type: ignore[override]
        return Pair(_real(self, "a comparison") != _real(other, "a comparison"))

    def __eq__(self, other: object) -> Pair:  # type: ignore[override]
        return Pair(_real(self, "a comparison") == _real(other, "a comparison"))

    __hash__ = None  # type: ignore[assignment]


class PairNamespace:
    """The namespace a formula is handed with pairs: its functions take real pairs only."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Callable[..., Pair]:
        function = getattr(self._xp, name)

        def on_reals(*operands: Any, **options: Any) -> Pair:
            return Pair(function(*(_real(x, name) for x in operands), **options))

        return on_reals


def _real(x: Any, name: str) -> Any:
    if not isinstance(x, Pair):
        return x
    if x.im is not None:
        msg = f"{name} of a complex quantity has no meaning in an elementwise rule; use abs2"
        raise TypeError(msg)
    return x.re


def _linear(op: Callable[[Any, Any], Any], a: Any, b: Any) -> Pair:
    # A sum of two complex or of two real quantities.
    x = a if isinstance(a, Pair) else Pair(a)
    y = b if isinstance(b, Pair) else Pair(b)
    if (x.im is None) != (y.im is None):
        msg = "the sum of a complex and a real quantity in a rule is surely a mistake"
        raise TypeError(msg)
    return Pair(op(x.re, y.re), None if x.im is None else op(x.im, y.im))


def _scaled(op: Callable[[Any, Any], Any], a: Pair, b: Any) -> Pair:
    # A quantity times or over a real one.
    if isinstance(b, Pair) and b.im is not None:
        if a.im is not None or op is not operator.mul:
            msg = "products and quotients of complex quantities are not elementwise on pairs"
            raise TypeError(msg)
        a, b = b, a
    factor = b.re if isinstance(b, Pair) else b
    return Pair(op(a.re, factor), None if a.im is None else op(a.im, factor))


def split(x: _arrays.Array) -> Pair:
    """Return an array as a pair."""
    return Pair(*_arrays.parts(x)) if _arrays.is_complex(x) else Pair(x)


def sum_square(xp: Any, x: Any) -> Any:
    """Return the sum of squared magnitudes of an array or a pair, 0-d."""
    total = xp.sum(abs2(x))
    return total.re if isinstance(total, Pair) else total


def count(x: Any) -> int:
    """Return the number of elements of an array or a pair, at least 1."""
    shape: tuple[int, ...] = (x.re if isinstance(x, Pair) else x).shape
    return max(1, math.prod(shape))


def on_parts(f: Callable[[Any, Any], Any], x: _arrays.Array) -> _arrays.Array:
    """Return ``f(xp, x)`` of an elementwise function written for formulas, in the dtype of `x`."""
    xp = _arrays.namespace(x)
    if _arrays.is_complex(x):
        y = f(PairNamespace(xp), split(x))
        return _arrays.joined(y.re, y.im, x)
    return _arrays.cast(f(xp, _arrays.widened(x)), x)


def select(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds, else `b`, real or complex; `b` may be 0.

    The condition may also be one truth of Python's, from numbers of the step.
    """
    if isinstance(condition, bool):
        return a if condition else b
    if isinstance(a, Pair) and a.im is not None:
        re, im = (b.re, b.im) if isinstance(b, Pair) else (b, b)
        return Pair(xp.where(condition, a.re, re).re, xp.where(condition, a.im, im).re)
    return xp.where(condition, a, b)
