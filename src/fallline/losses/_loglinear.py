"""Losses of positive quantities whose logarithm is predicted."""

from __future__ import annotations

from dataclasses import dataclass

from .._arrays._types import Array, Namespace
from ._base import Domain, Loss


@dataclass(frozen=True)
class Poisson(Loss):
    r"""Negative log-likelihood of counts whose expected value is the exponential of `pred`.

    .. math:: l(z, y) = e^z - y z, \qquad \frac{\partial l}{\partial z} = e^z - y

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    Terms without z are left out. Targets are not negative; they need not be integers. The value
    overflows to infinity where the expected value does. Matches ``torch.nn.PoissonNLLLoss`` and
    scikit-learn's ``HalfPoissonLoss``; half the deviance up to terms without z.

    References
    ----------
    P. McCullagh, J. A. Nelder, Generalized linear models, 2nd edition, 1989, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.Poisson().gradient(np.zeros(1), np.asarray([3]))
    array([-2.])
    """

    domain = Domain(0.0)
    curved = True

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return pred, target, xp.exp(pred)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        pred, target, mean = shared
        return mean - target * pred

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        _, target, mean = shared
        return mean - target

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        *_, mean = shared
        return mean


@dataclass(frozen=True)
class Gamma(Loss):
    r"""Negative log-likelihood of positive numbers whose expected value is exp(`pred`).

    .. math:: l(z, y) = z + y e^{-z}, \qquad \frac{\partial l}{\partial z} = 1 - y e^{-z}

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    For a gamma distribution of any shape, up to a factor and terms without z. Targets are
    positive. Matches scikit-learn's ``HalfGammaLoss``; half the deviance up to terms without z.

    References
    ----------
    P. McCullagh, J. A. Nelder, Generalized linear models, 2nd edition, 1989, chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.Gamma().gradient(np.zeros(1), np.asarray([3.0]))
    array([-2.])
    """

    domain = Domain(0.0, open_low=True)
    curved = True

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return pred, target * xp.exp(-pred)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        pred, ratio = shared
        return pred + ratio

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        _, ratio = shared
        return 1 - ratio

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        _, ratio = shared
        return ratio
