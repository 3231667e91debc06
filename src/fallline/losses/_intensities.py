"""Losses of complex waves whose intensities are measured."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace
from ._base import Domain, Loss


@dataclass(frozen=True)
class AmplitudeError(Loss):
    r"""Half the squared error of the amplitude of a wave, given its intensity.

    .. math::
        l(z, I) = \tfrac12 \bigl(|z| - \sqrt{I}\bigr)^2, \qquad
        \frac{\partial l}{\partial \operatorname{Re} z}
            + i \frac{\partial l}{\partial \operatorname{Im} z}
            = \bigl(|z| - \sqrt{I}\bigr) \frac{z}{|z|}

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    `pred` is a complex (or real) wave, `target` its measured intensity, real and not negative.
    The gradient at z = 0, where there is no direction, is 0. Square roots of counts have nearly
    constant variance, which makes this the usual loss of ptychography and phase retrieval. One
    gradient step of size 1 is a projection onto the measured amplitudes.

    References
    ----------
    J. R. Fienup, Phase retrieval algorithms: a comparison, Applied Optics 21, 2758-2769, 1982,
    doi:10.1364/AO.21.002758.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.AmplitudeError().gradient(np.asarray([3 + 4j]), np.asarray([0.0]))
    array([3.+4.j])
    """

    domain = Domain(0.0)
    complex_pred = True

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        size = xp.abs(pred)
        return pred, size, size - xp.sqrt(target)

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        *_, error = shared
        return error * error / 2

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        pred, size, error = shared
        zero = size == 0
        safe = xp.where(zero, xp.ones_like(size), size)
        return pred * xp.where(zero, xp.zeros_like(size), error / safe)


@dataclass(frozen=True)
class PoissonIntensity(Loss):
    r"""Negative log-likelihood of counts whose expected value is the intensity of a wave.

    .. math::
        l(z, I) = \mu - I \log \mu, \quad \mu = |z|^2 + b, \qquad
        \frac{\partial l}{\partial \operatorname{Re} z}
            + i \frac{\partial l}{\partial \operatorname{Im} z} = 2 z \, (1 - I / \mu)

    Parameters
    ----------
    background : float, default 0
        :math:`b \ge 0`, expected counts where the wave is dark, in the unit of the target.
    reduction : {"mean", "sum", "none"}
        Reduction over the elements.

    Notes
    -----
    `pred` is a complex (or real) wave, `target` holds counts, not negative. Terms without z are
    left out. Where :math:`\mu = 0` the value is 0 for I = 0 and infinite else, and the gradient
    is 0. A positive background keeps it finite.

    References
    ----------
    P. Thibault, M. Guizar-Sicairos, Maximum-likelihood refinement for coherent diffractive
    imaging, New Journal of Physics 14, 063004, 2012, doi:10.1088/1367-2630/14/6/063004.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fl.losses.PoissonIntensity().gradient(np.asarray([2 + 0j]), np.asarray([2]))
    array([2.+0.j])
    """

    background: float = 0.0

    domain = Domain(0.0)
    complex_pred = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        _checks.number("PoissonIntensity(background=)", self.background, 0.0, float("inf"))

    def _shared(self, xp: Namespace, pred: Array, target: Array) -> tuple[Array, ...]:
        return pred, target, _arrays.abs2(pred) + self.background

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        _, target, mean = shared
        logs = xp.log(xp.where(target == 0, xp.ones_like(mean), mean))
        return mean - target * logs

    def _gradient(self, xp: Namespace, *shared: Array) -> Array:
        pred, target, mean = shared
        zero = mean == 0
        factor = 2 - 2 * target / xp.where(zero, xp.ones_like(mean), mean)
        return pred * xp.where(zero, xp.zeros_like(factor), factor)
