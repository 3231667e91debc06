"""Penalties: functions of an array that are added to an objective.

All are zero at zero and depend on the magnitudes of complex numbers. They work on the array's own
device, modify nothing, and do not synchronise with the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from . import _arrays
from ._arrays import _checks, _settings
from ._arrays._pairs import kept, length, on_parts, scaled, shrunk
from ._arrays._types import Array, Namespace, Number, Scalars, Tree

__all__ = ["L1", "L2", "ElasticNet", "GroupL1", "ProximalOperator", "TotalVariation"]


@dataclass(frozen=True)
class Penalty:
    """Base of the penalties.

    Attributes
    ----------
    smooth : bool
        Whether it has a gradient everywhere.
    elementwise : bool
        Whether the value is a sum over elements and `prox` acts on each element by itself: by
        `formula`, which is fused into the program of a rule.
    valued : bool
        Whether it has a value.
    """

    smooth: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True
    valued: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the weight."""
        _settings.settle(self)
        _checks.number(self._place("alpha"), getattr(self, "alpha", 0.0), 0.0, math.inf)

    def value(self, x: Array) -> Number:
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
        x = _arrays.widened(_checked(x))
        with np.errstate(all="ignore"):
            return _arrays.unscalar(self._value(_arrays.namespace(x), x))

    def gradient(self, x: Array) -> Array:
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
            If the penalty is not smooth; use `prox` instead.
        """
        if not self.smooth:
            msg = f"{self!r} is not smooth, so it has no gradient; use prox instead"
            raise TypeError(msg)
        wide = _arrays.widened(_checked(x))
        with np.errstate(all="ignore"):
            return _arrays.cast(self._gradient(_arrays.namespace(x), wide), x)

    def prox(self, x: Array, step: float) -> Array:
        """Return the proximal point: the y that minimizes ``step * value(y) + 1/2 ||y - x||**2``.

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
            If the proximal point has no closed form; use `gradient` instead.
        """
        x = _checked(x)
        with np.errstate(all="ignore"):
            if self.elementwise:
                s = SimpleNamespace(**self.prox_scalars(SimpleNamespace(**self.scalars()), step))
                return on_parts(lambda xp, x: self.formula(xp, s, x), x)
            wide = _arrays.widened(x)
            return _arrays.cast(self._prox(_arrays.namespace(x), wide, step), x)

    def scalars(self) -> dict[str, float]:
        """Return the numbers of an elementwise penalty by name, for `prox_scalars`."""
        raise NotImplementedError

    def prox_scalars(self, s: Scalars, t: Number) -> dict[str, Array]:
        """Return the numbers of `formula` for a step length `t`, which may be one per element."""
        raise NotImplementedError

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        """Return the proximal point of an elementwise penalty, element by element."""
        raise NotImplementedError

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}({name}=)"

    def _value(self, xp: Namespace, x: Array) -> Number:
        raise NotImplementedError

    def _gradient(self, xp: Namespace, x: Array) -> Array:
        raise NotImplementedError

    def _prox(self, xp: Namespace, x: Array, step: float) -> Array:
        msg = f"{self!r} has no proximal point in closed form; use gradient instead"
        raise TypeError(msg)


@dataclass(frozen=True)
class L1(Penalty):
    """Sum of magnitudes, which makes elements exactly zero.

    ``alpha * sum(|x|)``.

    Parameters
    ----------
    alpha : float
        Weight of the penalty, 0 or more.
    """

    alpha: float

    def _value(self, xp: Namespace, x: Array) -> Number:
        return self.alpha * xp.sum(xp.abs(x))

    def scalars(self) -> dict[str, float]:
        return {"l1": self.alpha}

    def prox_scalars(self, s: Scalars, t: Number) -> dict[str, Array]:
        return {"threshold": s.l1 * t}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        return shrunk(xp, x, s.threshold)


@dataclass(frozen=True)
class L2(Penalty):
    """Half the sum of squares.

    ``alpha / 2 * sum(|x|**2)``.

    Parameters
    ----------
    alpha : float
        Weight of the penalty, 0 or more.
    """

    alpha: float
    smooth: ClassVar[bool] = True

    def _value(self, xp: Namespace, x: Array) -> Number:
        return self.alpha / 2 * xp.sum(_arrays.abs2(x))

    def _gradient(self, xp: Namespace, x: Array) -> Array:
        return self.alpha * x

    def scalars(self) -> dict[str, float]:
        return {"l2": self.alpha}

    def prox_scalars(self, s: Scalars, t: Number) -> dict[str, Array]:
        return {"divisor": 1 + s.l2 * t}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        return x / s.divisor


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """Mixture of L1 and L2, weighted as in scikit-learn.

    ``alpha * l1_ratio * sum(|x|) + alpha * (1 - l1_ratio) / 2 * sum(|x|**2)``.

    Parameters
    ----------
    alpha : float
        Weight of the penalty, 0 or more.
    l1_ratio : float
        Share of L1, in [0, 1].
    """

    alpha: float
    l1_ratio: float = 0.5

    def __post_init__(self) -> None:
        """Check the weights."""
        super().__post_init__()
        _checks.number(self._place("l1_ratio"), self.l1_ratio, 0.0, 1.0)

    def _parts(self) -> tuple[L1, L2]:
        return L1(self.alpha * self.l1_ratio), L2(self.alpha * (1 - self.l1_ratio))

    def _value(self, xp: Namespace, x: Array) -> Number:
        l1, l2 = self._parts()
        return l1._value(xp, x) + l2._value(xp, x)

    def scalars(self) -> dict[str, float]:
        l1, l2 = self._parts()
        return {**l1.scalars(), **l2.scalars()}

    def prox_scalars(self, s: Scalars, t: Number) -> dict[str, Array]:
        l1, l2 = self._parts()
        return {**l1.prox_scalars(s, t), **l2.prox_scalars(s, t)}

    def formula(self, xp: Namespace, s: Scalars, x: Array) -> Array:
        l1, l2 = self._parts()
        return l2.formula(xp, s, l1.formula(xp, s, x))


@dataclass(frozen=True)
class GroupL1(Penalty):
    """Sum of the norms of groups, which makes whole groups zero.

    ``alpha * sum(sqrt(sum(|x|**2, axis)))``; the elements along `axis` form a group.

    Parameters
    ----------
    alpha : float
        Weight of the penalty, 0 or more.
    axis : int or tuple of int
        The axes of a group. For weights of shape (features, outputs), -1 selects features.
    """

    alpha: float
    axis: int | tuple[int, ...] = -1
    elementwise: ClassVar[bool] = False

    def _norms(self, xp: Namespace, x: Array) -> Array:
        axes = _checks.axes(self._place("axis"), self.axis, x.ndim)
        y, scale = scaled(xp, xp.abs(x), axes)
        return scale * length(xp, y, axes)

    def _value(self, xp: Namespace, x: Array) -> Number:
        return self.alpha * xp.sum(self._norms(xp, x))

    def _prox(self, xp: Namespace, x: Array, step: float) -> Array:
        return x * kept(xp, self._norms(xp, x), step * self.alpha)


@dataclass(frozen=True)
class ProximalOperator(Penalty):
    """A penalty that is known by its proximal operator only, such as a denoiser.

    Wherever a penalty is accepted, a function is accepted, too, and becomes one of these.

    Parameters
    ----------
    f : callable
        ``f(x, step)`` returns the proximal point, a new array like `x`. Arrays in half precision
        are widened to single. `step` is a float, or a 0-d array if the rule scales each element.

    Notes
    -----
    It has no `value`, so `fallline.minimize` reports the objective without it. Rules that scale
    gradients element by element call it 30 times in each step, to apply it in their metric.
    """

    f: Any
    elementwise: ClassVar[bool] = False
    valued: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the function."""
        if not callable(self.f):
            expected = "a function of an array and a step length"
            raise TypeError(_checks.unlike(self._place("f"), self.f, expected))

    def _value(self, xp: Namespace, x: Array) -> Number:
        msg = f"{self!r} has no value: only its proximal operator is known"
        raise TypeError(msg)

    def _prox(self, xp: Namespace, x: Array, step: float) -> Array:
        y = _arrays.unscalar(self.f(x, step))
        _checks.gradient("f", x, y)
        return y


def as_penalty(place: str, penalty: Tree) -> Penalty | None:
    """Return a penalty unchanged, and a function as a `ProximalOperator`.

    Parameters
    ----------
    place : str
        The name of the argument.
    penalty : penalty, callable or None
        The argument.
    """
    known = penalty is None or hasattr(penalty, "prox")
    if isinstance(penalty, type) or not (known or callable(penalty)):
        raise TypeError(_checks.unlike(place, penalty, "a penalty or a function"))
    return penalty if known else ProximalOperator(penalty)


@dataclass(frozen=True)
class TotalVariation(Penalty):
    """Smoothed isotropic total variation: small for images that are flat except at edges.

    ``alpha * sum(sqrt(sum_d |D_d x|**2 + eps**2) - eps)``, where ``D_d x`` are differences to the
    next element along an axis, zero at the end.

    Parameters
    ----------
    alpha : float
        Weight of the penalty, 0 or more.
    eps : float
        Differences much smaller than this are penalised by their square: in units of `x`,
        greater than 0. It is raised to the smallest normal number of the dtype if it is below.
    axes : tuple of int, optional
        The axes along which differences are taken, each once; by default all axes.

    References
    ----------
    Rudin, Osher and Fatemi (1992), Physica D 60, 259; the smoothing is Vogel and Oman's (1996),
    SIAM J. Sci. Comput. 17, 227.
    """

    alpha: float
    eps: float = 1e-3
    axes: tuple[int, ...] | None = None
    smooth: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the smoothing."""
        super().__post_init__()
        _checks.positive(self._place("eps"), self.eps)
        if self.axes is not None:
            _checks.sequence(self._place("axes"), self.axes, "integers")

    def _differences(self, xp: Namespace, x: Array) -> tuple[Array, list[Array], Array, Array]:
        axes = _checks.axes(self._place("axes"), self.axes, x.ndim)
        steps = [_ahead(xp, x, axis) - x for axis in axes]
        eps = self.eps
        if not _arrays.is_traced(eps):  # zero would make zero over zero of every flat place
            eps = max(eps, float(np.finfo(_arrays.COMPUTE[_arrays.dtype_name(x)]).tiny))
        # Divided by the largest, because squares may be out of range.
        size = eps + xp.abs(0 * x)
        for step in steps:
            size = xp.maximum(size, xp.abs(step))
        total = sum((_arrays.abs2(step / size) for step in steps), (eps / size) ** 2)
        root = size * xp.sqrt(total)
        return axes, steps, root, root - eps

    def _value(self, xp: Namespace, x: Array) -> Number:
        return self.alpha * xp.sum(self._differences(xp, x)[-1])

    def _gradient(self, xp: Namespace, x: Array) -> Array:
        axes, steps, root, _ = self._differences(xp, x)
        result = 0 * x
        for axis, step in zip(axes, steps, strict=True):
            flow = step / root
            result = result + xp.roll(flow, 1, axis=axis) - flow  # zero at the end
        return self.alpha * result


def _checked(x: Array) -> Array:
    x = _arrays.unscalar(x)
    _checks.leaf("x", x)
    return x


def _ahead(xp: Namespace, x: Array, axis: int) -> Array:
    # The next elements along an axis; at the end the last.
    n, before = x.shape[axis], (slice(None),) * axis
    last = max(n - 1, 0)
    pieces = (x[(*before, slice(*ends), ...)] for ends in ((n - last, n), (last, n)))
    return xp.concat(list(pieces), axis=axis)
