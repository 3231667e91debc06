"""The checks of what a caller hands to an estimator, by the names that the caller knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._array_api import get_namespace
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, validate_data

from .. import _arrays
from .._arrays import _checks, _sparse
from .._arrays._types import Array, HostArray
from ..objectives._linear_model import dense_like


def data(
    estimator: BaseEstimator, X: Array, y: Array, *, reset: bool, numeric: bool
) -> tuple[Array, Array]:
    """Return X and y as arrays, X of floating-point numbers; y on the device of X."""
    refuse("y", y)
    y = _numbers(y) if numeric else y
    X, y = _validated(estimator, X, y=y, y_numeric=numeric, reset=reset)
    return X, beside(y, dense_like(X))


def features(estimator: BaseEstimator, X: Array) -> Array:
    """Return the X of a prediction as an array of floating-point numbers."""
    return _validated(estimator, X, reset=False)


def _validated(estimator: BaseEstimator, X: Array, **options: object) -> Array:
    refuse("X", X)
    _sparse.check("X", X)  # scikit-learn converts it by its indices
    xp, _ = get_namespace(X)
    try:
        kinds = [xp.float64, xp.float32]
        return validate_data(estimator, X, accept_sparse="csr", dtype=kinds, **options)
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        msg = f"X: {error}; expected numbers"
        raise ValueError(msg) from error


def row_weights(weights: Array, X: Array) -> Array:
    """Return the weights of the rows in the precision and on the device of X."""
    like = dense_like(X)
    refuse("sample_weight", weights)
    weights = _check_sample_weight(beside(weights, like), X, dtype=like.dtype)
    xp = _arrays.namespace(weights)
    if _arrays.to_float(xp.min(weights)) < 0:
        msg = "Negative values in data passed to `sample_weight`"
        raise ValueError(msg)
    if not anything(weights):
        msg = "Sample weights must contain at least one non-zero number."
        raise ValueError(msg)
    return weights


def anything(weights: Array) -> bool:
    """Tell whether some weight is above zero: synchronises with the device."""
    return _arrays.to_float(_arrays.namespace(weights).max(weights)) > 0


def refuse(name: str, x: Array) -> None:
    """Refuse what would be taken for plain numbers, and is not: masks, dates and durations."""
    if isinstance(x, np.ma.MaskedArray):
        msg = (
            f"{name}: is a masked array, expected one without a mask; "
            "leave the masked rows out, or fill them by .filled()"
        )
        raise TypeError(msg)
    columns = getattr(x, "dtypes", None)
    kinds = {name: getattr(x, "dtype", None)}
    if columns is not None and hasattr(columns, "items"):  # of a table
        kinds = {_checks.where(name, (column,)): kind for column, kind in columns.items()}
    for place, kind in kinds.items():
        if getattr(kind, "kind", "") in ("M", "m"):
            msg = f"{place}: is of {kind}, expected numbers; subtract a date, and divide by a unit"
            raise TypeError(msg)


def _numbers(y: Array) -> Array:
    # Targets that are numbers, whatever holds them.
    if y is None or (_arrays.is_array(y) and not isinstance(y, np.ndarray)):
        return y
    kind = getattr(y, "dtype", None)
    kind = np.asarray(y).dtype if kind is None else kind
    if getattr(kind, "kind", "") not in ("O", "U", "S"):
        return y
    try:
        return np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"y: is of {kind}, expected numbers: {error}"
        raise ValueError(msg) from error


def beside(x: Array, like: Array) -> Array:
    """Return an array of numbers where `like` is; NumPy's text stays where it is."""
    if not _arrays.is_array(x) or (isinstance(x, np.ndarray) and x.dtype.kind not in "biufc"):
        return x
    if _arrays.namespace(x) is not _arrays.namespace(like):
        return _arrays.from_numpy(_arrays.to_numpy(x), like)
    here = _arrays.device(x) == _arrays.device(like)
    return x if here else _arrays.moved(x, like, x.dtype)


def class_factors(
    given: Mapping[Any, float] | str, labels: HostArray, rows: tuple[Array, Array] | None
) -> HostArray:
    """Return the factor of each class.

    Parameters
    ----------
    given : dict or str
        The parameter `class_weight`.
    labels : array, shape (classes,)
        The labels, of NumPy.
    rows : tuple of arrays, optional
        The number of each row's class, and the rows' weights or `None`, that are to be balanced.

    Returns
    -------
    array, shape (classes,)
        Of NumPy.
    """
    factors: HostArray
    if rows is not None and isinstance(given, str) and given == "balanced":
        codes, weights = rows
        each = None if weights is None else _arrays.to_numpy(weights)
        sums = np.bincount(_arrays.to_numpy(codes), each, minlength=len(labels))
        factors = sums.sum() / (len(sums) * np.where(sums == 0, 1, sums))
    else:
        factors = compute_class_weight(given, classes=labels, y=labels)
    if (factors < 0).any():
        msg = f"class_weight: is {given!r}, expected no negative weights"
        raise ValueError(msg)
    return factors
