"""One leaf of an Optimizer: a parameter with its rule, its state and what surrounds both."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from .. import _arrays
from .._arrays import _checks, _memory
from .._arrays._shards import is_sharded
from .._arrays._types import Array, KeyPath
from ..rules import Rule
from ..rules._abstract import AbstractRule
from ._row_sparse import RowSparse, put_rows
from ._terms import LeafTerms

_writeable = attrgetter("flags.writeable")


class LeafState:
    """State of one leaf.

    Attributes
    ----------
    slots : dict of arrays
        By name: those of the rule, and what surrounds it keeps.
    count : int
        Updates of the leaf.
    maker : Rule or None
        The rule that made the slots, which a frozen leaf keeps too; `None` if it is not known.
    given : bool
        Whether the sum of an accumulation holds a gradient.
    """

    __slots__ = ("count", "given", "maker", "slots")

    def __init__(
        self, slots: dict[str, Array], count: int, maker: Rule | None, *, given: bool = False
    ) -> None:
        self.slots, self.count, self.maker, self.given = slots, count, maker, given

    @property
    def data(self) -> dict[str, Array]:
        """The entries as a new dict, the arrays themselves."""
        return {**self.slots, "step": self.count}

    def replaced(self, slots: dict[str, Array]) -> LeafState:
        """Return this with other arrays in some slots."""
        return LeafState({**self.slots, **slots}, self.count, self.maker, given=self.given)


class Leaf:
    """One parameter with its rule and state; everything known when it is bound is kept here."""

    __slots__ = (
        "device", "dtype", "fixed", "guard", "host", "immutable", "index", "kind", "names", "p",
        "path", "plan", "rule", "shape", "sharded", "state", "terms", "xp",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        path: KeyPath,
        p: Array,
        rule: Rule | None,
        plan: AbstractRule | None,
        terms: LeafTerms,
        state: LeafState | None = None,
    ) -> None:
        self.index, self.path, self.p, self.rule, self.plan = index, path, p, rule, plan
        self.terms, self.state = terms, state
        self.names: list[str] = [] if plan is None else [slot.name for slot in plan.slots]
        if p is None:
            return
        _checks.leaf(self.name("params"), p)
        self.xp, self.device, self.kind = _arrays.namespace(p), _arrays.device(p), type(p)
        self.dtype, self.shape, self.host = p.dtype, p.shape, _arrays.on_host(p)
        self.fixed = self.host or _arrays.library(p) == "cupy"
        self.sharded = is_sharded(p)
        self.guard, self.immutable = _arrays.guard(p), _arrays.is_immutable(p)
        if rule is not None:
            check_writable(self.name("params"), p)

    def name(self, argument: str) -> str:
        """Return this leaf's name below an argument."""
        return _checks.where(argument, self.path)

    def with_state(self, state: LeafState | None) -> Leaf:
        """Return this leaf with another state."""
        return Leaf(self.index, self.path, self.p, self.rule, self.plan, self.terms, state)

    @property
    def arrays(self) -> list[Array]:
        """The parameter and the state arrays, in the rule's order."""
        assert self.state is not None
        slots = self.state.slots
        return [self.p, *(slots[name] for name in self.names)]

    def put(self, arrays: Sequence[Array], rows: Array = None) -> None:
        """Take new values of the parameter and the slots, or of some rows of these."""
        assert self.state is not None
        new = []
        for target, value in zip(self.arrays, arrays, strict=True):
            if rows is not None:
                new.append(put_rows(target, rows, value))
            elif self.immutable:
                new.append(_arrays.cast(value, target))
            elif value is not target:
                _arrays.write(target, value)
        if self.immutable:
            self.p = new[0]
            self.state.slots.update(zip(self.names, new[1:], strict=True))

    def checked_gradient(self, g: Array) -> Array | RowSparse:
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
            and not self.sharded
            and (self.host or (_arrays.device(g) == self.device and _arrays.is_dense(g)))
        ):
            return g
        g = _arrays.unscalar(g)
        _checks.gradient(self.name("grads"), self.p, g)
        return g

    def check_state(self, name: str, value: Array) -> None:
        """Check a value for a state entry."""
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


def check_writable(place: str, x: Array) -> None:
    """Check that an array can be written, element by element."""
    if not _arrays.is_writable(x):
        msg = f"{place}: is read-only; an Optimizer writes its arrays"
        raise ValueError(msg)
    if not _arrays.is_immutable(x) and _memory.overlaps_itself(x):
        msg = f"{place}: some of its elements share memory"
        raise ValueError(msg)


def stepped(leaves: Sequence[Leaf]) -> list[Array]:
    """Return the parameters with a rule that can be made read-only: NumPy's."""
    return [leaf.p for leaf in leaves if leaf.rule is not None and isinstance(leaf.p, np.ndarray)]


def still_writable(arrays: Sequence[Array]) -> bool:
    """Tell whether no array of `stepped` was made read-only since it was bound.

    The engines hold views of these arrays, which stay writable. This is asked in every step, and
    takes 50 ns an array.
    """
    return all(map(_writeable, arrays))
