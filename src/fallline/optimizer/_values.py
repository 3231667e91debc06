"""What runs remember, as JSON and named arrays: numbers, text, arrays, and containers of them.

A file never chooses a class: those that may be in it are named by whoever reads it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files
from .._arrays._trees import Structure
from .._arrays._types import Array, Json, Tree
from . import _restoring, _saving
from ._checkpoint import Stored


class Writer:
    """Turns values into JSON and arrays; what is one array stays one.

    Parameters
    ----------
    params : tree of arrays
        Values may hold trees of this structure.
    kinds : mapping from str to dataclass or named tuple
        Which of these values may be, by the names of the classes.
    given : mapping
        Fields of these that whoever reads the file has anyway.

    Attributes
    ----------
    arrays : dict
        The arrays, by the names of the places where they stand.
    """

    def __init__(
        self, params: Tree, kinds: Mapping[str, type] | None = None, given: Container[str] = ()
    ) -> None:
        self._structure, self._kinds, self._given = Structure(params), kinds or {}, given
        self._host = _arrays.on_host(first(self._structure, params))
        self.arrays: dict[str, Array] = {}
        self._names: dict[int, str] = {}

    def keep(self, name: str, x: Array) -> str:
        """Keep an array under a name, and return the name that it has."""
        if id(x) not in self._names:
            self._names[id(x)] = name
            self.arrays[name] = x
        return self._names[id(x)]

    def pack(self, name: str, x: object) -> Json:
        """Return a value as JSON has it.

        Parameters
        ----------
        name : str
            Where the value stands.
        x : object
            The value.

        Raises
        ------
        TypeError
            If a file cannot hold such a thing; the message names its place.
        """
        if x is None or isinstance(x, bool | int | float | str):
            return x
        if isinstance(x, np.generic):
            return x.item()
        if _arrays.is_array(x):
            foreign = isinstance(x, np.ndarray) and not self._host
            return {"host" if foreign else "array": self.keep(name, x)}
        if isinstance(x, deque):
            return {"deque": [x.maxlen, self._all(name, x)]}
        kind = type(x).__name__
        if self._kinds.get(kind) is type(x):
            return {kind: {n: self.pack(f"{name}/{n}", getattr(x, n)) for n in self._own(type(x))}}
        if (leaves := self._leaves(x)) is not None:
            return {"tree": self._all(name, leaves)}
        if isinstance(x, dict) and all(isinstance(key, str) for key in x):
            return {"dict": {k: self.pack(f"{name}/{k}", v) for k, v in x.items()}}
        if isinstance(x, list | tuple):
            return {"list" if isinstance(x, list) else "tuple": self._all(name, x)}
        msg = f"{name}: is {_checks.described(x)}, expected numbers, text, arrays, dicts or lists"
        raise TypeError(msg)

    def _all(self, name: str, values: Iterable[object]) -> list[Json]:
        return [self.pack(f"{name}/{i}", x) for i, x in enumerate(values)]

    def _own(self, cls: type) -> list[str]:
        return [name for name in _fields(cls) if name not in self._given]

    def _leaves(self, x: Tree) -> list[Array] | None:
        # Those of a tree of arrays like the parameters.
        if self._structure.is_leaf:
            return None
        try:
            leaves = self._structure.flatten(x, "x")
        except (TypeError, ValueError):
            return None
        arrays = all(leaf is None or _arrays.is_array(leaf) for leaf in leaves)
        return leaves if leaves and arrays else None


class Reader:
    """Turns JSON and arrays back into values.

    Parameters
    ----------
    file : _files.Reader
        The open file.
    params : tree of arrays
        Of the structure that the writer had.
    like : array, optional
        Arrays come back in its library and on its device; by default the first of `params`.
    kinds, given : mapping
        As those of the writer; `given` with values.
    checked : callable, optional
        ``checked(name, value)`` looks at each field of a dataclass, and returns it.
    """

    def __init__(
        self, file: _files.Reader, params: Tree, *, like: Array = None,
        kinds: Mapping[str, type] | None = None, given: Mapping[str, Array] | None = None,
        checked: Callable[[str, Array], Array] | None = None,
    ) -> None:  # fmt: skip
        self._file, self._structure = file, Structure(params)
        self._like = first(self._structure, params) if like is None else like
        self._kinds, self._given = kinds or {}, given or {}
        self._checked = checked or (lambda name, value: value)
        self._found: dict[str, Array] = {}

    def read(self, x: Json) -> Any:
        """Return the value of which `Writer.pack` made this."""
        if not isinstance(x, dict):
            return x
        ((kind, of),) = x.items()
        if kind in ("array", "host"):
            if of not in self._found:
                self._found[of] = self._array(of, foreign=kind == "host")
            return self._found[of]
        if kind == "dict":
            return {key: self.read(part) for key, part in of.items()}
        if kind in self._kinds:
            return self._object(self._kinds[kind], of)
        if kind == "deque":
            return deque(map(self.read, of[1]), maxlen=of[0])
        parts = [self.read(part) for part in of]
        if kind == "tree":
            return self._structure.unflatten(parts)
        return {"list": parts, "tuple": tuple(parts)}[kind]

    def _object(self, cls: type, of: Mapping[str, Json]) -> object:
        names = {*_fields(cls)}
        given = {name: x for name, x in self._given.items() if name in names}
        values = {name: self._checked(name, self.read(of[name])) for name in names - {*given}}
        return cls(**values, **given)

    def _array(self, name: str, *, foreign: bool) -> Array:
        x, dtype = self._file.array(name), self._file.dtype(name)
        if foreign:
            return _saving.widened(x) if dtype == "bfloat16" else x
        near = _restoring._like(name, self._like, Stored(tuple(x.shape), dtype, lambda near: near))
        found = _arrays.from_numpy(_saving.from_stored(x, near), near)
        ours = _arrays.on_host(near) and found.dtype == near.dtype
        return found if ours else _arrays.moved(found, near, near.dtype)


def _fields(cls: Any) -> tuple[str, ...]:
    # Those of a dataclass, or of a named tuple.
    found = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return tuple(f.name for f in found) or cls._fields


def first(structure: Structure, params: Tree) -> Array:
    """Return the first array of a tree."""
    return next(p for p in structure.flatten(params, "params") if p is not None)
