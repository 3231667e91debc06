"""Numbers of runs for pictures: found by name, and copied to the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Axes, HostArray


def history(place: str, source: object) -> Mapping[str, Array]:
    """Return numbers by name: of a result, of a mapping, or of a sequence as ``"loss"``."""
    if isinstance(source, Mapping):
        inner = source.get("history")
        return inner if isinstance(inner, Mapping) else source
    if _arrays.is_array(source) or (isinstance(source, Sequence) and not isinstance(source, str)):
        return {"loss": source}
    msg = f"{place}: is a {type(source).__name__}, expected a result, a history or numbers"
    raise TypeError(msg)


def curve(place: str, history: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    """Return the positions and the values of the numbers with a name."""
    if name not in history:
        raise _checks.unknown_name(f"name in {place}", name, history)
    y = numbers(f"{place}[{name!r}]", history[name])
    if y.ndim != 1 or not y.size:
        raise ValueError(_checks.mismatch(f"{place}[{name!r}]", "shape", y.shape, "(n,), n >= 1"))
    if "nit" in history:
        return numbers(place, history["nit"]), y
    # The numbers of `minimize` begin before the first iteration.
    first = 0 if over(history, name) == "iteration" and "loss" not in history else 1
    return np.arange(first, first + len(y)), y


def numbers(place: str, values: Array) -> HostArray:
    """Return numbers on the host, with one transfer for a list of arrays on a device."""
    if not _arrays.is_array(values):
        values = list(values)
        first = values[0] if values else None
        if _arrays.is_array(first) and not _arrays.on_host(first):
            xp = _arrays.namespace(first)
            with _arrays.on_device(first):
                values = xp.stack([_arrays.detached(x) for x in values])
    try:
        host = _arrays.to_numpy(values) if _arrays.is_array(values) else np.asarray(values)
        return host.astype(float, casting="same_kind")
    except (TypeError, ValueError) as error:
        msg = f"{place}: must contain numbers of one shape only"
        raise TypeError(msg) from error


def points(points: Array) -> tuple[HostArray, Array]:
    """Return points on the host, and an array like those that the function takes."""
    if isinstance(points, Mapping):
        known = history("points", points)
        if "x" not in known:
            msg = 'points: the result has no history of x; pass record=["x"] to minimize'
            raise ValueError(msg)
        points = known["x"]
    if not _arrays.is_array(points):
        points = [getattr(point, "x", point) for point in points]
    places = numbers("points", points)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise ValueError(_checks.mismatch("points", "shape", places.shape, "(n, 2), n >= 1"))
    like = points[0] if _arrays.is_array(points[0]) else np.empty(2)
    return places, like


def window(places: Array) -> tuple[Array, Array]:
    """Return the corners of what to show of points."""
    places = places[np.all(np.isfinite(places), axis=1)]
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.max(high - low) or 1.0
    # A way along one axis still needs some room on the other.
    margin = np.maximum(0.15 * (high - low), 0.1 * size)
    return low - margin, high + margin


def heights(fun: Callable[[Array], Array], like: Array, a: Array, b: Array) -> Axes:
    """Return the values of a function on a grid, NaN where they are not finite."""
    grid = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    values = []
    with np.errstate(all="ignore"):
        for point in grid:
            found = fun(_arrays.moved(point, like, like.dtype))
            values.append(found[0] if isinstance(found, tuple) else found)
    result = numbers("fun", values).reshape(len(b), len(a))
    return np.where(np.isfinite(result), result, np.nan)


def over(history: Mapping[str, Array], name: str) -> str:
    """Return what numbers of a name are counted by: steps, iterations of a solver, or epochs."""
    if name.startswith("step_"):
        return "step"
    solver = "gradient_norm" in history or name in ("fun", "nfev", "nit", "step_length")
    return "iteration" if solver else "epoch"
