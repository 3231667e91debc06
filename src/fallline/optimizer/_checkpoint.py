"""Snapshots of an Optimizer: params, state, clocks and what the rules are, in memory and in files.

A file never chooses a class or a function: it is loaded into an Optimizer that is there already,
and what it says about rules is compared with the rules that are bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .. import _arrays
from .._arrays._types import Array, Json
from . import _describe, _remember
from ._binding import Binding
from ._leaf import Leaf
from ._step import StepMemory

VERSION = 2
FACTORS = ("rate", "decay")


class Stored(NamedTuple):
    """An array of a snapshot that is not read yet."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Array], Array]  # of the array in whose place it is to be
    array: Array = None  # itself, if it is in memory


class SavedLeaf(NamedTuple):
    """What a snapshot holds of one leaf; `rule` is a description, or a name, or `None`."""

    p: Stored | None
    slots: dict[str, Stored] | None
    count: Json
    given: bool
    rule: Json
    maker: Json
    factors: dict[str, Array]


class Snapshot(NamedTuple):
    """Everything of a snapshot, its arrays unread."""

    place: str
    steps: Json
    flow: Mapping[str, Json]
    leaves: dict[str, SavedLeaf]
    transforms: Sequence[Json] | None


def flow(bound: Binding, memory: StepMemory) -> dict[str, Json]:
    """Return plain numbers: what later steps depend on, beside arrays."""
    found = _remember.remembering(bound.options, bound.leaves)
    states = _remember.states(found)
    count = len(bound.options.gradients)
    return {
        "calls": memory.calls,
        "given": [x.name("params") for x in bound.leaves if x.state is not None and x.state.given],
        "skipped": memory.skipped,
        "gradients": [states.pop(f"gradients[{i}]", {}) for i in range(count)],
        "schedules": states,
        "classes": {path: type(x).__name__ for path, x in found.items()},
    }


def of_leaf(leaf: Leaf, array: Callable[[str, Array], object]) -> dict[str, Array]:
    """Return what is kept of a leaf; `array` makes what stands for an array of a name."""
    state, terms = leaf.state, leaf.terms
    factors = {"rate": terms.rate, "decay": terms.decay}
    return {
        "rule": _describe.described(leaf.rule),
        "maker": None if state is None else _describe.described(state.maker),
        "params": None if leaf.p is None else array("params", leaf.p),
        "state": None
        if state is None
        else {**{n: array(f"state/{n}", x) for n, x in state.slots.items()}, "step": state.count},
        "factors": {
            name: array(f"factors/{name}", x) if _arrays.is_array(x) else x
            for name, x in factors.items()
            if x is not None
        },
    }


def state_dict(bound: Binding, memory: StepMemory) -> dict[str, Json]:
    """Return copies of everything that later steps depend on, with a description of the rules."""
    rows = [of_leaf(leaf, lambda _, x: _copy(x)) for leaf in bound.leaves]
    tree = bound.structure.unflatten
    names = ("params", "state", "rule", "maker", "factors")
    return {
        "version": VERSION,
        "step_count": memory.steps,
        "flow": flow(bound, memory),
        "gradients": [_describe.described(x) for x in bound.options.gradients],
        **{name: tree([row[name] for row in rows]) for name in names},
    }


def from_dict(bound: Binding, saved: Json) -> Snapshot:
    """Return the snapshot of a dict that `state_dict` returned, now or in version 1."""
    if not isinstance(saved, Mapping) or saved.get("version") not in (1, VERSION):
        msg = f"state_dict: is not a version {VERSION} state of an Optimizer"
        raise ValueError(msg)
    for key in ("step_count", "flow", "params", "state"):
        if key not in saved:
            msg = f"state_dict: has no entry {key!r}"
            raise ValueError(msg)
    columns = {
        key: bound.structure.flatten(saved[key], f"state_dict[{key!r}]")
        if key in saved
        else [None] * len(bound.leaves)
        for key in ("params", "state", "rule", "maker", "factors")
    }
    rows = {}
    for i, leaf in enumerate(bound.leaves):
        row = {key: column[i] for key, column in columns.items()}
        rows[leaf.name("params")] = _saved_leaf(leaf.name("state_dict['state']"), row, _in_memory)
    return _snapshot("state_dict", saved, rows, saved.get("gradients"))


def _snapshot(
    place: str,
    saved: Mapping[str, Json],
    rows: dict[str, SavedLeaf],
    transforms: Sequence[Json] | None,
) -> Snapshot:
    found = saved["flow"]
    if not isinstance(found, Mapping) or {"calls", "given", "skipped"} - set(found):
        msg = f"{place}['flow']: is not what state_dict gives"
        raise ValueError(msg)
    names, given = list(rows), found["given"]
    if not isinstance(given, list | tuple):
        msg = f"{place}['flow']['given']: is {given!r}, expected a list of leaves"
        raise TypeError(msg)
    for x in given:  # numbers of leaves in version 1
        number = isinstance(x, int) and not isinstance(x, bool) and 0 <= x < len(names)
        name = names[x] if number else x
        if not isinstance(name, str) or name not in rows:
            msg = f"{place}['flow']['given']: names leaves that are not there: {x!r}"
            raise ValueError(msg)
        rows[name] = rows[name]._replace(given=True)
    return Snapshot(place, saved["step_count"], found, rows, transforms)


def _saved_leaf(
    place: str, row: Mapping[str, Json], stored: Callable[[str, Json], Stored]
) -> SavedLeaf:
    state = row["state"]
    if state is not None and not isinstance(state, Mapping):
        msg = f"{place}: is a {type(state).__name__}, expected a dict of slots or None"
        raise TypeError(msg)
    slots = None
    if state is not None:
        slots = {n: stored(f"{place}[{n!r}]", x) for n, x in state.items() if n != "step"}
    factors = {
        name: x if isinstance(x, int | float) else stored(f"{place}: factor {name}", x)
        for name, x in (row.get("factors") or {}).items()
    }
    p = row["params"]
    where = place.replace("state", "params")
    return SavedLeaf(
        None if p is None else stored(where, p),
        slots,
        None if state is None else state.get("step"),
        False,
        row.get("rule"),
        row.get("maker"),
        factors,
    )


def _in_memory(place: str, x: Array) -> Stored:
    if not _arrays.is_array(x):
        msg = f"{place}: is a {type(x).__name__}, expected an array"
        raise TypeError(msg)

    def read(like: Array) -> Array:
        same = _arrays.library(x) == _arrays.library(like) and _arrays.device(x) == _arrays.device(
            like
        )
        return x if same else _arrays.moved(x, like, like.dtype)

    return Stored(tuple(x.shape), _arrays.dtype_name(x), read, x)


def _copy(x: Array) -> Array:
    return _arrays.moved(x, x, x.dtype)
