"""A check of gradients against central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, Number, Tree
from ._differences import Differences, Seen


@dataclass(frozen=True)
class GradientCheck:
    """Result of `check_gradient`; true if no error was found, and printed as its message.

    Attributes
    ----------
    ok : bool
        Whether every leaf is within the tolerance, as far as rounding lets that be seen.
    error : float
        The largest error relative to the differences, over leaves, beyond what rounding explains.
    leaf : str
        The leaf it belongs to, such as ``x0['w']``.
    message : str
        The finding in words.
    resolution : float
        The smallest relative error of that leaf's gradient as a whole that would have been seen.
    element : tuple of int or None
        The index of the worst of its elements that were looked at one by one: of all in a small
        leaf, of some in a large one, which is searched for it if the gradient is wrong.
    leaves : dict of str to GradientCheck
        The findings for each leaf.
    """

    ok: bool
    error: float
    leaf: str
    message: str
    resolution: float = 0.0
    element: tuple[int, ...] | None = None
    leaves: dict[str, GradientCheck] = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        """Return `ok`."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message


def check_gradient(
    fun: Callable[..., tuple[Number, Tree]],
    x0: Tree,
    *,
    args: Sequence[object] = (),
    directions: int = 3,
    tolerance: float | None = None,
    rng: int | np.random.Generator | None = 0,
) -> GradientCheck:
    r"""Compare a gradient with central differences, leaf by leaf and element by element.

    .. math:: f(x + h d) - f(x - h d) \approx 2 h \operatorname{Re} \langle g, d \rangle

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value, a real number or one-element array, and the gradient,
        a tree like `x`; for complex leaves dL/dRe + i dL/dIm. It must not write into `x`.
    x0 : array or tree of arrays
        Where to check; it is not modified. Choose a point where `fun` is differentiable.
    args : sequence
        More arguments of `fun`.
    directions : int, default 3
        Random directions of each of four kinds for each leaf: up the gradient, of equal steps, of
        steps in proportion to the elements, and of steps that make small slopes count beside large
        ones.
    tolerance : float, optional
        Largest relative error of a right gradient; by default twice the cube root of the
        precision of the leaf: 1.2e-5 in double precision, 1e-2 in single.
    rng : int, numpy.random.Generator, or None
        Source of the random directions.

    Returns
    -------
    GradientCheck
        The finding. Its message names the worst leaf and element, and recognizes common mistakes: a
        constant factor such as 1/2, the sign, a conjugate. A gradient that agrees may still have
        errors that rounding hides: the message and `resolution` say how large.

    Raises
    ------
    TypeError, ValueError
        If leaves are not floating arrays, the gradient does not fit them, or the value is not a
        real number.

    Notes
    -----
    Each direction takes two evaluations, and so does each element of leaves with up to 16 real
    numbers; of larger ones eight are looked at. Where they disagree with the gradient, up to seven
    shorter steps follow: truncation falls with the square of the step, an error stays.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.check_gradient(lambda x: (np.sum(x**2), 2 * x), np.ones(3)).ok
    True
    >>> print(fl.check_gradient(lambda x: (np.sum(x**2), x), np.ones(3)))
    x0: the gradient is wrong: it is 0.5 times what it should be
    >>> print(fl.check_gradient(lambda x: (np.sum(x**2), 2 * x + [0, 0, 1]), np.ones(3)))
    x0: the gradient is wrong: its relative error is 3.3e-01, most in element [2]
    """
    if directions < 1:
        msg = f"directions: is {directions!r}, expected a positive integer"
        raise ValueError(msg)
    structure = Structure(x0)
    leaves = structure.flatten(x0, "x0")
    names = [_checks.where("x0", path) for path in structure.paths]
    for name, p in zip(names, leaves, strict=True):
        if p is not None:
            _checks.leaf(name, p)
    first, gradient = fun(x0, *args)
    middle, (coarse, grain) = _value(first), _precision(first)
    gradients = structure.flatten(gradient, "gradient")
    rng = np.random.default_rng(rng)
    found = {}
    for i, (name, p, g) in enumerate(zip(names, leaves, gradients, strict=True)):
        if p is None or 0 in p.shape:
            continue
        if g is not None:
            place = _checks.where("gradient", structure.paths[i])
            g = _arrays.unscalar(g)
            _checks.gradient(place, p, g)

        def value(x: Array, i: int = i) -> float:
            return _value(fun(structure.unflatten([*leaves[:i], x, *leaves[i + 1 :]]), *args)[0])

        fine = _arrays.EPSILON[_arrays.dtype_name(p)]
        epsilon = max(fine, coarse)
        allowed = 2 * epsilon ** (1 / 3) if tolerance is None else tolerance
        dtype = _arrays.dtype_name(p if fine >= coarse else first)
        least = 4 * float(np.finfo(_arrays.COMPUTE[dtype]).tiny)
        differences = Differences(value, middle, p, g, epsilon, max(grain, least))
        found[name] = _judged(name, differences, dtype, allowed, directions, rng)
    if not found:
        return GradientCheck(True, 0.0, "x0", "x0: nothing to check, there are no elements")
    worst = max(found.values(), key=lambda check: (not check.ok, check.error))
    if worst.ok:  # what is least known speaks for all
        worst = max(found.values(), key=lambda check: check.resolution)
    return replace(worst, leaves=found)


def _precision(value: Number) -> tuple[float, float]:
    # Of a value that an array holds: its precision, and how far integers are apart.
    value = _arrays.unscalar(value)
    if isinstance(value, int) or (_arrays.is_array(value) and _arrays.is_integer(value)):
        return 0.0, 1.0
    known = _arrays.is_array(value)
    return _arrays.EPSILON.get(_arrays.dtype_name(value), 0.0) if known else 0.0, 0.0


def _value(value: Number) -> float:
    value = _arrays.unscalar(value)
    array = _arrays.is_array(value)
    if isinstance(value, complex) or (array and _arrays.is_complex(value)):
        msg = "fun: its value is complex, expected a real number"
        raise TypeError(msg)
    if array and any(n != 1 for n in value.shape):
        raise ValueError(_checks.mismatch("fun: its value", "shape", tuple(value.shape), "()"))
    return _arrays.to_float(value)


def _judged(
    name: str, leaf: Differences, dtype: str, allowed: float, directions: int,
    rng: np.random.Generator,
) -> GradientCheck:  # fmt: skip
    nothing = GradientCheck(
        False, math.inf, name, f"{name}: the gradient or a value is not finite", math.inf
    )
    if not (np.all(np.isfinite(leaf.slope)) and math.isfinite(leaf.middle)):
        return nothing
    kinds: dict[int, list[Seen]] = {}
    for _ in range(directions):
        for kind, direction in enumerate(leaf.directions(rng)):
            seen = leaf.along(direction, allowed)
            if seen is not None:
                kinds.setdefault(kind, []).append(seen)
    all_seen = [seen for some in kinds.values() for seen in some]
    if not all_seen:
        return nothing
    alone = {int(i): leaf.element(int(i), allowed) for i in leaf.chosen(rng)}
    elements = {i: seen for i, seen in alone.items() if seen is not None}
    worst = max(all_seen, key=lambda seen: seen.error)
    least = max(elements, key=lambda i: (elements[i].error, elements[i].blur), default=None)
    error = max([worst.error, *(seen.error for seen in elements.values())])
    blur = min(max(seen.blur for seen in some) for some in kinds.values())
    element = None if least is None else leaf.name(least)[0]
    if error <= allowed:
        text = _agreement(dtype, blur, error, worst)
        return GradientCheck(True, error, name, f"{name}: {text}", blur, element)
    mistake = _known_mistake(leaf, all_seen, allowed)
    if mistake is None:
        if least is None or elements[least].error <= allowed:
            least = leaf.worst(worst.step / 2, allowed)
        index, part = leaf.name(least)
        element = index
        mistake = f"its relative error is {error:.1e}"
        if leaf.at.size > 1:
            mistake += f", most in element {list(index)}{part}"
        if not any(seen.found for seen in all_seen):
            mistake += "; the value did not change at all"
    return GradientCheck(
        False, error, name, f"{name}: the gradient is wrong: {mistake}", blur, element
    )


def _agreement(dtype: str, blur: float, error: float, worst: Seen) -> str:
    # What can be said of a gradient that nothing speaks against.
    if blur >= 1:
        if not worst.claimed:
            return "the gradient is zero, as the differences are but for rounding"
        return "the gradient is too small beside rounding to be checked here"
    if dtype in ("float64", "complex128"):
        return f"the gradient agrees with differences within {max(blur, error):.0e}"
    if error > blur:
        return f"the gradient agrees within {error:.0e}; repeat in double precision"
    return (
        f"the gradient agrees within what {dtype} can show, {blur:.0e}; repeat in double precision"
    )


def _known_mistake(leaf: Differences, all_seen: Sequence[Seen], allowed: float) -> str | None:
    # A factor, a sign or a conjugate with which the gradient would be right.
    scales = np.asarray([max(seen.scale, 1e-300) for seen in all_seen])
    found = np.asarray([seen.found for seen in all_seen]) / scales
    doubts = np.asarray([seen.doubt for seen in all_seen]) / scales
    complex_leaf = leaf.is_complex
    for conjugated in (False, True) if complex_leaf else (False,):
        slope = leaf.conjugate() if conjugated else leaf.slope
        claimed = np.asarray([np.sum(slope * seen.step) for seen in all_seen]) / scales
        factor = float(claimed @ found / max(found @ found, 1e-300))
        factor = next((c for c in (1, 0.5, 2, -1) if abs(factor / c - 1) < 0.05), factor)
        if abs(factor) > 1e-6 and np.max(np.abs(claimed / factor - found) - doubts) <= allowed:
            times = "" if factor == 1 else f"{factor:.3g} times "
            what = "the conjugate of what" if conjugated else "what"
            if conjugated or factor != 1:
                return f"it is {times}{what} it should be"
    return None
