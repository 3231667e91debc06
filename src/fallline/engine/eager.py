"""The eager engine: calls of the formula itself, for any library. The reference for the others."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from .. import _arrays
from .._arrays._shards import local
from .._arrays._types import Array, Number
from ..rules._abstract import AbstractRule
from ._runner import Arrays, Begin, Indices, Replaced, Runner, ScalarsByName


class EagerRunner(Runner):
    """Runs a rule's formula on leaves of any library."""

    name = "eager"

    def __init__(self, rule: AbstractRule, leaves: Sequence[list[Array]]) -> None:
        super().__init__(leaves)
        p = leaves[0][0]
        self.kernel = rule._kernel(p)
        self.shards = _arrays.family(p) == "torch"
        self.xp, self.guard, self.immutable = (
            _arrays.namespace(p),
            _arrays.guard(p),
            _arrays.is_immutable(p),
        )

    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update the leaves `which`."""
        s = SimpleNamespace(**scalars)
        replaced: Replaced = {}
        with self.guard():
            for i, g in zip(which, grads, strict=True):
                old = self.leaves[i]
                if self.shards:
                    old, g = [local(x) for x in old], local(g)
                new = self.kernel(self.xp, s, old[0], g, *old[1:])
                begin()
                pairs = zip(old[: len(new)], new, strict=True)
                if self.immutable:
                    replaced[i] = [_arrays.cast(value, target) for target, value in pairs]
                    old[: len(new)] = replaced[i]
                    continue
                # The parameter is written last: a slot may be assigned the gradient, which may be
                # the same memory.
                for target, value in reversed(
                    [(target, _kept(value, target, old)) for target, value in pairs]
                ):
                    if value is not target:
                        _arrays.write(target, value)
        return replaced


def _kept(value: Number, target: Array, old: Sequence[Array]) -> Array:
    # An old array that replaces another one is copied before it is overwritten.
    moves = value is not target and any(value is x for x in old)
    return _arrays.moved(value, value, value.dtype) if moves else value
