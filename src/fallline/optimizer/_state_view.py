"""The state of a leaf as users see it: readable, its entries replaceable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from .._arrays._types import Array, KeyPath
from ._leaf import Leaf


class StateView(MutableMapping[str, Array]):
    """State of one leaf: its slots by name, and the count ``step``.

    A new entry is checked when it is assigned: same shape, dtype and device, memory of its own.
    """

    __slots__ = ("_assign", "_find", "_path")

    def __init__(
        self,
        path: KeyPath,
        find: Callable[[KeyPath], Leaf],
        assign: Callable[[KeyPath, str, Array], None],
    ) -> None:
        self._path, self._find, self._assign = path, find, assign

    @property
    def _data(self) -> dict[str, Array]:
        state = self._find(self._path).state
        return {} if state is None else state.data

    def __getitem__(self, name: str) -> Array:
        return self._data[name]

    def __setitem__(self, name: str, value: Array) -> None:
        self._assign(self._path, name, value)

    def __delitem__(self, name: str) -> None:
        msg = f"state entry {name!r} cannot be deleted; assign another rule to change the slots"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self._data)
