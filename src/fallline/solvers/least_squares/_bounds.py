"""Bounds and scales of parameters as matrices with the problems along their last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._types import Array, Tree
from ...constraints import Box
from ._columns import Layout

_SIDES = ("lower", "upper")


def bounds_of(bounds: Any, layout: Layout, x: Array) -> tuple[Array, Array] | None:
    """Return lower and upper bounds, each (n, problems), after a check that `x` lies between.

    Parameters
    ----------
    bounds : pair, scipy.optimize.Bounds, Box, tree of Box, or None
        As in `least_squares`.
    layout : Layout
        Of the parameters.
    x : array, shape (n, problems)
        The start.

    Returns
    -------
    tuple of array, or None
        Infinite where there is no bound.
    """
    if bounds is None:
        return None
    if any(p is not None and _arrays.is_complex(p) for p in layout.leaves):
        msg = "bounds: are given, but x0 is complex, and complex numbers have no order"
        raise TypeError(msg)
    pair = _pair(bounds, layout)
    infinite = -math.inf, math.inf
    low, high = (
        spread(f"bounds, {side}", end, layout, none)
        for side, end, none in zip(_SIDES, pair, infinite, strict=True)
    )
    with _arrays.guard(x)():
        crossed, outside = ~(low <= high), ~((x >= low) & (x <= high))
    looks = np.asarray(_arrays.to_numpy(layout.space.xp.stack([crossed, outside])))
    for found, what in zip(
        looks, ("bounds: the lower is above the upper", "x0: is outside its bounds"), strict=True
    ):
        if found.any():
            raise ValueError(f"{what} {_place(layout, found)}")
    return low, high


def _pair(bounds: Any, layout: Layout) -> tuple[Tree, Tree]:
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        return np.asarray(bounds.lb, float), np.asarray(bounds.ub, float)
    if isinstance(bounds, tuple | list) and len(bounds) == 2 and not isinstance(bounds[0], Box):
        return bounds[0], bounds[1]
    boxes = layout.space.structure.broadcast(bounds, "bounds")
    for box in boxes:
        if box is not None and not isinstance(box, Box):
            expected = "a pair (lower, upper), each a number or a tree like x0, or a tree of fl.Box"
            raise TypeError(_checks.unlike("bounds", bounds, expected))
    whole = layout.space.structure.unflatten
    low = whole([None if box is None else box.low for box in boxes])
    return low, whole([None if box is None else box.high for box in boxes])


def _place(layout: Layout, found: Any) -> str:
    # Where the first problem is of which something holds.
    row, problem = (int(i[0]) for i in np.nonzero(found))
    spans = layout.space.spans
    leaf = next(i for i, span in enumerate(spans) if span.start <= row < span.stop)
    place = _checks.where("x0", layout.space.structure.paths[leaf])
    inside = (
        f", element {row - spans[leaf].start} of it"
        if spans[leaf].stop - spans[leaf].start > 1
        else ""
    )
    return f"at {place}{inside}" + (f", in problem {problem}" if layout.batched else "")


def spread(place: str, value: Tree, layout: Layout, none: float) -> Array:
    """Return numbers and arrays, a prefix of the parameters' tree, as (n, problems).

    Parameters
    ----------
    place : str
        Name of the argument.
    value : tree
        Each a number, an array of the leaf's shape, or one that lacks the axis of problems;
        `None` for the number `none`.
    layout : Layout
        Of the parameters.
    none : float
        What `None` means.

    Returns
    -------
    array, shape (n, problems)
        In the precision and on the device of the parameters.
    """
    space = layout.space
    if space.structure.is_leaf and isinstance(value, list | tuple):
        value = np.asarray(value, float)
    entries = space.structure.broadcast(value, place)
    leaves: list[Array] = []
    for path, p, entry in zip(space.structure.paths, layout.leaves, entries, strict=True):
        if p is None:
            leaves.append(None)
            continue
        where = _checks.where(place, path)
        number = none if entry is None else entry
        leaves.append(_like(where, number, p))
    packed = space.pack(space.structure.unflatten(leaves), place)
    return packed if layout.batched else packed[:, None]


def _like(place: str, value: Any, p: Array) -> Array:
    # A number, or an array that broadcasts against a leaf, in the shape of the leaf.
    xp, shape = _arrays.namespace(p), tuple(p.shape)
    if not _arrays.is_array(value):
        return _arrays.full(p, _checks.real(place, value, "a number or an array"), p.dtype)
    if not _arrays.on_host(value):
        _checks.same_kind(place, p, value)
    x = _arrays.moved(value, p, p.dtype)
    try:
        with _arrays.on_device(p):
            return xp.broadcast_to(x, shape)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(_checks.mismatch(place, "shape", tuple(value.shape), shape)) from error


def scale_of(x_scale: Any, layout: Layout) -> Array:
    """Return D for a scale of the parameters, `None` if it follows the columns of the Jacobian."""
    if isinstance(x_scale, str):
        if x_scale != "jac":
            raise _checks.unknown_name("x_scale", x_scale, ["jac"])
        return None
    scale = spread("x_scale", x_scale, layout, 1.0)
    if not bool((np.asarray(_arrays.to_numpy(scale)) > 0).all()):
        msg = "x_scale: some are not positive"
        raise ValueError(msg)
    return 1 / scale
