"""The losses of the estimators: by name, averaged over rows, and smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import _arrays
from .._arrays import _checks
from ..losses import AbsoluteError, Hinge, Loss, Quantile

WIDTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # of the rounded kinks, in the scale of the errors


def found(loss: Any, known: Mapping[str, type[Loss]]) -> Loss:
    """Return the loss of a name, or a loss as it is, if it is one of those known."""
    if isinstance(loss, str):
        if loss not in known:
            raise _checks.unknown_name("loss", loss, known)
        return known[loss]()
    if type(loss) not in known.values():
        names = ", ".join(sorted({kind.__name__ for kind in known.values()}))
        msg = f"loss: is {loss!r}, expected one of {', '.join(sorted(known))}, or of {names}"
        raise TypeError(msg)
    if loss.reduction != "mean":
        raise ValueError(_checks.mismatch("loss", "reduction", loss.reduction, "mean"))
    return loss  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PerRow(Loss):
    """The sum of a loss over rows and outputs, divided by the number of rows.

    Several outputs are then as many fits side by side, and mini-batches keep their share where
    weights, of mean 1 over all rows, are unequal between them.
    """

    loss: Any = None

    averages: ClassVar[bool] = False

    def value_and_gradient(self, pred: Any, target: Any, weights: Any = None) -> tuple[Any, Any]:
        """Return both."""
        total = replace(self.loss, reduction="sum")
        value, gradient = total.value_and_gradient(pred, target, weights)
        return value / pred.shape[0], gradient / pred.shape[0]


@dataclass(frozen=True)
class Rounded(Loss):
    r"""A piecewise linear loss whose kink is a parabola.

    .. math:: l_\mu(e) = \max_{a \le g \le b} \left(g e - \mu g^2 / 2\right)

    below :math:`l(e) = \max(a e, b e)` by no more than :math:`\mu \max(a^2, b^2) / 2`.

    References
    ----------
    Y. Nesterov, Smooth minimization of non-smooth functions, Mathematical Programming 103,
    127-152, 2005, doi:10.1007/s10107-004-0552-5.
    """

    loss: Any = None
    width: float = 1.0

    def _shared(self, xp: Any, pred: Any, target: Any) -> tuple[Any, ...]:
        low, high, sign = -1.0, 1.0, 1
        error = pred - target
        if isinstance(self.loss, Quantile):
            low, high = -self.loss.quantile, 1 - self.loss.quantile
        elif isinstance(self.loss, Hinge):
            low, high, sign = 0.0, 1.0, -target
            error = 1 - target * pred
        slope = error / self.width
        slope = xp.where(slope < low, low + 0 * slope, slope)
        return error, xp.where(slope > high, high + 0 * slope, slope), sign

    def _value(self, xp: Any, *shared: Any) -> Any:
        error, slope, _ = shared
        return slope * error - self.width / 2 * slope * slope

    def _gradient(self, xp: Any, *shared: Any) -> Any:
        _, slope, sign = shared
        return slope * sign


def stages(loss: Loss, scale: float) -> list[Loss]:
    """Return what a solver for smooth objectives minimizes one after the other."""
    if type(loss) not in (AbsoluteError, Quantile, Hinge):
        return [loss]
    return [Rounded(loss=loss, width=scale * width) for width in WIDTHS]


def mean_size(x: Any, weights: Any) -> float:
    """Return the weighted mean magnitude of an array, 1 if it is 0: a read from the device."""
    xp = _arrays.namespace(x)
    sizes = xp.abs(x) if weights is None else xp.abs(x) * weights
    return _arrays.to_float(xp.mean(sizes)) or 1.0
