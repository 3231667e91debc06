"""Complex numbers as pairs of reals.

A formula sees a complex parameter as a `Pair`: sums, and products with reals, act on both
parts; `abs2` combines them. Native complex arithmetic is avoided because libraries fuse it
differently, and so that a formula written for reals is also right for complex numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np

from .. import _arrays
from ._types import Array, Namespace, Number

# Numbers up to this, and down to one over it, can be squared and summed.
_SAFE = {"float32": 2.0**30, "float64": 2.0**400}


def abs2(x: Array) -> Array:
    """Return the squared magnitude, elementwise: ``x * x``, or ``re * re + im * im``."""
    if isinstance(x, Pair):
        return x.abs2()
    return x * x


def weighted_abs2(weight: Number, x: Array) -> Array:
    """Return ``weight * abs2(x)`` in the order ``(weight * x) * x``, part by part.

    With a small weight it stays finite where the square alone would not: in float32 up to
    magnitudes of about ``sqrt(3.4e38 / weight)``.
    """
    weighted = weight * x
    return weighted.dot(x) if isinstance(x, Pair) else weighted * x


def modulus(xp: Namespace, x: Array) -> Array:
    """Return the magnitude, elementwise and real, also where its square is out of range."""
    if not _is_complex(x):
        return xp.abs(x)
    size, _, length = _polar(xp, x)
    return size * xp.where(size < math.inf, length, 1.0)


def sign(xp: Namespace, x: Array) -> Array:
    """Return ``x / |x|``, and 0 where `x` is 0."""
    if not _is_complex(x):
        return xp.sign(x)
    _, y, length = _polar(xp, x)
    return y / length


def limited(xp: Namespace, x: Array, limit: Number) -> Array:
    """Return `x` with magnitudes of at most a limit, elementwise."""
    return select(xp, modulus(xp, x) > limit, limit * sign(xp, x), x)


def kept(xp: Namespace, size: Number, threshold: Array) -> Array:
    """Return the factor ``max(0, 1 - threshold / size)``, and 0 where the size is 0."""
    above = size > threshold
    return xp.where(above, 1 - threshold / xp.where(above, size, 1.0), 0.0 * size)


def shrunk(xp: Namespace, x: Array, threshold: Array) -> Array:
    """Return `x` with magnitudes less by a threshold, and zero below: soft thresholding."""
    if _is_complex(x):
        return x * kept(xp, modulus(xp, x), threshold)
    return xp.sign(x) * xp.maximum(xp.abs(x) - threshold, xp.zeros_like(x))


def _polar(xp: Namespace, x: Pair) -> tuple[Array, Array, Array]:
    # The larger part, `x` over it, and the length of that, from 1 to the root of 2; 1 for zero.
    # Squares of very small and of very large numbers are 0 and infinite.
    size = xp.maximum(xp.abs(x.re), xp.abs(x.im))
    zero = size == 0.0
    y = x / xp.where(zero, 1.0, size)
    return size, y, xp.sqrt(xp.where(zero, 1.0, y.abs2()))


def _is_complex(x: Array) -> bool:
    return isinstance(x, Pair) and x.im is not None


class Pair:
    """A complex array as its two parts, or a real array, for which `im` is `None`."""

    __slots__ = ("im", "re")
    __array_ufunc__ = None

    def __init__(self, re: Array, im: Array = None) -> None:
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

    def __add__(self, other: Array) -> Pair:
        return _linear(operator.add, self, other)

    def __radd__(self, other: Array) -> Pair:
        return _linear(operator.add, other, self)

    def __sub__(self, other: Array) -> Pair:
        return _linear(operator.sub, self, other)

    def __rsub__(self, other: Array) -> Pair:
        return _linear(operator.sub, other, self)

    def __mul__(self, other: Array) -> Pair:
        return _scaled(operator.mul, self, other)

    def __rmul__(self, other: Array) -> Pair:
        return _scaled(operator.mul, self, other)

    def __truediv__(self, other: Array) -> Pair:
        return _scaled(operator.truediv, self, other)

    def __rtruediv__(self, other: Array) -> Pair:
        return Pair(other / _real(self, "a quotient"))

    def __gt__(self, other: Array) -> Pair:
        return Pair(_real(self, "order") > _real(other, "order"))

    def __lt__(self, other: Array) -> Pair:
        return Pair(_real(self, "order") < _real(other, "order"))

    def __ne__(self, other: object) -> Pair:  # type: ignore[override]
        return Pair(_real(self, "a comparison") != _real(other, "a comparison"))

    def __eq__(self, other: object) -> Pair:  # type: ignore[override]
        return Pair(_real(self, "a comparison") == _real(other, "a comparison"))

    __hash__ = None  # type: ignore[assignment]


class PairNamespace:
    """The namespace with which a formula is called on pairs; its functions take real pairs only."""

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Callable[..., Pair]:
        function = getattr(self._xp, name)

        def on_reals(*operands: Array, **options: object) -> Pair:
            return Pair(function(*(_real(x, name) for x in operands), **options))

        return on_reals


def _real(x: Array, name: str) -> Array:
    if not isinstance(x, Pair):
        return x
    if x.im is not None:
        msg = f"{name} of a complex quantity has no meaning in an elementwise rule; use abs2"
        raise TypeError(msg)
    return x.re


def _linear(op: Callable[[Array, Array], Array], a: Array, b: Array) -> Pair:
    # A sum of two complex or of two real quantities.
    x = a if isinstance(a, Pair) else Pair(a)
    y = b if isinstance(b, Pair) else Pair(b)
    if (x.im is None) != (y.im is None):
        msg = "a formula must not add a real and a complex array"
        raise TypeError(msg)
    return Pair(op(x.re, y.re), None if x.im is None else op(x.im, y.im))


def _scaled(op: Callable[[Array, Array], Array], a: Pair, b: Array) -> Pair:
    # A product with a real quantity, or a quotient by one.
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


def scaled(
    xp: Namespace, x: Array, axis: int | tuple[int, ...] | None = None
) -> tuple[Array, Array]:
    """Return an array or a pair divided by a size, and that size, for the sum of its squares.

    The size is 1 where squares are safe, and otherwise the largest part. With `axis` there is
    a size for each slice along these axes, which are kept.
    """
    parts = [part for part in ((x.re, x.im) if isinstance(x, Pair) else (x,)) if part is not None]
    along = {"axis": axis, "keepdims": axis is not None}
    if math.prod(parts[0].shape):
        sizes = [xp.maximum(xp.max(part, **along), -xp.min(part, **along)) for part in parts]
    else:
        sizes = [xp.sum(part, **along) for part in parts]
    size = sizes[0] if len(sizes) == 1 else xp.maximum(*sizes)
    scale = scale_of(xp, size, _arrays.dtype_name(parts[0]))
    plain = scale.re if isinstance(scale, Pair) else scale
    if isinstance(plain, np.ndarray | np.generic) and (plain == 1).all():
        return x, scale
    return x / scale, scale


def scale_of(xp: Namespace, size: Number, dtype: str) -> Array:
    """Return the number by which numbers up to a size are divided before they are squared."""
    safe = _SAFE[dtype]
    far = xp.logical_or(size < 1 / safe, size > safe)
    usable = xp.logical_and(size > 0.0, size < math.inf)
    # A quarter of a large one: one over the largest is too small for a number of full precision.
    scale = xp.where(size > safe, 0.25 * size, size)
    return xp.where(xp.logical_and(far, usable), scale, 1.0)


def length(xp: Namespace, x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the root of the sum of squares of a `scaled` array; its slope at zero is zero."""
    total = xp.sum(abs2(x), axis=axis, keepdims=axis is not None)
    some = total > 0.0
    return xp.where(some, xp.sqrt(xp.where(some, total, 1.0)), total)


def count(x: Array) -> int:
    """Return the number of elements of an array or a pair, at least 1."""
    shape: tuple[int, ...] = (x.re if isinstance(x, Pair) else x).shape
    return max(1, math.prod(shape))


def on_parts(f: Callable[[Array, Array], Array], x: _arrays.Array) -> _arrays.Array:
    """Return ``f(xp, x)`` of an elementwise function written for formulas, in the dtype of `x`."""
    xp = _arrays.namespace(x)
    if _arrays.is_complex(x):
        y = f(PairNamespace(xp), split(x))
        return _arrays.joined(y.re, y.im, x)
    return _arrays.cast(f(xp, _arrays.widened(x)), x)


def select(xp: Namespace, condition: Array, a: Array, b: Array) -> Array:
    """Return `a` where the condition holds, else `b`, real or complex; `b` may be 0.

    The condition may also be one truth of Python's, from numbers of the step.
    """
    if isinstance(condition, bool):
        return a if condition else b
    if isinstance(a, Pair) and a.im is not None:
        re, im = (b.re, b.im) if isinstance(b, Pair) else (b, b)
        return Pair(xp.where(condition, a.re, re).re, xp.where(condition, a.im, im).re)
    return xp.where(condition, a, b)
