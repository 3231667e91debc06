"""One leaf of an Optimizer: a parameter with its rule and state, and the checks on all three."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from .. import _arrays
from .._arrays import _checks, _memory
from ..rules import Rule
from ..rules._abstract import Face
from ._row_sparse import RowSparse


class LeafState(MutableMapping[str, Any]):
    """State of one leaf: its slots and the count ``step``; entries can be replaced.

    A new entry is checked when it is assigned: same shape, dtype and device, memory of its own.
    """

    __slots__ = ("check", "count", "leaf", "maker", "slots")

    def __init__(
        self,
        data: Mapping[str, Any],
        check: Callable[[Leaf, str, Any], None],
        leaf: Leaf,
        maker: Rule,
    ) -> None:
        self.slots = {name: x for name, x in data.items() if name != "step"}
        self.count: int = data["step"]
        self.check, self.leaf, self.maker = check, leaf, maker

    @property
    def data(self) -> dict[str, Any]:
        """The entries as a new dict, the arrays themselves."""
        return {**self.slots, "step": self.count}

    def __getitem__(self, name: str) -> Any:
        return self.count if name == "step" else self.slots[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check(self.leaf, name, value)
        self.put(name, value)

    def put(self, name: str, value: Any) -> None:
        """Replace an entry without a check."""
        if name == "step":
            self.count = operator.index(value)  # Python's, of which the scalars are made
        else:
            self.slots[name] = value

    def __delitem__(self, name: str) -> None:
        msg = f"state entry {name!r} cannot be deleted; assign another rule to change the slots"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.slots) + 1

    def __repr__(self) -> str:
        return repr(self.data)


class Leaf:
    """One parameter with its rule and state; everything known when it is bound is kept here."""

    __slots__ = (
        "device", "dtype", "fixed", "guard", "host", "immutable", "index", "kind", "names", "p",
        "path", "plan", "rule", "shape", "state", "xp",
    )  # fmt: skip

    def __init__(
        self, index: int, path: tuple[Any, ...], p: Any, rule: Rule | None, plan: Face | None
    ) -> None:
        self.index, self.path, self.p, self.rule, self.plan = index, path, p, rule, plan
        self.state: LeafState | None = None
        self.names: list[str] = [] if plan is None else [slot.name for slot in plan.slots]
        if p is None:
            return
        _checks.leaf(self.name("params"), p)
        self.xp, self.device, self.kind = _arrays.namespace(p), _arrays.device(p), type(p)
        self.dtype, self.shape, self.host = p.dtype, p.shape, _arrays.on_host(p)
        self.fixed = self.host or _arrays.library(p) == "cupy"
        self.guard, self.immutable = _arrays.guard(p), _arrays.is_immutable(p)
        if rule is not None:
            check_writable(self.name("params"), p)

    def name(self, argument: str) -> str:
        """Return this leaf's name below an argument."""
        return _checks.where(argument, self.path)

    @property
    def arrays(self) -> list[Any]:
        """The parameter and the state arrays, in the rule's order."""
        assert self.state is not None
        slots = self.state.slots
        return [self.p, *(slots[name] for name in self.names)]

    def take(self, arrays: Sequence[Any]) -> None:
        """Take new arrays in the place of those that cannot be written."""
        assert self.state is not None
        self.p = arrays[0]
        self.state.slots.update(zip(self.names, arrays[1:], strict=True))

    def checked_gradient(self, g: Any) -> Any:
        """Return a gradient as an array after a check of its library, device, dtype and shape."""
        if self.p is None:
            msg = f"{self.name('grads')}: is an array, but params has None there"
            raise TypeError(msg)
        if isinstance(g, RowSparse):
            return g.checked(self.name("grads"), self.p)
        if (
            type(g) is self.kind
            and g.dtype == self.dtype
            and g.shape == self.shape
            and (self.host or (_arrays.device(g) == self.device and _arrays.is_dense(g)))
        ):
            return g
        g = _arrays.unscalar(g)
        _checks.gradient(self.name("grads"), self.p, g)
        return g

    def check_state(self, name: str, value: Any) -> None:
        """Check a value for a state entry."""
        assert self.rule is not None or self.state is not None
        place = f"{self.name('state')}[{name!r}]"
        data = self.state.data if self.state is not None else {}
        if name not in data:
            msg = f"{place}: {self.rule!r} has no such slot; it has {', '.join(data)}"
            raise KeyError(msg)
        if name == "step":
            _checks.count(place, value)
            return
        _checks.gradient(place, data[name], value)
        check_writable(place, value)


def check_writable(place: str, x: Any) -> None:
    """Check that an array can be written, element by element."""
    if not _arrays.is_writable(x):
        msg = f"{place}: is read-only; an Optimizer writes its arrays"
        raise ValueError(msg)
    if not _arrays.is_immutable(x) and _memory.overlaps_itself(x):
        msg = f"{place}: some of its elements share memory"
        raise ValueError(msg)


def adopted(leaf: Leaf, p: Any) -> Leaf:
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
    twin = Leaf(leaf.index, leaf.path, p, leaf.rule, leaf.plan)
    twin.state = leaf.state
    if leaf.state is not None and "master" in leaf.state.slots:
        leaf.state.put("master", _arrays.moved(p, p, leaf.state.slots["master"].dtype))
    return twin


def transformed(f: Callable[[Any], Any], leaf: Leaf) -> tuple[Any, dict[str, Any] | None]:
    """Return ``f`` of a leaf's parameter, and its state with ``f`` of what has that shape."""

    def apply(place: str, x: Any) -> Any:
        y = f(x)
        _checks.same_kind(place, x, y)
        got, expected = _arrays.dtype_name(y), _arrays.dtype_name(x)
        if got != expected:  # in whatever order of bytes
            raise TypeError(_checks.mismatch(place, "dtype after f", got, expected))
        return _arrays.moved(y, leaf.p, x.dtype)  # memory of its own

    p = apply(leaf.name("params"), leaf.p)
    if leaf.state is None:
        return p, None
    return p, {
        name: x
        if name == "step" or x.shape != leaf.shape
        else apply(f"{leaf.name('state')}[{name!r}]", x)
        for name, x in leaf.state.items()
    }


def carried(
    leaf: Leaf, new: Rule | None, plan: Face | None, step_count: int
) -> dict[str, Any] | None:
    """Return the state that `leaf` keeps under another rule; `None` if it must start afresh."""
    if leaf.state is None or leaf.p is None:
        return None
    old = leaf.state.data
    if new is None or plan is None:
        return old
    maker = leaf.state.maker
    related = isinstance(new, type(maker)) or isinstance(maker, type(new))
    kept = {slot.name: slot for slot in plan.slots if slot.name in old}
    same = all(old[name].dtype == plan._slot_dtype(slot, leaf.p) for name, slot in kept.items())
    if not (related and same):
        return None
    state = {name: old[name] for name in (*kept, "step")}
    fresh = len(kept) < len(plan.slots)
    return {**plan._init_leaf(leaf.p, step_count), **state} if fresh else state


def resized(place: str, fresh: dict[str, Any], data: dict[str, Any], state: str) -> dict[str, Any]:
    """Return kept state in the shape, in the dtype and on the device of fresh state."""
    result: dict[str, Any] = {"step": data["step"]}
    for name, new in fresh.items():
        if name == "step":
            continue
        old = data[name]
        if old.shape == new.shape:
            same = old.dtype == new.dtype and _arrays.device(old) == _arrays.device(new)
            result[name] = old if same else _arrays.moved(old, new, new.dtype)
            continue
        if state == "keep":
            msg = _checks.mismatch(place, "shape", tuple(new.shape), tuple(old.shape))
            raise ValueError(f"{msg}; choose state='pad' or state='reset'")
        result[name] = _padded(_arrays.moved(old, new, new.dtype), new, place)
    return result


def _padded(x: Any, like: Any, place: str) -> Any:
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
