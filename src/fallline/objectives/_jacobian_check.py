"""A check of Jacobians against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, HostArray, Tree
from ._gradient_check import GradientCheck, check_gradient

# Sums of residuals, with random signs, whose gradients are looked at.
_SUMS = 3


def check_jacobian(
    fun: Callable[..., tuple[Array, Tree]],
    x0: Tree,
    *,
    args: Sequence[object] = (),
    batched: bool = False,
    tolerance: float | None = None,
    rng: int | np.random.Generator | None = 0,
) -> GradientCheck:
    r"""Compare a Jacobian with central differences, leaf by leaf and element by element.

    .. math:: v^T (r(x + h d) - r(x - h d)) \approx 2 h\, v^T J d

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the residuals and J, as for `least_squares` with
        ``jacobian=True``. It must not write into `x`.
    x0 : array or tree of arrays
        Where to check; it is not modified. Choose a point where `fun` is differentiable, and no
        parameter is zero by chance.
    args : sequence
        More arguments of `fun`.
    batched : bool, default False
        Whether the leading axes of leaves and residuals count independent problems. All are
        checked together.
    tolerance : float, optional
        Largest relative error of a right Jacobian, as in `check_gradient`.
    rng : int, numpy.random.Generator, or None
        Source of the random signs v and directions d.

    Returns
    -------
    GradientCheck
        The finding; true if no error was found. Its message names the leaf, the element of the
        parameter, and the residual for which J is most wrong, and recognizes common mistakes: a
        constant factor, the sign, a conjugate.

    Raises
    ------
    TypeError, ValueError
        If leaves are not floating arrays, or J does not fit the residuals and them.

    Notes
    -----
    Three sums of the residuals with random signs are looked at, as `check_gradient` looks at an
    objective, so that the evaluations do not grow with the number of residuals.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> t = np.arange(1.0, 4.0)
    >>> def fun(x):
    ...     return x[0] * t + x[1] - 1, np.stack([t, 0 * t + 1], axis=1)
    >>> fl.check_jacobian(fun, np.ones(2)).ok
    True
    >>> wrong = lambda x: (fun(x)[0], fun(x)[1] + [[0, 0], [0, 0], [0, 0.5]])
    >>> print(fl.check_jacobian(wrong, np.asarray([1.0, 2.0])))
    J: is wrong for element [1] of x0, most for residual [2]: it is 1.5, the difference is 1
    """
    rng = np.random.default_rng(rng)
    structure = Structure(x0)
    leaves = structure.flatten(x0, "x0")
    r, jacobian = _pair(fun(x0, *args))
    _check_shapes(structure, leaves, r, jacobian, batched)
    found: GradientCheck | None = None
    for _ in range(_SUMS):
        signs = rng.choice([-1.0, 1.0], size=tuple(r.shape))
        v = _arrays.moved(signs, r, _arrays.compute_dtype(r))

        def summed(x: Tree, *more: object, v: Array = v) -> tuple[Array, Tree]:
            return _sum(structure, leaves, fun(x, *more), v, batched)

        check = check_gradient(summed, x0, args=args, directions=1, tolerance=tolerance, rng=rng)
        if found is None or (not check.ok, check.error) > (not found.ok, found.error):
            found = check
        if not found.ok:
            break
    assert found is not None
    if found.ok or not np.isfinite(found.error):
        return replace(found, message=found.message.replace("gradient", "Jacobian"))
    return _named(fun, structure, leaves, args, found, batched)


def _pair(result: Any) -> tuple[Array, Tree]:
    if not (isinstance(result, tuple) and len(result) == 2):
        msg = f"fun: returned {_checks.described(result)}, expected (residuals, J)"
        raise TypeError(msg)
    r, jacobian = result
    r = _arrays.unscalar(r)
    _checks.floating("fun: its residuals", r)
    return r, jacobian


def _check_shapes(
    structure: Structure, leaves: Sequence[Array], r: Array, jacobian: Tree, batched: bool
) -> None:
    given = structure.flatten(jacobian, "J")
    for path, p, j in zip(structure.paths, leaves, given, strict=True):
        if p is None:
            continue
        place = _checks.where("J", path)
        _checks.leaf(_checks.where("x0", path), p)
        _checks.floating(place, j)
        expected = (*r.shape, *(p.shape[1:] if batched else p.shape))
        if tuple(j.shape) != expected:
            raise ValueError(_checks.mismatch(place, "shape", tuple(j.shape), expected))


def _sum(
    structure: Structure, leaves: Sequence[Array], result: Any, v: Array, batched: bool
) -> tuple[Array, Tree]:
    # The sum of the parts of residuals, with signs, and its gradient.
    r, jacobian = _pair(result)
    xp, given = _arrays.namespace(r), structure.flatten(jacobian, "J")
    parts = _arrays.parts(r) if _arrays.is_complex(r) else (r,)
    total = xp.sum(v * parts[0])
    for part in parts[1:]:
        total = total + xp.sum(v * part)
    lead = 1 if batched else 0
    axes = tuple(range(lead, r.ndim))
    slopes: list[Array] = []
    for p, j in zip(leaves, given, strict=True):
        if p is None:
            slopes.append(None)
            continue
        j = _arrays.unscalar(j)
        signs = xp.reshape(v, (*r.shape, *[1] * (j.ndim - r.ndim)))
        slope = _arrays.unscalar(xp.sum(signs * _transposed(j, r, p), axis=axes))
        slopes.append(_arrays.cast(slope, p))
    return total, structure.unflatten(slopes)


def _transposed(j: Array, r: Array, p: Array) -> Array:
    # What each residual adds to the gradient of the sum of real and imaginary parts.
    if not _arrays.is_complex(r):
        return j
    xp = _arrays.namespace(j)
    if _arrays.is_complex(p):
        return (xp.conj(j) if _arrays.is_complex(j) else j) * (1 + 1j)
    return xp.real(j) + xp.imag(j) if _arrays.is_complex(j) else j


def _named(
    fun: Callable[..., Any],
    structure: Structure,
    leaves: Sequence[Array],
    args: Sequence[object],
    found: GradientCheck,
    batched: bool,
) -> GradientCheck:
    # The finding in words: which residual differs most in the worst element's column.
    names = [_checks.where("x0", path) for path in structure.paths]
    i = names.index(found.leaf)
    p, place = leaves[i], _checks.where("J", structure.paths[i])
    element = found.element if found.element is not None else (0,) * p.ndim
    _, jacobian = _pair(fun(structure.unflatten(leaves), *args))
    column = _arrays.to_numpy(structure.flatten(jacobian, "J")[i])
    lead = 1 if batched else 0
    column = column[(Ellipsis, *element[lead:])]
    difference = _difference(fun, structure, leaves, args, i, element)
    if batched:
        column, difference = column[element[0]], difference[element[0]]
    off = np.abs(column - difference)
    worst = np.unravel_index(int(np.argmax(off)), off.shape)
    where = [*element[:lead], *map(int, worst)]
    of = f"element {list(element)} of {found.leaf}" if p.ndim else found.leaf
    mistake = found.message.partition("the gradient is wrong: ")[2]
    mistake = f" ({mistake})" if mistake.startswith("it is ") else ""
    message = (
        f"{place}: is wrong for {of}, most for residual {where}: it is {column[worst]:.6g}, "
        f"the difference is {difference[worst]:.6g}{mistake}"
    )
    return replace(found, message=message)


def _difference(
    fun: Callable[..., Any], structure: Structure, leaves: Sequence[Array],
    args: Sequence[object], i: int, element: tuple[int, ...],
) -> HostArray:  # fmt: skip
    p = leaves[i]
    at = _arrays.to_numpy(p)
    h = _arrays.EPSILON[_arrays.dtype_name(p)] ** (1 / 3) * max(1.0, float(abs(at[element])))
    ends = []
    for step in (h, -h):
        x = at.copy()
        x[element] += step
        moved = _arrays.moved(x, p, p.dtype)
        r, _ = _pair(fun(structure.unflatten([*leaves[:i], moved, *leaves[i + 1 :]]), *args))
        ends.append(_arrays.to_numpy(r))
    return np.asarray((ends[0] - ends[1]) / (2 * h))
