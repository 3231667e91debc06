"""Recording: an array library whose arrays have no numbers yet.

A formula written for the Array API standard is called once with these arrays. Its operations are
recorded as operations of NumPy on arrays of known shapes, which a `Tape` then runs many times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np

from ..._arrays._types import Array, Dtype, Fun, HostDtype
from .._layout import is_plain
from ..program import UFUNCS, Program
from . import _numpy_loops
from ._nodes import Detail, Node, Source, UnrecordableError


class Recorder:
    """Records operations.

    Parameters
    ----------
    dtype : numpy.dtype
        The dtype of all numbers.
    """

    def __init__(self, dtype: Dtype) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Node] = []
        self.scalars: list[tuple[object, str | float]] = []
        self.writes: list[tuple[int, int]] = []
        self.xp = RecordedNamespace(self)
        self._known: dict[tuple[object, ...], int] = {}

    def _node(self, op: str, args: tuple[int, ...], dtype: Dtype, size: int, detail: Detail) -> int:
        self.nodes.append(Node(op, args, np.dtype(dtype), size, detail))
        return len(self.nodes) - 1

    def _once(self, key: tuple[object, ...], op: str, size: int, detail: Detail) -> int:
        if key not in self._known:
            self._known[key] = self._node(op, (), self.dtype, size, detail)
        return self._known[key]

    # -- numbers that exist already -----------------------------------------------------------

    def memory(self, x: Array) -> Recorded:
        """Return the record of a NumPy array that the tape reads, and may write, in place."""
        if x.dtype != self.dtype or not is_plain(x):
            msg = "an array is not contiguous, or of another dtype"
            raise UnrecordableError(msg)
        return Recorded(self, self._once(("memory", id(x)), "memory", x.size, x), x.shape)

    def rows(self, x: Array, count: int) -> Recorded:
        """Return the next rows of an array, in the order that is given to `Tape.run`."""
        self.memory(x)
        size = count * (x.size // max(len(x), 1))
        node = self._once(("rows", id(x)), "rows", size, x)
        return Recorded(self, node, (count, *x.shape[1:]))

    def sparse_rows(self, source: Source, count: int) -> SparseRows:
        """Return the next rows of a sparse matrix."""
        return SparseRows(self, source, count)

    def constant(self, value: float) -> int:
        """Return the node of a number that is written in a formula."""
        return self._once(("constant", float(value).hex()), "constant", 1, float(value))

    # -- operations ---------------------------------------------------------------------------

    def ufunc(self, name: str, *operands: Array) -> Recorded:
        """Return the result of a ufunc on arrays and numbers."""
        args = [self.operand(x) for x in operands]
        loop = _numpy_loops.find(name, "".join(self.nodes[a].dtype.char for a in args))
        shape = _broadcast(operands)
        node = self._node(name, tuple(args), loop.result, math.prod(shape), loop)
        return Recorded(self, node, shape)

    def where(self, condition: Array, x: Array, y: Array) -> Recorded:
        """Return x where the condition holds, else y."""
        args = tuple(self.operand(a) for a in (condition, x, y))
        shape = _broadcast((condition, x, y))
        kinds = [self.nodes[a].dtype for a in args]
        if kinds != [np.dtype(bool), self.dtype, self.dtype]:
            msg = "where is recorded for a condition and numbers"
            raise UnrecordableError(msg)
        return Recorded(self, self._node("where", args, self.dtype, math.prod(shape), None), shape)

    def total(self, x: Array) -> Recorded:
        """Return the sum of all elements."""
        if x.ndim > 1:
            msg = "sums of several axes are not recorded"
            raise UnrecordableError(msg)
        if x.ndim == 0:
            return x  # type: ignore[no-any-return]
        detail = _numpy_loops.find("add", self.dtype.char * 2)
        return Recorded(self, self._node("sum", (x.node,), self.dtype, 1, detail), ())

    def matmul(self, a: Array, b: Array) -> Recorded:
        """Return the product of a matrix and a vector."""
        if not (isinstance(b, Recorded) and a.ndim == 2 and b.shape == a.shape[1:]):
            msg = "products are recorded of a matrix and a vector"
            raise UnrecordableError(msg)
        if isinstance(a, SparseRows):
            op = "slope" if a.transposed else "dot"
            node = self._node(op, (b.node,), self.dtype, a.shape[0], a.source)
        else:
            loop = _numpy_loops.find("matmul", self.dtype.char * 2)
            detail = loop, a.shape, a.transposed
            node = self._node("matmul", (a.node, b.node), self.dtype, a.shape[0], detail)
        return Recorded(self, node, (a.shape[0],))

    def write(self, target: Recorded, value: Recorded) -> None:
        """Record that a value is written to the memory of an array at the end."""
        node = value.node
        if value.shape != target.shape:
            msg = "a value of another shape than its array is not recorded"
            raise UnrecordableError(msg)
        if self.nodes[node].given or any(node == other for _, other in self.writes):
            node = self.ufunc("positive", value).node
        self.writes.append((target.node, node))

    def program(self, program: Program, key: object, arrays: list[Recorded]) -> None:
        """Record the program of a rule on a leaf; `key` identifies its scalars."""
        if program.dtype != self.dtype.name or any(x.parts != 1 for x in program.arrays):
            msg = "rules are recorded for real numbers of one precision"
            raise UnrecordableError(msg)
        done: list[Array] = []
        for op, args in program.lines:
            if op == "load":
                done.append(arrays[args[0]])
            elif op == "scalar":
                done.append(self._scalar(key, program.scalars[args[0]]))
            elif op == "where":
                done.append(self.where(*(done[a] for a in args)))
            else:
                done.append(self.ufunc(UFUNCS.get(op, op), *(done[a] for a in args)))
        for array, _, line in program.stores:
            self.write(arrays[array], done[line])

    def _scalar(self, key: object, name: str | float) -> Recorded:
        if (key, name) not in self.scalars:
            self.scalars.append((key, name))
        place = self.scalars.index((key, name))
        return Recorded(self, self._once(("scalar", place), "scalar", 1, place), ())

    def operand(self, x: Array) -> int:
        """Return the node of an array or of a number."""
        if isinstance(x, Recorded) and x.recorder is self and not x.transposed:
            return x.node
        if isinstance(x, int | float) and not isinstance(x, bool):
            return self.constant(x)
        msg = f"{x!r} is not recorded"
        raise UnrecordableError(msg)


def _broadcast(operands: Array) -> tuple[int, ...]:
    shapes = {x.shape for x in operands if isinstance(x, Recorded)}
    if len(shapes - {()}) > 1:
        msg = "arrays of different shapes are not recorded"
        raise UnrecordableError(msg)
    return max(shapes, key=len)


def _method(name: str, *, swapped: bool = False) -> Fun:
    def method(self: Recorded, *other: Array) -> Recorded:
        operands = (*other, self) if swapped else (self, *other)
        return self.recorder.ufunc(name, *operands)

    return method


class Recorded:
    """An array that has no numbers yet."""

    __slots__ = ("node", "recorder", "shape", "transposed")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, recorder: Recorder, node: int, shape: tuple[int, ...], transposed: bool = False
    ) -> None:
        self.recorder, self.node, self.shape = recorder, node, tuple(map(int, shape))
        self.transposed = transposed

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
    def T(self) -> Recorded:
        """The transpose of a matrix."""
        if self.ndim != 2:
            msg = "transposes are recorded of matrices"
            raise UnrecordableError(msg)
        return Recorded(self.recorder, self.node, self.shape[::-1], not self.transposed)

    def __matmul__(self, other: Array) -> Recorded:
        return self.recorder.matmul(self, other)

    def _refuse(self, *_: object) -> NoReturn:
        msg = "a Python value of an array is not recorded"
        raise UnrecordableError(msg)

    __float__ = __int__ = __bool__ = __index__ = __complex__ = __len__ = __iter__ = _refuse
    __array__ = __getitem__ = __setitem__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = _refuse

    __add__, __radd__ = _method("add"), _method("add", swapped=True)
    __sub__, __rsub__ = _method("subtract"), _method("subtract", swapped=True)
    __mul__, __rmul__ = _method("multiply"), _method("multiply", swapped=True)
    __truediv__, __rtruediv__ = _method("divide"), _method("divide", swapped=True)
    __lt__, __gt__ = _method("less"), _method("greater")
    __le__, __ge__ = _method("less_equal"), _method("greater_equal")
    __eq__, __ne__ = _method("equal"), _method("not_equal")
    __neg__, __abs__ = _method("negative"), _method("absolute")


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

    def sum(self, x: Array, axis: int | None = None) -> Array:
        """Return the sum of all elements."""
        return self._recorder.total(x)

    def astype(self, x: Array, dtype: Dtype, copy: bool = True) -> Array:
        """Return the array, which must have this dtype."""
        if x.dtype != dtype:
            msg = "other dtypes are not recorded"
            raise UnrecordableError(msg)
        return x

    def reshape(self, x: Array, shape: Iterable[int]) -> Array:
        """Return the array, which must have this shape."""
        if tuple(shape) != x.shape:
            msg = "other shapes are not recorded"
            raise UnrecordableError(msg)
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
