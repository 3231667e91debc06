"""The data of `fit`, checked under the names of its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .. import _arrays
from .._arrays import _checks, _sparse, is_sparse
from .._arrays._types import Array, Tree
from ..data import Batches
from ..losses import Loss
from ..objectives._linear_model import LinearModel, dense_like

NUMBERS = ("bool", "int", "uint", "float", "bfloat", "complex")  # how names of dtypes begin


def batches_of(
    data: Tree, weights: Array, size: int | None, rng: int | np.random.Generator | None
) -> tuple[tuple[Array, ...] | None, Iterable[Tree]]:
    """Return the arrays, or `None` for a stream, and an iterable of the batches of an epoch.

    Parameters
    ----------
    data, weights, rng
        As in `fit`.
    size : int or None
        Rows of a batch.

    Returns
    -------
    arrays : tuple of arrays or None
        The data, and the weights if there are any.
    batches : iterable
        Their batches, or the stream.
    """
    data = _as_tuple(data)
    if isinstance(data, tuple):
        if not data:
            msg = "data: is an empty tuple"
            raise ValueError(msg)
        arrays = data if weights is None else (*data, weights)
        names = [f"data[{i}]" for i in range(len(data))]
        check_rows([*names, "weights"][: len(arrays)], arrays)
        for place, x in zip(names, data, strict=True):
            if is_sparse(x):
                _sparse.check_rows(place, x)
        n = arrays[0].shape[0]
        whole = size is None or size >= n
        batches = Batches(
            *arrays, batch_size=max(n, 1) if size is None else size, shuffle=not whole, rng=rng
        )
        return arrays, batches
    if weights is not None or size is not None:
        msg = "weights and batch_size: are for arrays; batches bring their own"
        raise ValueError(msg)
    if not hasattr(data, "__iter__") or _is_data(data) or _arrays.refusal(data):
        msg = f"data: is {_checks.described(data)}, expected a tuple of arrays or batches"
        raise TypeError(msg)
    return None, data


def _as_tuple(x: Tree) -> Tree:
    # A list of bare arrays is meant as a tuple.
    return tuple(x) if isinstance(x, list) and x and all(map(_is_data, x)) else x


def _is_data(x: Array) -> bool:
    return _arrays.is_array(dense_like(x))  # which some sparse matrices do not have


def check_rows(names: Sequence[str], arrays: Sequence[Array], like: Array = None) -> None:
    """Check that these are arrays of equal length, of one library and on one device.

    Parameters
    ----------
    names : sequence of str
        The names that errors call them by.
    arrays : sequence of arrays
        Sparse matrices too.
    like : array, optional
        An array of the library and on the device that they must have; by default the first.
    """
    for place, x in zip(names, arrays, strict=True):
        _check_numbers(place, x)
    first = arrays[0]
    if like is not None:
        _checks.same_kind(names[0], dense_like(like), dense_like(first))
    for place, x in zip(names, arrays, strict=True):
        if x.ndim == 0:
            msg = f"{place}: is 0-d, expected an array of rows"
            raise ValueError(msg)
        if x.shape[0] != first.shape[0]:
            raise ValueError(_checks.mismatch(place, "length", x.shape[0], first.shape[0]))
        _checks.same_kind(place, dense_like(first), dense_like(x))


def _check_numbers(place: str, x: Array) -> None:
    if is_sparse(x):
        _sparse.check(place, x)
        _sparse.check_numbers(place, x)
        return
    if not _is_data(x):
        if hasattr(x, "to_numpy"):  # tables
            msg = f"{place}: is {_checks.described(x)}, expected an array: .to_numpy(float)"
            raise TypeError(msg)
        _checks.array(place, x)
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biufcV":
        hint = {
            "M": "; make numbers of the times, such as (t - t[0]) / numpy.timedelta64(1, 's')",
            "m": "; make numbers of the times, such as t / numpy.timedelta64(1, 's')",
            "O": "; make numbers of it, such as .astype(float)",
        }.get(x.dtype.kind, "; make numbers of the labels: numpy.unique(y, return_inverse=True)[1]")
        raise TypeError(_checks.mismatch(place, "dtype", x.dtype, "numbers") + hint)
    name = _arrays.dtype_name(x)
    if not name.startswith(NUMBERS):
        raise TypeError(_checks.mismatch(place, "dtype", name, "numbers"))


def check_model(objective: object, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Check what a linear model needs: X of floating-point numbers."""
    if isinstance(objective, LinearModel):
        X = dense_like(arrays[0])
        if not (_arrays.is_real(X) or _arrays.is_complex(X)):
            name = _arrays.dtype_name(X)
            msg = _checks.mismatch(names[0], "dtype", name, "floating-point")
            raise TypeError(f"{msg}; make it so, in NumPy by .astype(float)")
        if len(arrays) > 1 and isinstance(objective.loss, Loss):
            _check_targets(objective.loss, names[0].replace("0", "1"), *arrays[1:3])


def _check_targets(loss: Loss, place: str, y: Array, weights: Array = None) -> None:
    # A loss looks at NumPy's targets in each evaluation. Tensors in the memory of the host are
    # looked at once, for which no device has to wait.
    if all(map(_arrays.numpy_can_view, [y] if weights is None else [y, weights])):
        weights = None if weights is None else _arrays.seen(weights)
        if weights is not None:
            _checks.not_negative("weights", weights)
        loss._check_values(place, _arrays.seen(y), weights)


def check_validation(
    objective: object, validation: Tree, arrays: Sequence[Array] | None
) -> tuple[Array, ...]:
    """Return the validation data as a tuple of arrays, after a check."""
    validation = _as_tuple(validation)
    if not isinstance(validation, tuple) or not validation:
        msg = f"validation: is a {type(validation).__name__}, expected a tuple of arrays"
        raise TypeError(msg)
    names = [f"validation[{i}]" for i in range(len(validation))]
    check_rows(names, validation, None if arrays is None else arrays[0])
    check_model(objective, names, validation)
    return validation


def start_of(objective: object, params: Tree, arrays: Sequence[Array] | None) -> Tree:
    """Return where to start: what was given, or what the objective initializes."""
    if params is not None:
        return params
    if not hasattr(objective, "initialize") or arrays is None:
        msg = "params: are needed, since the objective cannot initialize them from this data"
        raise TypeError(msg)
    return objective.initialize(*arrays[:2])
