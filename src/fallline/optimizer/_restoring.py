"""A snapshot against what is bound: checked, read, and what is to be written where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, FilePath, Json
from ..rules import Rule
from . import _describe, _remember
from ._binding import Binding
from ._checkpoint import FACTORS, SavedLeaf, Snapshot, Stored
from ._leaf import Leaf, LeafState


class Restored(NamedTuple):
    """A snapshot that was checked and read: what is to be written where."""

    steps: int
    calls: int
    skipped: int
    writes: list[tuple[Array, Array]]
    states: list[LeafState | None]
    params: dict[int, Array]
    factors: list[dict[str, Array]]
    remembered: dict[str, Json]
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


def _same_class(name: str, ours: Json, theirs: Json, place: str) -> None:
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


def _remembered(bound: Binding, snapshot: Snapshot) -> dict[str, Json]:
    here = _remember.remembering(bound.options, bound.leaves)
    flow = snapshot.flow
    rows = flow.get("gradients", [])
    saved = {f"gradients[{i}]": state for i, state in enumerate(rows) if state}
    schedules = flow.get("schedules", {})
    if not isinstance(schedules, Mapping):
        msg = f"{snapshot.place}['flow']['schedules']: is {schedules!r}, expected a dict"
        raise TypeError(msg)
    saved |= schedules
    # The memory of a rule may be absent on either side.
    saved = {path: x for path, x in saved.items() if path in here or not _is_memory(path)}
    saved = {path: {} for path in here if _is_memory(path)} | saved
    _remember.check(snapshot.place, here, saved, flow.get("classes"))
    return saved


def _is_memory(path: FilePath) -> bool:
    return isinstance(path, str) and path.endswith(_remember.MEMORY)


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


def _check_like(name: str, x: Stored, like: Array, place: str) -> None:
    # A saved array may come from another library or device, but not in another shape or dtype.
    if x.shape != tuple(like.shape):
        msg = _checks.mismatch(name, "shape", x.shape, tuple(like.shape))
        raise ValueError(f"{msg} for {place}")
    if x.dtype != _arrays.dtype_name(like):
        msg = _checks.mismatch(name, "dtype", x.dtype, _arrays.dtype_name(like))
        raise TypeError(f"{msg} for {place}")
    _checks.same_layout(name, like, x.array)


def _state(leaf: Leaf, saved: SavedLeaf, writes: list[tuple[Array, Array]]) -> LeafState | None:
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
    return LeafState(slots, int(saved.count), maker, given=saved.given)


def _like(place: str, p: Array, x: Stored) -> Array:
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


def _read_factors(leaf: Leaf, saved: SavedLeaf) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, x in saved.factors.items():
        if not isinstance(x, Stored):
            found[name] = float(x)
            continue
        like = _like(leaf.name(f"{name}_factors"), leaf.p, x)
        found[name] = _arrays.moved(x.read(like), like, like.dtype)
    return found
