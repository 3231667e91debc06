"""Losses of a softmax, computed from its logits."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace
from ._base import Domain, Loss


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    r"""Cross-entropy between target classes and the softmax of logits.

    .. math::
        l(z, q) = \sum_k q_k \Bigl(\log \sum_j e^{z_j} - z_k\Bigr), \qquad
        \frac{\partial l}{\partial z} = \operatorname{softmax}(z) \sum_k q_k - q

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the rows.

    Notes
    -----
    `pred` is of shape (..., classes): the classes are the last axis. `target` is either integer
    labels of shape (...), or probabilities of the shape of `pred`, which should sum to 1.
    `weights` holds one number for each row. Logits of any finite size are safe.

    On NumPy a label outside [0, classes) or a negative probability is an error. On other
    libraries the check would have to wait for the device, and such a row gives NaN instead.

    Matches ``torch.nn.CrossEntropyLoss`` without its class weights, whose mean divides by weights
    too.

    References
    ----------
    C. M. Bishop, Pattern recognition and machine learning, 2006, section 4.3.4.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.SoftmaxCrossEntropy().gradient(np.zeros((1, 2)), np.asarray([1]))
    array([[ 0.5, -0.5]])
    """

    domain = Domain(0.0)
    rows = True

    def _check(self, pred: Array, target: Array) -> None:
        if not _arrays.is_integer(target):
            super()._check(pred, target)
            return
        if pred.ndim == 0 or pred.shape[-1] == 0:
            expected = "(..., classes > 0)"
            raise ValueError(_checks.mismatch("pred", "shape", tuple(pred.shape), expected))
        _checks.equal_shapes("target", target, pred, axes=slice(-1), what="labels")
        if _arrays.on_host(target):
            _checks.inside("target", target, Domain(0, pred.shape[-1] - 1))

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        shifted = pred - xp.max(pred, axis=-1, keepdims=True)
        powers = xp.exp(shifted)
        return shifted, powers, xp.sum(powers, axis=-1, keepdims=True), target

    def _numbers(self, xp: Namespace, pred: Array, target: Array) -> Array:
        # Probabilities; NaN where a number is not one.
        pred = _arrays.widened(pred)
        if not _arrays.is_integer(target):
            target = super()._numbers(xp, pred, target)
            return xp.where(target >= 0, target, _arrays.nan(pred))
        classes = _arrays.arange(pred.shape[-1], pred)
        labels = xp.astype(target, classes.dtype)[..., None]
        valid = (labels >= 0) & (labels < pred.shape[-1])
        return xp.where(valid, xp.astype(labels == classes, pred.dtype), _arrays.nan(pred))

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        shifted, _, total, q = shared
        terms = q * (xp.log(total) - shifted)
        return xp.sum(xp.where(q == 0, xp.zeros_like(q), terms), axis=-1)

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        _, powers, total, q = shared
        return powers / total * xp.sum(q, axis=-1, keepdims=True) - q


@dataclass(frozen=True)
class KLDivergence(SoftmaxCrossEntropy):
    r"""Kullback-Leibler divergence of the softmax of logits from target probabilities.

    .. math::
        l(z, q) = \sum_k q_k \Bigl(\log q_k + \log \sum_j e^{z_j} - z_k\Bigr), \qquad
        \frac{\partial l}{\partial z} = \operatorname{softmax}(z) \sum_k q_k - q

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the rows.

    Notes
    -----
    `pred` and `target` are of shape (..., classes), `weights` holds one number for each row.
    A probability of zero adds nothing. It is `SoftmaxCrossEntropy` less the entropy of the
    target, and has the same gradient. Matches ``torch.nn.KLDivLoss`` on a log-softmax, with
    ``reduction="batchmean"`` for our mean.

    References
    ----------
    S. Kullback, R. A. Leibler, On information and sufficiency, Annals of Mathematical
    Statistics 22, 79-86, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> q = np.asarray([[0.25, 0.75]])
    >>> float(fl.losses.KLDivergence()(np.log(q), q).round(12))
    0.0
    """

    def _check(self, pred: Array, target: Array) -> None:
        _checks.floating("target", target, complex_too=False)
        super()._check(pred, target)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        shifted, _, total, q = shared
        positive = xp.where(q == 0, xp.ones_like(q), q)
        terms = q * (xp.log(positive) + xp.log(total) - shifted)
        return xp.sum(xp.where(q == 0, xp.zeros_like(q), terms), axis=-1)
