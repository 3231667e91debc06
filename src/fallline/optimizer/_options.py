"""What surrounds the rules in a step of an Optimizer, as it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from .. import _arrays
from .._arrays import _checks, _reductions
from .._arrays._trees import Structure
from ..gradients import Accumulate, LossScale, Transform
from ..rules import Rule
from ..rules._abstract import Face
from ._fused import Composed
from ._leaf import Leaf

NONFINITE = ("propagate", "skip", "raise")
INNER = 30  # iterations of a projection in a rule's metric


@dataclass(frozen=True)
class Pipeline:
    """The options of an Optimizer beside its rules, checked.

    Parameters
    ----------
    gradients : tuple of Transform
        In their order.
    penalty, constraint : prefix trees
        Of the structure of params.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that are not finite.
    master_weights : bool
        Whether parameters in half precision have a copy in single.
    """

    gradients: tuple[Any, ...] = ()
    penalty: Any = None
    constraint: Any = None
    nonfinite: str = "propagate"
    master_weights: Any = False

    def __post_init__(self) -> None:
        """Check each argument."""
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

    @property
    def trivial(self) -> bool:
        """Whether a step is that of the rules alone, but for what surrounds single leaves."""
        return not self.gradients and self.nonfinite == "propagate"

    @property
    def k(self) -> int:
        """Calls for one step."""
        first = self.gradients[0] if self.gradients else None
        return first.k if isinstance(first, Accumulate) else 1

    @property
    def _split(self) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
        # Transforms that make new arrays, and those that run in the rule's program.
        found = [x for x in self.gradients if not isinstance(x, Accumulate)]
        cut = 0
        for i, transform in enumerate(found):
            if transform.whole:
                cut = i + 1
            elif transform.measured:
                cut = i
        return tuple(found[:cut]), tuple(found[cut:])

    # -- when an Optimizer is made -------------------------------------------------------------

    def surroundings(self, structure: Structure) -> list[Surroundings]:
        """Return the penalty and the constraint of each leaf."""
        penalties = structure.broadcast(self.penalty, "penalty")
        constraints = structure.broadcast(self.constraint, "constraint")
        found = []
        for path, penalty, constraint in zip(structure.paths, penalties, constraints, strict=True):
            if penalty is not None and not hasattr(penalty, "prox"):
                msg = f"{_checks.where('penalty', path)}: is {penalty!r}, expected a penalty"
                raise TypeError(msg)
            if constraint is not None and not callable(constraint):
                place = _checks.where("constraint", path)
                msg = f"{place}: is {constraint!r}, expected a constraint or a function"
                raise TypeError(msg)
            found.append(Surroundings(penalty, constraint))
        return found

    def plan(self, path: tuple[Any, ...], p: Any, rule: Rule, around: Surroundings) -> Face:
        """Return what is run on a leaf: the rule itself if nothing is elementwise around it."""
        half = p.dtype != _arrays.compute_dtype(p) and not _arrays.is_complex(p)
        before, fused = self._split
        eager = bool(before) or self.k > 1 or around.by_gradient
        around.check(path, p, rule)
        composed = Composed(
            rule,
            transforms=fused,
            penalty=around.fused_penalty,
            constraint=around.fused_constraint,
            guarded=self.nonfinite == "skip" and not _arrays.on_host(p),
            master=self.master_weights and half,
            accumulates=self.k > 1,
            wide=half and eager,
        )
        return rule if composed == Composed(rule) else composed

    def plans(
        self, structure: Structure, params: Sequence[Any], rules: Sequence[Rule | None]
    ) -> list[tuple[Face | None, Surroundings]]:
        """Return what is run on each leaf, and its surroundings; `None` for a frozen leaf."""
        found: list[tuple[Face | None, Surroundings]] = []
        all_around = self.surroundings(structure)
        rows = zip(structure.paths, params, rules, all_around, strict=True)
        for path, p, rule, around in rows:
            if p is None or rule is None:
                found.append((None, around))
                continue
            _checks.leaf(_checks.where("params", path), p)
            found.append((self.plan(path, p, rule, around), around))
        return found

    # -- in a step -----------------------------------------------------------------------------

    def finite(self, leaves: Sequence[Leaf], grads: Sequence[Any]) -> tuple[bool, Any]:
        """Look for numbers that are not finite, if that was asked for.

        Returns whether to go on, as far as the host knows, and for arrays on a device the number
        1 or 0, 0-d on the device of the first.
        """
        pairs = [(x, g) for x, g in zip(leaves, grads, strict=True) if g is not None and x.rule]
        if self.nonfinite == "propagate" or not pairs:
            return True, None
        found = [_reductions.all_finite(g) for _, g in pairs]
        if self.nonfinite == "raise":
            for (leaf, _), fine in zip(pairs, found, strict=True):
                if not _arrays.to_numpy(fine):
                    msg = f"{leaf.name('grads')}: is not finite everywhere"
                    raise FloatingPointError(msg)
            return True, None
        if all(leaf.host for leaf, _ in pairs):
            return all(map(bool, found)), None
        first = pairs[0][1]
        keep = _arrays.beside(found[0], first)
        for fine in found[1:]:
            keep = keep * _arrays.beside(fine, first)
        return True, keep

    def prepared(
        self, leaves: Sequence[Leaf], around: Sequence[Surroundings], grads: list[Any]
    ) -> tuple[list[Any], list[Any] | None]:
        """Return the gradients that the rules get, and the number measured of each."""
        before, fused = self._split
        for transform in before:
            grads = transform.apply(grads)
        for leaf, one in zip(leaves, around, strict=True):
            g = grads[leaf.index]
            if one.by_gradient and g is not None and leaf.rule is not None:
                grads = list(grads)
                with leaf.guard():
                    slope = one.penalty.gradient(leaf.p)
                    grads[leaf.index] = _arrays.widened(g) + _arrays.widened(slope)
        scales = fused[0].measure(grads) if fused and fused[0].measured else None
        return grads, scales

    def after(self, keep: Any, grads: Sequence[Any]) -> None:
        """Tell the scale of the loss how it went: a truth, or 1 or 0 on the device."""
        for transform in self.gradients:
            first = next((g for g in grads if g is not None), None)
            if isinstance(transform, LossScale) and first is not None:
                known = isinstance(keep, bool)
                transform.after(_arrays.number_beside(float(keep), first) if known else keep)


@dataclass(frozen=True)
class Surroundings:
    """A penalty and a constraint of one leaf, either of which may be `None`."""

    penalty: Any = None
    constraint: Any = None

    @property
    def by_gradient(self) -> bool:
        """Whether the penalty has no proximal point, and its gradient is added."""
        p = self.penalty
        return p is not None and p.smooth and not p.separable

    @property
    def fused_penalty(self) -> Any:
        """The penalty, if it fuses."""
        return self.penalty if self.penalty is not None and self.penalty.separable else None

    @property
    def fused_constraint(self) -> Any:
        """The constraint, if it fuses; after a penalty that does not, it must wait."""
        waits = self.penalty is not None and not self.penalty.separable and not self.by_gradient
        one = self.constraint
        return one if getattr(one, "separable", False) and not waits else None

    @property
    def late(self) -> tuple[Any, Any]:
        """The penalty and the constraint that act on the leaf as a whole, after the rule."""
        whole = self.penalty is not None and self.fused_penalty is None and not self.by_gradient
        one = self.constraint
        rest = one if one is not None and self.fused_constraint is None else None
        return (self.penalty if whole else None), rest

    def check(self, path: tuple[Any, ...], p: Any, rule: Rule) -> None:
        """Check that both suit a parameter and its rule."""
        place = _checks.where("penalty", path)
        scaled = rule.scales
        if self.penalty is not None and not self.by_gradient:
            if rule._by_components and scaled and _arrays.is_complex(p):
                msg = f"{place}: the steps of {rule!r} differ between real and imaginary parts"
                raise ValueError(msg + _remedy(rule))
            if not scaled and "learning_rate" not in rule.at(0).scalars(1):
                msg = f"{place}: {rule!r} tells no step length; a rule with a penalty needs lengths"
                raise ValueError(msg)
        if self.constraint is not None:
            place = _checks.where("constraint", path)
            try:
                with _arrays.guard(p)():
                    inside = self.constraint(p)
                _checks.gradient(place, p, _arrays.unscalar(inside))
            except (TypeError, ValueError) as error:
                text = str(error)
                raise type(error)(text if text.startswith(place) else f"{place}: {text}") from error

    def landed(self, plan: Face, leaf: Leaf, scalars: dict[str, Any], start: Any) -> Any:
        """Return the parameter after the penalty and the constraint that do not fuse."""
        penalty, constraint = self.late
        rule = plan.rule if isinstance(plan, Composed) else plan
        assert isinstance(rule, Rule)
        assert leaf.state is not None
        p = _arrays.widened(leaf.state.slots.get("master", leaf.p))
        lengths = None
        if rule.scales:
            slots = [leaf.state.slots[slot.name] for slot in rule.slots]
            lengths = rule.lengths(leaf.xp, SimpleNamespace(**scalars), *slots)
        if lengths is None or not _arrays.is_array(lengths) or rule._by_components:
            rate = scalars.get("learning_rate", 1.0)
            return _prox(penalty, constraint, p, rate)
        return _in_metric(penalty, constraint, p, lengths, _arrays.widened(start))


def _remedy(rule: Any) -> str:
    # The option that makes the parts one, if the rule, or the one within it, has it.
    while hasattr(rule, "rule"):
        rule = rule.rule
    return "; use complex_moment='modulus'" if hasattr(rule, "complex_moment") else ""


def _prox(penalty: Any, constraint: Any, x: Any, t: Any) -> Any:
    x = x if penalty is None else penalty.prox(x, t)
    return x if constraint is None else constraint(x)


def _in_metric(penalty: Any, constraint: Any, x: Any, lengths: Any, z: Any) -> Any:
    # The z of least 1/2 sum |z - x|^2 / lengths, with penalty and constraint, by accelerated
    # proximal gradients with a fixed number of iterations, so that nothing waits for the device.
    # They start where the step started, so that a solution stays one.
    xp = _arrays.namespace(x)
    t = xp.min(lengths)
    ratio = xp.where(lengths > 0, t / lengths, xp.ones_like(lengths))
    y, theta = z, 1.0
    for _ in range(INNER):
        new = _prox(penalty, constraint, y - (y - x) * ratio, t)
        after = (1 + (1 + 4 * theta * theta) ** 0.5) / 2
        y = new + (theta - 1) / after * (new - z)
        z, theta = new, after
    return z
