"""Squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import _arrays
from ._base import Loss


@dataclass(frozen=True)
class SquaredError(Loss):
    r"""Squared error, without a factor 1/2; real or complex.

    .. math:: l(z, y) = |z - y|^2, \qquad \frac{\partial l}{\partial z} = 2 (z - y)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Of the elements; the mean is over all of them.

    Notes
    -----
    `pred` and `target` have equal shapes; nothing is broadcast. As keras's and optax's
    ``squared_error``; scikit-learn's ``HalfSquaredError`` and optax's ``l2_loss`` are half of it.

    References
    ----------
    C. F. Gauss, Theoria motus corporum coelestium, 1809, section 179.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.SquaredError().value_and_gradient(np.asarray([1.0, 3.0]), np.zeros(2))
    (array(5.), array([1., 3.]))
    """

    def _shared(self, xp: Any, pred: Any, target: Any) -> tuple[Any, ...]:
        return (pred - _arrays.cast(target, pred),)

    def _value(self, xp: Any, *shared: Any) -> Any:
        (error,) = shared
        return _arrays.abs2(error)

    def _gradient(self, xp: Any, *shared: Any) -> Any:
        (error,) = shared
        return 2 * error
