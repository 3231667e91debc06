"""Pictures of runs: their losses, and one number of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .._arrays import _checks
from .._arrays._types import Axes
from . import _axes, _curves


def loss_curves(source: object, ax: Axes = None, *, names: Iterable[str] | None = None) -> Axes:
    """Draw the losses of a run over its epochs or iterations.

    Parameters
    ----------
    source : FitResult, MinimizeResult, History, mapping, or sequence of numbers
        The numbers, of any library; those on a device are copied to the host. A plain sequence is a
        single curve, ``"loss"``.
    ax : matplotlib axes, optional
        The axes to draw on.
    names : sequence of str, optional
        Names of the numbers to draw, by default ``"loss"`` and ``"validation_loss"``, or
        ``"fun"``. Those of steps, such as ``"step_loss"``, are spread over the epochs.

    Returns
    -------
    matplotlib axes
        The axes, with a dot where the validation loss is lowest.

    Raises
    ------
    TypeError, ValueError
        If `source` does not contain these numbers.
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
    ax, fresh = _axes.new_axes(ax)
    whole = [n for n in names if not n.startswith("step_")]
    styles = _axes.styles(ax)
    for name, (x, y) in curves.items():
        thin = name.startswith("step_") and bool(whole)
        if thin:
            # Steps have no epochs of their own.
            x = np.linspace(0, len(curves[whole[0]][1]), len(y) + 1)[1:]
        style = {"color": "0.75", "linewidth": 0.8, "zorder": 1} if thin else next(styles)
        (line,) = ax.plot(x, y, label=_axes.words(name), **style)
        if name == "validation_loss" and np.isfinite(y).any():
            best = int(np.nanargmin(np.where(np.isfinite(y), y, np.nan)))
            ax.scatter(x[best], y[best], color=line.get_color(), zorder=3)
    if fresh:
        _axes.scaled(ax, [y for _, y in curves.values()])
        one = _axes.words(names[0]) if len(names) == 1 else "loss"
        ax.set(xlabel=_curves.over(history, (whole or names)[0]), ylabel=one)
        _axes.whole_numbers(ax)
    _axes.legend(ax, 2)
    return ax


def compare(
    runs: object,
    ax: Axes = None,
    *,
    name: str = "loss",
    over: str | None = None,
    minimum: float = 0.0,
) -> Axes:
    """Compare one number of several runs.

    Parameters
    ----------
    runs : mapping of str to results
        Labels and results, of the kinds that `loss_curves` takes.
    ax : matplotlib axes, optional
        The axes to draw on.
    name : str, default "loss"
        Name of the number; ``"loss"`` means ``"fun"`` for runs of `minimize`.
    over : str, optional
        Name of the number on the horizontal axis, such as ``"nfev"`` if it was recorded;
        ``"seconds"`` are added up. By default the epoch or iteration.
    minimum : float, default 0
        A known minimum, which is subtracted.

    Returns
    -------
    matplotlib axes
        The axes, with a line for each run; with more than eight the legend is beside the axes.

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
        counted.append(_curves.over(history, used) if over is None else _axes.words(over))
        curves.append((label, x, y - minimum))
    ax, fresh = _axes.new_axes(ax)
    for (label, x, y), style in zip(curves, _axes.styles(ax), strict=False):
        ax.plot(x, y, label=label, **style)
    if fresh:
        _axes.scaled(ax, [y for _, _, y in curves])
        less = f" - {minimum:g}" if minimum else ""
        ax.set(xlabel=" or ".join(sorted({*counted})), ylabel=_axes.words(name) + less)
        if over is None:
            _axes.whole_numbers(ax)
    _axes.legend(ax)
    return ax
