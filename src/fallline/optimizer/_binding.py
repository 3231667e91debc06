"""What an Optimizer is bound to: params, rules and states, checked together.

A `Binding` is made whole and then taken over, so that a refused change leaves the old one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter, is_
from typing import Self

from .. import _arrays
from .._arrays import _checks, _memory, _trees
from .._arrays._types import Array, Tree
from ..engine.trace import trace
from ..rules import Rule
from . import _sharded
from ._carry import adopted, carried, following, memories, owned, resized, started
from ._fused import FusedRule
from ._group import Call, Group
from ._leaf import Leaf, LeafState, check_writable, stepped, still_writable
from ._likeness import Suits, Unchanged
from ._options import StepOptions
from ._remember import of_transforms
from ._row_sparse import RowSparse

# Gradients of at most so many bytes are kept until the next step: the same need no second check.
REMEMBERED = 3 << 19
# What of an array may be changed in place.
_KIND = attrgetter("shape", "dtype")
_ABSENT, _COUNT = partial(is_, None), attrgetter("count")


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
    options : StepOptions
        What surrounds the rules.
    step : int
        The global step, for state that starts afresh.
    states : sequence of LeafState or None
        State to keep, for each leaf.
    arrays : sequence of arrays, optional
        The leaves, where these are about to take the place of those in `params`.
    before : sequence of Rule or None, optional
        The rules with whose memory those of the leaves go on.
    """

    def __init__(
        self,
        params: Tree,
        structure: _trees.Structure,
        rules: Sequence[Rule | None],
        *,
        engine: str,
        options: StepOptions,
        step: int = 0,
        states: Sequence[LeafState | None] | None = None,
        arrays: Sequence[Array] | None = None,
        before: Sequence[Rule | None] | None = None,
    ) -> None:
        self.params, self.structure, self.engine, self.options = params, structure, engine, options
        rules = owned(rules, [None] * len(rules) if before is None else before)
        found = structure.flatten(params, "params") if arrays is None else arrays
        _sharded.check(structure, found, rules, options)
        plans = options.plans(structure, found, rules)
        self.leaves = []
        for i, (path, p, rule) in enumerate(zip(structure.paths, found, rules, strict=True)):
            plan, terms = plans[i]
            state = None if states is None else states[i]
            if state is None and p is not None and plan is not None:
                state = LeafState(started(p, plan, step), 0, rule)
            self.leaves.append(Leaf(i, path, p, rule, plan, terms, state))
        ruled = (x for x in self.leaves if x.p is not None and x.rule is not None)
        _checks.one_library((leaf.name("params"), leaf.p) for leaf in ruled)
        self._settle()

    def _settle(self) -> None:
        self.memory = _memory.Memory(self.leaves)
        groups: dict[object, list[Leaf]] = {}
        for leaf in self.leaves:
            if leaf.p is not None and leaf.rule is not None:
                place = leaf.kind, str(leaf.device), str(leaf.dtype)
                groups.setdefault((*_key(leaf), *place), []).append(leaf)
        self.groups = [Group(leaves, self.engine) for leaves in groups.values()]
        self.stepped = stepped(self.leaves)
        self.memories = memories(leaf.rule for leaf in self.leaves)
        self.remembering = of_transforms(self.options)
        terms = any(not leaf.terms.empty for leaf in self.leaves)
        self.surrounded = terms or not self.options.trivial
        self.last: list[Array] = []
        found = [leaf for leaf in self.leaves if leaf.p is not None]
        self.unchanged, self.suits = Unchanged(found), Suits(self.leaves, self.memory)
        self.arrays = [leaf.p for leaf in self.leaves]
        self.kinds = [_KIND(leaf.p) for leaf in self.leaves if leaf.p is not None]
        size = sum(leaf.p.nbytes for leaf in found if leaf.fixed)
        self.light = all(leaf.fixed for leaf in found) and size < REMEMBERED
        self.sparse = False

    def twin(self, leaves: Sequence[Leaf]) -> Self:
        """Return a binding of the same things but for some leaves."""
        other = copy.copy(self)
        other.leaves = list(leaves)
        other._settle()
        return other

    def rebound(
        self,
        params: Tree,
        structure: _trees.Structure,
        rules: Sequence[Rule | None],
        states: Sequence[LeafState | None],
        step: int,
        *,
        options: StepOptions | None = None,
        arrays: Sequence[Array] | None = None,
        before: Sequence[Rule | None],
    ) -> Binding:
        """Return a binding of other things by the same engine."""
        return Binding(
            params, structure, rules, step=step, states=states, engine=self.engine,
            options=self.options if options is None else options, arrays=arrays, before=before,
        )  # fmt: skip

    def with_rules(
        self, new: Sequence[Rule | None], step: int, options: StepOptions | None = None
    ) -> Binding:
        """Return a binding of the same arrays with other rules, and the state these can keep."""
        options = self.options if options is None else options
        plans = options.plans(self.structure, [leaf.p for leaf in self.leaves], new)
        states = [
            carried(leaf, r, plan, step, leaf.p)
            for leaf, r, (plan, _) in zip(self.leaves, new, plans, strict=True)
        ]
        return self.rebound(
            self.params, self.structure, new, states, step, options=options,
            arrays=[leaf.p for leaf in self.leaves], before=[leaf.rule for leaf in self.leaves],
        )  # fmt: skip

    def with_params(
        self, params: Tree, structure: _trees.Structure, new: Sequence[Rule | None], state: str,
        step: int, options: StepOptions,
    ) -> Binding:  # fmt: skip
        """Return a binding of other arrays; leaves are matched by path, `state` as in `rebind`."""
        old = {leaf.path: leaf for leaf in self.leaves}
        leaves = structure.flatten(params, "params")
        plans = options.plans(structure, leaves, new)
        states: list[LeafState | None] = []
        before: list[Rule | None] = []
        for path, p, r, (plan, _) in zip(structure.paths, leaves, new, plans, strict=True):
            leaf, found = old.get(path), None
            if leaf is not None and p is not None and state != "reset":
                found = carried(leaf, r, plan, step, p)
            if found is not None:
                place = _checks.where("params", path)
                if plan is not None:
                    assert r is not None
                    with _arrays.guard(p)():
                        found = resized(place, started(p, plan, step), found, state, r)
                else:
                    assert leaf is not None
                    found = following(leaf, found, p)
            states.append(found)
            before.append(None if leaf is None or state == "reset" else leaf.rule)
        return self.rebound(params, structure, new, states, step, options=options, before=before)

    def with_entry(self, index: int, name: str, value: Array) -> Binding:
        """Return a binding with another array in a slot of a leaf; check it first."""
        leaf = self.leaves[index]
        leaf.check_state(name, value)
        assert leaf.state is not None
        if value is leaf.state.slots[name]:
            return self
        leaves = list(self.leaves)
        leaves[index] = leaf.with_state(leaf.state.replaced({name: value}))
        return self.twin(leaves)

    def adopted(self) -> Binding:
        """Return a binding of the arrays that the caller's container holds now.

        People write ``p["x"] = p["x"] + d``: from then on the new array is the parameter.
        """
        self.unchanged.check()
        if self.structure.is_leaf:
            return self
        now = self.structure.flatten(self.params, "params")
        if all(map(is_, now, self.arrays)):
            return self
        return self.twin([adopted(leaf, p) for leaf, p in zip(self.leaves, now, strict=True)])

    @property
    def states(self) -> list[LeafState | None]:
        """The state of each leaf, itself and no copy."""
        return [leaf.state for leaf in self.leaves]

    @property
    def program(self) -> str:
        """The programs of all groups as text."""
        programs: dict[str, None] = {}
        for group in self.groups:
            dtype = _arrays.dtype_name(group.leaves[0].p)
            programs[str(group.program or trace(group.plan, dtype))] = None
        return "\n\n".join(programs)

    def check_gradients(self, gradients: list[Array]) -> None:
        """Check the gradients of all leaves, and put arrays in the place of NumPy's scalars.

        What is asked of the parameters in every step is asked here too.
        """
        if not still_writable(self.stepped):
            self.check_written()
        if (
            self.last
            and len(self.last) == len(gradients)
            and all(map(is_, gradients, self.last))
            and list(map(_KIND, gradients)) == self.kinds
        ):
            return
        self.last, self.sparse = [], False
        if self.suits.hold(gradients):
            self.last = gradients if self.light and not self.suits.cheap else []
            return
        memory = self.memory
        for leaf, g in zip(self.leaves, gradients, strict=True):
            if g is None or (leaf.rule is None and leaf.p is not None):
                continue
            gradients[leaf.index] = g = leaf.checked_gradient(g)
            if isinstance(g, RowSparse):
                self._check_rows(leaf)
                self.sparse = True
                values, own = g.values, None
            else:
                values, own = g, leaf.p
            if not leaf.immutable and memory.may_hold(values):
                memory.check(leaf.name("grads"), values, own=own)
        if self.light and not self.sparse and all(g is not None for g in gradients):
            self.last = gradients

    def _check_rows(self, leaf: Leaf) -> None:
        # Check that what is run on a leaf can be run on some of its rows.
        assert leaf.plan is not None
        rule = leaf.plan.rule if isinstance(leaf.plan, FusedRule) else leaf.plan
        terms, place = leaf.terms, leaf.name("grads")
        if rule.reads or not rule.elementwise:
            msg = f"{place}: is RowSparse, and {rule.name} looks at whole leaves"
            raise TypeError(msg)
        whole = terms.by_gradient or terms.whole is not None
        if self.options.k > 1 or whole:
            found = terms.penalty if terms.penalty is not None else terms.constraint
            what = "a sum of gradients" if self.options.k > 1 else f"{found!r}"
            msg = f"{place}: is RowSparse, which does not go with {what}"
            raise TypeError(msg)

    def calls(self, gradients: Sequence[Array], step: int) -> list[Call]:
        """Return (group, scalars, leaves by number, gradients) for leaves that share a count."""
        calls = []
        for group in self.groups:
            fixed = group.plan.at(step)
            taken = [gradients[i] for i in group.indices]
            counts = set(map(_COUNT, group.states))
            if len(counts) == 1 and not any(map(_ABSENT, taken)):
                calls.append((group, fixed.scalars(counts.pop() + 1), group.all, taken))
                continue
            shared: dict[int, list[int]] = {}
            for i, (state, g) in enumerate(zip(group.states, taken, strict=True)):
                if g is not None:
                    shared.setdefault(state.count, []).append(i)
            for count, which in shared.items():
                calls.append((group, fixed.scalars(count + 1), which, [taken[i] for i in which]))
        return calls

    def replace(self, new: Mapping[int, Array]) -> None:
        """Put other arrays at some leaves into the caller's container."""
        if new:
            for index, p in new.items():
                self.arrays[index] = p
            self.params = self.structure.assign(self.params, new)

    def check_written(self) -> None:
        """Check that all parameters can still be written."""
        if not still_writable(self.stepped):
            for leaf in self.leaves:
                if leaf.rule is not None and leaf.p is not None:
                    check_writable(leaf.name("params"), leaf.p)


def rules(structure: _trees.Structure, params: Tree, rule: Tree) -> list[Rule | None]:
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


def _layout(g: Array) -> tuple[object, object]:
    # Of whatever is given for a frozen leaf, too.
    return getattr(g, "shape", None), getattr(g, "dtype", None)


def _key(leaf: Leaf) -> tuple[object, bool]:
    # Equal plans are run together, if they can be compared by hash; leaves with an end of their
    # own are run apart.
    plan: object = leaf.plan
    try:
        hash(plan)
    except TypeError:
        plan = id(plan)
    return plan, leaf.terms.whole is not None
