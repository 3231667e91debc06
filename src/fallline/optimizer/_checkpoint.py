"""Snapshots of an Optimizer: params, state, clocks and what the rules are, in memory and in files.

A file never chooses a class or a function: it is loaded into an Optimizer that is there already,
and what it says about rules is compared with the rules that are bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import _arrays
from .._arrays import _checks
from ..rules import Rule
from . import _describe, _remember
from ._binding import Binding
from ._leaf import Leaf, LeafState
from ._step import StepMemory

VERSION = 2
FACTORS = ("rate", "decay")


class Stored(NamedTuple):
    """An array of a snapshot that is not read yet."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[Any], Any]  # of the array in whose place it is to be


class SavedLeaf(NamedTuple):
    """What a snapshot holds of one leaf; `rule` is a description, or a name, or `None`."""

    p: Stored | None
    slots: dict[str, Stored] | None
    count: Any
    given: bool
    rule: Any
    maker: Any
    factors: dict[str, Any]


class Snapshot(NamedTuple):
    """Everything of a snapshot, its arrays unread."""

    place: str
    steps: Any
    flow: Mapping[str, Any]
    leaves: dict[str, SavedLeaf]
    transforms: Sequence[Any] | None


def flow(bound: Binding, memory: StepMemory) -> dict[str, Any]:
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


def of_leaf(leaf: Leaf, array: Callable[[str, Any], Any]) -> dict[str, Any]:
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


def state_dict(bound: Binding, memory: StepMemory) -> dict[str, Any]:
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


def from_dict(bound: Binding, saved: Any) -> Snapshot:
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
    place: str, saved: Mapping[str, Any], rows: dict[str, SavedLeaf], transforms: Any
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


def _saved_leaf(place: str, row: Mapping[str, Any], stored: Callable[[str, Any], Any]) -> SavedLeaf:
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


def _in_memory(place: str, x: Any) -> Stored:
    if not _arrays.is_array(x):
        msg = f"{place}: is a {type(x).__name__}, expected an array"
        raise TypeError(msg)

    def read(like: Any) -> Any:
        same = _arrays.library(x) == _arrays.library(like) and _arrays.device(x) == _arrays.device(
            like
        )
        return x if same else _arrays.moved(x, like, like.dtype)

    return Stored(tuple(x.shape), _arrays.dtype_name(x), read)


def _copy(x: Any) -> Any:
    return _arrays.moved(x, x, x.dtype)


# -- into an Optimizer ------------------------------------------------------------------------


class Restored(NamedTuple):
    """A snapshot that was checked and read: what is to be written where."""

    steps: int
    calls: int
    skipped: int
    writes: list[tuple[Any, Any]]
    states: list[LeafState | None]
    params: dict[int, Any]
    factors: list[dict[str, Any]]
    remembered: tuple[str, dict[str, Any], dict[str, Any]]
    differ: list[str]


def restored(bound: Binding, snapshot: Snapshot) -> Restored:
    """Check a snapshot against what is bound, read its arrays, and tell what is to be written.

    Raises
    ------
    TypeError, ValueError
        If it does not fit; nothing has been written then.
    """
    place, found = snapshot.place, snapshot.flow
    _same_leaves(bound, snapshot)
    differ = _same_rules(bound, snapshot)
    steps = _checks.count(f"{place}: step_count", snapshot.steps)
    calls = _checks.count(f"{place}['flow']['calls']", found["calls"])
    skipped = _checks.count(f"{place}['flow']['skipped']", found["skipped"])
    if calls and calls >= bound.options.k:
        what = f"less than Accumulate's k = {bound.options.k}"
        raise ValueError(_checks.mismatch(f"{place}['flow']['calls']", "value", calls, what))
    remembered = _remembered(bound, snapshot)
    for leaf, saved in _pairs(bound, snapshot):  # everything, before anything large is read
        _check_leaf(leaf, saved, place)
    writes, states, params, factors = [], [], {}, []
    for leaf, saved in _pairs(bound, snapshot):
        if saved.p is not None:
            new = saved.p.read(leaf.p)
            if leaf.immutable:
                params[leaf.index] = _arrays.moved(new, leaf.p, leaf.dtype)  # of its own
            else:
                writes.append((leaf.p, new))
        states.append(_state(leaf, saved, writes))
        factors.append(_read_factors(leaf, saved))
    return Restored(steps, calls, skipped, writes, states, params, factors, remembered, differ)


def _pairs(bound: Binding, snapshot: Snapshot) -> Iterable[tuple[Leaf, SavedLeaf]]:
    return ((leaf, snapshot.leaves[leaf.name("params")]) for leaf in bound.leaves)


def _same_leaves(bound: Binding, snapshot: Snapshot) -> None:
    ours = {leaf.name("params") for leaf in bound.leaves}
    theirs = set(snapshot.leaves)
    if ours != theirs:
        missing = ", ".join(sorted(ours - theirs)) or "nothing"
        other = ", ".join(sorted(theirs - ours)) or "nothing"
        msg = f"{snapshot.place}: lacks {missing} and has {other} besides"
        raise ValueError(msg)


def _same_rules(bound: Binding, snapshot: Snapshot) -> list[str]:
    # Another class is an error; other numbers stay as they are bound, and are returned as text.
    place = snapshot.place
    differ: list[str] = []
    for leaf, saved in _pairs(bound, snapshot):
        if leaf.rule is None or saved.rule is None:
            continue
        ours, theirs = leaf.rule, saved.rule
        _same_class(leaf.name("rule"), _describe.described(ours), theirs, place)
        if isinstance(theirs, dict):
            name = leaf.name("rule")
            differ += _describe.differences(name, theirs, _describe.described(ours))
    if snapshot.transforms is not None or "gradients" in snapshot.flow:
        here = [_describe.described(x) for x in bound.options.gradients]
        there = snapshot.transforms
        count = len(there if there is not None else snapshot.flow["gradients"])
        if count != len(here):
            raise ValueError(_checks.mismatch(f"{place}: gradients", "length", count, len(here)))
        for i, (mine, other) in enumerate(zip(here, there or (), strict=False)):
            _same_class(f"gradients[{i}]", mine, other, place)
            differ += _describe.differences(f"gradients[{i}]", other, mine)
    return differ


def _same_class(name: str, ours: Any, theirs: Any, place: str) -> None:
    # Also of what a rule is wrapped around. In version 1 a rule is its printed form.
    mine = _describe.class_of(ours)
    other = theirs.partition("(")[0] if isinstance(theirs, str) else _describe.class_of(theirs)
    if mine != other:
        msg = f"{name}: is {mine or 'not a class'}, but {place} was saved with {other}"
        raise ValueError(msg)
    if not isinstance(theirs, dict):
        return
    for field, value in (ours.get("fields") or {}).items():
        saved = theirs["fields"].get(field)
        if field == "rule" and isinstance(value, dict) and isinstance(saved, dict):
            _same_class(f"{name}.{field}", value, saved, place)


def _remembered(bound: Binding, snapshot: Snapshot) -> tuple[str, dict[str, Any], dict[str, Any]]:
    here = _remember.remembering(bound.options, bound.leaves)
    flow = snapshot.flow
    rows = flow.get("gradients", [])
    saved = {f"gradients[{i}]": state for i, state in enumerate(rows) if state}
    schedules = flow.get("schedules", {})
    if not isinstance(schedules, Mapping):
        msg = f"{snapshot.place}['flow']['schedules']: is {schedules!r}, expected a dict"
        raise TypeError(msg)
    saved |= schedules
    _remember.check(snapshot.place, here, saved, flow.get("classes"))
    return snapshot.place, here, saved


def _check_leaf(leaf: Leaf, saved: SavedLeaf, place: str) -> None:
    name = leaf.name("params")
    if (saved.p is None) != (leaf.p is None):
        what = "None" if saved.p is None else "an array"
        msg = f"{name}: in {place} it is {what}, unlike the parameter"
        raise ValueError(msg)
    if saved.p is not None:
        _check_like(name, saved.p, leaf.p, place)
    ours = {} if leaf.state is None else leaf.state.slots
    theirs = saved.slots or {}
    where = leaf.name("state")
    if leaf.rule is not None and set(ours) != set(theirs):
        got = ", ".join(sorted(map(str, theirs))) or "none"
        expected = ", ".join(sorted(ours)) or "none"
        raise ValueError(_checks.mismatch(f"{where} in {place}", "slots", got, expected))
    if saved.slots is not None:
        _checks.count(f"{where}['step']", saved.count)
    if leaf.rule is not None:
        for slot, x in ours.items():
            _check_like(f"{where}[{slot!r}]", theirs[slot], x, place)
    present = {"rate": leaf.terms.rate, "decay": leaf.terms.decay}
    for factor in FACTORS:
        if (present[factor] is None) != (factor not in saved.factors):
            there = "there" if factor in saved.factors else "not there"
            msg = f"{leaf.name(f'{factor}_factors')}: is {there} in {place}, unlike here"
            raise ValueError(msg)


def _check_like(name: str, x: Stored, like: Any, place: str) -> None:
    # A saved array may come from another library or device, but not in another shape or dtype.
    if x.shape != tuple(like.shape):
        msg = _checks.mismatch(name, "shape", x.shape, tuple(like.shape))
        raise ValueError(f"{msg} for {place}")
    if x.dtype != _arrays.dtype_name(like):
        msg = _checks.mismatch(name, "dtype", x.dtype, _arrays.dtype_name(like))
        raise TypeError(f"{msg} for {place}")


def _state(leaf: Leaf, saved: SavedLeaf, writes: list[tuple[Any, Any]]) -> LeafState | None:
    if saved.slots is None or leaf.p is None:
        return leaf.state
    maker = leaf.rule or _maker(saved)
    slots = {}
    for name, x in saved.slots.items():
        held = None if leaf.state is None else leaf.state.slots.get(name)
        if held is None or held.shape != x.shape or _arrays.dtype_name(held) != x.dtype:
            held = None  # of a frozen leaf that has no such state
        if held is None or leaf.immutable:
            place = f"{leaf.name('state')}[{name!r}]"
            like = _like(place, leaf.p, x) if held is None else held
            slots[name] = _arrays.moved(x.read(like), like, like.dtype)
        else:
            slots[name] = held
            writes.append((held, x.read(held)))
    return LeafState(slots, saved.count, maker, given=saved.given)


def _like(place: str, p: Any, x: Stored) -> Any:
    # An array on the device of a parameter in the shape and dtype of a stored one.
    dtype = p.dtype if _arrays.dtype_name(p) == x.dtype else None
    dtype = dtype or getattr(_arrays.namespace(p), x.dtype, None)
    if dtype is None:
        expected = f"one of {_arrays.library(p)}"
        raise TypeError(_checks.mismatch(place, "dtype", x.dtype, expected))
    with _arrays.guard(p)():
        return _arrays.full(p, 0.0, dtype, shape=x.shape)


def _maker(saved: SavedLeaf) -> Rule | None:
    # The rule that made the state of a frozen leaf, if it is one of this package.
    description = saved.maker if isinstance(saved.maker, dict) else None
    if description is None:
        return None
    try:
        found = _describe.rebuilt("rule", description, None, [])
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, Rule) else None


def _read_factors(leaf: Leaf, saved: SavedLeaf) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, x in saved.factors.items():
        if not isinstance(x, Stored):
            found[name] = float(x)
            continue
        like = _like(leaf.name(f"{name}_factors"), leaf.p, x)
        found[name] = _arrays.moved(x.read(like), like, like.dtype)
    return found
