"""Covariances of parameters at the end of fits."""

from __future__ import annotations

import math

from ... import _arrays
from ..._arrays._types import Array, Namespace, Tree
from . import _algebra
from ._columns import Layout

_BLOCK = 1 << 14  # problems at a time


def inverse_matrix(
    xp: Namespace, factor: Array, free: Array | None, epsilon: float
) -> tuple[Array, Array]:
    r"""Return the inverse of :math:`R^T R` of each problem, and for which there is none.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    factor : array, shape (n, n, problems)
        R.
    free : array or None
        Parameters that no bound holds back; for the others there is no variance, but NaN.
    epsilon : float
        Precision.

    Returns
    -------
    tuple of array
        (n, n, problems), infinite where R is singular, and (problems,).
    """
    n, problems = factor.shape[0], int(factor.shape[-1])
    if problems > _BLOCK:  # what is computed on the way takes many times the memory of the result
        spans = [slice(start, start + _BLOCK) for start in range(0, problems, _BLOCK)]
        some = [(factor[..., at], None if free is None else free[..., at]) for at in spans]
        parts = [inverse_matrix(xp, *part, epsilon) for part in some]
        matrices, singular = zip(*parts, strict=True)
        return xp.concat(matrices, axis=2), xp.concat(singular)
    if free is not None:
        held = xp.where(free, xp.zeros_like(factor[0, ...]), xp.ones_like(factor[0, ...]))
        factor = xp.where(free[None, ...], factor, xp.zeros_like(factor))
        factor, _ = _algebra.stacked(xp, factor, held, held)
    norms = _algebra.column_norms(xp, factor)
    pivots = xp.abs(xp.stack([factor[j, j, :] for j in range(n)]))
    regular = xp.all(pivots > 16 * n * epsilon * norms, axis=0)
    inverse = _algebra.inverted(xp, factor)
    rows = [xp.sum(inverse[i, ...][None, ...] * inverse, axis=1) for i in range(n)]
    matrix = xp.stack(rows)
    matrix = xp.where(regular, matrix, xp.full_like(matrix, math.inf))
    if free is not None:
        both = free[:, None, :] & free[None, ...]
        matrix = xp.where(both, matrix, xp.full_like(matrix, math.nan))
    return matrix, ~regular


def structured(layout: Layout, matrix: Array) -> tuple[Tree, Tree]:
    """Return covariances as a tree of trees like the parameters, and their roots as such a tree.

    Parameters
    ----------
    layout : Layout
        Of all problems.
    matrix : array, shape (n, n, problems)
        The covariances.

    Returns
    -------
    tuple of tree
        For leaves a and b an array of (*a, *b), in a batch behind the axis of problems; of complex
        leaves the mean of the products of one deviation and the conjugate of the other.
    """
    xp, whole = layout.space.xp, layout.space.structure.unflatten
    n = matrix.shape[0]
    roots = layout.tree(xp.sqrt(xp.stack([matrix[j, j, :] for j in range(n)])))
    spans = list(zip(layout.leaves, layout.space.spans, strict=True))
    tree = whole(
        [
            None
            if p is None
            else whole(
                [
                    None if q is None else _block(layout, matrix[rows, columns, :], p, q)
                    for q, columns in spans
                ]
            )
            for p, rows in spans
        ]
    )
    return tree, roots


def _block(layout: Layout, block: Array, p: Array, q: Array) -> Array:
    xp, skip = layout.space.xp, len(layout.lead)
    shape = (*layout.lead, *p.shape[skip:], *q.shape[skip:])
    h, k = (x // (1 + _arrays.is_complex(y)) for x, y in zip(block.shape[:2], (p, q), strict=True))

    def shaped(part: Array) -> Array:
        return xp.reshape(xp.permute_dims(part, (2, 0, 1)), shape)

    re = block[:h, :k, :]
    if not (_arrays.is_complex(p) or _arrays.is_complex(q)):
        return shaped(re)
    im = xp.zeros_like(re)
    if _arrays.is_complex(p):
        im = im + block[h:, :k, :]
    if _arrays.is_complex(q):
        im = im - block[:h, k:, :]
    if _arrays.is_complex(p) and _arrays.is_complex(q):
        re = re + block[h:, k:, :]
    return layout.joined(shaped(re), shaped(im))
