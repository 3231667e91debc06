"""Recording: an array library whose arrays have no numbers yet.

A formula written for the Array API standard is called once with these arrays. Its operations are
recorded as operations of NumPy on arrays of known shapes, which a `Tape` then runs many times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..._arrays._types import Array, Dtype, HostDtype, Number
from .._layout import is_plain
from ..program import UFUNCS, Program
from . import _numpy_loops, _walks
from ._nodes import Detail, Node, Source, UnrecordableError
from ._recorded import Recorded, RecordedNamespace, SparseRows
from ._walks import RESULT

INTEGER = np.dtype(np.int64)


class Recorder:
    """Records operations.

    Parameters
    ----------
    dtype : numpy.dtype
        The dtype of all numbers but labels, which are of int64, and truths.
    """

    def __init__(self, dtype: Dtype) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Node] = []
        self.scalars: list[tuple[object, str | float]] = []
        self.writes: list[tuple[int, int]] = []
        self.xp = RecordedNamespace(self)
        self._known: dict[tuple[object, ...], int] = {}

    def _node(
        self, op: str, args: tuple[int, ...], dtype: Dtype, size: int, detail: Detail,
        free: tuple[int, ...] = (),
    ) -> int:  # fmt: skip
        self.nodes.append(Node(op, args, np.dtype(dtype), size, detail, free))
        return len(self.nodes) - 1

    def _once(
        self, key: tuple[object, ...], op: str, dtype: HostDtype, size: int, detail: Detail
    ) -> int:
        if key not in self._known:
            self._known[key] = self._node(op, (), dtype, size, detail)
        return self._known[key]

    # -- numbers that exist already -----------------------------------------------------------

    def memory(self, x: Array) -> Recorded:
        """Return the record of a NumPy array that the tape reads, and may write, in place."""
        if x.dtype != self.dtype:
            msg = "an array is of another dtype"
            raise UnrecordableError(msg)
        if not is_plain(x):
            msg = "an array is not contiguous"
            raise UnrecordableError(msg)
        return Recorded(self, self._once(("memory", id(x)), "memory", x.dtype, x.size, x), x.shape)

    def rows(self, x: Array, count: int) -> Recorded:
        """Return the next rows of an array, in the order that is given to `Tape.run`."""
        if x.dtype not in (self.dtype, INTEGER):
            msg = "rows are of another dtype"
            raise UnrecordableError(msg)
        if not (0 < x.ndim <= 2 and x.flags.aligned and x.dtype.isnative):
            msg = "rows have more axes than one, or are not aligned and in the order of bytes here"
            raise UnrecordableError(msg)
        shape = count, *x.shape[1:]
        node = self._once(("rows", id(x)), "rows", x.dtype, math.prod(shape), x)
        return Recorded(self, node, shape)

    def sparse_rows(self, source: Source, count: int) -> SparseRows:
        """Return the next rows of a sparse matrix."""
        return SparseRows(self, source, count)

    def integers(self, n: int) -> Recorded:
        """Return the integers below a number."""
        node = self._once(("integers", n), "memory", INTEGER, n, np.arange(n, dtype=INTEGER))
        return Recorded(self, node, (n,))

    def number(self, value: Number, dtype: Dtype) -> Recorded:
        """Return a number that is written in a formula."""
        kind, exact = np.dtype(dtype), isinstance(value, int)
        known = kind == self.dtype or (kind == INTEGER and exact)
        if not isinstance(value, int | float) or isinstance(value, bool) or not known:
            msg = f"{value!r} is not recorded"
            raise UnrecordableError(msg)
        key = "constant", kind.char, value if kind == INTEGER else float(value).hex()
        return Recorded(self, self._once(key, "constant", kind, 1, value), ())

    # -- operations ---------------------------------------------------------------------------

    def ufunc(self, name: str, *operands: Array) -> Recorded:
        """Return the result of a ufunc on arrays and numbers, which are broadcast."""
        arrays = self._operands(operands)
        loop = _numpy_loops.find(name, "".join(x.dtype.char for x in arrays))
        return self._elementwise(loop, arrays, np.dtype(loop.result), name in _walks.EXACT)

    def where(self, condition: Array, x: Array, y: Array) -> Recorded:
        """Return x where the condition holds, else y."""
        arrays = [*self._operands((condition,)), *self._operands((x, y))]
        if [a.dtype for a in arrays] != [np.dtype(bool), self.dtype, self.dtype]:
            msg = "where is recorded for a condition and numbers"
            raise UnrecordableError(msg)
        return self._elementwise(None, arrays, self.dtype, True)

    def _elementwise(
        self, loop: _numpy_loops.Loop | None, arrays: Sequence[Recorded], dtype: HostDtype,
        any_order: bool,
    ) -> Recorded:  # fmt: skip
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        out = _walks.spread(shape, _walks.contiguous(shape, dtype.itemsize), shape)
        strides = [_walks.spread(x.shape, x.strides, shape) for x in arrays]
        # NumPy lays out the result as its operands are, and sums and products depend on that.
        if any(not _walks.is_ordered(moves) for moves in strides):
            msg = "operations on the elements of transposes are not recorded"
            raise UnrecordableError(msg)
        spots = [*((i, 0) for i in range(len(arrays))), (RESULT, 0)]
        items = [*(x.dtype.itemsize for x in arrays), dtype.itemsize]
        walk = _walks.walk(loop, spots, shape, [*strides, out], items, any_order=any_order)
        args, size = tuple(x.node for x in arrays), math.prod(shape)
        views = list(zip(args, strides, strict=True))
        free = tuple(
            a
            for a in dict.fromkeys(args)
            if self.nodes[a].size == size and all(moves == out for b, moves in views if a == b)
        )
        return Recorded(self, self._node("walks", args, dtype, size, (walk,), free), shape)

    def reduced(self, name: str, x: Recorded, axis: int | None, keepdims: bool) -> Recorded:
        """Return the sum ("add") or the "maximum" of all elements, or of those along an axis."""
        if x.dtype != self.dtype or not x.plain:
            msg = "sums and maxima are recorded of numbers that lie one after another"
            raise UnrecordableError(msg)
        shape = x.shape
        if axis is None:
            kept, shape, axis = (1,) * x.ndim, (math.prod(shape),), 0
        else:
            axis %= max(x.ndim, 1)
            kept = (*shape[:axis], 1, *shape[axis + 1 :])
        start, walks = _walks.reduction(name, self.dtype.char, shape, axis)
        args = (x.node,) if start is None else (x.node, self.number(start, self.dtype).node)
        node = self._node("walks", args, self.dtype, math.prod(kept), walks)
        dropped = () if len(shape) < x.ndim else (*kept[:axis], *kept[axis + 1 :])
        return Recorded(self, node, kept if keepdims else dropped)

    def matmul(self, a: Array, b: Array) -> Recorded:
        """Return the product of a matrix and a vector or another matrix."""
        fits = isinstance(b, Recorded) and a.ndim == 2 and b.ndim in (1, 2)
        if not (fits and b.shape[0] == a.shape[1]):
            msg = "products are recorded of a matrix and a vector or a matrix"
            raise UnrecordableError(msg)
        shape = (a.shape[0], *b.shape[1:])
        if isinstance(a, SparseRows):
            if not b.plain:
                msg = "products of a sparse matrix are recorded with a contiguous array"
                raise UnrecordableError(msg)
            op = "slope" if a.transposed else "dot"
            node = self._node(op, (b.node,), self.dtype, math.prod(shape), a.source)
        else:
            loop, item = _numpy_loops.find("matmul", self.dtype.char * 2), self.dtype.itemsize
            strides = b.strides if b.ndim == 2 else (*b.strides, item)
            lengths = (*a.shape, math.prod(b.shape[1:]))
            walk = _walks.product(loop, lengths, a.strides, strides, item)
            node = self._node("walks", (a.node, b.node), self.dtype, math.prod(shape), (walk,))
        return Recorded(self, node, shape)

    def write(self, target: Recorded, value: Recorded) -> None:
        """Record that a value is written to the memory of an array at the end."""
        if value.shape != target.shape:
            msg = "a value of another shape than its array is not recorded"
            raise UnrecordableError(msg)
        taken = any(value.node == other for _, other in self.writes)
        if self.nodes[value.node].given or taken or not value.plain:
            value = self.ufunc("positive", value)
        self.writes.append((target.node, value.node))

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
        return Recorded(self, self._once(("scalar", place), "scalar", self.dtype, 1, place), ())

    def _operands(self, operands: Sequence[Array]) -> list[Recorded]:
        # Arrays, and numbers in their dtype.
        arrays = [x for x in operands if isinstance(x, Recorded)]
        if any(x.recorder is not self for x in arrays):
            msg = "arrays of another recorder are not recorded"
            raise UnrecordableError(msg)
        dtype = arrays[0].dtype if arrays else self.dtype
        return [x if isinstance(x, Recorded) else self.number(x, dtype) for x in operands]
