"""What a run of `fit` remembers: numbers of steps and of epochs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from .. import _arrays
from .._arrays._types import Array, HostArray, Json, Number


class History(Mapping[str, HostArray]):
    """The numbers of a run by name; those on a device stay there until they are read.

    A name that begins with ``step_``, such as ``"step_loss"``, has one number for each step. Any
    other has one for each epoch: ``"loss"`` (the mean over the steps of the epoch),
    ``"validation_loss"``, ``"seconds"``, and what callbacks add. ``history[name]`` is an array of
    NumPy.
    """

    def __init__(self) -> None:
        self._host: dict[str, list[float]] = {}
        self._waiting: dict[str, list[Array]] = defaultdict(list)

    def add(self, name: str, value: Number) -> None:
        """Append a number: a float, or a 0-d array that is not read now."""
        self._host.setdefault(name, [])
        if _arrays.is_array(value):
            self._waiting[name].append(value)
        else:
            self._read(name).append(float(value))

    def put(self, name: str, start: int, values: Array) -> None:
        """Let the numbers of an array of NumPy follow the first `start`."""
        self._host.setdefault(name, [])
        self._read(name)[start:] = values.tolist()

    def _read(self, name: str) -> list[float]:
        # Bring what waits to the host, in one piece.
        waiting = self._waiting[name]
        if waiting:
            first = waiting[0]
            if _arrays.on_host(first):
                for x in waiting:  # older versions of NumPy make a number of any single element
                    if x.shape:
                        msg = f"{name}: has the shape {x.shape}, expected one number"
                        raise TypeError(msg)
                self._host[name] += [float(x) for x in waiting]
            else:
                xp = _arrays.namespace(first)
                packed = xp.stack([xp.reshape(_arrays.detached(x), ()) for x in waiting])
                self._host[name] += _arrays.to_numpy(packed).astype(float).tolist()
            waiting.clear()
        return self._host[name]

    def last(self, name: str) -> float:
        """Return the newest number; NaN without any."""
        numbers = self._read(name) if name in self._host else []
        return numbers[-1] if numbers else math.nan

    def __getitem__(self, name: str) -> HostArray:
        """Return all numbers of a name: a read from the device."""
        if name not in self._host:
            raise KeyError(name)
        return np.asarray(self._read(name))

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._host)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._host)

    def __repr__(self) -> str:
        """Return the names and how many numbers each has."""
        counts = (f"{n}: {len(self._host[n]) + len(self._waiting[n])}" for n in self._host)
        return f"<History of {', '.join(counts) or 'nothing'}>"

    def state(self) -> dict[str, Json]:
        """Return an array of doubles for each name: synchronises with the device."""
        return {name: np.asarray(self[name], np.float64) for name in self}

    def load(self, state: Mapping[str, Json]) -> None:
        """Restore what `state` returned, or lists of these numbers."""
        self._host = {name: np.asarray(x, np.float64).tolist() for name, x in state.items()}
        self._waiting.clear()
