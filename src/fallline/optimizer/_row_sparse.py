"""Gradients that touch only some rows of a parameter."""

from __future__ import annotations

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._shards import is_sharded
from .._arrays._types import Array


class RowSparse:
    """A gradient of a leaf that is zero outside some rows; `Optimizer.step` takes it.

    Only these rows of the parameter and of its state are read and written, so that the cost grows
    with their number and not with the size of the parameter.

    Parameters
    ----------
    indices : array of integers, shape (k,)
        The rows, as indices of the first axis. The values of a row that occurs several times are
        summed.
    values : array, shape (k, ...)
        The gradient of each row, in the dtype of the parameter.

    Notes
    -----
    The other rows stay as they are: their momentum does not go on, and weight decay does not act
    on them. For `GradientDescent`, `SGD` without momentum and weight decay, and `Adagrad`, that is
    what the dense gradient does, bit for bit where no row occurs twice. For other rules it is the
    lazy form, as in ``torch.optim.SparseAdam``; their bias corrections follow the count of the
    whole leaf. Rules that look at whole leaves (LAMB, LARS, Adafactor, Muon) take dense gradients
    only. Indices of NumPy arrays, and of torch's in host memory, are checked; on a device they are
    not, and the search for rows that occur several times waits for the device.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> table = np.ones((4, 2))
    >>> opt = fl.Optimizer(table, fl.SGD(0.5))
    >>> opt.step(fl.RowSparse(np.asarray([2, 0, 2]), np.ones((3, 2))))
    array([[0.5, 0.5],
           [1. , 1. ],
           [0. , 0. ],
           [1. , 1. ]])
    """

    __slots__ = ("indices", "values")

    def __init__(self, indices: Array, values: Array) -> None:
        self.indices, self.values = indices, values

    def __repr__(self) -> str:
        """Return the number of rows and their shape."""
        return f"<RowSparse of {tuple(self.values.shape)}>"

    def checked(self, place: str, p: Array) -> RowSparse:
        """Return this with each row once, after a check against a parameter."""
        if is_sharded(p):
            msg = f"{place}: is RowSparse, and the parameter is a DTensor, whose rows lie apart"
            raise TypeError(msg)
        _checks.same_kind(f"{place}.values", p, self.values)
        _checks.same_kind(f"{place}.indices", p, self.indices)
        if p.ndim < 1:
            msg = f"{place}: is RowSparse, and the parameter has no rows"
            raise ValueError(msg)
        if not _arrays.is_integer(self.indices) or self.indices.ndim != 1:
            what = f"{_arrays.dtype_name(self.indices)} of {self.indices.ndim} axes"
            raise TypeError(
                _checks.mismatch(f"{place}.indices", "kind", what, "integers of 1 axis")
            )
        shape = (self.indices.shape[0], *p.shape[1:])
        if tuple(self.values.shape) != shape:
            found = tuple(self.values.shape)
            raise ValueError(_checks.mismatch(f"{place}.values", "shape", found, shape))
        if _arrays.dtype_name(self.values) != _arrays.dtype_name(p):
            names = _arrays.dtype_name(self.values), _arrays.dtype_name(p)
            raise TypeError(_checks.mismatch(f"{place}.values", "dtype", *names))
        if _arrays.in_host_memory(p) and self.indices.shape[0]:
            low, high = int(self.indices.min()), int(self.indices.max())
            if low < 0 or high >= p.shape[0]:
                msg = f"{place}.indices: {low if low < 0 else high} is outside of {p.shape[0]} rows"
                raise ValueError(msg)
        return self._once()

    def _once(self) -> RowSparse:
        if _arrays.on_host(self.indices):
            order = np.argsort(self.indices, kind="stable")
            ranked = self.indices[order]
            first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
            if first.size >= ranked.size:
                return self
            wide = _arrays.widened(self.values)[order]
            total = np.add.reduceat(wide, first, axis=0)
            return RowSparse(ranked[first], total.astype(self.values.dtype, copy=False))
        with _arrays.guard(self.values)():
            rows, place = _arrays.namespace(self.indices).unique_inverse(self.indices)
            if rows.shape[0] == self.indices.shape[0]:
                return self
            total = _summed(self.values, place, rows.shape[0])
            return RowSparse(rows, total)


def put_rows(x: Array, indices: Array, new: Array) -> Array:
    """Return an array with other rows: itself, written, where arrays can be written."""
    if _arrays.is_immutable(x):
        return x.at[indices].set(new)
    with _arrays.on_device(x):
        if _arrays.family(x) in ("numpy", "torch", "cupy"):
            x[indices, ...] = new
            return x
        # The standard has no assignment to several rows.
        for i, row in enumerate(_arrays.to_numpy(indices).tolist()):
            x[row, ...] = new[i, ...]
    return x


def _summed(values: Array, place: Array, n: int) -> Array:
    """Return `n` rows, each the sum of those rows of `values` that have its place."""
    xp = _arrays.namespace(values)
    wide = _arrays.widened(values)
    with _arrays.on_device(values):
        total = xp.zeros((n, *values.shape[1:]), dtype=wide.dtype, **_arrays.placed(values))
        if _arrays.is_immutable(values):
            total = total.at[place].add(wide)
        elif _arrays.family(values) == "torch":
            total.index_add_(0, place, wide)
        elif _arrays.family(values) == "cupy":
            xp.add.at(total, place, wide)
        else:
            for i in range(values.shape[0]):
                row = int(_arrays.to_numpy(place[i]))
                total[row, ...] = total[row, ...] + wide[i, ...]
        return xp.astype(total, values.dtype, copy=False)
