"""What is kept of a run, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays, callbacks
from ..._arrays import _checks
from ..._arrays._trees import Structure
from ..._arrays._types import Array, HostArray, Number, Tree
from ...callbacks._base import ends
from ...stop import Verdict
from .._monitor import _Newest
from ._record import FitRecord
from ._run import Run

RECORDED: dict[str, Callable[[FitRecord], Tree]] = {
    "cost": lambda record: record.cost,
    "damping": lambda record: record.damping,
    "nfev": lambda record: record.evaluations,
    "nit": lambda record: record.iteration,
    "optimality": lambda record: record.optimality,
    "x": lambda record: record.x,
}


class Watch:
    """Keeps the history, calls the callback and moves a progress bar.

    Parameters
    ----------
    record : sequence of str
        What the history keeps.
    callback : callable or None
        Called with a record after each iteration.
    progress : bool
        Whether there is a bar: over iterations, or over the problems of a batch.
    problems : int or None
        How many there are, `None` for a single one.
    """

    def __init__(
        self, record: Sequence[str], callback: Any, progress: bool, problems: int | None
    ) -> None:
        for name in record:
            if name not in RECORDED:
                raise _checks.unknown_name("record", name, RECORDED)
        if callback is not None and not callable(callback):
            raise TypeError(_checks.unlike("callback", callback, "a function"))
        self._record, self._callback, self.epochs = tuple(record), callback, problems
        self._bar = callbacks.Progress() if _checks.flag("progress", progress) else None
        self._warned: set[int] = set()
        self._kept: list[list[tuple[HostArray, dict[str, Tree]]]] = []
        self.epoch, self.history = 0, _Newest()

    def begin(self) -> None:
        """Begin another run: another chunk of the problems."""
        self._kept.append([])

    def start(self) -> None:
        """Show the bar."""
        if self._bar is not None:
            self._bar.on_start(self)

    def end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.on_end(self)

    def __call__(self, run: Run, index: HostArray, codes: HostArray, told: bool) -> Verdict | None:
        """Look at an iteration, and return why to stop if the callback wants that."""
        record = run.record
        self._kept[-1].append((index, {name: RECORDED[name](record) for name in self._record}))
        if self._bar is not None:
            self._move(record, index, codes)
        if not told or self._callback is None:
            return None
        stops = ends(
            self._callback, record, who=self._callback, name=lambda: "callback:",
            warned=self._warned,
        )  # fmt: skip
        return Verdict("the callback stopped the run", False, 99) if stops else None

    def _move(self, record: FitRecord, index: HostArray, codes: HostArray) -> None:
        cost: Number = record.cost
        if self.epochs is None:
            self.epoch = record.iteration
        else:
            # The problems of a chunk before have ended, and those dropped of this one.
            first = len({int(i) for i in self._kept[-1][0][0]}) - index.size
            before = int(self._kept[-1][0][0][0]) if self._kept[-1][0][0].size else 0
            self.epoch = before + first + int(np.count_nonzero(codes))
            cost = float(np.mean(_arrays.to_numpy(cost))) if index.size else 0.0
        self.history["loss"] = cost
        if self._bar is not None:
            self._bar.on_epoch(self)

    # -- the history ----------------------------------------------------------------------------

    def kept(self) -> dict[str, list[Any]]:
        """Return the history; of a batch, arrays of all problems, which ended stay as they are."""
        if self.epochs is None:
            return {n: [numbers[n] for _, numbers in self._kept[0]] for n in self._record}
        found: dict[str, list[Any]] = {}
        for name in self._record:
            runs = [_filled([(i, numbers[name]) for i, numbers in run]) for run in self._kept]
            longest = max(map(len, runs))
            padded = [run + run[-1:] * (longest - len(run)) for run in runs]
            found[name] = [_together(parts) for parts in zip(*padded, strict=True)]
        return found


def _filled(looks: Sequence[tuple[HostArray, Tree]]) -> list[Tree]:
    # Trees of all problems of a run, from those of the problems that were at work.
    whole, first = looks[0]
    found = [first]
    for index, value in looks[1:]:
        if index.size < whole.size:
            place = index.size + np.arange(whole.size)
            place[np.searchsorted(whole, index)] = np.arange(index.size)
            value = _mapped([value, found[-1]], place)
        found.append(value)
    return found


def _together(parts: Sequence[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else _mapped(parts, None)


def _mapped(trees: Sequence[Tree], place: HostArray | None) -> Tree:
    # Trees one behind the other along their leading axes, in another order.
    structure = Structure(trees[0])
    leaves = zip(*(structure.flatten(tree, "x") for tree in trees), strict=True)
    return structure.unflatten(
        [None if some[0] is None else _joined(some, place) for some in leaves]
    )


def _joined(some: Sequence[Array], place: HostArray | None) -> Array:
    first = some[0]
    with _arrays.guard(first)():
        x = _arrays.namespace(first).concat(some, axis=0)
        return x if place is None else _arrays.rows(x, _arrays.from_numpy(place, first))
