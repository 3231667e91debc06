"""What an Optimizer is bound to: params, rules and states, checked together.

A `Binding` is made whole and then taken over, so that a refused change leaves the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

from . import _checks, _memory, _trees, engine
from ._leaf import Leaf, LeafState, adopted
from .rules import Rule

LIGHT = 3 << 19  # bytes


class Binding:
    """Params, rules and states of one structure; nothing of it is written here.

    Parameters
    ----------
    params : tree of arrays
        The caller's container.
    structure : Structure
        Its structure.
    rules : sequence of Rule or None
        One for each leaf.
    engine : str
        The engine asked for.
    step : int
        The global step, for state that starts afresh.
    states : sequence of dict or None
        State to keep, for each leaf.
    makers : mapping from path to Rule
        The rules that made the states of leaves that are frozen now.
    """

    def __init__(
        self,
        params: Any,
        structure: _trees.Structure,
        rules: Sequence[Rule | None],
        *,
        engine: str,
        step: int = 0,
        states: Sequence[dict[str, Any] | None] | None = None,
        makers: Mapping[Any, Rule] | None = None,
    ) -> None:
        self.params, self.structure, self.engine = params, structure, engine
        found = structure.flatten(params, "params")
        self.leaves = []
        for i, (path, p, rule) in enumerate(zip(structure.paths, found, rules, strict=True)):
            leaf = Leaf(i, path, p, rule)
            data = states[i] if states is not None else None
            if data is None and p is not None and rule is not None:
                with leaf.guard():
                    data = rule._init_leaf(p, step)
            if data is not None:
                leaf.state = LeafState(data, self._check_state, leaf, rule or (makers or {})[path])
            self.leaves.append(leaf)
        self._settle()

    def _settle(self) -> None:
        self.memory = Memory(self.leaves)
        groups: dict[Any, list[Leaf]] = {}
        for leaf in self.leaves:
            if leaf.p is not None and leaf.rule is not None:
                key = _key(leaf.rule), leaf.xp.__name__, str(leaf.device), str(leaf.dtype)
                groups.setdefault(key, []).append(leaf)
        self.groups = [Group(leaves, self.engine) for leaves in groups.values()]
        # Gradient objects of the last step, kept only where that keeps little memory alive.
        self.last: list[Any] = []
        found = [leaf for leaf in self.leaves if leaf.p is not None]
        self.light = all(leaf.fixed for leaf in found) and sum(x.p.nbytes for x in found) < LIGHT

    def _check_state(self, leaf: Leaf, name: str, value: Any) -> None:
        # Checks a value that is about to replace a state entry.
        leaf.check_state(name, value)
        assert leaf.state is not None
        if name == "step" or leaf.immutable or value is leaf.state[name]:
            return
        old = leaf.state[name]
        leaf.state.put(name, value)
        try:
            self.memory = Memory(self.leaves)
        except ValueError:
            leaf.state.put(name, old)
            raise
        self.forget()

    @property
    def makers(self) -> dict[Any, Rule]:
        """The rule that made each state: a frozen leaf keeps its state."""
        return {leaf.path: leaf.state.maker for leaf in self.leaves if leaf.state is not None}

    @property
    def states(self) -> list[dict[str, Any] | None]:
        """The state of each leaf, itself and no copy."""
        return [None if leaf.state is None else leaf.state.data for leaf in self.leaves]

    def check_gradients(self, gradients: list[Any]) -> None:
        """Check the gradients of all leaves, and put arrays in the place of NumPy's scalars."""
        if len(self.last) == len(gradients) and all(map(is_, gradients, self.last)):
            return
        self.last = []
        memory = self.memory
        for leaf, g in zip(self.leaves, gradients, strict=True):
            if g is None or (leaf.rule is None and leaf.p is not None):
                continue
            gradients[leaf.index] = g = leaf.checked_gradient(g)
            if not leaf.immutable and memory.may_hold(g):
                memory.check(leaf.name("grads"), g, own=leaf.p)
        if self.light:
            self.last = gradients

    def forget(self) -> None:
        """Make the runners again, and check all gradients: arrays were replaced."""
        self.last = []
        for group in self.groups:
            group.forget()

    def replace(self, new: dict[int, Any]) -> None:
        """Put other arrays at some leaves into the caller's container."""
        if new:
            self.params = self.structure.assign(self.params, new)

    def adopt(self) -> None:
        """Take over arrays that the caller has put in the place of others.

        People write ``p["x"] = p["x"] + d``: from then on the new array is the parameter.
        """
        if self.structure.is_leaf:
            return
        now = self.structure.flatten(self.params, "params")
        if all(p is leaf.p for leaf, p in zip(self.leaves, now, strict=True)):
            return
        before = self.leaves
        groups, memory = self.groups, self.memory
        self.leaves = [adopted(leaf, p) for leaf, p in zip(before, now, strict=True)]
        try:
            self._settle()
        except ValueError:
            self.leaves, self.groups, self.memory = before, groups, memory
            raise
        for leaf in self.leaves:
            if leaf.state is not None:
                leaf.state.leaf = leaf


class Group:
    """The leaves of one rule, library, device and dtype, and what runs them."""

    def __init__(self, leaves: list[Leaf], chosen: str) -> None:
        self.leaves = leaves
        first = leaves[0]
        assert first.rule is not None
        self.rule = first.rule
        self.engine, self.program = engine.choose(chosen, first.name("params"), first.p, first.rule)
        self._runner: engine.Runner | None = None

    @property
    def runner(self) -> engine.Runner:
        """What runs the leaves, made at the first step."""
        if self._runner is None:
            arrays = [leaf.arrays for leaf in self.leaves]
            self._runner = engine.make(self.engine, self.rule, self.program, arrays)
        return self._runner

    def forget(self) -> None:
        """Make the runner again: arrays were replaced."""
        self._runner = None


class Memory:
    """The arrays an Optimizer writes, by memory block: they must be pairwise disjoint."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._blocks: dict[object, list[tuple[str, Any]]] = {}
        self._foreign = False
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
                if self.may_hold(x):
                    self.check(place, x)
                self._blocks.setdefault(_memory.owner(x), []).append((place, x))
                self._foreign = "foreign" in self._blocks

    def may_hold(self, x: Any) -> bool:
        """Tell quickly whether `x` can share memory with what is written."""
        key = _memory.owner(x)
        return key in self._blocks or key == "foreign" or self._foreign

    def check(self, place: str, x: Any, *, own: Any = None) -> None:
        """Check that `x` shares no memory with what is written, unless it is exactly `own`."""
        key = _memory.owner(x)
        blocks = (
            self._blocks.values()
            if key == "foreign"
            else (self._blocks.get(key, ()), self._blocks.get("foreign", ()))
        )
        for block in blocks:
            for other, y in block:
                if _memory.overlap(x, y) and not (y is own and _memory.same_place(x, y)):
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


def _key(rule: Rule) -> object:
    # Equal rules are run together, if they can be compared by hash.
    try:
        hash(rule)
    except TypeError:
        return id(rule)
    return rule
