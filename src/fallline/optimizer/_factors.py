"""Rates and decays of single elements: the numbers of a rule as functions of both.

A rule's numbers are computed on the host, for one rate and one decay. Where these differ between
elements, numbers that depend on them become arrays in the formula: each is affine in the rate and
in the decay, so that it follows from its values for a few pairs of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, Number, Scalars, Tree
from ..rules import Rule

# The fields that factors multiply.
RATE, DECAY = "learning_rate", "weight_decay"
FIELDS = {"rate": RATE, "decay": DECAY}


def checked(place: str, value: Number, p: Array) -> Number:
    """Return a factor of a leaf: `None`, a float, or an array that broadcasts to the leaf."""
    if value is None:
        return None
    if not _arrays.is_array(value):
        return _checks.number(place, value, 0.0, float("inf"))
    _checks.same_kind(place, p, value)
    if not (_arrays.is_real(value) or _arrays.is_integer(value)):
        raise TypeError(_checks.mismatch(place, "dtype", _arrays.dtype_name(value), "real numbers"))
    shape, whole = tuple(value.shape), tuple(p.shape)
    fits = len(shape) <= len(whole) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(whole), strict=False)
    )
    if not fits:
        msg = _checks.mismatch(place, "shape", shape, f"one that broadcasts to {whole}")
        raise ValueError(msg)
    return value


def gathered(structure: Structure, values: Sequence[Array], given: Tree) -> Tree:
    """Return the factors of all leaves as an option: as it was given, if none or that number."""
    found = [x for x in values if x is not None]
    number = isinstance(given, float | int) and not any(map(_arrays.is_array, found))
    if not found or (number and all(x == given for x in found)):
        return given
    return structure.unflatten(list(values))


def with_fields(rule: Rule, **fields: float) -> Rule:
    """Return a rule with other numbers in some fields, and no check of these."""
    twin = object.__new__(type(rule))
    inner = rule.__dict__.get("rule")
    twin.__dict__.update(rule.__dict__)
    if isinstance(inner, Rule):  # a rule around another has its rate and decay in that
        twin.__dict__["rule"] = with_fields(inner, **fields)
    else:
        twin.__dict__.update(fields)
    return twin


def numbers(rule: Rule) -> dict[str, float]:
    """Return the rate and the decay of a rule whose schedules are numbers by now."""
    inner = rule.__dict__.get("rule")
    if isinstance(inner, Rule):
        return numbers(inner)
    own = {name: getattr(rule, field, None) for name, field in FIELDS.items()}
    return {name: value for name, value in own.items() if isinstance(value, float)}


def multiplied(rule: Rule, factors: Mapping[str, float]) -> Rule:
    """Return a rule with its rate and decay multiplied by numbers."""
    found = numbers(rule)
    fields = {FIELDS[name]: found[name] * f for name, f in factors.items() if name in found}
    return with_fields(rule, **fields) if fields else rule


def split(rule: Rule, t: Number, names: tuple[str, ...]) -> dict[str, Number]:
    """Return the numbers of a rule, and how those that depend on rate and decay depend on them.

    For a number ``size`` that depends on the rate, ``size`` is its value at the rate zero and
    ``size/rate`` what one unit of the factor adds; ``size/decay`` and ``size/both`` likewise.
    """
    found = numbers(rule)
    table: dict[tuple[float, ...], dict[str, Array]] = {}
    corners = [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.5, 0.5)]
    for rate, decay in corners:
        factors = {"rate": rate, "decay": decay}
        used = {FIELDS[n]: found[n] * factors[n] for n in names if n in found}
        table[rate, decay] = with_fields(rule, **used).scalars(t)
    result = {}
    for name, whole in table[1.0, 1.0].items():
        half_rate, half_decay = table[0.5, 1.0][name], table[1.0, 0.5][name]
        quarter = table[0.5, 0.5][name]
        # A bilinear function from its values at the corners of a square.
        both = 4 * (whole - half_rate - half_decay + quarter)
        rate, decay = 2 * (whole - half_rate) - both, 2 * (whole - half_decay) - both
        result[name] = whole - rate - decay - both
        result |= {f"{name}/rate": rate, f"{name}/decay": decay, f"{name}/both": both}
    return result


def dependent(rule: Rule, names: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Return which numbers of a rule depend on the rate, the decay or their product.

    Raises
    ------
    ValueError
        If one does so in another way than affinely.
    """
    found: dict[str, set[str]] = {}
    probe = with_fields(rule.owned().at(0), **{RATE: 0.25, DECAY: 0.5})
    held = numbers(probe)
    f = 0.25
    other = with_fields(probe, **{FIELDS[n]: f * held[n] for n in names if n in held})
    for t in (1, 2, 7):
        parts, expected = split(probe, t, names), other.scalars(t)
        for base, value in expected.items():
            rate, decay, both = (parts[f"{base}/{which}"] for which in ("rate", "decay", "both"))
            model = parts[base] + f * (rate + decay) + f * f * both
            size = abs(rate) + abs(decay) + abs(both)
            if abs(model - value) > 1e-9 * (size + abs(value)):
                msg = f"{base} of {rule.name} is not proportional to its learning rate"
                raise ValueError(msg)
            for which, part in (("rate", rate), ("decay", decay), ("both", both)):
                if abs(part) > 1e-12 * (size + abs(value)):
                    found.setdefault(base, set()).add(which)
    return {name: frozenset(which) for name, which in found.items()}


class Factored:
    """The scalars of a step, some of which are arrays: affine functions of the factors."""

    def __init__(
        self, s: Scalars, terms: dict[str, frozenset[str]], arrays: dict[str, Array]
    ) -> None:
        self._s, self._terms, self._arrays = s, terms, arrays

    def __getattr__(self, name: str) -> Array:
        found = getattr(self._s, name)
        for which in sorted(self._terms.get(name, ())):
            used = self._arrays.values() if which == "both" else [self._arrays[which]]
            product = getattr(self._s, f"{name}/{which}")
            for factor in used:
                product = factor * product
            found = product + found
        return found
