"""A rule and the elementwise terms before and after it, fused into one formula.

They act in the order of a step: gradient transforms, the rule with its weight decay, the penalty's
proximal point, the constraint's projection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Self

from .. import _arrays
from .._arrays._pairs import Pair, PairNamespace, select
from .._arrays._types import Array, Dtype, Namespace, Number, Projection, Scalars, Tree
from ..gradients import Transform
from ..rules import Rule, Slot
from ..rules._abstract import AbstractRule, Read
from . import _factors


@dataclass(frozen=True)
class FusedRule(AbstractRule):
    """A rule fused with elementwise transforms, a penalty and a constraint.

    Parameters
    ----------
    rule : Rule
        The rule.
    transforms : tuple of Transform
        Transforms of the gradient; only the first may have been measured.
    penalty : Penalty, optional
        An elementwise penalty, applied by its proximal point in the metric of the rule.
    constraint : Constraint, optional
        An elementwise constraint.
    projects : bool
        Whether the constraint projects here; otherwise it only masks gradients here.
    guarded : bool
        Whether nothing changes if the number ``keep`` is 0.
    master : bool
        Whether a copy of the parameter in the precision of the computation is updated.
    accumulates : bool
        Whether a slot sums earlier gradients; a step sets it to zero.
    wide : bool
        Whether gradients arrive in the precision of the computation.
    rate, decay : float or array, optional
        Factors of the rule's learning rate and weight decay; arrays hold one per element.
    """

    rule: Rule
    transforms: tuple[Transform, ...] = ()
    penalty: Tree = None
    constraint: Projection = None
    projects: bool = True
    guarded: bool = False
    master: bool = False
    accumulates: bool = False
    wide: bool = False
    rate: Number = None
    decay: Number = None

    @property
    def name(self) -> str:
        """The names of all fused parts."""
        parts = (*self.transforms, self.rule, self.penalty, self.constraint)
        return ", ".join(type(x).__name__ for x in parts if x is not None)

    @property
    def adds(self) -> bool:
        """Whether anything is fused with the rule."""
        truths = self.transforms, self.guarded, self.master, self.accumulates, self.wide
        others = self.penalty, self.constraint, self.rate, self.decay
        return any(truths) or any(x is not None for x in others)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of the rule, the master copy and the sum."""
        more = {"master": self.master, "sum": self.accumulates}
        return (*self.rule.slots, *(Slot(name) for name, there in more.items() if there))

    @property
    def reads(self) -> tuple[Read, ...]:
        """Measurements of the gradients, then of the leaf, then arrays that do not change."""
        arrays = tuple(Read(name, False) for name, _ in self.arrays)
        return (*self.given, *self.rule.reads, *arrays)

    @property
    def given(self) -> tuple[Read, ...]:
        """Measurements of the gradients of all leaves together."""
        scale = [Read("scale")] if self.transforms and self.transforms[0].measured else []
        return (*scale, *([Read("keep")] if self.guarded else []))

    @cached_property
    def arrays(self) -> list[tuple[str, Array]]:
        """The constraint's arrays and those of factors, by name."""
        scalars = {} if self.constraint is None else self.constraint.scalars()
        found = [(f"constraint.{name}", x) for name, x in scalars.items() if _arrays.is_array(x)]
        return found + [(f"factor.{name}", x) for name, x in self.factors]

    @cached_property
    def factors(self) -> list[tuple[str, Array]]:
        """The factors that are arrays, as ``"rate"`` and ``"decay"``."""
        return [(name, x) for name, x in self._both if _arrays.is_array(x)]

    @property
    def _both(self) -> tuple[tuple[str, Number], ...]:
        return ("rate", self.rate), ("decay", self.decay)

    @property
    def scales(self) -> bool:
        """Whether step lengths differ between elements."""
        return self.rule.scales or _arrays.is_array(self.rate)

    def scalars(self, t: Number) -> dict[str, Number]:
        """Return the scalars of the rule, and those of the other parts with prefixed names."""
        found = self._rule_scalars(t)
        for i, transform in enumerate(self.transforms):
            found |= _prefixed(f"gradient{i}.", transform.scalars())
        if self.penalty is not None:
            gain = self.rule.gain(found) if self.rule.gains else 1.0
            scalars = self.penalty.scalars()
            if not self.scales:
                length = found["learning_rate"] * gain
                scalars = self.penalty.prox_scalars(SimpleNamespace(**scalars), length)
            elif self.rule.gains:
                found |= _prefixed("lengths.", {"gain": gain})
            found |= _prefixed("penalty.", scalars)
        if self.constraint is not None:
            numbers = self.constraint.scalars().items()
            found |= _prefixed("constraint.", {n: x for n, x in numbers if not _arrays.is_array(x)})
        return found

    def _rule_scalars(self, t: Number) -> dict[str, Number]:
        names = tuple(name for name, _ in self.factors)
        rule = self._multiplied
        return _factors.split(rule, t, names) if names else {**rule.scalars(t)}

    @cached_property
    def _multiplied(self) -> Rule:
        # The rule with the factors that are numbers.
        plain = {name: f for name, f in self._both if isinstance(f, float)}
        return _factors.multiplied(self.rule, plain) if plain else self.rule

    def factored(self, s: Scalars, arrays: dict[str, Array]) -> Scalars:
        """Return the scalars of the rule; those that depend on factors are arrays."""
        if not arrays:
            return s
        return _factors.Factored(s, _factors.dependent(self.rule, tuple(arrays)), arrays)

    @property
    def masks(self) -> bool:
        """Whether the constraint acts on gradients; if so, `measure` gets its arrays."""
        return self.constraint is not None and self.constraint.masks_gradient

    @property
    def elementwise(self) -> bool:
        """Whether the rule acts on each element by itself, as the other parts do."""
        return self.rule.elementwise

    def at(self, step: Number) -> Self:
        """Return this with the schedules of the rule replaced by their values at a global step."""
        fixed = self.rule.at(step)
        return self if fixed is self.rule else dataclasses.replace(self, rule=fixed)

    def measure(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        """Return what the rule measures of the transformed gradient; `given` follows the slots."""
        if not self.rule.reads:
            return ()
        n = len(self.rule.slots)
        given = iter(slots[len(self.slots) :])
        w = slots[n] if self.master else p
        g = self._transformed(xp, s, g, given)
        if self.masks:
            if self.guarded:
                next(given)
            arrays = dict(zip((name for name, _ in self.arrays), given, strict=True))
            g = self._masked(xp, self._of_constraint(s, arrays), w, g)
        return self.rule.measure(xp, s, w, g, *slots[:n])

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        """Return the new parameter and the new slots."""
        return self._composed(xp, s, (p, g, *slots), lambda s, *x: self.rule.formula(xp, s, *x))

    def _on_pairs(self, xp: Namespace, s: Scalars, *pairs: Pair) -> list[Pair]:
        outer = PairNamespace(xp)
        return list(self._composed(outer, s, pairs, lambda s, *x: self.rule._on_pairs(xp, s, *x)))

    @property
    def _wide(self) -> bool:
        return self.wide

    @property
    def _by_components(self) -> bool:
        return self.rule._by_components

    def _init_leaf(self, p: Array, step: int = 0) -> dict[str, Array]:
        # The rule starts its own slots.
        state = {**super()._init_leaf(p, step), **self.rule._init_leaf(p, step)}
        if self.master:
            state["master"] = _arrays.moved(p, p, _arrays.compute_dtype(p))
        return state

    def _transformed(self, xp: Namespace, s: Scalars, g: Array, given: Iterator[Array]) -> Array:
        for i, transform in enumerate(self.transforms):
            measured = [next(given)] if transform.measured else []
            g = transform.formula(xp, _Under(s, f"gradient{i}."), g, *measured)
        return g

    def _held(self, xp: Namespace, p: Array, master: Array) -> Array:
        # The master copy, unless something else wrote into the parameter since the last step.
        rounded = xp.rounded(master)
        return xp.where(p == rounded, master, p)

    def _measured(self, s: Scalars, p: Array, g: Array, *slots: Array) -> tuple[Array, ...]:
        if self.master:
            n, xp = len(self.rule.slots), Rounding(_arrays.namespace(p), p.dtype)
            held = self._held(xp, _arrays.widened(p), slots[n])
            slots = (*slots[:n], held, *slots[n + 1 :])
        return super()._measured(s, p, g, *slots)

    def _widened(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> Sequence[Array]:
        return super()._widened(Rounding(xp, p.dtype) if self.master else xp, s, p, g, *slots)

    def _masked(self, xp: Namespace, s: Scalars, p: Array, g: Array) -> Array:
        if self.rule.ascends:
            return -self.constraint.gradient_formula(xp, s, p, -g)
        return self.constraint.gradient_formula(xp, s, p, g)

    def _composed(
        self,
        xp: Namespace,
        s: Scalars,
        arrays: Sequence[Array],
        rule: Callable[..., Sequence[Array]],
    ) -> tuple[Array, ...]:
        p, g, *rest = arrays
        old = rest[: len(self.slots)]
        names = [read.name for read in self.reads]
        reads = dict(zip(names, rest[len(self.slots) :], strict=True))
        slots = old[: len(self.rule.slots)]
        w = self._held(xp, p, old[len(slots)]) if self.master else p
        g = self._transformed(xp, s, g, iter([reads["scale"]] if "scale" in reads else []))
        s_constraint = None if self.constraint is None else self._of_constraint(s, reads)
        if self.masks:
            g = self._masked(xp, s_constraint, w, g)
        factors = {name: self._part(reads[f"factor.{name}"]) for name, _ in self.factors}
        s_rule = self.factored(s, factors)
        new, *after = rule(s_rule, w, g, *slots, *(reads[read.name] for read in self.rule.reads))
        if self.penalty is not None:
            s_penalty: Scalars = _Under(s, "penalty.")
            if self.scales:
                length = self.rule.lengths(xp, s_rule, *after)
                if self.rule.gains:
                    length = length * _Under(s, "lengths.").gain
                s_penalty = SimpleNamespace(**self.penalty.prox_scalars(s_penalty, length))
            new = self.penalty.formula(xp, s_penalty, new)
        if self.constraint is not None and self.projects:
            new = self.constraint.formula(xp, s_constraint, new)
        result, before = [new, *after], [w, *slots]
        if self.master:
            result.append(new)
            before.append(old[len(slots)])
        if self.guarded:
            whole = reads["keep"] != 0.0
            pairs = zip(result, before, strict=True)
            result = [select(xp, whole, value, kept) for value, kept in pairs]
        if self.accumulates:
            result.append(_zeros(xp, old[-1]))
        return tuple(result)

    def _part(self, factor: Array) -> Array:
        # A rule that updates real and imaginary parts by themselves sees real numbers.
        return factor.re if isinstance(factor, Pair) and self._by_components else factor

    def _of_constraint(self, s: Scalars, reads: dict[str, Array]) -> Scalars:
        # The constraint's scalars under their own names, arrays among them.
        prefix = "constraint."
        arrays = {n.removeprefix(prefix): x for n, x in reads.items() if n.startswith(prefix)}
        given = _Under(s, prefix)
        return SimpleNamespace(
            **arrays,
            **{n: getattr(given, n) for n in self.constraint.scalars() if n not in arrays},
        )


def _zeros(xp: Namespace, x: Array) -> Array:
    if isinstance(x, Pair) and x.im is not None:
        return Pair(xp.zeros_like(x.re).re, xp.zeros_like(x.im).re)
    return xp.zeros_like(x)


class _Under:
    # The scalars of a step whose names have a prefix.

    def __init__(self, s: Scalars, prefix: str) -> None:
        self._s, self._prefix = s, prefix

    def __getattr__(self, name: str) -> Number:
        return getattr(self._s, self._prefix + name)


def _prefixed(prefix: str, scalars: dict[str, Number]) -> dict[str, Number]:
    return {prefix + name: float(x) for name, x in scalars.items()}


class Rounding:
    """A namespace that can also round single precision to half precision and widen it again."""

    def __init__(self, xp: Namespace, dtype: Dtype) -> None:
        self._xp, self._dtype = xp, dtype

    def __getattr__(self, name: str) -> Callable[..., Array]:
        return getattr(self._xp, name)  # type: ignore[no-any-return]

    def rounded(self, x: Array) -> Array:
        """Return `x` as it would be after being stored in half precision."""
        return self._xp.astype(self._xp.astype(x, self._dtype), x.dtype)
