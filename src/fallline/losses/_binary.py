"""Losses for two classes."""

from __future__ import annotations

from dataclasses import dataclass

from .._arrays._types import Array, Namespace
from ._base import Domain, Loss


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    r"""Cross-entropy between target probabilities and the logistic function of logits.

    .. math::
        l(z, y) = \log(1 + e^z) - y z, \qquad
        \frac{\partial l}{\partial z} = \frac{1}{1 + e^{-z}} - y

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    Targets are in [0, 1]: classes 0 and 1, or probabilities. Logits of any finite size are safe.
    Matches ``torch.nn.BCEWithLogitsLoss`` and scikit-learn's ``HalfBinomialLoss``.

    References
    ----------
    C. M. Bishop, Pattern recognition and machine learning, 2006, section 4.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.BinaryCrossEntropy().gradient(np.zeros(2), np.asarray([0, 1]))
    array([ 0.25, -0.25])
    """

    domain = Domain(0.0, 1.0)
    curved = True

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return pred, target, xp.exp(-xp.abs(pred))

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        pred, target, power = shared
        return _ramp(xp, pred) - target * pred + xp.log1p(power)

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        # Without cancellation where the logistic function is close to 1.
        pred, y, power = shared
        return xp.where(pred > 0, (1 - y) - y * power, (1 - y) * power - y) / (1 + power)

    def _curvature(self, xp: Namespace, *shared: Array) -> Array:
        *_, power = shared
        return power / (1 + power) ** 2


@dataclass(frozen=True)
class Hinge(Loss):
    r"""Hinge loss of classes -1 and 1.

    .. math::
        l(z, y) = \max(0, 1 - y z), \qquad
        \frac{\partial l}{\partial z} = \begin{cases} -y & y z < 1 \\ 0 & \text{else} \end{cases}

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    The gradient at the kink, y z = 1, is 0. Matches scikit-learn's ``SGDClassifier(loss="hinge")``.

    References
    ----------
    C. Cortes, V. Vapnik, Support-vector networks, Machine Learning 20, 273-297, 1995,
    doi:10.1007/BF00994018.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.Hinge(reduction="none")(np.asarray([0.5, 2.0]), np.asarray([1, 1]))
    array([0.5, 0. ])
    """

    domain = Domain(values=(-1.0, 1.0))

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return target, _ramp(xp, 1 - target * pred)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        _, short = shared
        return short

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        target, short = shared
        return -target * xp.sign(short)


@dataclass(frozen=True)
class SquaredHinge(Hinge):
    r"""Squared hinge loss of classes -1 and 1.

    .. math::
        l(z, y) = \max(0, 1 - y z)^2, \qquad
        \frac{\partial l}{\partial z} = -2 y \max(0, 1 - y z)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    Matches scikit-learn's ``SGDClassifier(loss="squared_hinge")`` and ``LinearSVC``.

    References
    ----------
    R.-E. Fan et al., LIBLINEAR: a library for large linear classification, JMLR 9, 1871-1874,
    2008.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.SquaredHinge(reduction="none")(np.asarray([0.5, 2.0]), np.asarray([1, 1]))
    array([0.25, 0.  ])
    """

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        _, short = shared
        return short * short

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        target, short = shared
        return -2 * target * short


@dataclass(frozen=True)
class ModifiedHuber(Loss):
    r"""Squared hinge loss that is linear for grossly wrong predictions; classes -1 and 1.

    .. math::
        l(z, y) = \begin{cases} \max(0, 1 - y z)^2 & y z \ge -1 \\ -4 y z & \text{else}
        \end{cases}, \qquad
        \frac{\partial l}{\partial z} = \begin{cases} -2 y \max(0, 1 - y z) & y z \ge -1 \\
        -4 y & \text{else} \end{cases}

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    Matches scikit-learn's ``SGDClassifier(loss="modified_huber")``.

    References
    ----------
    T. Zhang, Solving large scale linear prediction problems using stochastic gradient descent
    algorithms, ICML 2004, doi:10.1145/1015330.1015332.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.ModifiedHuber(reduction="none")(np.asarray([0.0, -3.0]), np.asarray([1, 1]))
    array([ 1., 12.])
    """

    domain = Domain(values=(-1.0, 1.0))

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        margin = target * pred
        return target, margin, _ramp(xp, 1 - margin)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        _, margin, short = shared
        return xp.where(margin < -1, -4 * margin, short * short)

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        target, margin, short = shared
        return target * xp.where(margin < -1, xp.full_like(short, -4), -2 * short)


def _ramp(xp: Namespace, x: Array) -> Array:
    # max(x, 0); NaN stays NaN.
    return xp.where(x <= 0, xp.zeros_like(x), x)
