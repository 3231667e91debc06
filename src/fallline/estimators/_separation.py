"""Whether a fit of classes has no least loss, because larger coefficients always have less."""

from __future__ import annotations

import math

from .. import _arrays
from .._arrays._types import Array
from ..losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ..objectives._linear_model import LinearModel
from ..penalties import L1, L2, ElasticNet

CLEAR = 1e-3  # of logarithms of odds, far above their rounding


def without_end(
    model: LinearModel, loss: Loss, params: dict[str, Array], data: tuple[Array, Array, Array]
) -> bool:
    """Tell whether the loss falls for ever along a line that the coefficients found show.

    It does if their predictions are right for all rows, or if those of one class tell it from the
    others, by whatever threshold if there is an intercept: more of the same has less loss. Classes
    that are apart but for some rows between them are not seen.

    Parameters
    ----------
    model : LinearModel
        The model.
    loss : Loss
        Its loss, before it is averaged.
    params : dict of arrays
        The coefficients.
    data : tuple of arrays
        X, the targets, and the weights of the rows or `None`.
    """
    X, target, weights = data
    if not isinstance(loss, BinaryCrossEntropy | SoftmaxCrossEntropy) or not _free(model):
        return False
    z = model.decision(params, X)
    xp = _arrays.namespace(z)
    live = True if weights is None else (weights > 0)[:, None]
    if z.ndim == 1:
        z, own = z[:, None], (target > 0)[:, None]
        apart = _apart(z, own, live, shifts=model.fit_intercept)
    else:
        own = target[:, None] == _arrays.arange(int(z.shape[1]), target)
        best = xp.max(xp.where(own, -math.inf, z), axis=1, keepdims=True)
        right = xp.sum(xp.where(own, z, xp.zeros_like(z)), axis=1, keepdims=True) - best
        apart = xp.logical_or(
            _apart(right, right == right, live, shifts=False),
            xp.any(_apart(z, own, live, shifts=model.fit_intercept)),
        )
    return bool(_arrays.to_numpy(xp.any(apart)))


def _apart(z: Array, own: Array, live: Array, *, shifts: bool) -> Array:
    # For each column, whether a threshold, of zero unless it may shift, tells its own rows.
    xp = _arrays.namespace(z)
    low = xp.min(xp.where(own & live, z, math.inf), axis=0)
    high = xp.max(xp.where(~own & live, z, -math.inf), axis=0)
    if shifts:
        return low - high > CLEAR
    return xp.logical_and(low > CLEAR, high < -CLEAR)


def _free(model: LinearModel) -> bool:
    # Whether nothing is added to the loss.
    penalty = model.penalty
    if not isinstance(penalty, L1 | L2 | ElasticNet):
        return penalty is None
    return not _arrays.is_array(penalty.alpha) and penalty.alpha == 0
