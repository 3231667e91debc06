"""Leaves of an Optimizer: a parameter, its rule, its state, and the checks on all three."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from . import _arrays, _checks, _trees
from .rules import Rule


class LeafState(MutableMapping[str, Any]):
    """State of one leaf: its slots and the count ``step``; entries can be replaced.

    A new entry is checked when it is assigned: same shape, dtype and device, memory of its own.
    """

    __slots__ = ("check", "data", "maker")

    def __init__(
        self, data: dict[str, Any], check: Callable[[str, Any], None], maker: Rule
    ) -> None:
        self.data = data
        self.check = check
        self.maker = maker

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check(name, value)
        self.data[name] = value

    def __delitem__(self, name: str) -> None:
        msg = f"state entry {name!r} cannot be deleted; assign another rule to change the slots"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return repr(self.data)


class Leaf:
    """One parameter with its rule and state; everything known when it is bound is kept here."""

    __slots__ = (
        "device", "dtype", "guard", "immutable", "index", "kind", "names", "p", "path", "rule",
        "shape", "state", "xp",
    )  # fmt: skip

    def __init__(self, index: int, path: tuple[Any, ...], p: Any, rule: Rule | None) -> None:
        self.index, self.path, self.p, self.rule = index, path, p, rule
        self.state: LeafState | None = None
        self.names: list[str] = [] if rule is None else [slot.name for slot in rule.slots]
        if p is None:
            return
        _checks.leaf(self.name("params"), p)
        self.xp, self.device, self.kind = _arrays.namespace(p), _arrays.device(p), type(p)
        self.dtype, self.shape = p.dtype, p.shape
        self.guard, self.immutable = _arrays.guard(p), _arrays.is_immutable(p)
        if rule is not None:
            check_writable(self.name("params"), p)

    def name(self, argument: str) -> str:
        """Return this leaf's name below an argument."""
        return _checks.where(argument, self.path)

    @property
    def active(self) -> bool:
        """Whether steps change this leaf."""
        return self.p is not None and self.rule is not None

    @property
    def slots(self) -> list[Any]:
        """The state arrays, in the rule's order."""
        return [self.state.data[name] for name in self.names] if self.state else []

    def checked_gradient(self, g: Any) -> Any:
        """Return a gradient as an array after a check of its library, device, dtype and shape."""
        if (
            type(g) is self.kind
            and g.dtype == self.dtype
            and g.shape == self.shape
            and (g.__class__.__module__ == "numpy" or _arrays.device(g) == self.device)
        ):
            return g
        if self.p is None:
            msg = f"{self.name('grads')}: is an array, but params has None there"
            raise TypeError(msg)
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
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(_checks.mismatch(place, "value", repr(value), "an integer >= 0"))
            return
        _checks.gradient(place, data[name], value)
        check_writable(place, value)


def check_writable(place: str, x: Any) -> None:
    """Check that an array can be written, element by element."""
    if not _arrays.is_writable(x):
        msg = f"{place}: is read-only; an Optimizer writes its arrays"
        raise ValueError(msg)
    if not _arrays.is_immutable(x) and _arrays.overlaps_itself(x):
        msg = f"{place}: some of its elements share memory"
        raise ValueError(msg)


class Memory:
    """The arrays an Optimizer writes, by memory block: they must be pairwise disjoint."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._blocks: dict[object, list[tuple[str, Any]]] = {}
        for leaf in leaves:
            if leaf.p is None or leaf.immutable:
                continue
            arrays = [(leaf.name("params"), leaf.p)] if leaf.rule is not None else []
            if leaf.state is not None:
                arrays += [
                    (f"{leaf.name('state')}[{name!r}]", x)
                    for name, x in leaf.state.items()
                    if name != "step"
                ]
            for place, x in arrays:
                self.check(place, x)
                self._blocks.setdefault(_arrays.owner(x), []).append((place, x))

    def check(self, place: str, x: Any, *, own: Any = None) -> None:
        """Check that `x` shares no memory with what is written, unless it is exactly `own`."""
        key = _arrays.owner(x)
        if key not in self._blocks and "foreign" not in self._blocks and key != "foreign":
            return
        blocks = self._blocks.values() if key == "foreign" else (
            self._blocks.get(key, ()), self._blocks.get("foreign", ())
        )
        for block in blocks:
            for other, y in block:
                if _arrays.overlap(x, y) and not (y is own and _arrays.same_place(x, y)):
                    msg = f"{place}: shares memory with {other}, which is written"
                    raise ValueError(msg)


def rules(structure: _trees.Structure, params: Any, rule: Any) -> list[Rule | None]:
    """Return one rule for each leaf."""
    leaves = structure.flatten(params, "params")
    if callable(rule) and not isinstance(rule, type | Rule):
        pairs = zip(structure.paths, leaves, strict=True)
        rules = [None if leaf is None else rule(path, leaf) for path, leaf in pairs]
    else:
        rules = structure.broadcast(_trees.thawed(rule), "rule")
    for path, one in zip(structure.paths, rules, strict=True):
        if one is not None and not isinstance(one, Rule):
            hint = ""
            if isinstance(one, type):
                hint = f"; pass an instance: {one.__name__}()"
            elif isinstance(one, str):
                hint = f"; pass fallline.rules.get({one!r})"
            msg = f"{_checks.where('rule', path)}: expected a rule or None, got {one!r}{hint}"
            raise TypeError(msg)
    return rules


def copy(x: Any) -> Any:
    """Return a copy of an array, or `None`."""
    return None if x is None else _arrays.moved(x, x, x.dtype)


def check_saved(place: str, like: Any, x: Any) -> None:
    """Check that a saved array fits one of ours."""
    if not _arrays.is_array(x):
        msg = f"{place}: is a {type(x).__name__}, expected an array"
        raise TypeError(msg)
    if tuple(x.shape) != tuple(like.shape):
        raise ValueError(_checks.mismatch(place, "shape", tuple(x.shape), tuple(like.shape)))
    if _arrays.dtype_name(x) != _arrays.dtype_name(like):
        names = _arrays.dtype_name(x), _arrays.dtype_name(like)
        raise TypeError(_checks.mismatch(place, "dtype", *names))


def resized(
    place: str, fresh: dict[str, Any], data: dict[str, Any], state: str
) -> dict[str, Any]:
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
        result[name] = _arrays.padded(_arrays.moved(old, new, new.dtype), new, place)
    return result
