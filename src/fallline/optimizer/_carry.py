"""What a leaf keeps when something about it changes: its array, its rule, its shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Json
from ..rules import Rule
from ..rules._abstract import AbstractRule, RuleMemory
from ._leaf import Leaf, LeafState

# Slots that belong to what surrounds a rule, and outlive it.
AROUND = ("master", "sum")


def adopted(leaf: Leaf, p: Array) -> Leaf:
    """Return `leaf`, or one with its rule and state for an array that took its place."""
    if p is leaf.p:
        return leaf
    place = leaf.name("params")
    try:
        if leaf.p is None or p is None:
            msg = f"{place}: was {'None' if leaf.p is None else 'an array'} when bound"
            raise ValueError(msg)
        _checks.gradient(place, leaf.p, p)
    except (TypeError, ValueError) as error:
        msg = f"{error}; if this is a new parameter, call rebind"
        raise type(error)(msg) from error
    return Leaf(leaf.index, leaf.path, p, leaf.rule, leaf.plan, leaf.terms, leaf.state)


def related(new: Rule, old: Rule | None) -> bool:
    """Tell whether a rule can go on with the slots of another of equal names.

    One must be of a subclass of the other, and so must be what they are wrapped around.
    """
    if old is None or not (isinstance(new, type(old)) or isinstance(old, type(new))):
        return False
    inner = new.wrapped, old.wrapped
    if inner == (None, None):
        return True
    return None not in inner and related(*inner)  # type: ignore[arg-type]


def memory_of(rule: Rule | None) -> RuleMemory | None:
    """Return what a rule, or the one it is wrapped around, remembers beside slots; or `None`."""
    while rule is not None and rule.memory is None:
        rule = rule.wrapped
    return None if rule is None else rule.memory


def memories(rules: Iterable[Rule | None]) -> list[RuleMemory]:
    """Return what rules remember beside slots; equal ones have it in common."""
    found = {id(x): x for x in map(memory_of, rules) if x is not None}
    return list(found.values())


def owned(rules: Sequence[Rule | None], before: Sequence[Rule | None]) -> list[Rule | None]:
    """Return rules whose memory belongs to one binding, and goes on from those before.

    Equal rules run together and share a memory: that of the first leaf which brings one along.
    """
    keys = [_identity(rule) for rule in rules]
    past: dict[object, Json] = {}
    for key, rule, old in zip(keys, rules, before, strict=True):
        memory = memory_of(old)
        if key is not None and memory is not None and related(rule, old):  # type: ignore[arg-type]
            past.setdefault(key, memory.state_dict())
    found = {key: rule.owned() for key, rule in zip(keys, rules, strict=True) if key and rule}
    for key, state in past.items():
        memory_of(found[key]).load_state_dict(state)  # type: ignore[union-attr]
    return [found.get(key, rule) for key, rule in zip(keys, rules, strict=True)]


def _identity(rule: Rule | None) -> object:
    # What equal rules that remember something have in common; `None` for others.
    if memory_of(rule) is None:
        return None
    try:
        hash(rule)
    except TypeError:
        return id(rule)
    return rule


def carried(
    leaf: Leaf, new: Rule | None, plan: AbstractRule | None, step_count: int, p: Array
) -> LeafState | None:
    """Return the state that `leaf` keeps under another rule; `None` if it must start afresh.

    What of it is new starts at `p`, the array that takes the leaf's place, or the leaf's own.

    A count is kept only beside the slots whose meaning depends on it: where one of these is new,
    the count starts again, and so do the others.
    """
    state = leaf.state
    if state is None or leaf.p is None or new is None or plan is None:
        return state
    slots = {slot.name: slot for slot in plan.slots}

    def fits(name: str) -> bool:
        return (
            name in state.slots
            and name in slots
            and state.slots[name].dtype == plan._slot_dtype(slots[name], leaf.p)
        )

    around = {name: state.slots[name] for name in AROUND if fits(name)}
    own = [name for name in slots if name not in AROUND]
    missing = [name for name in own if not fits(name)]
    present = [name for name in own if name in state.slots]
    if not related(new, state.maker) or any(not fits(name) for name in present):
        kept, count = around, 0
    elif any(slots[name].counted for name in missing):
        kept = {n: state.slots[n] for n in own if fits(n) and not slots[n].counted} | around
        count = 0
    else:
        kept, count = {n: state.slots[n] for n in own if fits(n)} | around, state.count
    if not kept and count == 0 and not state.given:
        return None
    fresh = {} if len(kept) == len(slots) else started(p, plan, step_count)
    return LeafState({**fresh, **kept}, count, new, given=state.given and "sum" in kept)


def started(p: Array, plan: AbstractRule, step_count: int) -> dict[str, Array]:
    """Return the slots of a leaf that has not been updated."""
    with _arrays.guard(p)():
        return {name: x for name, x in plan._init_leaf(p, step_count).items() if name != "step"}


def transformed(
    f: Callable[[Array], Array], leaf: Leaf
) -> tuple[Array, LeafState | None, dict[str, Array]]:
    """Return ``f`` of a leaf's parameter, and its state and factors with ``f`` of each element's.

    A slot that stands for rows or columns is spread over the shape of the parameter, passed
    through `f`, and averaged back; a factor is spread and stays so.
    """

    def apply(place: str, x: Array) -> Array:
        y = f(x)
        _checks.same_kind(place, x, y)
        got, expected = _arrays.dtype_name(y), _arrays.dtype_name(x)
        if got != expected:  # in whatever order of bytes
            raise TypeError(_checks.mismatch(place, "dtype after f", got, expected))
        return _arrays.moved(y, leaf.p, x.dtype)  # memory of its own

    p = apply(leaf.name("params"), leaf.p)
    factors = {}
    for name in ("rate", "decay"):
        factor = getattr(leaf.terms, name)
        if _arrays.is_array(factor):
            place = leaf.name(f"{name}_factors")
            factors[name] = apply(place, _arrays.spread(factor, leaf.p))
            _checks.equal_shapes(place, factors[name], p)
    if leaf.state is None:
        return p, None, factors
    slots = {}
    for name, x in leaf.state.slots.items():
        place = f"{leaf.name('state')}[{name!r}]"
        if tuple(x.shape) == tuple(leaf.shape):
            slots[name] = apply(place, x)
            _checks.equal_shapes(place, slots[name], p)
        else:
            slots[name] = _averaged(place, apply, x, leaf, p)
    if "master" in slots:
        p = _arrays.cast(slots["master"], p)
    return p, leaf.state.replaced(slots), factors


def _averaged(
    place: str, apply: Callable[[str, Array], Array], x: Array, leaf: Leaf, p: Array
) -> Array:
    if x.ndim != leaf.p.ndim or any(
        a not in (1, b) for a, b in zip(x.shape, leaf.shape, strict=True)
    ):
        msg = f"{place}: has shape {tuple(x.shape)}, to which a change of {tuple(leaf.shape)} does "
        raise ValueError(msg + "not apply; use rebind with state='reset'")
    axes = tuple(i for i, (a, b) in enumerate(zip(x.shape, leaf.shape, strict=True)) if a != b)
    whole = _arrays.namespace(x).broadcast_to(x, leaf.shape)
    y = apply(place, _arrays.moved(whole, leaf.p, x.dtype))
    _checks.equal_shapes(place, y, p)
    count = math.prod(y.shape[i] for i in axes)
    xp = _arrays.namespace(y)
    return _arrays.unscalar(xp.sum(y, axis=axes, keepdims=True)) / max(count, 1)


def resized(
    place: str, fresh: dict[str, Array], old: LeafState, state: str, rule: Rule
) -> LeafState:
    """Return kept state in the shape, in the dtype and on the device of fresh slots."""
    result: dict[str, Array] = {}
    for name, new in fresh.items():
        x = old.slots[name]
        if _arrays.is_complex(x) and not _arrays.is_complex(new):
            msg = _checks.mismatch(place, "dtype", "real", "complex")
            raise TypeError(f"{msg}, as {name!r} of its state is; choose state='reset'")
        if tuple(x.shape) == tuple(new.shape):
            same = x.dtype == new.dtype and _arrays.device(x) == _arrays.device(new)
            result[name] = x if same else _arrays.moved(x, new, new.dtype)
            continue
        if state == "keep":
            msg = _checks.mismatch(place, "shape", tuple(new.shape), tuple(x.shape))
            raise ValueError(f"{msg}; choose state='pad' or state='reset'")
        result[name] = _padded(_arrays.moved(x, new, new.dtype), new, place)
    return LeafState(result, old.count, rule, given=old.given)


def following(leaf: Leaf, state: LeafState, p: Array) -> LeafState | None:
    """Return a frozen leaf's state for the array in its place, `None` if it does not fit that."""
    if leaf.shape != p.shape:
        return None
    slots: dict[str, Array] = {}
    for name, x in state.slots.items():
        if _arrays.is_complex(x) and not _arrays.is_complex(p):
            return None
        dtype = p.dtype if _arrays.is_complex(x) else _arrays.compute_dtype(p)
        same = x.dtype == dtype and _arrays.device(x) == _arrays.device(p)
        slots[name] = x if same else _arrays.moved(x, p, dtype)
    return state.replaced(slots)


def _padded(x: Array, like: Array, place: str) -> Array:
    """Return `like` with `x` written over it from the origin, cropped where `x` is larger."""
    if x.ndim != like.ndim:
        msg = (
            f"{place}: the number of axes changed from {x.ndim} to {like.ndim}; state='reset' fits"
        )
        raise ValueError(msg)
    overlap = tuple(slice(0, min(m, n)) for m, n in zip(x.shape, like.shape, strict=True))
    if _arrays.is_immutable(like):
        return like.at[overlap].set(x[overlap])
    like[overlap] = x[overlap]
    return like
