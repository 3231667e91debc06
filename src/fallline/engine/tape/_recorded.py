"""What a recorder hands out: arrays, rows of sparse matrices, and the functions of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..._arrays._types import Array, Device, Dtype, Fun, HostDtype
from ..program import UFUNCS
from ._nodes import Source, UnrecordableError
from ._walks import contiguous, is_contiguous

if TYPE_CHECKING:
    from ._recorder import Recorder


def _method(name: str, *, swapped: bool = False) -> Fun:
    def method(self: Recorded, *other: Array) -> Recorded:
        operands = (*other, self) if swapped else (self, *other)
        return self.recorder.ufunc(name, *operands)

    return method


class Recorded:
    """An array that has no numbers yet: the result of an operation, seen in some shape.

    Parameters
    ----------
    recorder : Recorder
        What records the operations on it.
    node : int
        The operation.
    shape : sequence of int
        The shape.
    strides : sequence of int, optional
        How far apart its elements will be along each axis, in bytes; by default as in the order of
        C. A transpose or a new axis is another view of the same result.
    """

    __slots__ = ("node", "recorder", "shape", "strides")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, recorder: Recorder, node: int, shape: Iterable[int],
        strides: Iterable[int] | None = None,
    ) -> None:  # fmt: skip
        self.recorder, self.node, self.shape = recorder, node, tuple(map(int, shape))
        plain = contiguous(self.shape, self.dtype.itemsize)
        self.strides = plain if strides is None else tuple(strides)

    def __array_namespace__(self, *, api_version: str | None = None) -> RecordedNamespace:
        """Return the functions of these arrays."""
        return self.recorder.xp

    @property
    def dtype(self) -> HostDtype:
        """The dtype that its elements will have."""
        return self.recorder.nodes[self.node].dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def device(self) -> str:
        """The device on which it will be."""
        return "cpu"

    @property
    def plain(self) -> bool:
        """Whether its elements will lie one after another in the order of C."""
        return is_contiguous(self.shape, self.strides, self.dtype.itemsize)

    @property
    def T(self) -> Recorded:
        """The transpose of a matrix."""
        if self.ndim != 2:
            msg = "transposes are recorded of matrices"
            raise UnrecordableError(msg)
        return Recorded(self.recorder, self.node, self.shape[::-1], self.strides[::-1])

    def __getitem__(self, key: object) -> Recorded:
        """Return the array with another last axis, or the beginning of its last axis."""
        if key == (..., None):
            return Recorded(self.recorder, self.node, (*self.shape, 1), (*self.strides, 0))
        if key == (..., 0) and self.ndim:
            return Recorded(self.recorder, self.node, self.shape[:-1], self.strides[:-1])
        msg = f"the index {key!r} is not recorded"
        raise UnrecordableError(msg)

    def __matmul__(self, other: Array) -> Recorded:
        return self.recorder.matmul(self, other)

    def _refuse(self, *_: object) -> NoReturn:
        msg = "a Python value of an array is not recorded"
        raise UnrecordableError(msg)

    __float__ = __int__ = __bool__ = __index__ = __complex__ = __len__ = __iter__ = _refuse
    __array__ = __setitem__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = _refuse

    __add__, __radd__ = _method("add"), _method("add", swapped=True)
    __sub__, __rsub__ = _method("subtract"), _method("subtract", swapped=True)
    __mul__, __rmul__ = _method("multiply"), _method("multiply", swapped=True)
    __truediv__, __rtruediv__ = _method("divide"), _method("divide", swapped=True)
    __lt__, __gt__ = _method("less"), _method("greater")
    __le__, __ge__ = _method("less_equal"), _method("greater_equal")
    __eq__, __ne__ = _method("equal"), _method("not_equal")
    __neg__, __abs__ = _method("negative"), _method("absolute")
    __and__ = _method("bitwise_and")


class SparseRows:
    """Some rows of a sparse matrix, or their transpose."""

    ndim = 2

    def __init__(
        self, recorder: Recorder, source: Source, count: int, transposed: bool = False
    ) -> None:
        self.recorder, self.source, self.transposed = recorder, source, transposed
        self.shape = (source.width, count) if transposed else (count, source.width)

    @property
    def T(self) -> SparseRows:
        """The transpose."""
        count = self.shape[self.transposed]
        return SparseRows(self.recorder, self.source, count, not self.transposed)

    def __matmul__(self, other: Array) -> Recorded:
        return self.recorder.matmul(self, other)


class RecordedNamespace:
    """The functions of recorded arrays."""

    __name__ = "recording"

    float32, float64 = np.dtype("float32"), np.dtype("float64")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Callable[..., Recorded]:
        return lambda *operands: self._recorder.ufunc(UFUNCS.get(name, name), *operands)

    def where(self, condition: Array, x: Array, y: Array) -> Array:
        """Return x where the condition holds, else y."""
        return self._recorder.where(condition, x, y)

    def sum(self, x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
        """Return the sum of all elements, or of those along an axis."""
        return self._recorder.reduced("add", x, axis, keepdims)

    def max(self, x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
        """Return the largest of all elements, or of those along an axis."""
        return self._recorder.reduced("maximum", x, axis, keepdims)

    def arange(self, n: int, device: Device = None) -> Array:
        """Return the integers below a number."""
        return self._recorder.integers(n)

    def asarray(self, value: float, dtype: Dtype, device: Device = None) -> Array:
        """Return a number as a 0-d array."""
        return self._recorder.number(value, dtype)

    def astype(self, x: Array, dtype: Dtype, copy: bool = True) -> Array:
        """Return the array, which must have this dtype, or truths as 0 and 1."""
        if x.dtype == bool and dtype == self._recorder.dtype:
            return self.where(x, 1.0, 0.0)
        if x.dtype != dtype:
            msg = "other dtypes are not recorded"
            raise UnrecordableError(msg)
        return x

    def reshape(self, x: Array, shape: Iterable[int]) -> Array:
        """Return the array with more axes of length one at the end."""
        shape = tuple(shape)
        if shape[: x.ndim] != x.shape or any(n != 1 for n in shape[x.ndim :]):
            msg = "other shapes are not recorded"
            raise UnrecordableError(msg)
        for _ in shape[x.ndim :]:
            x = x[..., None]
        return x

    def zeros_like(self, x: Array) -> float:
        """Return the number 0, which acts like an array of zeros."""
        return 0.0

    def ones_like(self, x: Array) -> float:
        """Return the number 1."""
        return 1.0

    def full_like(self, x: Array, value: float) -> float:
        """Return the number."""
        return float(value)
