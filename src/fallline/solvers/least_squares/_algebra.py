"""Small linear algebra for many problems side by side: triangular factors and what they solve.

Every number of a problem is computed from that problem alone, by elementwise operations and sums:
a singular or NaN matrix in a stack neither raises nor touches the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import _arrays
from ..._arrays._factors import has_factors
from ..._arrays._types import Array, Namespace

# From how many columns on a single matrix is left to the library's linear algebra.
_LARGE = 16


def _dots(xp: Namespace, a: Array, b: Array, axis: int) -> Array:
    # Inner products along an axis: residuals lie along the last, rows of small matrices before it.
    return np.vecdot(a, b) if xp is np and axis == -1 else xp.sum(a * b, axis=axis)


def factored(xp: Namespace, columns: Array, rhs: Array, axis: int = -1) -> tuple[Array, Array]:
    r"""Return the triangular factor of tall matrices, given by their columns, and their residuals.

    .. math:: A = Q R, \qquad c = Q^T b

    Björck's modified Gram-Schmidt process, with b as one more column, is as stable as Householder's
    for least squares: the condition of A is not squared, as normal equations do.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    columns : array, shape (n, problems, m), or (n, m, problems)
        The columns of A.
    rhs : array, shape (problems, m), or (m, problems)
        b.
    axis : {-1, -2}
        Where m is: small matrices have the problems last.

    Returns
    -------
    r : array, shape (n, n, problems)
        R, rows first.
    c : array, shape (n, problems)
        The first part of the rotated b.
    """
    n, problems = columns.shape[0], rhs.shape[0 if axis == -1 else 1]
    if problems == 1 and n >= _LARGE and has_factors(rhs):
        return _factored_whole(xp, columns, rhs)
    none = xp.zeros_like(rhs[:, 0] if axis == -1 else rhs[0, ...])
    one = xp.ones_like(none)
    rows, c = list[Array](), list[Array]()
    for i in range(n):
        first, columns = columns[0, ...], columns[1:, ...]
        size = xp.sqrt(_dots(xp, first, first, axis))
        # A column of zeros stays one.
        unit = first * _beside(1 / xp.where(size > 0, size, one), axis)
        along = _dots(xp, rhs, unit, axis)
        rows += [*[none] * i, size]
        c.append(along)
        if i < n - 1:
            inner = _dots(xp, columns, unit, axis)
            columns = columns - _beside(inner, axis) * unit
            rhs = rhs - _beside(along, axis) * unit
            rows += [inner[k, ...] for k in range(n - 1 - i)]
    return xp.reshape(_together(xp, rows), (n, n, problems)), _together(xp, c)


def _factored_whole(xp: Namespace, columns: Array, rhs: Array) -> tuple[Array, Array]:
    # The same for one large matrix, by LAPACK or its like.
    n = columns.shape[0]
    a, b = xp.reshape(columns, (n, -1)).T, xp.reshape(rhs, (-1,))
    q, r = xp.linalg.qr(a)
    c = q.T @ b
    if r.shape[0] < n:  # more columns than rows
        missing = xp.zeros_like(columns[: n - r.shape[0], ...])
        row = xp.reshape(missing, (missing.shape[0], -1))[:, :1]
        r, c = xp.concat([r, row + 0 * r[:1, :]]), xp.concat([c, row[:, 0]])
    return r[..., None], c[:, None]


def _beside(numbers: Array, axis: int) -> Array:
    # Numbers of each problem, to be multiplied with rows.
    return numbers[..., None] if axis == -1 else numbers[..., None, :]


def _together(xp: Namespace, rows: Sequence[Array]) -> Array:
    # What stacking gives, in a fraction of the time on NumPy.
    return xp.concat([row[None, ...] for row in rows])


def product(xp: Namespace, r: Array, x: Array) -> Array:
    """Return R x."""
    return xp.sum(r * x, axis=1)


def transposed_product(xp: Namespace, r: Array, y: Array) -> Array:
    """Return the product of R, transposed, and y."""
    return xp.sum(r * y[:, None, :], axis=0)


def column_norms(xp: Namespace, r: Array) -> Array:
    """Return the norms of the columns of R."""
    return xp.sqrt(xp.sum(r * r, axis=0))


def back_substituted(xp: Namespace, r: Array, y: Array) -> Array:
    """Return the solution of R x = y, of one y or of several, (n, several, problems)."""
    found: list[Array] = []
    for j in range(r.shape[0] - 1, -1, -1):
        x, above = y[j, ...] / r[j, j, :], r[:j, j, :]
        y = y[:j, ...] - (above if y.ndim == 2 else above[:, None, :]) * x
        found.append(x)
    return _together(xp, found[::-1])


def damped(xp: Namespace, r: Array, c: Array, diagonal: Array) -> Array:
    r"""Return the solutions of damped problems.

    .. math:: \min_p \|R p + c\|^2 + \|\operatorname{diag}(d) p\|^2

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    r, c : array
        The factor and the right-hand side.
    diagonal : array, shape (n, problems)
        d, positive.

    Returns
    -------
    array, shape (n, problems)
        p.
    """
    factor, rotated = stacked(xp, r, c, diagonal)
    return -back_substituted(xp, factor, rotated)


def stacked(xp: Namespace, r: Array, c: Array, diagonal: Array) -> tuple[Array, Array]:
    """Return the triangular factor of R with a diagonal below it, and what becomes of c."""
    n = r.shape[0]
    with _arrays.on_device(r):
        unit = xp.eye(n, dtype=r.dtype, **_arrays.placed(r))
    below = unit[:, :, None] * diagonal
    columns = xp.concat([xp.permute_dims(r, (1, 0, 2)), below], axis=1)
    return factored(xp, columns, xp.concat([c, xp.zeros_like(c)]), axis=-2)


def inverted(xp: Namespace, r: Array) -> Array:
    """Return the inverse of R, rows first; not finite where R is singular."""
    n = r.shape[0]
    with _arrays.on_device(r):
        unit = xp.eye(n, dtype=r.dtype, **_arrays.placed(r))
    return back_substituted(xp, r, unit[..., None] * xp.ones_like(r[0, 0, :]))
