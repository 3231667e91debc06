"""Many problems as one matrix: the space of a batch, and where its problems stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._types import Array, Number, Tree
from .._space import AbstractSpace


class BatchedSpace(AbstractSpace):
    """The matrices that stand for trees like `x0`, with a column for each problem.

    With the problems along the last axis, numbers of shape (problems,) broadcast against a matrix,
    and NumPy's sums over the short axis are sums of long rows.

    Parameters
    ----------
    x0 : array or tree of arrays
        As in `AbstractSpace`; the leading axis of every leaf counts the problems.

    Attributes
    ----------
    problems : int
        Length of the leading axes.
    """

    def __init__(self, x0: Tree) -> None:
        super().__init__(x0)
        first = ""
        for path, p in zip(self.structure.paths, self._like, strict=True):
            if p is None:
                continue
            place = _checks.where("x0", path)
            if p.ndim == 0:
                msg = f"{place}: has no axis, expected a leading one with an entry for each problem"
                raise ValueError(msg)
            if not first:
                self.problems, first = int(p.shape[0]), place
            if p.shape[0] != self.problems:
                expected = f"{self.problems} as in {first}"
                raise ValueError(_checks.mismatch(place, "leading axis", p.shape[0], expected))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrices."""
        return self.size, self.problems

    def _length(self, p: Array) -> int:
        return math.prod(p.shape[1:])

    def _flat(self, x: Array) -> Array:
        # By way of a vector, which makes the matrix contiguous.
        shape = self._length(x), x.shape[0]
        return self.xp.reshape(self.xp.reshape(self.xp.reshape(x, shape[::-1]).T, (-1,)), shape)

    def _shaped(self, piece: Array, p: Array) -> Array:
        return self.xp.reshape(self.xp.reshape(piece.T, (-1,)), p.shape)

    def dot(self, a: Array, b: Array) -> Array:
        """Return the inner product of each problem."""
        return self.xp.sum(a * b, axis=0)

    def peak(self, vector: Array) -> Array:
        """Return the largest magnitude of each problem; NaN where there is one."""
        xp = self.xp
        return xp.max(xp.abs(vector), axis=0) if self.size else xp.sum(vector, axis=0)

    def value(self, value: Array) -> Array:
        """Return what `fun` gave for the values as a new array, without a look at it."""
        value, place = _arrays.unscalar(value), "fun: its values"
        if not _arrays.is_array(value):
            msg = f"{place}: are a {type(value).__name__}, expected an array with one per problem"
            raise TypeError(msg)
        _checks.same_kind(place, self.like, value)
        if _arrays.is_complex(value):
            msg = f"{place}: are complex, expected real numbers"
            raise TypeError(msg)
        shape = tuple(value.shape)
        if shape != (self.problems,):
            raise ValueError(_checks.mismatch(place, "shape", shape, (self.problems,)))
        return self.xp.astype(_arrays.detached(value), self.dtype, copy=True)

    def penalty(self, penalty: Tree, leaf: Array) -> Number:
        """Return an L2 penalty of each problem."""
        squares = _arrays.abs2(_arrays.widened(leaf))
        shape = leaf.shape[0], math.prod(leaf.shape[1:])
        return penalty.alpha / 2 * self.xp.sum(self.xp.reshape(squares, shape), axis=1)

    def read(self, number: Array) -> Any:
        """Return the numbers on their device."""
        return number

    def lengths(self, step: Number, x: Array) -> tuple[Array, Array]:
        """Return the Euclidean norms of each problem."""
        return self.xp.sqrt(self.dot(step, step)), self.xp.sqrt(self.dot(x, x))

    def broken(self, numbers: Sequence[Array]) -> Array:
        """Return for which problems the value or the norm is not finite."""
        value, norm = numbers
        return ~(self.xp.isfinite(value) & self.xp.isfinite(norm))

    def not_finite(self, norm: Array, gradient: Array, iteration: Any) -> str:
        """Return what is true of every such problem."""
        return "the value or the gradient is not finite"


class Stand(NamedTuple):
    """Where the problems stand: points, values, gradients and their largest elements."""

    x: Array
    value: Array
    gradient: Array
    norm: Array
