"""Second derivatives of linear models: weighted products of the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _arrays
from .._arrays import is_sparse
from .._arrays._factors import with_diagonal
from .._arrays._types import Array
from ..penalties import L2

if TYPE_CHECKING:
    from ._linear_model import LinearModel

_NONE: Array = 0.0
_BLOCK = 2**17  # elements of the rows that are taken together: they stay in the cache


def second_derivatives(
    model: LinearModel, params: dict[str, Array], data: tuple[Array, Array, Array], *,
    centre: Array = None, scale: Array = None,
) -> Array:  # fmt: skip
    r"""Return the second derivatives in the coefficients of columns in other units.

    .. math:: \sum_i l''_i u_i u_i^T + \alpha S^{-2}, \qquad u_i = (1, S^{-1} (x_i - m))

    Parameters
    ----------
    model : LinearModel
        The model, whose penalty is an `L2` of weight alpha, if there is one.
    params : dict of arrays
        The model's coefficients, where l'' is the curvature of its loss.
    data : tuple of arrays
        X, whose rows are x, dense; y; weights of the rows, or `None`.
    centre, scale : array, shape (features,), optional
        m and the diagonal of S; without them zero and one.

    Returns
    -------
    array, shape (features + 1, features + 1) or (features, features)
        The matrix; the first row and column are of the intercept, if there is one.
    """
    X, y, weights = data
    lacks = _missing(model, params, X)
    if lacks:
        msg = f"method: Newton's needs second derivatives, which a model lacks where {lacks}"
        raise TypeError(msg)
    bend = model.loss.curvature(model.decision(params, X), y, weights)
    alpha = model.penalty.alpha if isinstance(model.penalty, L2) else 0.0
    xp, (n, size) = _arrays.namespace(X), map(int, X.shape)
    rows, inner, edge = max(1, _BLOCK // max(1, size)), _NONE, _NONE
    for start in range(0, max(n, 1), rows):
        end = min(start + rows, n)
        part, weight = X[start:end, ...], bend[start:end]
        part = part if centre is None else part - centre
        part = part if scale is None else part / scale
        inner, edge = inner + (weight[:, None] * part).T @ part, edge + weight @ part
    if alpha:
        inner = with_diagonal(inner, alpha if scale is None else alpha / (scale * scale))
    if not model.fit_intercept:
        return inner
    corner = xp.reshape(_arrays.unscalar(xp.sum(bend)), (1,))
    beside = xp.concat([edge[:, None], inner], axis=1)
    return xp.concat([xp.concat([corner, edge])[None, :], beside], axis=0)


def _missing(model: LinearModel, params: dict[str, Array], X: Array) -> str:
    if is_sparse(X):
        return "X is sparse"
    if params["weights"].ndim != 1:
        return "there are several outputs"
    if model.penalty is not None and type(model.penalty) is not L2:
        return f"the penalty is {model.penalty!r}, expected an L2"
    return ""
