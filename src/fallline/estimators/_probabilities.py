"""Probabilities of classes from linear predictions."""

from __future__ import annotations

from .. import _arrays, losses
from .._arrays._types import Array
from ..losses import Loss, ModifiedHuber
from ._losses import classification
from ._parameters import Parameters


def of(loss: Loss, z: Array) -> Array:
    """Return the probabilities, (n, classes), of predictions, (n,) or (n, classes)."""
    if isinstance(loss, ModifiedHuber):
        return _clipped(z)
    xp, z = _arrays.namespace(z), _logits(z)
    powers = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return powers / xp.sum(powers, axis=1, keepdims=True)


def logarithms(loss: Loss, z: Array) -> Array:
    """Return the logarithms of the probabilities."""
    xp = _arrays.namespace(z)
    if isinstance(loss, ModifiedHuber):
        with _arrays.guard(z)():
            return xp.log(_clipped(z))
    z = _logits(z)
    # The largest stays apart from the sum, in which the others are lost where they are small.
    best = xp.argmax(z, axis=1)
    z = z - xp.max(z, axis=1, keepdims=True)
    others = _arrays.arange(int(z.shape[1]), z) != best[:, None]
    rest = xp.sum(xp.where(others, xp.exp(z), xp.zeros_like(z)), axis=1, keepdims=True)
    return z - xp.log1p(rest)


def _logits(z: Array) -> Array:
    xp = _arrays.namespace(z)
    return xp.stack([xp.zeros_like(z), z], axis=1) if z.ndim == 1 else z


def _clipped(z: Array) -> Array:
    # Of the modified Huber loss.
    xp, one = _arrays.namespace(z), _arrays.namespace(z).ones_like(z)
    p = (xp.maximum(xp.minimum(z, one), -one) + 1) / 2
    if z.ndim == 1:
        return xp.stack([1 - p, p], axis=1)
    total = xp.sum(p, axis=1, keepdims=True)
    none = total == 0
    return xp.where(none, one / z.shape[1], p / xp.where(none, one[:, :1], total))


def available(estimator: Parameters) -> bool:
    """Tell whether a classifier has probabilities, or raise what scikit-learn expects."""
    one = classification(estimator.loss)
    if isinstance(one, losses.BinaryCrossEntropy | losses.ModifiedHuber):
        return True
    msg = f"probability estimates are not available for loss={estimator.loss!r}"
    raise AttributeError(msg)
