"""The parts of a rule that engines and Optimizers use: slots, scalars and one formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self

from .. import _arrays
from .._arrays._pairs import Pair, PairNamespace, split
from .._arrays._types import Array, Dtype, Namespace, Number, Remembers, Scalars


class Slot(NamedTuple):
    """A state array: its name, whether it is real for complex parameters, its initial value.

    `shape` returns the array's shape for that of the parameter; by default both are the same.
    `counted` says that the values depend on the number of updates of the leaf, as those of an
    average with bias correction do: a new array must not be combined with an old count.
    """

    name: str
    real: bool = False
    fill: Number | Callable[[int], Number] = 0.0
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None
    counted: bool = True


class Read(NamedTuple):
    """An input of a formula that is only read: one number for the leaf, or one per element."""

    name: str
    single: bool = True


class RuleMemory(Remembers, Protocol):
    """What a rule remembers of earlier steps outside of its slots.

    An empty state means a fresh start; `commit` is called after every step.
    """

    def commit(self, steps: int, /) -> object: ...


class AbstractRule:
    """Base of everything that can run on a leaf: rules, alone or fused with what surrounds them."""

    @property
    def name(self) -> str:
        """The name in messages and programs."""
        return type(self).__name__

    # -- the parts ----------------------------------------------------------------------------

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The state arrays of one leaf, in the order in which `formula` takes them."""
        return ()

    @property
    def reads(self) -> tuple[Read, ...]:
        """The inputs that `formula` takes after the slots: the results of `measure`."""
        return ()

    def scalars(self, t: Number) -> dict[str, Number]:
        """Return the numbers of a step by name; `t` counts the updates of the leaf, from 1."""
        raise NotImplementedError

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        """Return numbers that depend on the whole leaf, such as norms: 0-d arrays on its device."""
        return ()

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        """Return the new parameter and the new slots."""
        raise NotImplementedError

    def at(self, step: Number) -> Self:
        """Return this rule with its schedules replaced by their values at a global step."""
        raise NotImplementedError

    @property
    def scales(self) -> bool:
        """Whether step lengths differ between elements."""
        return False

    @property
    def elementwise(self) -> bool:
        """Whether `formula` acts on each element by itself, so that it can be traced."""
        return True

    # -- one leaf -----------------------------------------------------------------------------

    @property
    def _wide(self) -> bool:
        """Whether gradients arrive in the precision of the computation."""
        return False

    @property
    def _by_components(self) -> bool:
        """Whether the parts of a complex parameter are updated like two real parameters."""
        return getattr(self, "complex_moment", None) == "components"

    def _slot_is_paired(self, slot: Slot) -> bool:
        """Tell whether a slot of a complex parameter is complex too."""
        return not slot.real or self._by_components

    def _slot_dtype(self, slot: Slot, p: Array) -> Dtype:
        paired = _arrays.is_complex(p) and self._slot_is_paired(slot)
        return p.dtype if paired else _arrays.compute_dtype(p)

    def _slot_shape(self, slot: Slot, p: Array) -> tuple[int, ...]:
        return tuple(p.shape if slot.shape is None else slot.shape(tuple(p.shape)))

    def _init_leaf(self, p: Array, step: int = 0) -> dict[str, Array]:
        """Return the state of a leaf before its first update."""
        slots: dict[str, Array] = {}
        for slot in self.slots:
            fill = slot.fill(step) if callable(slot.fill) else slot.fill
            dtype = self._slot_dtype(slot, p)
            if slot.real and dtype == p.dtype and _arrays.is_complex(p):
                fill = complex(fill, fill)
            slots[slot.name] = _arrays.full(p, fill, dtype, shape=self._slot_shape(slot, p))
        return {**slots, "step": 0}

    def _kernel(self, p: Array) -> Callable[..., Sequence[Array]]:
        """Return `formula` as it applies to leaves like `p`, with the same arguments."""
        if _arrays.is_complex(p):
            return self._joined
        return self.formula if p.dtype == _arrays.compute_dtype(p) else self._widened

    def _widened(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> Sequence[Array]:
        dtype = _arrays.compute_dtype(p)
        return self.formula(xp, s, xp.astype(p, dtype), xp.astype(g, dtype), *slots)

    def _joined(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> Sequence[Array]:
        pairs = self._on_pairs(xp, s, *(split(x) for x in (p, g, *slots)))
        likes = (p, *slots)[: len(pairs)]
        return [
            x.re if x.im is None else _arrays.joined(x.re, x.im, like)
            for x, like in zip(pairs, likes, strict=True)
        ]

    def _on_pairs(self, xp: Namespace, s: Scalars, *pairs: Pair) -> list[Pair]:
        """Return the results of `formula` for complex arrays."""
        if not self._by_components:
            return list(self.formula(PairNamespace(xp), s, *pairs))
        # What is read is real, and the same for both parts.
        parts = ((x.re, x.re if x.im is None else x.im) for x in pairs)
        re, im = (self.formula(xp, s, *part) for part in zip(*parts, strict=True))
        return [Pair(*parts) for parts in zip(re, im, strict=True)]

    def _measured(self, s: Scalars, p: Array, g: Array, *slots: Array) -> tuple[Array, ...]:
        """Return `measure` of a leaf of any dtype, on its device, as 0-d arrays."""
        xp, dtype = _arrays.namespace(p), _arrays.compute_dtype(p)
        if _arrays.is_complex(p) and self._by_components:
            both = (xp.stack(_arrays.parts(x), axis=-1) if x.ndim else x for x in (p, g, *slots))
            found = self.measure(xp, s, *both)
        elif _arrays.is_complex(p):
            pairs = (split(x) for x in (p, g, *slots))
            numbers = self.measure(PairNamespace(xp), s, *pairs)
            found = tuple(x.re if isinstance(x, Pair) else x for x in numbers)
        else:
            p, g = (xp.astype(x, dtype, copy=False) for x in (p, g))
            found = self.measure(xp, s, p, g, *slots)
        return tuple(_arrays.number_like(x, p, dtype) for x in found)
