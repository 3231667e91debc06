"""Losses that compare directions."""

from __future__ import annotations

from dataclasses import dataclass

from .._arrays._types import Array, Namespace
from ._base import Loss


@dataclass(frozen=True)
class CosineDistance(Loss):
    r"""One minus the cosine of the angle between rows.

    .. math::
        l(z, y) = 1 - \frac{\langle z, y \rangle}{\|z\| \|y\|}, \qquad
        \frac{\partial l}{\partial z} = -\frac{1}{\|z\|} \Bigl(\frac{y}{\|y\|}
            - (1 - l) \frac{z}{\|z\|}\Bigr)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the rows.

    Notes
    -----
    Rows are along the last axis; `weights` holds one number for each. Where `pred` or `target`
    is zero the value is 1 and the gradient 0. Rows of any finite size are safe. Matches optax's
    ``cosine_distance`` and ``1 - torch.nn.CosineSimilarity`` away from zero.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.CosineDistance(reduction="none")(np.eye(2), np.asarray([[3.0, 0.0], [4.0, 0.0]]))
    array([0., 1.])
    """

    rows = True

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        u, norm = _direction(xp, pred)
        w, _ = _direction(xp, target)
        return u, w, norm, xp.sum(u * w, axis=-1, keepdims=True)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        *_, cosine = shared
        return 1 - cosine[..., 0]

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        u, w, norm, cosine = shared
        zero = norm == 0
        across = (cosine * u - w) / xp.where(zero, xp.ones_like(norm), norm)
        return xp.where(zero, xp.zeros_like(across), across)


def _direction(xp: Namespace, x: Array) -> tuple[Array, Array]:
    # Rows of length 1, or 0, and their norms; scaled first so that squares cannot overflow.
    size = xp.max(xp.abs(x), axis=-1, keepdims=True)
    x = x / xp.where(size == 0, xp.ones_like(size), size)
    norm = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    return x / xp.where(norm == 0, xp.ones_like(norm), norm), size * norm
