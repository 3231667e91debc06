"""The pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from . import _curves

__all__ = ["compare", "loss_curves", "path", "rate_test", "schedule"]

# Okabe and Ito's colours, which colour-blind people tell apart; yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
DECADES = 100.0  # the ratio from which on an axis is logarithmic
LEGEND = 8  # lines that a legend inside the axes may have


def loss_curves(source: Any, ax: Any = None, *, names: Iterable[str] | None = None) -> Any:
    """Draw the losses of a run over its epochs or iterations.

    Parameters
    ----------
    source : FitResult, MinimizeResult, History, mapping, or sequence of numbers
        What holds the numbers, of any library; those on a device are brought to the host. A plain
        sequence is one curve, ``"loss"``.
    ax : matplotlib axes, optional
        Where to draw.
    names : sequence of str, optional
        Which numbers, by default ``"loss"`` and ``"validation_loss"``, or ``"fun"``. Those of
        steps, such as ``"step_loss"``, are spread over the epochs.

    Returns
    -------
    matplotlib axes
        With a dot where the validation loss is lowest.

    Raises
    ------
    TypeError, ValueError
        If there are no such numbers.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fallline as fl
    >>> res = fl.minimize(lambda x: (x @ x, 2 * x), np.ones(2), record=["fun"])
    >>> ax = fl.plotting.loss_curves(res)  # doctest: +SKIP
    """
    history = _curves.history("source", source)
    if names is None:
        known = [n for n in ("loss", "validation_loss", "fun") if n in history]
        names = known or list(history)[:1]
    names = [names] if isinstance(names, str) else list(names)
    curves = {name: _curves.curve("source", history, name) for name in names}
    ax, fresh = _axes(ax)
    whole = [n for n in names if not n.startswith("step_")]
    styles = _styles(ax)
    for name, (x, y) in curves.items():
        thin = name.startswith("step_") and bool(whole)
        if thin:
            # Steps have no epochs of their own.
            x = np.linspace(0, len(curves[whole[0]][1]), len(y) + 1)[1:]
        style = {"color": "0.75", "linewidth": 0.8, "zorder": 1} if thin else next(styles)
        (line,) = ax.plot(x, y, label=_words(name), **style)
        if name == "validation_loss" and np.isfinite(y).any():
            best = int(np.nanargmin(np.where(np.isfinite(y), y, np.nan)))
            ax.scatter(x[best], y[best], color=line.get_color(), zorder=3)
    if fresh:
        _scaled(ax, [y for _, y in curves.values()])
        one = _words(names[0]) if len(names) == 1 else "loss"
        ax.set(xlabel=_curves.over(history, (whole or names)[0]), ylabel=one)
        _whole_numbers(ax)
    _legend(ax, 2)
    return ax


def compare(
    runs: Any,
    ax: Any = None,
    *,
    name: str = "loss",
    over: str | None = None,
    minimum: float = 0.0,
) -> Any:
    """Draw one number of several runs.

    Parameters
    ----------
    runs : mapping of str to results
        Labels and what `loss_curves` takes.
    ax : matplotlib axes, optional
        Where to draw.
    name : str, default "loss"
        Which number; ``"loss"`` is ``"fun"`` for runs of `minimize`.
    over : str, optional
        The number on the horizontal axis, such as ``"nfev"`` where it was recorded; ``"seconds"``
        are added up. By default the epoch or iteration.
    minimum : float, default 0
        A known least value, which is subtracted.

    Returns
    -------
    matplotlib axes
        With one line for each run; from the ninth on the legend is beside the axes.

    Raises
    ------
    TypeError, ValueError
        If a run lacks the numbers.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import fallline as fl
    >>> histories = {"slow": [4.0, 2.0, 1.0], "fast": [4.0, 1.0, 0.25]}
    >>> ax = fl.plotting.compare(histories)  # doctest: +SKIP
    """
    if not isinstance(runs, Mapping) or not runs:
        msg = f"runs: is {runs!r}, expected a mapping from labels to results"
        raise TypeError(msg)
    curves, counted = [], []
    for label, run in runs.items():
        place = _checks.where("runs", (label,))
        history = _curves.history(place, run)
        used = "fun" if name == "loss" and name not in history and "fun" in history else name
        x, y = _curves.curve(place, history, used)
        if over is not None:
            x = _curves.curve(place, history, over)[1]
            x = np.cumsum(x) if over == "seconds" else x
            if len(x) != len(y):
                raise ValueError(_checks.mismatch(place, f"length of {over!r}", len(x), len(y)))
        counted.append(_curves.over(history, used) if over is None else _words(over))
        curves.append((label, x, y - minimum))
    ax, fresh = _axes(ax)
    for (label, x, y), style in zip(curves, _styles(ax), strict=False):
        ax.plot(x, y, label=label, **style)
    if fresh:
        _scaled(ax, [y for _, _, y in curves])
        less = f" - {minimum:g}" if minimum else ""
        ax.set(xlabel=" or ".join(sorted({*counted})), ylabel=_words(name) + less)
        if over is None:
            _whole_numbers(ax)
    _legend(ax)
    return ax


def schedule(schedule: Any, steps: int, ax: Any = None, *, label: str | None = None) -> Any:
    """Draw a schedule before it is used.

    Parameters
    ----------
    schedule : callable, float or Rule
        From the step, 0 first, to a number; of a rule its learning rate.
    steps : int
        How many steps to draw.
    ax : matplotlib axes, optional
        Where to draw.
    label : str, optional
        For a legend.

    Returns
    -------
    matplotlib axes
        Logarithmic if the numbers are positive, never rise, span two decades, and half of them
        are below a tenth of the first.

    Raises
    ------
    TypeError, ValueError
        If this is no schedule, or there are no steps.
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
    ax, fresh = _axes(ax)
    ax.plot(np.arange(steps), values, label=label, **next(_styles(ax)))
    if fresh:
        if np.all(np.diff(values) <= 0) and 0 < np.median(values) < values[0] / 10:
            _scaled(ax, [values])
        ax.set(xlabel="step", ylabel="learning rate")
    _legend(ax)
    return ax


def rate_test(result: Any, ax: Any = None) -> Any:
    """Draw what `find_learning_rate` found.

    Parameters
    ----------
    result : RateTest
        Of `fallline.find_learning_rate`.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib axes
        The losses in grey, the smoothed ones above them, a line at the suggestion.

    Raises
    ------
    TypeError
        If the result is of something else.
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
        msg = f"result: is a {type(result).__name__}, expected that of find_learning_rate"
        raise TypeError(msg)
    ax, _ = _axes(ax)
    ax.plot(result.rates, result.losses, color="0.75", linewidth=0.8, label="loss")
    ax.plot(result.rates, result.smoothed, color=COLOURS[0], label="smoothed")
    if math.isfinite(result.suggestion):
        words = f"suggestion: {result.suggestion:.2g}"
        ax.axvline(result.suggestion, color=COLOURS[1], linestyle="--", label=words)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if not _scaled(ax, [result.losses]):
        # An explosion would flatten the rest.
        low, start = np.min(result.smoothed), result.smoothed[0]
        fall = start - low or abs(start) or 1.0
        ax.set_ylim(low - 0.3 * fall, start + fall)
    ax.legend()
    return ax


def path(
    fun: Callable[[Any], Any] | None,
    points: Any,
    ax: Any = None,
    *,
    label: str | None = None,
    limits: Sequence[Sequence[float]] | None = None,
    levels: int = 16,
    resolution: int = 100,
) -> Any:
    """Draw the way of a solver over the map of a function of two variables.

    Parameters
    ----------
    fun : callable or None
        ``fun(x)`` returns the value, or value and gradient, for `x` of shape (2,), of the library
        of the points. None draws the way only, over a map that is there.
    points : array of shape (n, 2), sequence of arrays of shape (2,), or of records
        The way; also a result of `minimize` with ``record=["x"]``.
    ax : matplotlib axes, optional
        Where to draw.
    label : str, optional
        For a legend.
    limits : pair of pairs, optional
        What to show, ``((left, right), (bottom, top))``; by default the points with a margin.
    levels : int, default 16
        Heights on the map. They follow the ranks of the values, so that valleys and slopes are
        seen alike.
    resolution : int, default 100
        Evaluations along each axis of the map.

    Returns
    -------
    matplotlib axes
        With a circle at the first point and a star at the last.

    Raises
    ------
    TypeError, ValueError
        If the points are not of two numbers.
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
    ax, fresh = _axes(ax)
    if fresh or limits is not None:
        low, high = _curves.window(places) if limits is None else np.asarray(limits, float).T
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if fun is not None:
        _map(ax, fun, like, levels, resolution)
    (style,) = itertools.islice(_styles(ax, COLOURS[1:] + COLOURS[:1]), 1)
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
    _legend(ax)
    return ax


# -- drawing ------------------------------------------------------------------------------------


def _axes(ax: Any) -> tuple[Any, bool]:
    # Axes to draw on, and whether they are empty: then scales and labels are ours.
    if ax is not None:
        return ax, not ax.has_data()
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        msg = "plots need matplotlib: pip install 'fallline[plot]'"
        raise ImportError(msg) from error
    return plt.subplots(layout="constrained")[1], True


def _styles(ax: Any, colours: Sequence[str] = COLOURS) -> Iterator[dict[str, Any]]:
    # Colours first, then dashes; after those of the lines that are there.
    styles = ({"color": c, "linestyle": d} for d in itertools.cycle(DASHES) for c in colours)
    return itertools.islice(styles, len(ax.lines), None)


def _scaled(ax: Any, curves: Sequence[Any]) -> bool:
    # Logarithmic, if no number is negative and the others span decades.
    values = np.concatenate([np.asarray(y, float).ravel() for y in curves])
    values = values[np.isfinite(values)]
    some = values[values > 0]
    spans = bool(some.size) and some.size + np.sum(values == 0) == values.size
    spans = spans and bool(some.max() >= DECADES * some.min())
    if spans:
        ax.set_yscale("log")
    return spans


def _map(ax: Any, fun: Callable[[Any], Any], like: Any, levels: int, resolution: int) -> None:
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


def _whole_numbers(ax: Any) -> None:
    # No half epochs.
    from matplotlib import ticker

    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def _legend(ax: Any, least: int = 1) -> None:
    labels = ax.get_legend_handles_labels()[1]
    if len(labels) > LEGEND:
        columns = math.ceil(len(labels) / 16)
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), ncols=columns, fontsize="small")
    elif len(labels) >= least:
        ax.legend()


def _words(name: str) -> str:
    special = {"fun": "value", "nfev": "evaluations", "nit": "iteration"}
    return special.get(name, name.replace("_", " "))
