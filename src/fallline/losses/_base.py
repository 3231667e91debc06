"""The base class of the losses: checks, weights and reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from .. import _arrays
from .._arrays import _checks, _settings
from .._arrays._types import Array, HostArray, Namespace

REDUCTIONS = ("mean", "sum", "none")


class Domain(NamedTuple):
    """The set of values that targets may have: an interval, or the numbers in `values`."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    values: tuple[float, ...] | None = None

    def __str__(self) -> str:
        """Return the set in mathematical notation."""
        if self.values is not None:
            return "{" + ", ".join(f"{x:g}" for x in self.values) + "}"
        left = "(" if self.open_low or math.isinf(self.low) else "["
        return f"{left}{self.low:g}, {self.high:g}{')' if math.isinf(self.high) else ']'}"

    def holds(self, x: Array) -> Array:
        """Return where the elements of a NumPy array are in the domain."""
        if self.values is not None:
            return sum(x == value for value in self.values) > 0
        return (x > self.low if self.open_low else x >= self.low) & (x <= self.high)


@dataclass(frozen=True)
class Loss:
    """Base of the losses.

    A loss is three functions of arrays: `_shared` computes the quantities that the value and
    the gradient share, `_value` and `_gradient` compute each from them, one term for each element
    or row. A fourth, `_curvature`, is defined where it is of use for Newton's method.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What the value is: the weighted mean of the terms, their weighted sum, or the weighted terms
        themselves. An integer weight counts like that many repeated rows.

    Attributes
    ----------
    domain : Domain
        The values that targets may have. They are checked on NumPy only, because on other
        libraries the check would synchronise with the device.
    complex_pred : bool
        Whether predictions may be complex.
    rows : bool
        Whether each term belongs to a row, an index of all axes but the last, instead of an
        element.
    averages : bool
        Whether ``reduction="mean"`` divides by the sum of the weights given.
    curved : bool
        Whether there is a `curvature`.
    """

    reduction: str = field(default="mean", kw_only=True)

    domain: ClassVar[Domain] = Domain()
    complex_pred: ClassVar[bool] = False
    rows: ClassVar[bool] = False
    averages: ClassVar[bool] = True
    curved: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the reduction."""
        _settings.settle(self)
        if self.reduction not in REDUCTIONS:
            raise _checks.unknown_name("reduction", str(self.reduction), REDUCTIONS)

    def __call__(self, pred: Array, target: Array, weights: Array = None) -> Array:
        """Return the value.

        Parameters
        ----------
        pred, target : array
            The prediction and what it should be, of one library and device.
        weights : array, optional
            Real and not negative: one for each term, or one for each index of the leading axes. A
            term of weight zero is left out: it adds 0 to the value and to the gradient, whatever
            `pred` and `target` contain there, even NaN or values outside the domain. Only class
            labels must be valid even there.

        Returns
        -------
        array
            0-d, or with ``reduction="none"`` one term for each element or row; real, in the
            precision of `pred` (float32 for half precision). With ``"mean"`` it is NaN where
            the weights sum to zero.

        Raises
        ------
        TypeError, ValueError
            If libraries, devices, dtypes or shapes do not fit.
        """
        return self._evaluate(pred, target, weights, value=True)[0]

    def gradient(self, pred: Array, target: Array, weights: Array = None) -> Array:
        """Return the gradient of the value, or of each term, in `pred`: an array like `pred`.

        For complex predictions it is dL/dRe + i dL/dIm. Parameters and errors are those of
        `__call__`.
        """
        return self._evaluate(pred, target, weights, gradient=True)[1]

    def value_and_gradient(
        self, pred: Array, target: Array, weights: Array = None
    ) -> tuple[Array, Array]:
        """Return the value and the gradient for little more than the cost of one of them.

        Parameters and errors are those of `__call__`.
        """
        return self._evaluate(pred, target, weights, value=True, gradient=True)

    def curvature(self, pred: Array, target: Array, weights: Array = None) -> Array:
        """Return the second derivative of the value, or of each term, in each element of `pred`.

        An array like `pred`, which is real. Parameters and errors are those of `__call__`; a loss
        that is not `curved` raises TypeError.
        """
        if not self.curved or _arrays.is_complex(pred):
            of = " of complex predictions" if self.curved else ""
            msg = f"loss: {self!r}{of} has no curvature, which Newton's method needs"
            raise TypeError(msg)
        return self._evaluate(pred, target, weights, curvature=True)[1]

    # -- what a loss defines --------------------------------------------------------------------

    def _check(self, pred: Array, target: Array) -> None:
        """Check shapes and dtypes."""
        _checks.equal_shapes("target", target, pred)
        if self.rows and (pred.ndim == 0 or pred.shape[-1] == 0):
            raise ValueError(_checks.mismatch("pred", "shape", tuple(pred.shape), "(..., n > 0)"))
        if _arrays.is_complex(target) and not self._complex_target(pred):
            msg = _checks.mismatch("target", "dtype", _arrays.dtype_name(target), "real")
            raise TypeError(msg)

    def _complex_target(self, pred: Array) -> bool:
        """Tell whether the target may be complex."""
        return False

    def _numbers(self, xp: Namespace, pred: Array, target: Array) -> Array:
        """Return the target in the precision of `pred`."""
        dtype = pred.dtype if _arrays.is_complex(target) else _arrays.compute_dtype(pred)
        return xp.astype(target, dtype, copy=False)

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        """Return the quantities that the value and the gradient share."""
        raise NotImplementedError

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        """Return the terms."""
        raise NotImplementedError

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        """Return the gradient of each element's term."""
        raise NotImplementedError

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        """Return the second derivative of each element's term."""
        raise NotImplementedError

    # -- the rest -------------------------------------------------------------------------------

    def _evaluate(
        self,
        pred: Array,
        target: Array,
        weights: Array,
        *,
        value: bool = False,
        gradient: bool = False,
        curvature: bool = False,
    ) -> tuple[Array, Array]:
        pred, target = _arrays.unscalar(pred), _arrays.unscalar(target)
        _checks.floating("pred", pred, complex_too=self.complex_pred)
        _checks.same_kind("target", pred, target)
        xp = _arrays.namespace(pred)
        with _arrays.guard(pred)():
            weights, total = self._weights(xp, pred, weights)
            self._check_target(pred, target, weights)
            numbers = self._numbers(xp, pred, target)
            shared = self._shared(xp, _arrays.widened(pred), numbers)
            v = self._reduced(xp, self._value(xp, *shared), weights, total) if value else None
            g = None
            if gradient or curvature:
                g = (self._curvature if curvature else self._gradient)(xp, *shared)
                g = g if weights is None else _weighted(xp, g, weights)
                g = _arrays.cast(g if total is None else g / total, pred)
        return v, g

    def _check_target(self, pred: Array, target: Array, weights: Array) -> None:
        # Check that a target fits a prediction, whose numbers do not matter. On the host its values
        # are checked too, but for terms without weight.
        self._check(pred, target)
        if _arrays.on_host(target):
            self._check_values("target", target, weights)

    def _check_values(self, place: str, target: HostArray, weights: HostArray | None) -> None:
        if self.domain != Domain():
            unused = weights is not None and _beside(np, weights, target.ndim) == 0
            _checks.inside(place, target, self.domain, unused)

    def _weights(self, xp: Namespace, pred: Array, weights: Array) -> tuple[Array, Array]:
        # The weights, and what a mean divides by.
        shape = tuple(pred.shape[:-1] if self.rows else pred.shape)
        mean = self.reduction == "mean"
        if weights is None:
            return None, math.prod(shape) if mean else None
        weights = _arrays.unscalar(weights)
        _checks.same_kind("weights", pred, weights)
        if _arrays.is_complex(weights):
            raise TypeError(_checks.mismatch("weights", "dtype", weights.dtype, "real"))
        if tuple(weights.shape) != shape[: weights.ndim]:
            expected = f"{shape} or its leading part"
            raise ValueError(_checks.mismatch("weights", "shape", tuple(weights.shape), expected))
        if _arrays.on_host(weights):
            _checks.not_negative("weights", weights)
        weights = xp.astype(weights, _arrays.compute_dtype(pred))
        each = math.prod(shape[weights.ndim :])
        return weights, xp.sum(weights) * each if mean else None

    def _reduced(self, xp: Namespace, terms: Array, weights: Array, total: Array) -> Array:
        if weights is not None:
            terms = _weighted(xp, terms, weights)
        if self.reduction != "none":
            terms = xp.sum(terms)
        return _arrays.unscalar(terms if total is None else terms / total)


def _weighted(xp: Namespace, terms: Array, weights: Array) -> Array:
    # Terms without weight are left out, because zero times NaN is NaN.
    weights = _beside(xp, weights, terms.ndim)
    return xp.where(weights == 0, xp.zeros_like(terms), terms * weights)


def _beside(xp: Namespace, weights: Array, ndim: int) -> Array:
    # Weights of the leading axes, with the missing axes added.
    return xp.reshape(weights, weights.shape + (1,) * (ndim - weights.ndim))
