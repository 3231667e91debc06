"""What goes on around the rules while an Optimizer steps, and what it remembers between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import _arrays
from .._arrays import _checks
from ..gradients import LossScale
from ._binding import Binding
from ._leaf import Leaf
from ._row_sparse import RowSparse


class Flow:
    """The memory of a pipeline: calls that only added to sums, and steps that were left out.

    Attributes
    ----------
    calls : int
        Since the last step.
    given : set of int
        Leaves that had a gradient in these.
    skipped : int or array
        Steps left out because of numbers that are not finite; 0-d on a device.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.given: set[int] = set()
        self.skipped: Any = 0

    def step(self, bound: Binding, grads: list[Any], step: int, begin: Callable[[], None]) -> bool:
        """Make a step of the rules with all that surrounds it.

        Returns whether the clock moves: it does not where gradients were only added to sums.
        """
        pipeline, leaves = bound.pipeline, bound.leaves
        grads = [None if leaf.rule is None else g for leaf, g in zip(leaves, grads, strict=True)]
        if self.calls + 1 < pipeline.k:
            begin()
            self._add(leaves, grads)
            return False
        if pipeline.k > 1:
            grads = self._means(leaves, grads, pipeline.k)
        asked, grads = grads, [g.values if isinstance(g, RowSparse) else g for g in grads]
        go, keep = pipeline.finite(leaves, grads)
        if go:
            self._run(bound, asked, grads, keep, step, begin)
        else:
            begin()
            self._forget_sums(leaves)
        pipeline.after(go if keep is None else keep, grads)
        self.skipped = self.skipped + ((not go) if keep is None else 1.0 - keep)
        self.calls, self.given = 0, set()
        return True

    def _run(
        self,
        bound: Binding,
        asked: list[Any],
        grads: list[Any],
        keep: Any,
        step: int,
        begin: Callable[[], None],
    ) -> None:
        grads, scales = bound.pipeline.prepared(bound.leaves, bound.around, grads)
        given: list[list[Any]] = []
        for i, g in enumerate(grads):
            numbers = [] if scales is None or g is None else [scales[i]]
            if keep is not None and g is not None:
                numbers.append(_arrays.beside(keep, g))
            given.append(numbers)
        grads = [
            RowSparse(first.indices, g) if isinstance(first, RowSparse) else g
            for first, g in zip(asked, grads, strict=True)
        ]
        starts = self._starts(bound, grads)
        replaced, done = bound.run(grads, given, step, begin)
        landed = self._land(bound, done, given, starts)
        bound.replace(replaced | landed)
        if landed:
            bound.forget()

    def _add(self, leaves: Sequence[Leaf], grads: Sequence[Any]) -> None:
        for leaf, g in zip(leaves, grads, strict=True):
            if g is not None:
                assert leaf.state is not None
                with leaf.guard():
                    total = leaf.state["sum"]
                    _put(leaf, total + _arrays.widened(_arrays.detached(g)))
                self.given.add(leaf.index)
        self.calls += 1

    def _means(self, leaves: Sequence[Leaf], grads: Sequence[Any], k: int) -> list[Any]:
        found: list[Any] = []
        for leaf, g in zip(leaves, grads, strict=True):
            if g is None and leaf.index not in self.given:
                found.append(None)
                continue
            assert leaf.state is not None
            with leaf.guard():
                total = leaf.state["sum"]
                if g is not None:
                    total = total + _arrays.widened(_arrays.detached(g))
                found.append(_arrays.unscalar(total / k))
        return found

    def _forget_sums(self, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            if leaf.state is not None and "sum" in leaf.state.slots:
                with leaf.guard():
                    total = leaf.state["sum"]
                    _put(leaf, _arrays.full(total, 0.0, total.dtype))

    def _starts(self, bound: Binding, grads: Sequence[Any]) -> dict[int, Any]:
        """Return copies of leaves from which a search in the rule's metric will start."""
        found = {}
        for leaf, around, g in zip(bound.leaves, bound.around, grads, strict=True):
            if g is not None and around.late != (None, None):
                with leaf.guard():
                    found[leaf.index] = _arrays.moved(leaf.p, leaf.p, leaf.dtype)
        return found

    def _land(
        self,
        bound: Binding,
        done: Sequence[tuple[Leaf, dict[str, Any]]],
        given: Sequence[Any],
        starts: dict[int, Any],
    ) -> dict[int, Any]:
        """Apply what does not fuse to leaves that were updated; return those replaced."""
        replaced = {}
        for leaf, scalars in done:
            around = bound.around[leaf.index]
            if around.late == (None, None):
                continue
            assert leaf.plan is not None
            assert leaf.state is not None
            with leaf.guard():
                new = around.landed(leaf.plan, leaf, scalars, starts[leaf.index])
                old = leaf.state.slots.get("master", leaf.p)
                if getattr(leaf.plan, "guarded", False):
                    new = leaf.xp.where(given[leaf.index][-1] != 0.0, new, _arrays.widened(old))
                for name in ("master",) if old is not leaf.p else ():
                    _arrays.write(leaf.state.slots[name], new)
                if leaf.immutable:
                    leaf.p = replaced[leaf.index] = _arrays.cast(new, leaf.p)
                else:
                    _arrays.write(leaf.p, new)
        return replaced

    # -- saving -------------------------------------------------------------------------------

    def state(self, bound: Binding) -> dict[str, Any]:
        """Return plain numbers: what later steps depend on, beside arrays."""
        return {
            "calls": self.calls,
            "given": sorted(self.given),
            "skipped": round(_arrays.to_float(self.skipped)),
            "gradients": [
                x.state_dict() if isinstance(x, LossScale) else {} for x in bound.pipeline.gradients
            ],
            "schedules": {name: x.state_dict() for name, x in stateful(bound).items()},
        }

    def check(self, bound: Binding, saved: Any) -> None:
        """Check what `state` returned before it is taken."""
        place = "state_dict['flow']"
        if not isinstance(saved, dict) or set(saved) != set(self.state(bound)):
            msg = f"{place}: is not what state_dict gives"
            raise ValueError(msg)
        _checks.count(f"{place}['calls']", saved["calls"])
        _checks.count(f"{place}['skipped']", saved["skipped"])
        if any(not 0 <= i < len(bound.leaves) for i in saved["given"]):
            msg = f"{place}['given']: names leaves that are not there"
            raise ValueError(msg)
        ours, theirs = len(bound.pipeline.gradients), len(saved["gradients"])
        if ours != theirs:
            raise ValueError(_checks.mismatch(f"{place}['gradients']", "length", theirs, ours))
        if set(stateful(bound)) != set(saved["schedules"]):
            names = sorted(saved["schedules"]), sorted(stateful(bound))
            raise ValueError(_checks.mismatch(f"{place}['schedules']", "names", *names))

    def load(self, bound: Binding, saved: dict[str, Any]) -> None:
        """Take what `check` has passed."""
        self.calls, self.given = saved["calls"], set(saved["given"])
        self.skipped = saved["skipped"]
        for transform, state in zip(bound.pipeline.gradients, saved["gradients"], strict=True):
            if isinstance(transform, LossScale):
                transform.load_state_dict(state)
        for name, schedule in stateful(bound).items():
            schedule.load_state_dict(saved["schedules"][name])


def stateful(bound: Binding) -> dict[str, Any]:
    """Return the schedules that remember something, by the leaf and the field they drive."""
    return {
        f"{leaf.name('params')}.{name}": getattr(leaf.rule, name)
        for leaf in bound.leaves
        if leaf.rule is not None
        for name in leaf.rule._schedules
        if hasattr(getattr(leaf.rule, name), "state_dict")
    }


def _put(leaf: Leaf, value: Any) -> None:
    assert leaf.state is not None
    if leaf.immutable:
        leaf.state.put("sum", value)
    else:
        _arrays.write(leaf.state["sum"], value)
