"""Rules, schedules and transforms as plain text for files, and back where that is safe.

A description never names a module: it is turned into objects of classes that are bound already, or
of rules and schedules of this package by their names, and of nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from .. import _arrays, rules, schedules
from .._arrays import _checks
from .._arrays._types import Array, Fun, Json
from ..rules import Rule


def described(x: Array) -> Json:
    """Return a value as JSON has it: numbers and text as they are, objects by class and fields."""
    if x is None or isinstance(x, bool | str):
        return x
    if isinstance(x, int | float):
        return int(x) if isinstance(x, int) else float(x)
    if isinstance(x, tuple | list):
        return [described(part) for part in x]
    if _arrays.is_array(x):
        return {"array": _arrays.dtype_name(x), "shape": list(map(int, x.shape))}
    fields = _fields(x)
    if fields is not None:
        return {"class": type(x).__name__, "fields": {n: described(v) for n, v in fields.items()}}
    try:
        return _checks.number("", x, -float("inf"), float("inf"))
    except (TypeError, ValueError):
        return {"object": getattr(x, "__qualname__", type(x).__qualname__)}


def _fields(x: Array) -> dict[str, Json] | None:
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if f.init}
    # What remembers something keeps its numbers in its own state.
    return {} if hasattr(x, "state_dict") else None


def class_of(description: Json) -> str:
    """Return the name of the class that a description is of."""
    return str(description.get("class", "")) if isinstance(description, dict) else ""


def differences(place: str, saved: Json, bound: Json) -> Iterator[str]:
    """Tell where two descriptions differ, each as ``place is X, saved Y``."""
    if saved == bound:
        return
    if isinstance(saved, dict) and isinstance(bound, dict) and class_of(saved) == class_of(bound):
        ours, theirs = bound.get("fields"), saved.get("fields")
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for name in ours:
                if name in theirs:
                    yield from differences(f"{place}.{name}", theirs[name], ours[name])
            return
    yield f"{place} is {shown(bound)}, saved {shown(saved)}"


def shown(description: Json) -> str:
    """Return a description as text."""
    if isinstance(description, dict) and "class" in description:
        fields = description.get("fields") or {}
        return f"{description['class']}({', '.join(f'{n}={shown(v)}' for n, v in fields.items())})"
    if isinstance(description, dict):
        return str(description.get("object") or "an array")
    return repr(description)


def rebuilt(place: str, description: Json, bound: object, kept: list[str]) -> Any:
    """Return the value of a description, by the classes of this package or of what is bound.

    Functions, arrays and objects of other classes are taken from what is bound; their places are
    added to `kept`.

    Raises
    ------
    ValueError
        If it is of a class that is neither here nor bound.
    """
    if isinstance(description, list):
        old = bound if isinstance(bound, tuple | list) else ()
        pairs = (
            (x, old[i] if i < len(old) else None, f"{place}[{i}]")
            for i, x in enumerate(description)
        )
        return tuple(rebuilt(where, x, like, kept) for x, like, where in pairs)
    if not isinstance(description, dict):
        return description
    name = class_of(description)
    if not name:
        kept.append(place)
        return bound
    make = _class(name, bound)
    if make is None:
        msg = f"{place}: is of class {name} in the file, which is neither of fallline nor bound"
        raise ValueError(msg)
    remembers = bound is not None and type(bound) is make and hasattr(bound, "load_state_dict")
    ours = isinstance(make, type) and issubclass(make, Rule | schedules.Schedule)
    if remembers or not (ours and dataclasses.is_dataclass(make)):
        kept.append(place)
        return bound
    fields = {
        key: rebuilt(f"{place}.{key}", value, getattr(bound, key, None), kept)
        for key, value in description["fields"].items()
    }
    made: object = make(**fields)
    return made


def _class(name: str, bound: object) -> Fun | None:
    if bound is not None and type(bound).__name__ == name:
        return type(bound)
    for module in (rules, schedules):
        if name in module.__all__:
            found = getattr(module, name)
            return found if isinstance(found, type) else None
    return None
