"""The terms of a leaf besides its rule: penalty, constraint, factors of rate and decay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

from .. import _arrays
from .._arrays import _checks
from .._arrays._pairs import Pair, PairNamespace, split
from .._arrays._types import Array, KeyPath, Number, Projection, Scalars, Tree
from ..penalties import Penalty
from ..rules import Rule
from ..rules._abstract import AbstractRule
from ._fused import FusedRule

ITERATIONS = 30  # of a projection in a rule's metric


@dataclass(frozen=True, eq=False)
class LeafTerms:
    """What acts on one leaf besides its rule.

    Parameters
    ----------
    penalty, constraint : optional
        Each is fused with the rule, or acts on the whole leaf after it.
    rate, decay : float or array, optional
        Factors of the learning rate and of the weight decay; arrays broadcast to the leaf.
    """

    penalty: Tree = None
    constraint: Projection | None = None
    rate: Number = None
    decay: Number = None

    @property
    def empty(self) -> bool:
        """Whether nothing acts on the leaf besides its rule."""
        return all(x is None for x in (self.penalty, self.constraint, self.rate, self.decay))

    @property
    def by_gradient(self) -> bool:
        """Whether the penalty has no proximal point, so that its gradient is added."""
        p = self.penalty
        return p is not None and p.smooth and not p.elementwise

    @property
    def fused_penalty(self) -> Penalty | None:
        """The penalty, if it is fused with the rule."""
        return self.penalty if self.penalty is not None and self.penalty.elementwise else None

    @property
    def fused_constraint(self) -> Projection | None:
        """The constraint, if it is fused with the rule; it never precedes a whole-leaf penalty."""
        waits = self.penalty is not None and not self.penalty.elementwise and not self.by_gradient
        one = self.constraint
        return one if getattr(one, "elementwise", False) and not waits else None

    @property
    def known_constraint(self) -> Projection | None:
        """The constraint, if the rule's program needs it: it is fused, or masks gradients."""
        masks = getattr(self.constraint, "masks_gradient", False)
        return self.constraint if masks else self.fused_constraint

    @property
    def whole(self) -> tuple[Penalty | None, Projection | None] | None:
        """The penalty and the constraint that act on the leaf as a whole, after the rule."""
        whole = self.penalty is not None and self.fused_penalty is None and not self.by_gradient
        one = self.constraint
        rest = one if one is not None and self.fused_constraint is None else None
        found = (self.penalty if whole else None), rest
        return None if found == (None, None) else found

    def check(self, path: KeyPath, p: Array, rule: Rule) -> None:
        """Check that all terms suit a parameter and its rule."""
        place = _checks.where("penalty", path)
        scaled = rule.scales
        if self.by_gradient:
            _try(place, self.penalty.gradient, p)
        elif self.penalty is not None:
            if rule._by_components and scaled and _arrays.is_complex(p):
                msg = f"{place}: the steps of {rule!r} differ between real and imaginary parts"
                raise ValueError(msg + _remedy(rule))
            if not scaled and "learning_rate" not in rule.owned().at(0).scalars(1):
                msg = f"{place}: is given, but {rule!r} does not define step lengths"
                raise ValueError(msg)
            if not self.penalty.elementwise:
                _try(place, lambda x: self.penalty.prox(x, 1.0), p)
        if self.constraint is not None:
            _try(_checks.where("constraint", path), self.constraint, p)

    def applied(
        self, plan: AbstractRule, scalars: dict[str, Number], arrays: dict[str, Array], start: Array
    ) -> Array:
        """Return the parameter after the penalty and the constraint that act on the whole leaf.

        Parameters
        ----------
        plan : AbstractRule
            The rule that ran on the leaf, fused or not.
        scalars : dict
            Its scalars.
        arrays : dict of arrays
            The new parameter as ``"p"``, and the slots.
        start : array
            The parameter before the step.
        """
        assert self.whole is not None
        penalty, constraint = self.whole
        rule = plan.rule if isinstance(plan, FusedRule) else plan
        assert isinstance(rule, Rule)
        p = _arrays.widened(arrays.get("master", arrays["p"]))
        lengths, gain = None, rule.gain(scalars) if rule.gains else 1.0
        if plan.scales:
            lengths = _lengths(plan, rule, scalars, p, [arrays[slot.name] for slot in rule.slots])
        if lengths is None or not _arrays.is_array(lengths) or rule._by_components:
            return _prox(penalty, constraint, p, scalars.get("learning_rate", 1.0) * gain)
        return _in_metric(penalty, constraint, p, lengths * gain, _arrays.widened(start))


def _try(place: str, f: Callable[[Array], Array], p: Array) -> None:
    # Check that a function returns an array like the parameter, before anything is written.
    try:
        with _arrays.guard(p)():
            _checks.gradient(place, p, _arrays.unscalar(f(p)))
    except (TypeError, ValueError, RuntimeError) as error:
        text = str(error)
        # torch raises RuntimeError for shapes that do not fit.
        kind = ValueError if type(error) is RuntimeError else type(error)
        raise kind(text if text.startswith(place) else f"{place}: {text}") from error


def _lengths(
    plan: AbstractRule, rule: Rule, scalars: dict[str, Number], p: Array, slots: list[Array]
) -> Array:
    # For complex leaves a rule sees pairs here, as in its formula.
    xp = _arrays.namespace(p)
    factors = dict(plan.factors) if isinstance(plan, FusedRule) else {}
    paired = _arrays.is_complex(p) and not rule._by_components
    if paired:
        slots = [split(x) for x in slots]
        factors = {name: split(x) for name, x in factors.items()}
    s: Scalars = SimpleNamespace(**scalars)
    if isinstance(plan, FusedRule):
        s = plan.factored(s, factors)
    found = rule.lengths(PairNamespace(xp) if paired else xp, s, *slots)
    found = _arrays.unscalar(found.re if isinstance(found, Pair) else found)
    return xp.broadcast_to(found, p.shape) if _arrays.is_array(found) else found


def _prox(penalty: Penalty | None, constraint: Projection | None, x: Array, t: Number) -> Array:
    x = x if penalty is None else penalty.prox(x, t)
    return x if constraint is None else constraint(x)


def _in_metric(
    penalty: Penalty | None, constraint: Projection | None, x: Array, lengths: Array, z: Array
) -> Array:
    # The z of least 1/2 sum |z - x|^2 / lengths, with penalty and constraint, by accelerated
    # proximal gradients with a fixed number of iterations, so that nothing waits for the device.
    # They start where the step started, so that a solution stays one.
    if 0 in x.shape:
        return x
    xp = _arrays.namespace(x)
    # Elements of length zero do not move.
    free = lengths > 0
    t = xp.min(xp.where(free, lengths, xp.max(lengths)))
    ratio = xp.where(free, t / lengths, xp.ones_like(lengths))
    y, theta = z, 1.0
    for _ in range(ITERATIONS):
        new = xp.where(free, _prox(penalty, constraint, y - (y - x) * ratio, t), x)
        after = (1 + (1 + 4 * theta * theta) ** 0.5) / 2
        y = new + (theta - 1) / after * (new - z)
        z, theta = new, after
    return z


def _remedy(rule: Rule) -> str:
    # The option that treats both parts as one, if the rule or its inner rule has it.
    while rule.wrapped is not None:
        rule = rule.wrapped
    return "; use complex_moment='modulus'" if hasattr(rule, "complex_moment") else ""
