"""What an Optimizer refuses to do with distributed tensors of torch.

A rule runs on the part of a leaf that this process holds, which is right where each element is
updated by itself. Numbers of whole gradients, for clipping, are put together from all parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import _arrays
from .._arrays import _checks, _shards
from .._arrays._trees import Structure
from .._arrays._types import Array
from ..rules import Rule
from ._options import StepOptions
from ._terms import LeafTerms


def check(
    structure: Structure,
    params: Sequence[Array],
    rules: Sequence[Rule | None],
    options: StepOptions,
) -> None:
    """Check that all that is done to distributed leaves can be done to their parts."""
    if not any(map(_shards.is_sharded, params)):
        return
    rows = zip(structure.paths, params, rules, options.terms(structure, params), strict=True)
    for path, p, rule, own in rows:
        if rule is None or not _shards.is_sharded(p):
            continue
        place = _checks.where("params", path)
        if _shards.is_partial(p):
            msg = f"{place}: its parts are terms of a sum, expected shards or replicas"
            raise ValueError(msg)
        for one in _wholes(rule, own, options):
            msg = f"{place}: is a DTensor, and {type(one).__name__} looks at whole leaves"
            raise TypeError(msg)
        for name, factor in (("rate", own.rate), ("decay", own.decay)):
            if _arrays.is_array(factor):
                what = f"{_checks.where(f'{name}_factors', path)}: is an array"
                msg = f"{what}, expected a number for a DTensor"
                raise TypeError(msg)


def _wholes(rule: Rule, terms: LeafTerms, options: StepOptions) -> list[object]:
    # What acts on a leaf as a whole, or on arrays that are not distributed.
    found: list[object] = [rule] if rule.reads or not rule.elementwise else []
    found += [x for x in options.gradients if not x.elementwise]
    found += [x for x in terms.whole or () if x is not None]
    if terms.by_gradient:
        found.append(terms.penalty)
    constraint = terms.fused_constraint
    if constraint is not None and any(map(_arrays.is_array, constraint.scalars().values())):
        found.append(constraint)
    return found
