"""The options of an Optimizer: what acts in a step besides the rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, KeyPath, Tree
from ..gradients import Accumulate, ClipByGlobalNorm, LossScale, Transform
from ..penalties import as_penalty
from ..rules import Rule
from ..rules._abstract import AbstractRule
from . import _factors
from ._fused import FusedRule
from ._terms import LeafTerms

NONFINITE = ("propagate", "skip", "raise")


@dataclass(frozen=True, eq=False)
class StepOptions:
    """The checked options of an Optimizer, without its rules.

    Parameters
    ----------
    gradients : tuple of Transform
        Transforms of the gradients, in their order.
    penalty, constraint, rate_factors, decay_factors : prefix trees
        Trees whose structure is that of params, or a prefix of it.
    nonfinite : {"propagate", "skip", "raise"}
        How gradients that are not finite are treated.
    master_weights : bool
        Whether parameters in half precision have a copy in single.
    """

    gradients: Sequence[Any] = ()
    penalty: Tree = None
    constraint: Tree = None
    nonfinite: str = "propagate"
    master_weights: Any = False
    rate_factors: Tree = None
    decay_factors: Tree = None

    def __post_init__(self) -> None:
        """Check each argument."""
        transforms = _checks.sequence("gradients", self.gradients, "transforms")
        object.__setattr__(self, "gradients", transforms)
        for i, transform in enumerate(self.gradients):
            place = f"gradients[{i}]"
            if not isinstance(transform, Transform):
                msg = f"{place}: is {transform!r}, expected a transform of fallline.gradients"
                raise TypeError(msg)
            if isinstance(transform, Accumulate) and i > 0:
                msg = f"{place}: Accumulate must come first"
                raise ValueError(msg)
        if self.nonfinite not in NONFINITE:
            raise _checks.unknown_name("nonfinite", str(self.nonfinite), NONFINITE)
        if not isinstance(self.master_weights, bool):
            msg = f"master_weights: is {self.master_weights!r}, expected a bool"
            raise TypeError(msg)

    def replaced(self, **changes: Tree) -> Self:
        """Return these options with some changes."""
        return dataclasses.replace(self, **changes)

    @property
    def trivial(self) -> bool:
        """Whether no transform or check of finiteness runs before the rules."""
        return not self.gradients and self.nonfinite == "propagate"

    @property
    def within(self) -> bool:
        """Whether the programs of the rules contain all transforms, and nothing else runs."""
        apart = any(
            x.measured or not x.elementwise or isinstance(x, Accumulate) for x in self.gradients
        )
        return not apart and self.nonfinite == "propagate"

    @property
    def k(self) -> int:
        """The number of calls for one step."""
        first = self.gradients[0] if self.gradients else None
        return first.k if isinstance(first, Accumulate) else 1

    @property
    def loss_scale(self) -> LossScale | None:
        """The transform that undoes the scaling of the loss, if there is one."""
        return next((x for x in self.gradients if isinstance(x, LossScale)), None)

    @property
    def clips_norm(self) -> bool:
        """Whether the norm of all gradients together is measured."""
        return any(isinstance(x, ClipByGlobalNorm) for x in self.gradients)

    @property
    def split(self) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
        """The transforms that allocate new arrays, and those that are fused into the rule."""
        found = [x for x in self.gradients if not isinstance(x, Accumulate)]
        cut = 0
        for i, transform in enumerate(found):
            if not transform.elementwise:
                cut = i + 1
            elif transform.measured:
                cut = i
        return tuple(found[:cut]), tuple(found[cut:])

    # -- when an Optimizer is made -------------------------------------------------------------

    def terms(self, structure: Structure, params: Sequence[Array]) -> list[LeafTerms]:
        """Return the terms of each leaf."""
        names = ("penalty", "constraint", "rate_factors", "decay_factors")
        columns = [structure.broadcast(getattr(self, name), name) for name in names]
        found = []
        for path, p, *row in zip(structure.paths, params, *columns, strict=True):
            places = [_checks.where(name, path) for name in names]
            penalty, constraint, rate, decay = row
            penalty = as_penalty(places[0], penalty)
            if constraint is not None and not callable(constraint):
                msg = f"{places[1]}: is {constraint!r}, expected a constraint or a function"
                raise TypeError(msg)
            if p is None:
                found.append(LeafTerms())
                continue
            rate, decay = (
                _factors.checked(place, x, p)
                for place, x in zip(places[2:], (rate, decay), strict=True)
            )
            found.append(LeafTerms(penalty, constraint, rate, decay))
        return found

    def plan(self, path: KeyPath, p: Array, rule: Rule, terms: LeafTerms) -> AbstractRule:
        """Return what runs on a leaf: a `FusedRule`, or the rule itself if nothing is fused."""
        half = _arrays.is_half(p)
        before, fused = self.split
        eager = bool(before) or self.k > 1 or terms.by_gradient
        terms.check(path, p, rule)
        _check_factors(path, rule, terms)
        composed = FusedRule(
            rule,
            transforms=fused,
            penalty=terms.fused_penalty,
            constraint=terms.known_constraint,
            projects=terms.known_constraint is terms.fused_constraint,
            guarded=self.nonfinite == "skip" and not _arrays.on_host(p),
            master=self.master_weights and half,
            accumulates=self.k > 1,
            wide=half and eager,
            rate=terms.rate,
            decay=terms.decay,
        )
        return composed if composed.adds else rule

    def plans(
        self, structure: Structure, params: Sequence[Array], rules: Sequence[Rule | None]
    ) -> list[tuple[AbstractRule | None, LeafTerms]]:
        """Return what runs on each leaf, `None` if it is frozen, and the terms of the leaf."""
        found: list[tuple[AbstractRule | None, LeafTerms]] = []
        for path, p in zip(structure.paths, params, strict=True):
            if p is not None:
                _checks.leaf(_checks.where("params", path), p)
        rows = zip(structure.paths, params, rules, self.terms(structure, params), strict=True)
        for path, p, rule, terms in rows:
            free = p is None or rule is None
            found.append((None if free else self.plan(path, p, rule, terms), terms))  # type: ignore[arg-type]
        return found


def _check_factors(path: KeyPath, rule: Rule, terms: LeafTerms) -> None:
    # Refuse factors that have no meaning for the rule of a leaf.
    for name, factor in (("rate", terms.rate), ("decay", terms.decay)):
        if factor is None:
            continue
        place = _checks.where(f"{name}_factors", path)
        if rule.reads or not rule.elementwise:
            msg = f"{place}: is given, but {rule.name} measures whole leaves"
            raise ValueError(msg)
        fixed = rule.owned().at(0)
        if name not in _factors.numbers(fixed):
            msg = f"{place}: is given, but {rule.name} has no {_factors.FIELDS[name]}"
            raise ValueError(msg)
        try:
            _factors.dependent(rule, (name,))
        except ValueError as error:
            msg = f"{place}: is given, but {error}"
            raise ValueError(msg) from error
        starts = [
            [slot.fill for slot in _factors.with_fields(fixed, **{_factors.RATE: x}).slots]
            for x in (0.5, 0.25)
        ]
        if name == "rate" and starts[0] != starts[1]:
            msg = f"{place}: is given, but the state of {rule.name} starts at its learning rate"
            raise ValueError(msg)
