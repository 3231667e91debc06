"""A tree of arrays as one real vector: the space in which the solvers work.

Complex leaves count as pairs of reals, so that inner products are Re <a, b>; half precision is
computed in single, and mixed precisions in the highest.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._shards import is_sharded
from .._arrays._trees import Structure
from .._arrays._types import Array, HostArray, Number, Tree

_BLOCK = 8192  # columns; 23 rows of them are 1.5 MB


class AbstractSpace(ABC):
    """What stands for trees like `x0`: a vector, or a matrix of a batch.

    Parameters
    ----------
    x0 : array or tree of arrays
        All of one library, on one device; ``None`` leaves stay ``None``.

    Attributes
    ----------
    xp : namespace
        Of the arrays.
    dtype : dtype
        Of the vectors or matrices, real.
    epsilon : float
        Precision of the least precise leaf.
    size : int
        Number of their rows.
    spans : list of slice
        The rows of each leaf.
    """

    def __init__(self, x0: Tree) -> None:
        self.structure = Structure(x0)
        self._like = self.structure.flatten(x0, "x0")
        arrays = [(i, p) for i, p in enumerate(self._like) if p is not None]
        if not arrays:
            msg = "x0: has no arrays"
            raise ValueError(msg)
        first = arrays[0][1]
        for i, p in arrays:
            place = _checks.where("x0", self.structure.paths[i])
            _checks.leaf(place, p)
            _checks.same_kind(place, first, p)
            if is_sharded(p):
                msg = f"{place}: is a DTensor, expected an array of one process"
                raise TypeError(msg)
        self.like = first
        self.xp = _arrays.namespace(first)
        names = {_arrays.COMPUTE[_arrays.dtype_name(p)] for _, p in arrays}
        self.dtype = getattr(self.xp, max(names))  # "float64" sorts after "float32"
        self.epsilon = max(_arrays.EPSILON[_arrays.dtype_name(p)] for _, p in arrays)
        self.host = _arrays.on_host(first)
        self._simple = len(self._like) == 1 and not _arrays.is_complex(first)
        self._complex = [p is not None and _arrays.is_complex(p) for p in self._like]
        self.spans: list[slice] = []
        end = 0
        for p in self._like:
            n = 0 if p is None else self._length(p) * (2 if _arrays.is_complex(p) else 1)
            self.spans.append(slice(end, end + n))
            end += n
        self.size = end

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what stands for trees like `x0`."""
        return (self.size,)

    @abstractmethod
    def _length(self, p: Array) -> int:
        """Return how many rows a leaf has."""

    @abstractmethod
    def _flat(self, x: Array) -> Array:
        """Return a leaf as rows."""

    @abstractmethod
    def _shaped(self, piece: Array, p: Array) -> Array:
        """Return rows in the shape of a leaf."""

    @abstractmethod
    def peak(self, vector: Array) -> Array:
        """Return the largest magnitude of a problem's elements, on their device; NaN beside one."""

    @abstractmethod
    def value(self, value: Number) -> Number:
        """Return what `fun` gave for the value, after a check where that is not done later."""

    @abstractmethod
    def penalty(self, penalty: Tree, leaf: Array) -> Number:
        """Return the value of a penalty."""

    @abstractmethod
    def read(self, number: Number) -> Any:
        """Return a number in the form that records have."""

    @abstractmethod
    def lengths(self, step: Number, x: Array) -> tuple[Any, Any]:
        """Return the Euclidean norms of a step and of a point, as numbers of a record."""

    @abstractmethod
    def broken(self, numbers: Sequence[Number]) -> Any:
        """Return whether one of the numbers of a record is not finite."""

    @abstractmethod
    def not_finite(self, norm: Number, gradient: Array, iteration: Any) -> str:
        """Return in words what is not finite where something is."""

    def pack(self, tree: Tree, argument: str) -> Array:
        """Return a tree as a new vector, after a check against x0."""
        if self._simple and self._fits(tree):
            return self._flat(self.xp.astype(tree, self.dtype, copy=True))
        leaves = self.structure.flatten(tree, argument)
        pieces = []
        for i, (p, g) in enumerate(zip(self._like, leaves, strict=True)):
            if p is None and g is None:
                continue
            g = _arrays.unscalar(g)
            place = _checks.where(argument, self.structure.paths[i])
            if p is None:
                msg = f"{place}: is an array, but x0 has None there"
                raise ValueError(msg)
            _checks.gradient(place, p, g)
            g = _arrays.detached(g)
            for part in _arrays.parts(g) if self._complex[i] else (g,):
                pieces.append(self._flat(part))
        if len(pieces) == 1:
            return self.xp.astype(pieces[0], self.dtype, copy=True)
        return self.xp.concat([self.xp.astype(x, self.dtype, copy=False) for x in pieces])

    def _fits(self, x: Array) -> bool:
        p = self.like
        return self.host and type(x) is type(p) and x.dtype == p.dtype and x.shape == p.shape

    def unpack(self, vector: Array) -> Tree:
        """Return a vector as a tree like x0, of views where they are possible."""
        if self._simple and vector.dtype == self.like.dtype:
            return self.structure.unflatten([self._shaped(vector, self.like)])
        return self.structure.unflatten(
            [
                None if p is None else self._leaf(p, vector[span, ...], paired)
                for p, span, paired in zip(self._like, self.spans, self._complex, strict=True)
            ]
        )

    def shown(self, vector: Array) -> Tree:
        """Return a vector as a tree through which it cannot be changed."""
        leaves = self.structure.flatten(self.unpack(vector), "x")
        return self.structure.unflatten([p if p is None else _arrays.shielded(p) for p in leaves])

    def _leaf(self, p: Array, piece: Array, paired: bool) -> Array:
        if paired:
            half = piece.shape[0] // 2
            re, im = (self._shaped(x, p) for x in (piece[:half, ...], piece[half:, ...]))
            component = _arrays.parts(p)[0]
            return _arrays.joined(_arrays.cast(re, component), _arrays.cast(im, component), p)
        return _arrays.cast(self._shaped(piece, p), p)


class Space(AbstractSpace):
    """The vectors that stand for trees like `x0`."""

    def _length(self, p: Array) -> int:
        return math.prod(p.shape)

    def _flat(self, x: Array) -> Array:
        return self.xp.reshape(x, (-1,))

    def _shaped(self, piece: Array, p: Array) -> Array:
        return self.xp.reshape(piece, p.shape)

    def peak(self, vector: Array) -> Array:
        """Return the largest magnitude of a vector, 0-d on its device; NaN if there is one."""
        return self.xp.max(self.xp.abs(vector)) if self.size else self.xp.sum(vector)

    def value(self, value: Number) -> Number:
        """Return the value as it is: `numbers` checks it."""
        return value

    def penalty(self, penalty: Tree, leaf: Array) -> Number:
        """Return the value of a penalty, 0-d."""
        return penalty.value(leaf)

    def read(self, number: Number) -> float:
        """Return a number on the host, which synchronises with the device."""
        return float(numbers(self, 0.0, [number])[1])

    def lengths(self, step: Number, x: Array) -> tuple[float, float]:
        """Return two Euclidean norms on the host, which synchronises with the device once."""
        xp = self.xp
        squares = numbers(self, 0.0, [xp.sum(step * step), xp.sum(x * x)])[1:]
        return math.sqrt(squares[0]), math.sqrt(squares[1])

    def broken(self, numbers: Sequence[Number]) -> bool:
        """Return whether one of some numbers is not finite."""
        return not all(map(math.isfinite, numbers))

    def not_finite(self, norm: Number, gradient: Array, iteration: int) -> str:
        """Return the value, or the leaf of the gradient, that is not finite."""
        leaf = self._worst(gradient)
        what = "value" if math.isfinite(norm) or leaf is None else f"gradient{leaf}"
        return f"the {what} is not finite in iteration {iteration}"

    def zeros(self, rows: int) -> Array:
        """Return a matrix of zeros with a row for each of some vectors."""
        with _arrays.on_device(self.like):
            return self.xp.zeros((rows, self.size), dtype=self.dtype, **_arrays.placed(self.like))

    def products(self, rows: Array, n: int) -> Array:
        """Return the inner products of the first `n` rows with all, (n, rows)."""
        if not self.host or self.size <= 2 * _BLOCK:
            return rows[:n, :] @ rows.T
        # BLAS reads the rows more than once, unless they stay in the cache.
        out = np.zeros((n, rows.shape[0]), rows.dtype)
        for start in range(0, self.size, _BLOCK):
            block = rows[:, start : start + _BLOCK]
            out += block[:n] @ block.T
        return out

    def _worst(self, vector: Array) -> str | None:
        # The name below x0 of the first leaf of a vector that is not finite, if any.
        for span, path in zip(self.spans, self.structure.paths, strict=True):
            if not np.isfinite(_arrays.to_numpy(vector[span])).all():
                return _checks.where("", path)
        return None


def numbers(space: Space, value: Number, measured: Sequence[Array]) -> HostArray:
    """Return a value of the objective and other small arrays as one vector on the host.

    This synchronises with the device once, whatever the number of arrays.
    """
    if isinstance(value, float):  # NumPy's scalars included
        return _read(space, measured, (value,))
    value = _arrays.unscalar(value)
    if not _arrays.is_array(value):
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            msg = f"fun: its value is a {value.dtype} object, expected a real number"
            raise TypeError(msg)
    if _arrays.is_complex(value):
        msg = "fun: its value is complex, expected a real number"
        raise TypeError(msg)
    if any(n != 1 for n in value.shape):
        raise ValueError(_checks.mismatch("fun: its value", "shape", tuple(value.shape), "()"))
    if _arrays.on_host(value):
        return _read(space, measured, np.reshape(value, (1,)))
    return _read(space, [space.xp.astype(value, space.dtype, copy=False), *measured])


def _read(space: Space, arrays: Sequence[Array], before: Array = ()) -> HostArray:
    # The numbers of arrays behind some that are on the host.
    if space.host or not arrays:
        pieces = [before, *[x.ravel() for x in arrays]]
    else:
        packed = space.xp.concat([space.xp.reshape(x, (-1,)) for x in arrays])
        pieces = [before, _arrays.to_numpy(packed)]
    return np.concatenate(pieces, dtype=np.float64)
