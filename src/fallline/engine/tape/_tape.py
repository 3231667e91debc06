"""Tapes: recorded operations as NumPy's own loops, run many times by one compiled function.

The loops are those that NumPy itself runs, on arrays of the same lengths, so that a tape gives the
bits of the formula that was recorded.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..._arrays._types import Array, Dtype, HostArray
from .. import _compile
from ._nodes import UnrecordableError
from ._recorded import Recorded
from ._recorder import Recorder
from ._writer import TapeWriter


class Tape:
    """The operations of a recorder, ready to run.

    Parameters
    ----------
    recorder : Recorder
        The operations; arrays are read and written in place.
    value : Recorded
        A number that is kept from each run, the loss.
    places : str
        The dtype of the indices of sparse matrices.
    """

    def __init__(self, recorder: Recorder, value: Recorded, places: str = "int64") -> None:
        self.dtype = recorder.dtype
        self.scalars = recorder.scalars
        self._replay = _compiled(self.dtype.name, places)
        if value.shape != () or recorder.nodes[value.node].given:
            msg = "a loss that is not a single computed number is not recorded"
            raise UnrecordableError(msg)
        writer = TapeWriter(recorder, value.node)
        self.lines, self._arena, self._value = writer.lines, writer.arena, writer.value
        self._scalars = writer.scalars
        self._kept = [node.detail for node in recorder.nodes]  # whose addresses are in lines

    def run(
        self, order: Array, first: int, count: int, scalars: HostArray, outcome: Outcome
    ) -> None:
        """Run the tape on the next rows, once for each row of `scalars`.

        Parameters
        ----------
        order : array of int64
            The order of the rows of the data.
        first, count : int
            The position in `order` of the first row, and the number of rows for each run.
        scalars : array, shape (runs, len(self.scalars))
            The scalars of each run.
        outcome : Outcome
            Filled with the results, also if this call is cut short.
        """
        with np.errstate(all="ignore"):
            rows = np.ascontiguousarray(scalars, self.dtype)
        itemsize = self.dtype.itemsize
        bytes_ = rows.view(np.uint8).reshape(len(rows), rows.shape[1] * itemsize)
        out = outcome.all_values.view(np.uint8).reshape(len(rows), itemsize)
        outcome.whole = self._replay(
            self.lines, order, first, count, len(rows), bytes_, self._scalars, out, self._value,
            outcome.done,
        )  # fmt: skip
        if not outcome.whole:
            msg = f"a loop of NumPy failed in step {len(outcome.values)} of {len(rows)}"
            raise RuntimeError(msg)


class Outcome:
    """The values of some runs, how many were completed, and whether none was cut in two.

    Parameters
    ----------
    times : int
        The number of runs.
    dtype : numpy.dtype
        The dtype of the values.
    """

    def __init__(self, times: int, dtype: Dtype) -> None:
        self.all_values, self.done = np.empty(times, dtype), np.zeros(1, np.int64)
        self.whole = True

    @property
    def values(self) -> Array:
        """The values of the completed runs."""
        return self.all_values[: int(self.done[0])]


@lru_cache
def _compiled(dtype: str, places: str) -> Callable[..., bool]:
    text = importlib.resources.files(__package__).joinpath("_replay.py").read_text("utf-8")
    text = text.replace("float64 as Real", f"{dtype} as Real")
    return _compile.compiled(text.replace("uint64 as Place", f"u{places} as Place"), "replay")
