"""Sparse matrices of SciPy: whether their indices are inside of them."""

from __future__ import annotations

import sys

import numpy as np

from . import _checks
from ._types import Array

_COMPRESSED = ("csr", "csc", "bsr")


def rows(place: str, x: Array, some: Array) -> Array:
    """Return some rows of a sparse matrix that was checked but may have been written to since."""
    module = sys.modules.get("scipy.sparse")
    if module is not None and module.issparse(x):
        if x.format != "csr":
            check(place, x)
        else:
            first, last = x.indptr[:-1][some], x.indptr[1:][some]
            most = min(len(x.indices), len(x.data))
            if ((first < 0) | (last < first) | (last > most)).any():
                raise ValueError(_unordered(place, most))
    return x[some]


def check(place: str, x: Array) -> None:
    """Check that the indices of a sparse matrix are inside of it.

    SciPy reads and writes memory by them without any check. This takes one pass over them. Indices
    on a device are not checked, because that would synchronise with it.
    """
    module = sys.modules.get("scipy.sparse")
    if module is None or not module.issparse(x):
        return
    if x.format in _COMPRESSED:
        _check_compressed(place, x)
    elif x.format == "coo":
        axes = x.coords if hasattr(x, "coords") else (x.row, x.col)  # before SciPy 1.13
        for i, (places, n) in enumerate(zip(axes, x.shape, strict=True)):
            name = f"{place}.coords[{i}]"
            _check_integers(name, places)
            _check_length(name, places, len(x.data))
            _check_inside(name, places, n)


def check_rows(place: str, x: Array) -> None:
    """Check that rows can be taken from a checked sparse matrix."""
    # Whether a format lets them be taken differs between versions of SciPy.
    try:
        x[:1]
    except (TypeError, NotImplementedError) as error:
        raise TypeError(_rowless(place, x)) from error


def check_numbers(place: str, x: Array) -> None:
    """Check that a sparse matrix has an array of numbers, which LIL and DOK do not."""
    dtype = getattr(getattr(x, "data", None), "dtype", None)
    if dtype is None or dtype.kind == "O":
        raise TypeError(_rowless(place, x))


def _rowless(place: str, x: Array) -> str:
    kind = type(x).__name__
    return f"{place}: is a {kind}, expected a sparse matrix with rows, such as its tocsr()"


def _check_compressed(place: str, x: Array) -> None:
    ends, places, numbers = x.indptr, x.indices, x.data
    rows, columns = (1, *x.shape)[-2:]
    if x.format == "bsr":
        rows, columns = rows // numbers.shape[1], columns // numbers.shape[2]
    major, minor = (columns, rows) if x.format == "csc" else (rows, columns)
    for name, part in (("indptr", ends), ("indices", places)):
        _check_integers(f"{place}.{name}", part)
    _check_length(f"{place}.indptr", ends, major + 1)
    most = min(len(places), len(numbers))
    last = int(ends[-1])
    if ends[0] != 0 or last > most or (ends[1:] < ends[:-1]).any():
        raise ValueError(_unordered(place, most))
    _check_inside(f"{place}.indices", places[:last], minor)


def _unordered(place: str, most: int) -> str:
    return (
        f"{place}.indptr: its numbers do not ascend from 0 to at most {most}, the stored elements"
    )


def _check_integers(name: str, x: Array) -> None:
    if not isinstance(x, np.ndarray) or x.ndim != 1 or x.dtype.kind not in "iu":
        got = f"of {x.dtype}" if isinstance(x, np.ndarray) else _checks.described(x)
        msg = f"{name}: is {got}, expected integers along one axis"
        raise TypeError(msg)


def _check_length(name: str, x: Array, n: int) -> None:
    if len(x) != n:
        raise ValueError(_checks.mismatch(name, "length", len(x), n))


def _check_inside(name: str, x: Array, n: int) -> None:
    if not len(x):
        return
    if x.dtype.isnative and x.flags.c_contiguous and x.dtype.kind == "i":
        x = x.view(x.dtype.name.replace("int", "uint"))  # a negative index is then a large one
    if x.max() >= n or (x.dtype.kind == "i" and x.min() < 0):
        msg = f"{name}: some are outside [0, {n})"
        raise ValueError(msg)
