"""Results: dicts whose entries are attributes too, and how they are printed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _arrays
from ._trees import Structure
from ._types import Array, Tree

_ELEMENTS = 10  # of an array that is printed whole
_LEAVES = 12  # of a tree that are printed


class Result(dict[str, Any]):
    """A dict whose entries are attributes too, as SciPy's results are; it prints a line for each.

    A class of results annotates its entries, so that an editor knows them.
    """

    _hidden: ClassVar[tuple[str, ...]] = ()  # entries that are not printed
    _named: ClassVar[tuple[str, ...]] = ()  # entries of which only the keys are

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> None:
        """Set an entry."""
        self[name] = value

    def __delattr__(self, name: str) -> None:
        """Remove an entry."""
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        """Return one line for each entry; large arrays are shown by their shapes."""
        lines = {
            name: f"{{{', '.join(x)}}}" if name in self._named else shown(x)
            for name, x in self.items()
            if name not in self._hidden
        }
        width = max(map(len, lines), default=0)
        indent = "\n" + " " * (width + 2)
        return "\n".join(f"{n:>{width}}: " + x.replace("\n", indent) for n, x in lines.items())

    def __dir__(self) -> list[str]:
        """Return the names of the entries."""
        return list(self.keys())


def shown(x: Array) -> str:
    """Return a value as text: of large arrays, in trees too, the shape and the dtype.

    Parameters
    ----------
    x : object
        A tree of arrays, or anything else.

    Returns
    -------
    str
        A small array is printed as it prints itself; a tree of many leaves is cut off.
    """
    if _arrays.is_array(x):
        return _leaf(x) or str(x)
    return "".join(_tree(x, [_LEAVES])) if isinstance(x, dict | list | tuple) else str(x)


def _leaf(x: Array) -> str:
    # Empty for a small array.
    if math.prod(x.shape) <= _ELEMENTS:
        return ""
    return f"{tuple(x.shape)} {_arrays.dtype_name(x)}"


def _tree(x: Array, left: list[int]) -> str:
    # left: of one number, the leaves that may still be printed.
    if isinstance(x, dict):
        return "{" + _entries([(f"{key!r}: ", value) for key, value in x.items()], left) + "}"
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        pairs = [(f"{name}=", value) for name, value in zip(x._fields, x, strict=True)]
        return f"{type(x).__name__}({_entries(pairs, left)})"
    if isinstance(x, list):
        return "[" + _entries([("", value) for value in x], left) + "]"
    if isinstance(x, tuple):
        inside = _entries([("", value) for value in x], left)
        return f"({inside},)" if len(x) == 1 else f"({inside})"
    left[0] -= 1
    if _arrays.is_array(x):
        return _leaf(x) or " ".join(repr(x).split())
    # A node of somebody's own may hold arrays, which it would print whole.
    count = len(Structure(x).paths)
    return repr(x) if count == 1 else f"<{type(x).__name__} of {count} leaves>"


def _entries(pairs: list[tuple[str, Tree]], left: list[int]) -> str:
    parts = []
    for name, value in pairs:
        if left[0] <= 0:
            parts.append("...")
            break
        parts.append(name + _tree(value, left))
    return ", ".join(parts)
