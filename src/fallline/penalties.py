"""Penalties: functions of an array that are added to an objective.

All are zero at zero and take a complex number by its magnitude. They work on the array's own
device, write nothing, and read nothing to the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from . import _arrays
from ._arrays import _checks
from ._arrays._pairs import Pair, abs2, on_parts

__all__ = ["L1", "L2", "ElasticNet", "GroupL1", "TotalVariation"]


@dataclass(frozen=True)
class Penalty:
    """Base of the penalties.

    Attributes
    ----------
    smooth : bool
        Whether there is a gradient everywhere.
    separable : bool
        Whether the value is a sum over elements, and `prox` acts on each by itself: by
        `formula`, which fuses into the program of a rule.
    """

    smooth: ClassVar[bool] = False
    separable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the weight."""
        _checks.number("alpha", getattr(self, "alpha", 0.0), 0.0, math.inf)

    def value(self, x: Any) -> Any:
        """Return the penalty of an array.

        Parameters
        ----------
        x : array
            Of any shape, real or complex.

        Returns
        -------
        array
            0-d and real, in the precision of `x` (float32 for half precision).
        """
        x = _arrays.widened(x)
        return _arrays.unscalar(self._value(_arrays.namespace(x), x))

    def gradient(self, x: Any) -> Any:
        """Return the gradient at an array, dP/dRe + i dP/dIm.

        Parameters
        ----------
        x : array
            Of any shape, real or complex.

        Returns
        -------
        array
            Like `x`.

        Raises
        ------
        TypeError
            If the penalty is not smooth; it has `prox` then.
        """
        if not self.smooth:
            msg = f"{self!r} is not smooth: it has no gradient at zero; use prox"
            raise TypeError(msg)
        wide = _arrays.widened(x)
        return _arrays.cast(self._gradient(_arrays.namespace(x), wide), x)

    def prox(self, x: Any, step: float) -> Any:
        """Return the proximal point: the y of least ``step * value(y) + 1/2 ||y - x||**2``.

        Parameters
        ----------
        x : array
            Of any shape, real or complex.
        step : float
            The step length, 0 or more.

        Returns
        -------
        array
            Like `x`.

        Raises
        ------
        TypeError
            If it has no closed form; there is `gradient` then.
        """
        if self.separable:
            numbers = SimpleNamespace(**self.numbers(SimpleNamespace(**self.weights()), step))
            return on_parts(lambda xp, x: self.formula(xp, numbers, x), x)
        wide = _arrays.widened(x)
        return _arrays.cast(self._prox(_arrays.namespace(x), wide, step), x)

    def weights(self) -> dict[str, float]:
        """Return the weights of a separable penalty by name."""
        raise NotImplementedError

    def numbers(self, w: Any, t: Any) -> dict[str, Any]:
        """Return what `formula` needs at a step length `t`, a number or one for each element."""
        raise NotImplementedError

    def formula(self, xp: Any, n: Any, x: Any) -> Any:
        """Return the proximal point of a separable penalty, element by element."""
        raise NotImplementedError

    def _value(self, xp: Any, x: Any) -> Any:
        raise NotImplementedError

    def _gradient(self, xp: Any, x: Any) -> Any:
        raise NotImplementedError

    def _prox(self, xp: Any, x: Any, step: float) -> Any:
        msg = f"{self!r} has no proximal point in closed form; use gradient"
        raise TypeError(msg)


@dataclass(frozen=True)
class L1(Penalty):
    """Sum of magnitudes, which makes elements exactly zero.

    ``alpha * sum(|x|)``.

    Parameters
    ----------
    alpha : float
        Weight, 0 or more.
    """

    alpha: float

    def _value(self, xp: Any, x: Any) -> Any:
        return self.alpha * xp.sum(xp.abs(x))

    def weights(self) -> dict[str, float]:
        return {"l1": self.alpha}

    def numbers(self, w: Any, t: Any) -> dict[str, Any]:
        return {"threshold": w.l1 * t}

    def formula(self, xp: Any, n: Any, x: Any) -> Any:
        return _shrunk(xp, x, n.threshold)


@dataclass(frozen=True)
class L2(Penalty):
    """Half the sum of squares.

    ``alpha / 2 * sum(|x|**2)``.

    Parameters
    ----------
    alpha : float
        Weight, 0 or more.
    """

    alpha: float
    smooth: ClassVar[bool] = True

    def _value(self, xp: Any, x: Any) -> Any:
        return self.alpha / 2 * xp.sum(_arrays.abs2(x))

    def _gradient(self, xp: Any, x: Any) -> Any:
        return self.alpha * x

    def weights(self) -> dict[str, float]:
        return {"l2": self.alpha}

    def numbers(self, w: Any, t: Any) -> dict[str, Any]:
        return {"divisor": 1 + w.l2 * t}

    def formula(self, xp: Any, n: Any, x: Any) -> Any:
        return x / n.divisor


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """Mixture of L1 and L2, weighted as in scikit-learn.

    ``alpha * l1_ratio * sum(|x|) + alpha * (1 - l1_ratio) / 2 * sum(|x|**2)``.

    Parameters
    ----------
    alpha : float
        Weight, 0 or more.
    l1_ratio : float
        Share of L1, in [0, 1].
    """

    alpha: float
    l1_ratio: float = 0.5

    def __post_init__(self) -> None:
        """Check the weights."""
        super().__post_init__()
        _checks.number("l1_ratio", self.l1_ratio, 0.0, 1.0)

    def _parts(self) -> tuple[L1, L2]:
        return L1(self.alpha * self.l1_ratio), L2(self.alpha * (1 - self.l1_ratio))

    def _value(self, xp: Any, x: Any) -> Any:
        l1, l2 = self._parts()
        return l1._value(xp, x) + l2._value(xp, x)

    def weights(self) -> dict[str, float]:
        l1, l2 = self._parts()
        return {**l1.weights(), **l2.weights()}

    def numbers(self, w: Any, t: Any) -> dict[str, Any]:
        l1, l2 = self._parts()
        return {**l1.numbers(w, t), **l2.numbers(w, t)}

    def formula(self, xp: Any, n: Any, x: Any) -> Any:
        l1, l2 = self._parts()
        return l2.formula(xp, n, l1.formula(xp, n, x))


@dataclass(frozen=True)
class GroupL1(Penalty):
    """Sum of the norms of groups, which makes whole groups zero.

    ``alpha * sum(sqrt(sum(|x|**2, axis)))``; a group is what lies along `axis`.

    Parameters
    ----------
    alpha : float
        Weight, 0 or more.
    axis : int or tuple of int
        The axes of a group. For weights of shape (features, outputs), -1 selects features.
    """

    alpha: float
    axis: int | tuple[int, ...] = -1
    separable: ClassVar[bool] = False

    def _norms(self, xp: Any, x: Any, *, keepdims: bool) -> Any:
        return xp.sqrt(xp.sum(_arrays.abs2(x), axis=self.axis, keepdims=keepdims))

    def _value(self, xp: Any, x: Any) -> Any:
        return self.alpha * xp.sum(self._norms(xp, x, keepdims=False))

    def _prox(self, xp: Any, x: Any, step: float) -> Any:
        norms = self._norms(xp, x, keepdims=True)
        return x * _kept(xp, norms, step * self.alpha)


@dataclass(frozen=True)
class TotalVariation(Penalty):
    """Smoothed isotropic total variation: small for images that are flat but for their edges.

    ``alpha * sum(sqrt(sum_d |D_d x|**2 + eps**2) - eps)``, where ``D_d x`` are differences to the
    next element along an axis, zero at the end.

    Parameters
    ----------
    alpha : float
        Weight, 0 or more.
    eps : float
        Differences much smaller than this are penalised by their square: in units of `x`,
        greater than 0.
    axes : tuple of int, optional
        The axes to take differences along; all of them by default.

    References
    ----------
    Rudin, Osher and Fatemi (1992), Physica D 60, 259; the smoothing is Vogel and Oman's (1996),
    SIAM J. Sci. Comput. 17, 227.
    """

    alpha: float
    eps: float = 1e-3
    axes: tuple[int, ...] | None = None
    smooth: ClassVar[bool] = True
    separable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the smoothing."""
        super().__post_init__()
        _checks.positive("eps", self.eps)

    def _differences(self, xp: Any, x: Any) -> tuple[tuple[int, ...], list[Any], Any]:
        axes = tuple(range(x.ndim)) if self.axes is None else self.axes
        axes = tuple(axis % x.ndim for axis in axes)
        steps = []
        total = self.eps**2 + 0 * _arrays.abs2(x)
        for axis in axes:
            step = x[_slice(axis, 1, None)] - x[_slice(axis, None, -1)]
            last = 0 * x[_slice(axis, -1, None)]
            step = xp.concat([step, last], axis=axis)
            steps.append(step)
            total = total + _arrays.abs2(step)
        return axes, steps, xp.sqrt(total)

    def _value(self, xp: Any, x: Any) -> Any:
        _, _, root = self._differences(xp, x)
        return self.alpha * xp.sum(root - self.eps)

    def _gradient(self, xp: Any, x: Any) -> Any:
        axes, steps, root = self._differences(xp, x)
        result = 0 * x
        for axis, step in zip(axes, steps, strict=True):
            flow = step / root
            before = xp.concat(
                [0 * flow[_slice(axis, None, 1)], flow[_slice(axis, None, -1)]], axis=axis
            )
            result = result + before - flow
        return self.alpha * result


def _slice(axis: int, start: int | None, stop: int | None) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, slice(start, stop), ...)


def _kept(xp: Any, size: Any, threshold: Any) -> Any:
    # The factor max(0, 1 - threshold / size), 0 where the size is 0.
    above = size > threshold
    return xp.where(above, 1 - threshold / xp.where(above, size, 1.0), 0.0 * size)


def _shrunk(xp: Any, x: Any, threshold: Any) -> Any:
    # Magnitudes less by a threshold, and zero below: soft thresholding.
    if isinstance(x, Pair) and x.im is not None:
        return x * _kept(xp, xp.sqrt(abs2(x)), threshold)
    return xp.sign(x) * xp.maximum(xp.abs(x) - threshold, xp.zeros_like(x))
