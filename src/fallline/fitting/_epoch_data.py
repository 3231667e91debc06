"""Which data the steps of a compiled epoch can be recorded over."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .._arrays import _checks, _sparse, is_sparse
from .._arrays._types import Array, Dtype, HostArray
from ..data import Batches
from ..engine._layout import is_plain
from ..engine.tape import Source, UnrecordableError
from ..losses._base import Loss
from ..objectives._linear_model import LinearModel

DTYPES = ("float32", "float64")
PARTS = ("indptr", "indices", "data")  # of a sparse matrix


def need(holds: bool, why: str) -> None:
    """Refuse what cannot be recorded; whoever asked makes the steps one by one."""
    if not holds:
        raise UnrecordableError(why)


def given(batches: Batches) -> list[object]:
    """Return the identity and layout of the data, to be compared with that of later data."""
    found: list[object] = [batches.shuffle, batches.drop_last, batches.batch_size]
    for x in batches.arrays:
        parts = [getattr(x, name, None) for name in PARTS] if is_sparse(x) else [x]
        found += [x.shape, *parts]
    return found


def data(
    model: LinearModel, batches: Batches, outputs: tuple[int, ...]
) -> tuple[Source | HostArray, list[HostArray]]:
    """Return X as a tape reads it; and y, and the weights if there are any.

    Parameters
    ----------
    model : LinearModel
        What is fitted.
    batches : Batches
        Of X, y and perhaps weights.
    outputs : tuple of int
        The shape of a prediction for one row.

    Raises
    ------
    UnrecordableError
        If they are of a kind that is not recorded.
    """
    X, y, *weights = batches.arrays
    need(
        len(weights) <= 1 and batches.shuffle and not batches.drop_last and len(y) > 0,
        "only shuffled batches of X, y and weights that cover all rows are recorded",
    )
    found = _source(X) if is_sparse(X) else X
    numbers = found.numbers if isinstance(found, Source) else found
    kind = type(numbers) is np.ndarray and numbers.dtype.name in DTYPES and X.ndim == 2
    need(kind and min(numbers.size, X.shape[1]) > 0, "only arrays of NumPy are recorded")
    same = is_sparse(X) or X[np.zeros(2, int)].flags.c_contiguous  # as a tape gathers rows
    need(same, "batches of X are not in the order of C")
    others = []
    for x, most in ((y, 1 + len(outputs)), *((x, 1) for x in weights)):
        numeric = type(x) is np.ndarray and x.dtype.kind in "biuf" and x.size > 0
        need(
            numeric and 0 < x.ndim <= most,
            "only targets of numbers, and one weight for each row, are recorded",
        )
        labels = x.ndim < most and x.dtype.kind in "iu"
        with np.errstate(all="ignore"):
            others.append(np.ascontiguousarray(x, np.int64 if labels else numbers.dtype))
    ours = _ours(model.loss) and (model.penalty is None or _ours(model.penalty))
    need(ours, "only the losses and penalties of this library are recorded")
    check_values(model.loss, outputs, y, *weights)
    return found, others


def _ours(x: object) -> bool:
    # Others may change, or look at what a recording does not show.
    return type(x).__module__.startswith("fallline.") and (not hasattr(x, "loss") or _ours(x.loss))


def check_values(
    loss: Loss, outputs: tuple[int, ...], y: HostArray, weights: HostArray | None = None
) -> None:
    """Check all rows at once, as a loss would check them batch by batch."""
    while hasattr(loss, "loss"):
        loss = loss.loss
    loss._check_target(np.broadcast_to(0.0, (len(y), *outputs)), y, weights)
    if weights is not None:
        _checks.not_negative("weights", weights)


def _source(X: Array) -> Source:
    parts: list[Array] = [getattr(X, name, None) for name in PARTS]
    whole = all(type(x) is np.ndarray and is_plain(x) for x in parts)
    known = type(X).__module__.partition(".")[0] == "scipy"
    need(known and getattr(X, "format", None) == "csr" and whole, "only rows (CSR) are recorded")
    ends, columns, numbers = parts
    same = ends.dtype == columns.dtype and ends.dtype.name in ("int32", "int64")
    kind: Any = type(X)
    need(
        same and numbers.dtype.name in DTYPES and _rounds_products(kind, numbers.dtype),
        "these kinds of numbers or indices are not recorded",
    )
    _sparse.check("X", X)
    return Source(ends, columns, numbers, X.shape[1])


@lru_cache
def _rounds_products(kind: Callable[..., Array], dtype: Dtype) -> bool:
    # Whether SciPy was compiled to round a product before it is added, as Numba does.
    x = 1 + 2.0 ** -(12 if dtype.name == "float32" else 30)
    row = np.asarray([1 - 2 * x, x], dtype)
    X = kind((row, np.arange(2), np.asarray([0, 2])), shape=(1, 2))
    right = np.asarray([1.0, x], dtype)
    across = kind((row, np.zeros(2, int), np.arange(3)), shape=(2, 1)).T
    products = [A @ B for A in (X, across) for B in (right, np.stack([right, right], axis=1))]
    return not any(product.any() for product in products)
