"""A check of gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradient` found; true if the gradient is right, and prints as its message.

    Attributes
    ----------
    ok : bool
        Whether every leaf is within the tolerance.
    error : float
        The largest error relative to the differences, over leaves.
    leaf : str
        The leaf it belongs to, such as ``x0['w']``.
    message : str
        The finding in words.
    """

    ok: bool
    error: float
    leaf: str
    message: str

    def __bool__(self) -> bool:
        """Return `ok`."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message


def check_gradient(
    fun: Callable[..., tuple[Any, Any]],
    x0: Any,
    *,
    args: Sequence[Any] = (),
    directions: int = 3,
    tolerance: float | None = None,
    rng: int | np.random.Generator | None = 0,
) -> GradientCheck:
    r"""Compare a gradient with central differences along random directions, leaf by leaf.

    .. math:: f(x + h d) - f(x - h d) \approx 2 h \operatorname{Re} \langle g, d \rangle

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value, a real number or one-element array, and the gradient,
        a tree like `x`; for complex leaves dL/dRe + i dL/dIm. It must not write into `x`.
    x0 : array or tree of arrays
        Where to check; it is not written. Points where `fun` has a kink are no good.
    args : sequence
        More arguments of `fun`.
    directions : int, default 3
        Random directions for each leaf; each costs two evaluations.
    tolerance : float, optional
        Largest relative error of a right gradient; by default twice the cube root of the
        precision of the leaf: 1.2e-5 in double precision, 1e-2 in single.
    rng : int, numpy.random.Generator, or None
        Where the directions come from.

    Returns
    -------
    GradientCheck
        Its message names the worst leaf and the common mistakes: a constant factor such as 1/2,
        the sign, a conjugate.

    Raises
    ------
    TypeError, ValueError
        If leaves are no floating arrays, the gradient does not fit them, or the value is no real
        number.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.check_gradient(lambda x: (np.sum(x**2), 2 * x), np.ones(3)).ok
    True
    >>> print(fl.check_gradient(lambda x: (np.sum(x**2), x), np.ones(3)))
    x0: the gradient is wrong: it is 0.5 times what it should be
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
    middle, gradient = fun(x0, *args)
    middle, gradients = _value(middle), structure.flatten(gradient, "gradient")
    rng = np.random.default_rng(rng)
    found = []
    for i, (name, p, g) in enumerate(zip(names, leaves, gradients, strict=True)):
        if p is None or 0 in p.shape:
            continue
        if g is not None:
            place = _checks.where("gradient", structure.paths[i])
            g = _arrays.unscalar(g)
            _checks.gradient(place, p, g)

        def value(x: Any, i: int = i) -> float:
            return _value(fun(structure.unflatten([*leaves[:i], x, *leaves[i + 1 :]]), *args)[0])

        pairs = [_difference(value, middle, p, rng) for _ in range(directions)]
        epsilon = _arrays.EPSILON[_arrays.dtype_name(p)]
        allowed = 2 * epsilon ** (1 / 3) if tolerance is None else tolerance
        found.append(_judged(name, pairs, g, allowed))
    nothing = GradientCheck(True, 0.0, "x0", "x0: nothing to check, there are no elements")
    return max(found, key=lambda check: (not check.ok, check.error), default=nothing)


def _value(value: Any) -> float:
    value = _arrays.unscalar(value)
    array = _arrays.is_array(value)
    if isinstance(value, complex) or (array and _arrays.is_complex(value)):
        msg = "fun: its value is complex, expected a real number"
        raise TypeError(msg)
    if array and any(n != 1 for n in value.shape):
        raise ValueError(_checks.mismatch("fun: its value", "shape", tuple(value.shape), "()"))
    return _arrays.to_float(value)


def _difference(
    value: Callable[[Any], float], middle: float, p: Any, rng: np.random.Generator
) -> tuple[np.ndarray[Any, Any], float, float]:
    # A step, the difference of the values at its ends, and the rounding error of that.
    d = rng.standard_normal(p.shape)
    if _arrays.is_complex(p):
        d = d + 1j * rng.standard_normal(p.shape)
    at = _arrays.to_numpy(p)
    at = at.astype(np.result_type(d), copy=False)
    epsilon = _arrays.EPSILON[_arrays.dtype_name(p)]
    h = epsilon ** (1 / 3)
    d *= h * max(1.0, float(np.linalg.norm(at))) / max(float(np.linalg.norm(d)), 1e-300)
    ends = [_arrays.moved(np.asarray(at + sign * d), p, p.dtype) for sign in (1, -1)]
    high, low = (value(x) for x in ends)
    # The step as it was after rounding to the dtype of p.
    step = np.subtract(*(_arrays.to_numpy(x).astype(at.dtype) for x in ends))
    # Rounding the ends makes the two halves of the step unequal: the curvature then counts.
    noise = 16 * epsilon * (abs(high) + abs(low)) + 4 * epsilon / h * abs(high + low - 2 * middle)
    return step, high - low, noise


def _judged(
    name: str,
    pairs: Sequence[tuple[np.ndarray[Any, Any], float, float]],
    g: Any,
    allowed: float,
) -> GradientCheck:
    measured = np.asarray([difference for _, difference, _ in pairs])
    noise = np.asarray([rounding for _, _, rounding in pairs])
    slope = np.zeros(()) if g is None else _arrays.to_numpy(g).astype(pairs[0][0].dtype)

    def error(slope: Any, factor: float = 1.0) -> tuple[float, float]:
        # The relative error of factor * slope, and the best factor.
        claimed = factor * np.asarray([np.sum((np.conj(slope) * d).real) for d, _, _ in pairs])
        excess = np.maximum(np.abs(claimed - measured) - noise, 0.0)
        scale = max(np.max(np.abs(measured)), np.max(np.abs(claimed)), 1e-300)
        finite = np.all(np.isfinite(claimed)) and np.all(np.isfinite(measured))
        best = claimed @ measured / max(measured @ measured, 1e-300)
        return (float(np.max(excess) / scale), float(best)) if finite else (np.inf, np.nan)

    size, _ = error(slope)
    if size <= allowed:
        return GradientCheck(True, size, name, f"{name}: the gradient is right to {size:.1e}")
    if size == np.inf:
        text = "the gradient or a value is not finite"
    else:
        text = f"the gradient is wrong: its relative error is {size:.1e}"
        for conjugated in (False, True) if np.iscomplexobj(slope) else (False,):
            other = np.conj(slope) if conjugated else slope
            factor = error(other)[1]
            factor = next((c for c in (1, 0.5, 2, -1) if abs(factor / c - 1) < 0.05), factor)
            if abs(factor) > 1e-6 and error(other, 1 / factor)[0] <= allowed:
                times = "" if factor == 1 else f"{factor:.4g} times "
                what = "the conjugate of what" if conjugated else "what"
                text = f"the gradient is wrong: it is {times}{what} it should be"
                break
    return GradientCheck(False, size, name, f"{name}: {text}")
