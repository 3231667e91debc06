"""What remembers something between steps, beside the arrays of the leaves.

Schedules that follow a metric, the scale of a loss, transforms and schedules of a user's own: an
object with ``state_dict`` and ``load_state_dict``, wherever it stands in a rule, a schedule, a
transform, a penalty or a constraint. And the `memory` of a rule, which may be empty: files that
were written before rules had one are read, and so are those of a rule that needs none here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from .. import _arrays
from .._arrays._types import Array, Json, Remembers
from ..gradients import LossScale
from ..rules import Rule
from ._leaf import Leaf
from ._options import StepOptions

MEMORY = ".memory"  # of a rule, in paths


def remembering(options: StepOptions, leaves: Sequence[Leaf]) -> dict[str, Remembers]:
    """Return what remembers something, by the path that leads to it."""
    found: dict[str, Remembers] = {}
    for i, transform in enumerate(options.gradients):
        found |= _within(f"gradients[{i}]", transform, ())
    for leaf in leaves:
        roots = ("params", leaf.rule), ("penalty", leaf.terms.penalty)
        for argument, root in (*roots, ("constraint", leaf.terms.constraint)):
            if root is not None:
                found |= _within(leaf.name(argument), root, ())
    return found


def of_transforms(options: StepOptions) -> list[Remembers]:
    """Return what transforms change when they are applied: all but the scale of the loss."""
    applied = [x for x in options.gradients if not isinstance(x, LossScale)]
    return [x for transform in applied for _, x in _within("", transform, ())]


def _within(path: str, x: Array, above: tuple[int, ...]) -> Iterator[tuple[str, Remembers]]:
    if id(x) in above or x is None or isinstance(x, type | str | bytes | int | float | complex):
        return
    if callable(getattr(x, "state_dict", None)) and callable(getattr(x, "load_state_dict", None)):
        yield path, x
        return
    if _arrays.is_array(x):
        return
    above = (*above, id(x))
    for name, part in _parts(x):
        yield from _within(path + name, part, above)
    if isinstance(x, Rule) and x.memory is not None:
        yield path + MEMORY, x.memory


def _parts(x: Array) -> Iterator[tuple[str, object]]:
    if isinstance(x, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in x.items())
    elif isinstance(x, tuple | list):
        yield from ((f"[{i}]", part) for i, part in enumerate(x))
    elif isinstance(x, partial):
        yield from ((".func", x.func), (".args", x.args), (".keywords", x.keywords))
    elif dataclasses.is_dataclass(x):
        yield from ((f".{f.name}", getattr(x, f.name)) for f in dataclasses.fields(x))
    elif hasattr(x, "__dict__") and not hasattr(x, "__code__"):
        yield from ((f".{name}", part) for name, part in vars(x).items() if name[:2] != "__")


def states(found: Mapping[str, Remembers]) -> dict[str, Json]:
    """Return the state of each, as JSON has it."""
    return {path: plain(f"{path}.state_dict()", x.state_dict()) for path, x in found.items()}


def plain(place: str, x: Array) -> Json:
    """Return plain numbers, text, lists and dicts for those of NumPy and other libraries.

    Raises
    ------
    TypeError
        If there is anything else; the message names its place.
    """
    if x is None or isinstance(x, bool | str):
        return x
    if isinstance(x, Mapping):
        return {str(key): plain(f"{place}[{key!r}]", value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return [plain(f"{place}[{i}]", part) for i, part in enumerate(x)]
    if isinstance(x, int):
        return int(x)
    if isinstance(x, float):
        return float(x)
    if _arrays.is_array(x):
        return _arrays.to_numpy(x).tolist()
    if callable(getattr(x, "tolist", None)):  # a scalar of NumPy
        return plain(place, x.tolist())
    msg = f"{place}: is a {type(x).__name__}, expected numbers, text, lists or dicts"
    raise TypeError(msg)


def check(place: str, found: Mapping[str, Remembers], saved: Json, classes: Json) -> None:
    """Check that saved states are those of what is here, by path and by class."""
    if not isinstance(saved, Mapping) or set(saved) != set(found):
        theirs = sorted(map(str, saved)) if isinstance(saved, Mapping) else saved
        msg = f"{place}: remembers {theirs or 'nothing'}, expected {sorted(found) or 'nothing'}"
        raise ValueError(msg)
    for path, x in found.items():
        name = (classes or {}).get(path)
        if name is not None and name != type(x).__name__:
            msg = f"{path}: is a {name} in {place}, expected a {type(x).__name__}"
            raise ValueError(msg)


def load(place: str, found: Mapping[str, Remembers], saved: Mapping[str, Json]) -> None:
    """Restore the state of each, or of none if one refuses its own."""
    before = [(x, x.state_dict()) for x in found.values()]
    for path, x in found.items():
        try:
            x.load_state_dict(saved[path])
        except BaseException as error:
            for other, state in before:
                other.load_state_dict(state)
            if not isinstance(error, Exception):
                raise
            kind = type(error) if type(error) in (TypeError, ValueError) else ValueError
            msg = f"{path}: cannot take its state in {place}: {error!r}"
            raise kind(msg) from error
