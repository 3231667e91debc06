"""What all pictures share: axes, styles, scales and legends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from .._arrays._types import Array, Axes

# Okabe and Ito's colours, which colour-blind people tell apart; yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
DECADES = 100.0  # the ratio from which on an axis is logarithmic
LEGEND = 8  # lines that a legend inside the axes may have


def new_axes(ax: Axes) -> tuple[Axes, bool]:
    """Return axes to draw on, and whether they are empty: then scales and labels are ours."""
    if ax is not None:
        return ax, not ax.has_data()
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        msg = "plots need matplotlib: pip install 'fallline[plot]'"
        raise ImportError(msg) from error
    return plt.subplots(layout="constrained")[1], True


def styles(ax: Axes, colours: Sequence[str] = COLOURS) -> Iterator[dict[str, str]]:
    """Yield styles: colours first, then dashes; after those of the lines that are there."""
    found = ({"color": c, "linestyle": d} for d in itertools.cycle(DASHES) for c in colours)
    return itertools.islice(found, len(ax.lines), None)


def scaled(ax: Axes, curves: Sequence[Array]) -> bool:
    """Make the scale logarithmic if no number is negative and the positive ones span decades."""
    values = np.concatenate([np.asarray(y, float).ravel() for y in curves])
    values = values[np.isfinite(values)]
    some = values[values > 0]
    spans = bool(some.size) and some.size + np.sum(values == 0) == values.size
    spans = spans and bool(some.max() >= DECADES * some.min())
    if spans:
        ax.set_yscale("log")
    return spans


def whole_numbers(ax: Axes) -> None:
    """Keep half epochs out of the horizontal axis."""
    from matplotlib import ticker

    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def legend(ax: Axes, least: int = 1) -> None:
    """Draw a legend of at least so many lines; a long one goes beside the axes."""
    labels = ax.get_legend_handles_labels()[1]
    if len(labels) > LEGEND:
        columns = math.ceil(len(labels) / 16)
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), ncols=columns, fontsize="small")
    elif len(labels) >= least:
        ax.legend()


def words(name: str) -> str:
    """Return the name of a number as a label."""
    special = {"fun": "value", "nfev": "evaluations", "nit": "iteration"}
    return special.get(name, name.replace("_", " "))
