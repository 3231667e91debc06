"""Losses of the difference between prediction and target."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace
from ._base import Loss


@dataclass(frozen=True)
class SquaredError(Loss):
    r"""Squared error, without a factor 1/2; real or complex.

    .. math:: l(z, y) = |z - y|^2, \qquad \frac{\partial l}{\partial z} = 2 (z - y)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over all elements.

    Notes
    -----
    `pred` and `target` have equal shapes; they are not broadcast. Matches keras's and optax's
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

    complex_pred = True
    curved = True

    def _complex_target(self, pred: Array) -> bool:
        return _arrays.is_complex(pred)

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return (pred - target,)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        (error,) = shared
        return _arrays.abs2(error)

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        (error,) = shared
        return 2 * error

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        (error,) = shared
        return xp.full_like(error, 2)


@dataclass(frozen=True)
class AbsoluteError(Loss):
    r"""Absolute error.

    .. math:: l(z, y) = |z - y|, \qquad \frac{\partial l}{\partial z} = \operatorname{sign}(z - y)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    The gradient at the kink, z = y, is 0. Matches ``torch.nn.L1Loss`` and scikit-learn's
    ``AbsoluteError``, whose gradient at the kink is -1.

    References
    ----------
    P. S. Laplace, Mémoire sur la probabilité des causes par les évènements, 1774.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.AbsoluteError().gradient(np.asarray([2.0, 0.0]), np.zeros(2))
    array([0.5, 0. ])
    """

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return (pred - target,)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        return xp.abs(*shared)

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        return xp.sign(*shared)


@dataclass(frozen=True)
class Huber(Loss):
    r"""Huber's loss: squared near the target, linear far from it.

    .. math::
        l(z, y) = \begin{cases} (z - y)^2 / 2 & |z - y| \le \delta \\
            \delta\, (|z - y| - \delta / 2) & \text{else} \end{cases}, \qquad
        \frac{\partial l}{\partial z} = \max(-\delta, \min(\delta, z - y))

    Parameters
    ----------
    delta : float, default 1.0
        The difference at which the loss becomes linear, in units of the target; > 0.
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    Matches torch's, optax's, keras's and scikit-learn's: all have the factor 1/2.

    References
    ----------
    P. J. Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35,
    73-101, 1964, doi:10.1214/aoms/1177703732.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.Huber(2.0, reduction="none")(np.asarray([1.0, 3.0]), np.zeros(2))
    array([0.5, 4. ])
    """

    delta: float = 1.0
    curved = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        _checks.positive("Huber(delta=)", self.delta)

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        error = pred - target
        size = xp.abs(error)
        return error, size, size <= self.delta

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        error, size, near = shared
        return xp.where(near, error * error / 2, self.delta * (size - self.delta / 2))

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        error, _, near = shared
        return xp.where(near, error, self.delta * xp.sign(error))

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        error, _, near = shared
        return xp.astype(near, error.dtype)


@dataclass(frozen=True)
class Quantile(Loss):
    r"""Pinball loss, whose minimizer is a quantile of the target.

    .. math::
        l(z, y) = \begin{cases} q\, (y - z) & y \ge z \\ (1 - q) (z - y) & y < z \end{cases},
        \qquad \frac{\partial l}{\partial z} = \begin{cases} -q & y > z \\ 1 - q & y < z
        \end{cases}

    Parameters
    ----------
    quantile : float, default 0.5
        :math:`q` in (0, 1).
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    The gradient at the kink, z = y, is 0; scikit-learn's ``PinballLoss`` has -q there. With the
    default it is half of `AbsoluteError`.

    References
    ----------
    R. Koenker, G. Bassett, Regression quantiles, Econometrica 46, 33-50, 1978,
    doi:10.2307/1913643.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.Quantile(0.75, reduction="none")(np.asarray([0.0, 2.0]), np.ones(2))
    array([0.75, 0.25])
    """

    quantile: float = 0.5

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        _checks.positive("Quantile(quantile=)", self.quantile, below=1.0)

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        error = pred - target
        sign = xp.sign(error)
        return error, sign / 2 + (0.5 - self.quantile) * xp.abs(sign)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        error, slope = shared
        return error * slope

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        return shared[1]
