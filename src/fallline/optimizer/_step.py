"""One step of an Optimizer, told in its order, and what it remembers for the next.

The gradients are checked by then. What can fail comes before the first write: accumulation,
transforms, the search for numbers that are not finite, the rules of leaves whose new values are
made apart. Then `begin` is called, and the arrays are written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import _arrays
from .._arrays import _reductions
from .._arrays._types import Array, HostArray, Json, Number, Remembers
from ..gradients import ClipByGlobalNorm
from ._binding import Binding
from ._group import Ready
from ._leaf import Leaf, LeafState
from ._options import StepOptions
from ._row_sparse import RowSparse


class Awaited(NamedTuple):
    """A step of which the host does not know yet whether the device left it out."""

    read: Callable[[], HostArray]
    counts: list[tuple[LeafState, int]]
    steps: int
    last: int
    skipped: int
    memories: list[tuple[Remembers, Json]]


class StepMemory:
    """What later steps depend on beside arrays.

    Attributes
    ----------
    steps : int
        Steps made: the clock of the schedules.
    last : int
        What that clock showed in the last step.
    calls : int
        Calls since then that only added to sums.
    skipped : int
        Steps left out because of gradients that are not finite.
    awaited : Awaited or None
        The last step, while it is not known whether it was left out.
    norm : array or None
        The norm of the gradients of the last step before it was clipped, on its device.
    """

    __slots__ = ("awaited", "calls", "last", "norm", "skipped", "steps")

    def __init__(self) -> None:
        self.steps = self.last = self.calls = self.skipped = 0
        self.awaited: Awaited | None = None
        self.norm: Array = None

    def settle(self) -> None:
        """Take back the counts of a step that the device left out; wait for it if need be."""
        awaited = self.awaited
        if awaited is None:
            return
        if not awaited.read():
            for state, count in awaited.counts:
                state.count = count
            for memory, held in awaited.memories:
                memory.load_state_dict(held)
            self.steps, self.last = awaited.steps, awaited.last
            self.skipped = awaited.skipped + 1
        self.awaited = None

    def advance(self, steps: int = 1) -> None:
        """Move the clock."""
        self.steps += steps
        self.last = max(self.steps - 1, 0)


def step(bound: Binding, memory: StepMemory, grads: list[Array], begin: Callable[[], None]) -> None:
    """Make a step with all that surrounds the rules."""
    options, leaves = bound.options, bound.leaves
    memory.settle()
    grads = [None if leaf.rule is None else g for leaf, g in zip(leaves, grads, strict=True)]
    if memory.calls + 1 < options.k:
        begin()
        _add(leaves, grads)
        memory.calls += 1
        return
    if options.k > 1:
        grads = _means(leaves, grads, memory.calls + 1)
    _finish(bound, memory, grads, begin)


def flush(bound: Binding, memory: StepMemory, begin: Callable[[], None]) -> None:
    """Make a step with the mean of the calls since the last one."""
    grads = _means(bound.leaves, [None] * len(bound.leaves), memory.calls)
    _finish(bound, memory, grads, begin)


def discard(bound: Binding, memory: StepMemory) -> None:
    """Forget the sums of the calls since the last step."""
    _forget_sums(bound.leaves)
    memory.calls = 0


def _finish(
    bound: Binding, memory: StepMemory, grads: list[Array], begin: Callable[[], None]
) -> None:
    options, leaves = bound.options, bound.leaves
    asked, grads = grads, [g.values if isinstance(g, RowSparse) else g for g in grads]
    go, keep = _finite(options, leaves, grads)
    scale = options.loss_scale
    fine = go if keep is None else keep
    after = (None, None) if scale is None else scale.after(fine, grads)
    if not go and options.nonfinite == "raise":
        if scale is not None:
            scale.take(after)
        raise FloatingPointError(_not_finite(leaves, grads))
    if go or options.nonfinite == "propagate":
        # A copy: what a transform holds it may change in place.
        held = [(x, copy.deepcopy(x.state_dict())) for x in bound.remembering]
        try:
            norm = _rules(bound, asked, grads, keep, memory, held, begin)
        except BaseException:
            for x, state in held:
                x.load_state_dict(state)
            raise
    else:
        begin()
        memory.skipped += 1
        norm = None
        for leaf, g in zip(leaves, grads, strict=True):
            if options.k > 1 and g is not None and leaf.state is not None:
                leaf.state.given = True  # its sum was part of what is left out
    _forget_sums(leaves)
    if scale is not None:
        scale.take(after)
    memory.calls, memory.norm = 0, norm


def _rules(
    bound: Binding,
    asked: Sequence[Array],
    grads: list[Array],
    keep: Array,
    memory: StepMemory,
    held: list[tuple[Remembers, Json]],
    begin: Callable[[], None],
) -> Number:
    # Transforms, rules and what comes after them; returns the norm before clipping.
    options, leaves = bound.options, bound.leaves
    before, fused = options.split
    norm = None
    for transform in before:
        if isinstance(transform, ClipByGlobalNorm):
            norm = transform.norm(grads)
            grads = transform.clipped(norm, grads)
        else:
            grads = transform.apply(grads)
        grads = [_arrays.unscalar(g) for g in grads]  # NumPy's, of arrays without axes
    grads = _with_slopes(leaves, grads)
    scales = None
    if fused and fused[0].measured:
        if isinstance(fused[0], ClipByGlobalNorm):
            norm = fused[0].norm(grads)
            scales = fused[0].factors(norm, grads)
        else:
            scales = fused[0].measure(grads)
    guarded = keep is not None and options.nonfinite == "skip"
    given: list[list[Array]] = []
    for i, g in enumerate(grads):
        numbers = [] if scales is None or g is None else [scales[i]]
        if guarded and g is not None:
            numbers.append(_arrays.beside(keep, g))
        given.append(numbers)
    grads = [
        RowSparse(first.indices, g) if isinstance(first, RowSparse) else g
        for first, g in zip(asked, grads, strict=True)
    ]
    awaited = None
    if guarded:
        stepped = [leaf.state for leaf, g in zip(leaves, grads, strict=True) if g is not None]
        counts = [(state, state.count) for state in stepped if state is not None]
        read = _arrays.begin_read(keep)
        held = [*held, *((x, x.state_dict()) for x in bound.memories)]
        awaited = Awaited(read, counts, memory.steps, memory.last, memory.skipped, held)
    run(bound, grads, given, memory.steps, begin)
    memory.advance()
    memory.awaited = awaited
    return norm


def run(
    bound: Binding,
    grads: Sequence[Array],
    given: Sequence[Sequence[Array]] | None,
    step: int,
    begin: Callable[[], None],
) -> None:
    """Run the rules: first those whose new values are made apart, then those that write."""
    ready: list[Ready] = []
    direct = []
    done: list[LeafState] = []
    for group, scalars, which, taken in bound.calls(grads, step):
        states = group.states
        done += states if which is group.all else [states[i] for i in which]
        if not (group.apart or group.reads or bound.sparse):
            direct.append((group.runner, scalars, which, taken))
            continue
        numbers = [() if given is None else given[group.leaves[i].index] for i in which]
        if bound.sparse:
            rows = list(zip(which, taken, numbers, strict=True))
            for i, g, row in rows:
                if isinstance(g, RowSparse):
                    ready.append(group.run_rows(scalars, i, g, row))
            dense = [row for row in rows if not isinstance(row[1], RowSparse)]
            which, taken, numbers = ([row[k] for row in dense] for k in range(3))  # type: ignore[assignment]
        if group.reads and which:
            group.fill(scalars, which, taken, numbers)
        if group.apart:
            ready += group.run_apart(scalars, which, taken, numbers)
        else:
            direct.append((group.runner, scalars, which, taken))
    for runner, scalars, which, taken in direct:
        runner.run(scalars, which, taken, begin)
    if ready:
        begin()
        for leaf, arrays, rows in ready:
            with leaf.guard():
                leaf.put(arrays, rows)
        bound.replace({leaf.index: leaf.p for leaf, _, _ in ready if leaf.immutable})
    for state in done:
        state.count += 1
    for memory in bound.memories:
        memory.commit(step + 1)
    if bound.surrounded and bound.options.k > 1:
        for state in done:
            state.given = False


# -- accumulation -------------------------------------------------------------------------------


def _add(leaves: Sequence[Leaf], grads: Sequence[Array]) -> None:
    for leaf, g in zip(leaves, grads, strict=True):
        if g is not None:
            assert leaf.state is not None
            with leaf.guard():
                total = leaf.state.slots["sum"]
                _put(leaf, total + _arrays.widened(_arrays.detached(g)))
            leaf.state.given = True


def _means(leaves: Sequence[Leaf], grads: Sequence[Array], k: int) -> list[Array]:
    found: list[Array] = []
    for leaf, g in zip(leaves, grads, strict=True):
        state = leaf.state
        if leaf.rule is None or state is None or (g is None and not state.given):
            found.append(None)
            continue
        with leaf.guard():
            total = state.slots["sum"]
            if g is not None:
                total = total + _arrays.widened(_arrays.detached(g))
            found.append(_arrays.unscalar(total / k))
    return found


def _forget_sums(leaves: Sequence[Leaf]) -> None:
    # Of leaves that were not stepped: the rule's own program sets the others to zero.
    for leaf in leaves:
        if leaf.state is not None and leaf.state.given:
            with leaf.guard():
                total = leaf.state.slots["sum"]
                _put(leaf, _arrays.full(total, 0.0, total.dtype))
            leaf.state.given = False


def _put(leaf: Leaf, value: Array) -> None:
    assert leaf.state is not None
    if leaf.immutable:
        leaf.state.slots["sum"] = value
    else:
        _arrays.write(leaf.state.slots["sum"], value)


# -- gradients ----------------------------------------------------------------------------------


def _finite(
    options: StepOptions, leaves: Sequence[Leaf], grads: Sequence[Array]
) -> tuple[bool, Array]:
    """Look for numbers that are not finite, if anybody wants to know.

    Returns whether all are finite, as far as the host knows, and for arrays on a device the number
    1 or 0, 0-d on the device of the first.
    """
    scale = options.loss_scale
    pairs = [(x, g) for x, g in zip(leaves, grads, strict=True) if g is not None]
    if (options.nonfinite == "propagate" and scale is None) or not pairs:
        return True, None
    found = []
    for _, g in pairs:
        found.append(_reductions.all_finite(g if scale is None else scale.unscaled(g)))
    if all(leaf.host for leaf, _ in pairs):
        return all(map(bool, found)), None
    if options.nonfinite == "raise":
        return all(bool(_arrays.to_numpy(fine)) for fine in found), None
    first = pairs[0][1]
    keep = _arrays.beside(found[0], first)
    for fine in found[1:]:
        keep = keep * _arrays.beside(fine, first)
    return True, keep


def _not_finite(leaves: Sequence[Leaf], grads: Sequence[Array]) -> str:
    for leaf, g in zip(leaves, grads, strict=True):
        if g is not None and not _arrays.to_numpy(_reductions.all_finite(g)):
            return f"{leaf.name('grads')}: is not finite everywhere"
    return "grads: are not finite once the scale of the loss is undone"


def _with_slopes(leaves: Sequence[Leaf], grads: list[Array]) -> list[Array]:
    # With the gradients of penalties that have no proximal point.
    for leaf in leaves:
        g = grads[leaf.index]
        if leaf.terms.by_gradient and g is not None and leaf.rule is not None:
            grads = list(grads)
            with leaf.guard():
                slope = leaf.terms.penalty.gradient(leaf.p)
                total = _arrays.widened(g) + _arrays.widened(slope)
                grads[leaf.index] = _arrays.unscalar(total)
    return grads
