"""What an Optimizer is bound to: params, rules and states, checked together.

A `Binding` is made whole and then taken over, so that a refused change leaves the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from .. import _arrays
from .._arrays import _checks, _memory, _trees
from ..engine.trace import trace
from ..rules import Rule
from . import _sharded
from ._fused import Composed
from ._group import Group
from ._leaf import Leaf, LeafState, adopted, carried, resized
from ._options import Pipeline, Surroundings
from ._row_sparse import RowSparse

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
    pipeline : Pipeline
        What surrounds the rules.
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
        pipeline: Pipeline,
    ) -> None:
        self.params, self.structure, self.engine = params, structure, engine
        self.pipeline = pipeline
        found = structure.flatten(params, "params")
        self.leaves = []
        _sharded.check(structure, found, rules, pipeline)
        plans = pipeline.plans(structure, found, rules)
        self.around = [around for _, around in plans]
        empty = all(around == Surroundings() for around in self.around)
        self.surrounded = not (pipeline.trivial and empty)
        for i, (path, p, rule) in enumerate(zip(structure.paths, found, rules, strict=True)):
            plan = plans[i][0]
            leaf = Leaf(i, path, p, rule, plan)
            data = states[i] if states is not None else None
            if data is None and p is not None and plan is not None:
                with leaf.guard():
                    data = plan._init_leaf(p, step)
            if data is not None:
                leaf.state = LeafState(data, self._check_state, leaf, rule or (makers or {})[path])
            self.leaves.append(leaf)
        ruled = (x for x in self.leaves if x.p is not None and x.rule is not None)
        _checks.one_library((leaf.name("params"), leaf.p) for leaf in ruled)
        self._settle()

    def _settle(self) -> None:
        self.memory = _memory.Memory(self.leaves)
        groups: dict[Any, list[Leaf]] = {}
        for leaf in self.leaves:
            if leaf.p is not None and leaf.rule is not None:
                key = _key(leaf.plan), leaf.xp.__name__, str(leaf.device), str(leaf.dtype)
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
            self.memory = _memory.Memory(self.leaves)
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

    def with_rules(self, new: Sequence[Rule | None], step: int) -> Binding:
        """Return a binding of the same arrays with other rules, and the state these can keep."""
        plans = self.pipeline.plans(self.structure, [leaf.p for leaf in self.leaves], new)
        states = [
            carried(leaf, r, plan, step)
            for leaf, r, (plan, _) in zip(self.leaves, new, plans, strict=True)
        ]
        return self.rebound(self.params, self.structure, new, states, step)

    def with_params(
        self, params: Any, structure: _trees.Structure, new: Sequence[Rule | None], state: str,
        step: int,
    ) -> Binding:  # fmt: skip
        """Return a binding of other arrays; leaves are matched by path, `state` as in `rebind`."""
        before = {leaf.path: leaf for leaf in self.leaves}
        leaves = structure.flatten(params, "params")
        plans = self.pipeline.plans(structure, leaves, new)
        states = []
        for path, p, r, (plan, _) in zip(structure.paths, leaves, new, plans, strict=True):
            leaf, data = before.get(path), None
            if leaf is not None and p is not None and r is not None and state != "reset":
                data = carried(leaf, r, plan, step)
            if data is not None and plan is not None:
                place = _checks.where("params", path)
                data = resized(place, plan._init_leaf(p, step), data, state)
            states.append(data)
        return self.rebound(params, structure, new, states, step)

    def rebound(
        self,
        params: Any,
        structure: _trees.Structure,
        rules: Sequence[Rule | None],
        states: Sequence[dict[str, Any] | None],
        step: int,
    ) -> Binding:
        """Return a binding of other things with the same options."""
        options = {**self.options, "states": states}
        return Binding(params, structure, rules, step=step, **options)

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside params and rules, as keywords."""
        return {
            "engine": self.engine,
            "states": self.states,
            "makers": self.makers,
            "pipeline": self.pipeline,
        }

    @property
    def program(self) -> str:
        """The programs of all groups as text."""
        programs: dict[str, None] = {}
        for group in self.groups:
            dtype = _arrays.dtype_name(group.leaves[0].p)
            programs[str(group.program or trace(group.plan, dtype))] = None
        return "\n\n".join(programs)

    def check_gradients(self, gradients: list[Any]) -> None:
        """Check the gradients of all leaves, and put arrays in the place of NumPy's scalars."""
        if len(self.last) == len(gradients) and all(map(is_, gradients, self.last)):
            return
        self.last, self.sparse = [], False
        memory = self.memory
        for leaf, g in zip(self.leaves, gradients, strict=True):
            if g is None or (leaf.rule is None and leaf.p is not None):
                continue
            gradients[leaf.index] = g = leaf.checked_gradient(g)
            if isinstance(g, RowSparse):
                self._check_rows(leaf)
                self.sparse = True
                continue
            if not leaf.immutable and memory.may_hold(g):
                memory.check(leaf.name("grads"), g, own=leaf.p)
        if self.light and not self.sparse:
            self.last = gradients

    def _check_rows(self, leaf: Leaf) -> None:
        # Check that what is run on a leaf can be run on some of its rows.
        assert leaf.plan is not None
        rule = leaf.plan.rule if isinstance(leaf.plan, Composed) else leaf.plan
        around, place = self.around[leaf.index], leaf.name("grads")
        if rule.reads or not rule.elementwise:
            msg = f"{place}: is RowSparse, and {rule.name} looks at whole leaves"
            raise TypeError(msg)
        if self.pipeline.k > 1 or around.by_gradient:
            what = "a sum of gradients" if self.pipeline.k > 1 else f"{around.penalty!r}"
            msg = f"{place}: is RowSparse, which does not go with {what}"
            raise TypeError(msg)

    def run(
        self,
        gradients: Sequence[Any],
        given: Sequence[Sequence[Any]] | None,
        step: int,
        begin: Callable[[], None],
    ) -> tuple[dict[int, Any], list[tuple[Leaf, dict[str, Any]]]]:
        """Run the rules; return new arrays of leaves that cannot be written, and what was done."""
        replaced: dict[int, Any] = {}
        done: list[tuple[Leaf, dict[str, Any]]] = []
        for group, scalars, which in self._calls(gradients, step):
            if self.sparse:
                which = self._run_rows(group, scalars, which, gradients, given, begin, replaced)
            leaves = [group.leaves[i] for i in which]
            taken = [gradients[leaf.index] for leaf in leaves]
            if group.reads:
                numbers = [() if given is None else given[leaf.index] for leaf in leaves]
                group.fill(scalars, which, taken, numbers)
            new = group.runner.run(scalars, which, taken, begin)
            for leaf in leaves:
                leaf.state.count += 1  # type: ignore[union-attr]
                done.append((leaf, scalars))
            for i, arrays in new.items():
                group.leaves[i].take(arrays)
                replaced[group.leaves[i].index] = arrays[0]
        return replaced, done

    def _run_rows(
        self,
        group: Group,
        scalars: dict[str, Any],
        which: Sequence[int],
        gradients: Sequence[Any],
        given: Any,
        begin: Callable[[], None],
        replaced: dict[int, Any],
    ) -> list[int]:
        # Run leaves whose gradients are RowSparse, and return the others.
        others = []
        for i in which:
            leaf = group.leaves[i]
            g = gradients[leaf.index]
            if not isinstance(g, RowSparse):
                others.append(i)
                continue
            numbers = () if given is None else given[leaf.index]
            arrays = group.run_rows(scalars, i, g, numbers, begin)
            leaf.state.count += 1  # type: ignore[union-attr]
            if leaf.immutable:
                leaf.take(arrays)
                replaced[leaf.index] = arrays[0]
        return others

    def _calls(
        self, gradients: Sequence[Any], step: int
    ) -> list[tuple[Group, dict[str, Any], list[int]]]:
        # The leaves of each group that share a count, and the scalars of a step.
        calls = []
        for group in self.groups:
            fixed = group.plan.at(step)
            counts: dict[int, list[int]] = {}
            for i, leaf in enumerate(group.leaves):
                if gradients[leaf.index] is not None:
                    counts.setdefault(leaf.state.count, []).append(i)  # type: ignore[union-attr]
            for count, which in counts.items():
                calls.append((group, fixed.scalars(count + 1), which))
        return calls

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
    places = (_checks.where("params", path) for path in structure.paths)
    return [
        None if one is None or p is None else one.suited(place, p)
        for one, p, place in zip(rules, leaves, places, strict=True)
    ]


def _key(rule: object) -> object:
    # Equal plans are run together, if they can be compared by hash.
    try:
        hash(rule)
    except TypeError:
        return id(rule)
    return rule
