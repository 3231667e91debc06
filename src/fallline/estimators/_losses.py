"""The losses of the estimators: by name, averaged over rows, and smoothed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .. import losses
from .._arrays import _checks
from .._arrays._types import Array, Namespace
from ..losses import AbsoluteError, Hinge, Loss, Quantile

ROUNDED = 1e-5  # by this fraction the last objective with rounded kinks is too low, at most
MARGIN = 1e-4  # the narrowest kink of a hinge, whose margin is 1 in every unit
CLEAR = 64  # times what of a prediction is rounding are the narrowest kinks
EXACT = 1e-8  # of the first objective; what is left below it is as good as an exact fit


def found(loss: str | Loss, known: Mapping[str, type[Loss]]) -> Loss:
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
    return loss


@dataclass(frozen=True)
class PerRow(Loss):
    """The sum of a loss over rows and outputs, divided by the number of rows.

    Several outputs are then as many fits side by side, and mini-batches keep their share where
    weights, of mean 1 over all rows, are unequal between them.
    """

    loss: Loss = field(kw_only=True)

    averages: ClassVar[bool] = False

    def value_and_gradient(
        self, pred: Array, target: Array, weights: Array = None
    ) -> tuple[Array, Array]:
        """Return both."""
        total = replace(self.loss, reduction="sum")
        value, gradient = total.value_and_gradient(pred, target, weights)
        return value / pred.shape[0], gradient / pred.shape[0]

    @property
    def curved(self) -> bool:  # type: ignore[override]
        """Whether there is a `curvature`."""
        return self.loss.curved

    def curvature(self, pred: Array, target: Array, weights: Array = None) -> Array:
        """Return the second derivatives."""
        total = replace(self.loss, reduction="sum")
        return total.curvature(pred, target, weights) / pred.shape[0]


@dataclass(frozen=True)
class Rounded(Loss):
    r"""A piecewise linear loss whose kink is a parabola, as wide on either side of it.

    .. math::
        l_\mu(e) = \max_{a \le g \le b} \left(g e - \frac{\mu}{2} (g - c)^2\right),
        \qquad c = \frac{a + b}{2}

    below :math:`l(e) = \max(a e, b e)` by no more than :math:`\mu (b - a)^2 / 8`. Rows at the kink,
    through which a fit passes, are as often above it as below.

    References
    ----------
    Y. Nesterov, Smooth minimization of non-smooth functions, Mathematical Programming 103,
    127-152, 2005, doi:10.1007/s10107-004-0552-5.
    """

    loss: Loss = field(kw_only=True)
    width: float = field(kw_only=True)

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        low, high = _slopes(self.loss)
        a_hinge = isinstance(self.loss, Hinge)
        error, sign = (1 - target * pred, -target) if a_hinge else (pred - target, 1)
        middle = (low + high) / 2
        slope = error / self.width + middle
        slope = xp.where(slope < low, low + 0 * slope, slope)
        return error, xp.where(slope > high, high + 0 * slope, slope), sign, middle

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        error, slope, _, middle = shared
        return slope * error - self.width / 2 * (slope - middle) ** 2

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        _, slope, sign, _ = shared
        return slope * sign


def is_kinked(loss: Loss) -> bool:
    """Tell whether a loss is piecewise linear."""
    return type(loss) in (AbsoluteError, Quantile, Hinge)


def _slopes(loss: Loss) -> tuple[float, float]:
    # On either side of the kink.
    if isinstance(loss, Quantile):
        return -loss.quantile, 1 - loss.quantile
    return (0.0, 1.0) if isinstance(loss, Hinge) else (-1.0, 1.0)


def stages(loss: Loss, standing: Callable[[], tuple[float, float]], outputs: int) -> Iterator[Loss]:
    """Yield what a solver for smooth objectives minimizes one after the other.

    Parameters
    ----------
    loss : Loss
        Of the estimator.
    standing : callable
        Returns the objective as it is now, and what of a prediction is rounding.
    outputs : int
        Over so many the loss is summed.
    """
    if not is_kinked(loss):
        yield loss
        return
    low, high = _slopes(loss)
    floor = MARGIN if isinstance(loss, Hinge) else 0.0
    now, rounding = standing()
    first = now or 1.0
    width, least, exact = 10 * first / outputs, 0.0, False
    while width > least and not exact:
        least = max(8 * ROUNDED * now / outputs / (high - low) ** 2, CLEAR * rounding, floor)
        width = max(0.1 * width, least)
        yield Rounded(loss=loss, width=width)
        now, rounding = standing()
        exact = now <= max(EXACT * first, rounding * outputs)


CLASSIFICATION: dict[str, type[Loss]] = {
    "log_loss": losses.BinaryCrossEntropy,
    "hinge": losses.Hinge,
    "squared_hinge": losses.SquaredHinge,
    "modified_huber": losses.ModifiedHuber,
}
LOGISTIC = {**CLASSIFICATION, "softmax": losses.SoftmaxCrossEntropy}  # as an object only


def classification(loss: str | Loss) -> Loss:
    """Return the loss of a classifier; either cross-entropy is for any number of classes."""
    one = found(loss, CLASSIFICATION if isinstance(loss, str) else LOGISTIC)
    return losses.BinaryCrossEntropy() if isinstance(one, losses.SoftmaxCrossEntropy) else one
