"""Pictures of a schedule, of a test of learning rates, and of the path of a solver."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Axes
from . import _axes, _curves


def schedule(schedule: object, steps: int, ax: Axes = None, *, label: str | None = None) -> Axes:
    """Draw a schedule before it is used.

    Parameters
    ----------
    schedule : callable, float or Rule
        A function from the step, 0 first, to a number; for a rule, its learning rate.
    steps : int
        Number of steps to draw.
    ax : matplotlib axes, optional
        The axes to draw on.
    label : str, optional
        A label for the legend.

    Returns
    -------
    matplotlib axes
        The axes, logarithmic if the numbers are positive, never rise, span two decades, and half of
        them are below a tenth of the first.

    Raises
    ------
    TypeError, ValueError
        If `schedule` is not a schedule, or there are no steps.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fallline as fl
    >>> ax = fl.plotting.schedule(fl.schedules.Cosine(0.1, steps=100), 100)  # doctest: +SKIP
    """
    steps = _checks.count("steps", steps, 1)
    given = getattr(schedule, "learning_rate", schedule)
    if not callable(given):
        _checks.number("schedule", given, -math.inf, math.inf, what="a number or a schedule")
    read = given if callable(given) else lambda step: given
    values = np.asarray([_arrays.to_float(read(step)) for step in range(steps)])
    ax, fresh = _axes.new_axes(ax)
    ax.plot(np.arange(steps), values, label=label, **next(_axes.styles(ax)))
    if fresh:
        if np.all(np.diff(values) <= 0) and 0 < np.median(values) < values[0] / 10:
            _axes.scaled(ax, [values])
        ax.set(xlabel="step", ylabel="learning rate")
    _axes.legend(ax)
    return ax


def rate_test(result: Any, ax: Axes = None) -> Axes:
    """Draw what `find_learning_rate` found.

    Parameters
    ----------
    result : RateTest
        A result of `fallline.find_learning_rate`.
    ax : matplotlib axes, optional
        The axes to draw on.

    Returns
    -------
    matplotlib axes
        The axes: the losses in grey, the smoothed ones above them, a line at the suggestion.

    Raises
    ------
    TypeError
        If `result` is something else.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fallline as fl
    >>> model = fl.LinearModel(fl.losses.SquaredError())
    >>> found = fl.find_learning_rate(model, (np.eye(3), np.ones(3)))
    >>> ax = fl.plotting.rate_test(found)  # doctest: +SKIP
    """
    if not all(hasattr(result, name) for name in ("rates", "losses", "smoothed", "suggestion")):
        msg = f"result: is a {type(result).__name__}, expected a result of find_learning_rate"
        raise TypeError(msg)
    ax, _ = _axes.new_axes(ax)
    ax.plot(result.rates, result.losses, color="0.75", linewidth=0.8, label="loss")
    ax.plot(result.rates, result.smoothed, color=_axes.COLOURS[0], label="smoothed")
    if math.isfinite(result.suggestion):
        words = f"suggestion: {result.suggestion:.2g}"
        ax.axvline(result.suggestion, color=_axes.COLOURS[1], linestyle="--", label=words)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if not _axes.scaled(ax, [result.losses]):
        # An explosion would flatten the rest.
        low, start = np.min(result.smoothed), result.smoothed[0]
        fall = start - low or abs(start) or 1.0
        ax.set_ylim(low - 0.3 * fall, start + fall)
    ax.legend()
    return ax


def path(
    fun: Callable[[Array], Array] | None,
    points: Array,
    ax: Axes = None,
    *,
    label: str | None = None,
    limits: Sequence[Sequence[float]] | None = None,
    levels: int = 16,
    resolution: int = 100,
) -> Axes:
    """Draw the path of a solver over the map of a function of two variables.

    Parameters
    ----------
    fun : callable or None
        ``fun(x)`` returns the value, or value and gradient, for `x` of shape (2,), of the library
        of the points. None draws only the path, over an existing map.
    points : array of shape (n, 2), sequence of arrays of shape (2,), or of records
        The path, or a result of `minimize` with ``record=["x"]``.
    ax : matplotlib axes, optional
        The axes to draw on.
    label : str, optional
        A label for the legend.
    limits : pair of pairs, optional
        The region to show, ``((left, right), (bottom, top))``; by default the points with a margin.
    levels : int, default 16
        Number of heights on the map. They follow the ranks of the values, so that valleys and
        slopes are both visible.
    resolution : int, default 100
        Number of evaluations along each axis of the map.

    Returns
    -------
    matplotlib axes
        The axes, with a circle at the first point and a star at the last.

    Raises
    ------
    TypeError, ValueError
        If the points do not have two coordinates.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fallline as fl
    >>> def valley(x):
    ...     return x[0] ** 2 + 10 * x[1] ** 2, np.stack([2 * x[0], 20 * x[1]])
    >>> res = fl.minimize(valley, np.asarray([2.0, 1.0]), record=["x"])
    >>> ax = fl.plotting.path(valley, res)  # doctest: +SKIP
    """
    places, like = _curves.points(points)
    ax, fresh = _axes.new_axes(ax)
    if fresh or limits is not None:
        low, high = _curves.window(places) if limits is None else np.asarray(limits, float).T
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if fun is not None:
        _map(ax, fun, like, levels, resolution)
    (style,) = itertools.islice(_axes.styles(ax, _axes.COLOURS[1:] + _axes.COLOURS[:1]), 1)
    colour = style["color"]
    small = 3 if len(places) <= 100 else 0
    ax.plot(
        *places.T, label=label, linestyle=style["linestyle"], color=colour, linewidth=1.4,
        marker="o", markersize=small, zorder=3,
    )  # fmt: skip
    ends = ((places[0], "o", 45), (places[-1], "*", 140))
    for (x, y), marker, size in ends:
        ax.scatter(x, y, size, marker=marker, color=colour, edgecolor="white", zorder=4)
    if fresh:
        ax.set(xlabel="$x_0$", ylabel="$x_1$")
    _axes.legend(ax)
    return ax


def _map(
    ax: Axes, fun: Callable[[Array], Array], like: Array, levels: int, resolution: int
) -> None:
    # Filled heights, light where it is low, and their lines.
    from matplotlib import colors

    a, b = (np.linspace(low, high, resolution) for low, high in (ax.get_xlim(), ax.get_ylim()))
    heights = _curves.heights(fun, like, a, b)
    if np.isnan(heights).all():
        return
    # Ranks of the heights; their squares bring more lines into the valleys.
    edges = np.unique(np.nanquantile(heights, np.linspace(0, 1, levels) ** 2))
    if len(edges) < 3:
        return
    norm = colors.BoundaryNorm(edges, 256)
    masked = np.ma.masked_invalid(heights)
    ax.contourf(a, b, masked, edges, cmap="YlGnBu", norm=norm, alpha=0.8)
    ax.contour(a, b, masked, edges[1:-1], colors="white", linewidths=0.5)
