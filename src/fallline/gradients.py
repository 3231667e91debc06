"""Transforms of gradients, applied before a rule sees them.

Transforms act in the given order, on all gradients of a step together. They do not synchronise with
the device. Trailing elementwise transforms, of which only the first may measure something, are
fused into the rule's program; earlier ones allocate new arrays.

Examples
--------
>>> import numpy as np
>>> import fallline as fl
>>> x = np.asarray([3.0, 4.0])
>>> opt = fl.Optimizer(x, fl.SGD(1.0), gradients=[fl.gradients.ClipByGlobalNorm(1.0)])
>>> opt.step(np.asarray([30.0, 40.0]))
array([2.4, 3.2])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from . import _arrays
from ._arrays import _checks, _settings
from ._arrays._pairs import Pair, limited, on_parts
from ._arrays._reductions import combined, norm
from ._arrays._types import Array, Namespace, Number, Scalars

__all__ = [
    "Accumulate", "Centralize", "ClipByGlobalNorm", "ClipByNorm", "ClipByValue", "LossScale",
    "Transform",
]  # fmt: skip

Leaves = Sequence[Array]  # a gradient for each leaf of params, None where there is none


class Transform:
    """Base of the transforms.

    Attributes
    ----------
    measured : bool
        Whether `measure` returns a number for each leaf, an argument of `formula`.
    elementwise : bool
        Whether it acts on each element by itself, by `formula`; otherwise it overrides `apply`.
    """

    measured: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    def scalars(self) -> dict[str, float]:
        """Return the numbers of `formula` by name."""
        return {}

    def measure(self, grads: Leaves) -> list[Array]:
        """Return a real 0-d array for each leaf, on its device, or `None` without a gradient."""
        raise NotImplementedError

    def formula(self, xp: Namespace, s: Scalars, g: Array, *measured: Array) -> Array:
        """Return the new gradient, element by element, as a rule's formula is written."""
        raise NotImplementedError

    def apply(self, grads: Leaves) -> list[Array]:
        """Return the new gradients of all leaves; those in half precision become single.

        Parameters
        ----------
        grads : sequence of array or None
            The gradients.

        Returns
        -------
        list of array or None
            New arrays.
        """
        return self._applied_with(self.measure(grads) if self.measured else (), grads)

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}({name}=)"

    def _applied_with(self, measured: Sequence[Array], grads: Leaves) -> list[Array]:
        s = SimpleNamespace(**self.scalars())
        found = ((number,) for number in measured) if self.measured else ((),) * len(grads)
        return [
            None if g is None else self._applied(s, g, given)
            for g, given in zip(grads, found, strict=True)
        ]

    def _applied(self, s: Scalars, g: Array, given: tuple[Array, ...]) -> Array:
        with _arrays.guard(g)():
            wide = _arrays.widened(g)
            return on_parts(lambda xp, x: self.formula(xp, s, x, *given), wide)


@dataclass(frozen=True)
class ClipByValue(Transform):
    """Limits each element to an interval around zero, or the magnitude of complex elements.

    Parameters
    ----------
    limit : float
        The largest magnitude, greater than 0.
    """

    limit: float

    def __post_init__(self) -> None:
        """Check the limit."""
        _settings.settle(self)
        _checks.positive(self._place("limit"), self.limit)

    def scalars(self) -> dict[str, float]:
        """Return both ends of the interval."""
        return {"high": self.limit, "low": -self.limit}

    def formula(self, xp: Namespace, s: Scalars, g: Array, *measured: Array) -> Array:
        """Return the limited gradient."""
        if isinstance(g, Pair) and g.im is not None:
            return limited(xp, g, s.high)
        return xp.where(g > s.high, s.high, xp.where(g < s.low, s.low, g))


@dataclass(frozen=True)
class ClipByNorm(Transform):
    r"""Limits the Euclidean norm of each leaf.

    .. math:: g \leftarrow \min(1, c / \|g\|)\, g

    Parameters
    ----------
    limit : float
        :math:`c > 0`.
    """

    limit: float
    measured: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the limit."""
        _settings.settle(self)
        _checks.positive(self._place("limit"), self.limit)

    def measure(self, grads: Leaves) -> list[Array]:
        """Return the factor of each leaf."""
        return [None if g is None else _beside(_scale(self.limit, norm(g)), g) for g in grads]

    def formula(self, xp: Namespace, s: Scalars, g: Array, *measured: Array) -> Array:
        """Return the scaled gradient."""
        return g * measured[0]


@dataclass(frozen=True)
class ClipByGlobalNorm(ClipByNorm):
    r"""Limits the Euclidean norm of all gradients together.

    .. math:: g \leftarrow \min(1, c / \|g\|)\, g, \qquad \|g\|^2 = \sum_\ell \|g_\ell\|^2

    Parameters
    ----------
    limit : float
        :math:`c > 0`.

    Notes
    -----
    The norm stays on the device. If the leaves are on several devices of one library, it is summed
    on one of them, in the widest precision. Squares may overflow without harm where the norm does
    not. Gradients that are not finite become NaN or zero; ``nonfinite=`` of the Optimizer handles
    that. Matches optax; torch adds 1e-6 to the norm.
    """

    def norm(self, grads: Leaves) -> Number:
        """Return the norm of all gradients, a float or a 0-d array; `None` if there are none."""
        places: dict[str, list[Array]] = {}
        for g in grads:
            if g is not None:
                place = "host" if _arrays.on_host(g) else str(_arrays.device(g))
                places.setdefault(place, []).append(g)
        return combined([norm(*there) for there in places.values()]) if places else None

    def factors(self, norm: Array, grads: Leaves) -> list[Array]:
        """Return the common factor for a norm, on the device of each leaf."""
        scale = None if norm is None else _scale(self.limit, norm)
        return [None if g is None else _beside(scale, g) for g in grads]

    def measure(self, grads: Leaves) -> list[Array]:
        """Return the common factor, on the device of each leaf."""
        return self.factors(self.norm(grads), grads)

    def clipped(self, norm: Array, grads: Leaves) -> list[Array]:
        """Return `apply` of gradients whose norm is known."""
        return self._applied_with(self.factors(norm, grads), grads)


def _scale(limit: float, norm: Array) -> Number:
    if isinstance(norm, float):
        return limit / norm if norm > limit else 1.0 if norm <= limit else norm
    xp = _arrays.namespace(norm)
    with _arrays.guard(norm)():
        return xp.where(norm > limit, limit / norm, xp.where(norm <= limit, 1.0, norm))


def _beside(scale: Array, g: Array) -> Array:
    if isinstance(scale, float):
        return np.asarray(scale, _arrays.COMPUTE[_arrays.dtype_name(g)])
    return _arrays.beside(scale, g)


@dataclass(frozen=True)
class Centralize(Transform):
    """Subtracts the mean of each slice along the first axis of arrays with at least two axes.

    References
    ----------
    Yong, Huang, Hua, Zhang, Gradient centralization, arXiv:2004.01461, for weights of shape
    (outputs, inputs, ...).
    """

    elementwise: ClassVar[bool] = False

    def apply(self, grads: Leaves) -> list[Array]:
        """Return the centred gradients."""
        return [None if g is None else _centred(_arrays.widened(g)) for g in grads]


def _centred(g: Array) -> Array:
    if g.ndim < 2:
        return g
    xp = _arrays.namespace(g)
    axes = tuple(range(1, g.ndim))
    with _arrays.guard(g)():
        return g - xp.sum(g, axis=axes, keepdims=True) / math.prod(g.shape[1:])


@dataclass(frozen=True)
class Accumulate(Transform):
    """Makes one step for several calls, with the mean of their gradients.

    Parameters
    ----------
    k : int
        Number of calls of `Optimizer.step` for one step of the rules, at least 1.

    Notes
    -----
    This transform must come first. The sum is kept in the state of each leaf, as ``sum``, in single
    precision or wider, so it is saved, loaded and transformed with the state.
    ``Optimizer.step_count`` counts the rules' steps. A leaf whose gradient was `None` in every call
    is skipped; if it was `None` in some calls only, it counts as zero there.
    """

    k: int

    def __post_init__(self) -> None:
        """Check the number."""
        object.__setattr__(self, "k", _checks.count(self._place("k"), self.k, 1))


class LossScale(Transform):
    r"""Undoes the scaling of a loss for half precision, and adapts the scale.

    Multiply the loss by `value` before differentiating; this transform divides the gradients by it.
    If one is not finite, before or after the division, the scale is multiplied by `backoff`; after
    `interval` successive steps without that, it is multiplied by `growth`.

    Parameters
    ----------
    initial : float, default 65536
        The first scale, between `minimum` and `maximum`.
    growth, backoff : float, default 2 and 0.5
        Factors: at least 1, and in (0, 1].
    interval : int, default 2000
        Steps without overflow before the scale grows.
    minimum, maximum : float, default 2**-126 and 2**127
        Range of the scale; a change that would leave it is not made. By default these are the
        smallest and the largest power of two of single precision whose inverse is finite and not
        zero.

    Notes
    -----
    Use it with ``Optimizer(..., nonfinite="skip")``, and one for each Optimizer. The scale is a 0-d
    array on the device of the first gradient; only `float` synchronises with the device. The
    defaults are those of ``torch.amp.GradScaler``, which has no smallest scale and checks gradients
    after the division only.
    """

    measured: ClassVar[bool] = True

    def __init__(
        self,
        initial: float = 65536.0,
        *,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        minimum: float = 2.0**-126,
        maximum: float = 2.0**127,
    ) -> None:
        _checks.positive(self._place("minimum"), minimum)
        _checks.number(self._place("maximum"), maximum, minimum, math.inf)
        _checks.number(self._place("initial"), initial, minimum, maximum)
        _checks.number(self._place("growth"), growth, 1.0, math.inf)
        _checks.positive(self._place("backoff"), backoff)
        _checks.number(self._place("backoff"), backoff, 0.0, 1.0)
        self.growth, self.backoff = growth, backoff
        self.interval = _checks.count(self._place("interval"), interval, 1)
        self.minimum, self.maximum = float(minimum), float(maximum)
        self._value: Number = float(initial)
        self._good: Number = 0.0

    def __repr__(self) -> str:
        """Return the settings, without reading the scale."""
        return (
            f"LossScale(growth={self.growth!r}, backoff={self.backoff!r}, "
            f"interval={self.interval!r})"
        )

    @property
    def value(self) -> Array:
        """The scale: a 0-d array on the device, a float before the first step."""
        return self._value

    def __float__(self) -> float:
        """Return the scale; this synchronises with the device."""
        return _arrays.to_float(self._value)

    def measure(self, grads: Leaves) -> list[Array]:
        """Return the inverse of the scale, on the device of each leaf."""
        return [None if g is None else self._inverse(g) for g in grads]

    def _inverse(self, g: Array) -> Array:
        if _arrays.is_array(self._value):
            return _arrays.beside(1.0 / self._value, g)
        return _arrays.number_beside(1.0 / self._value, g)

    def formula(self, xp: Namespace, s: Scalars, g: Array, *measured: Array) -> Array:
        """Return the gradient of the unscaled loss."""
        return g * measured[0]

    def unscaled(self, g: Array) -> Array:
        """Return a gradient of the unscaled loss as a new array."""
        with _arrays.guard(g)():
            return self._applied(None, g, (self._inverse(g),))

    def after(self, finite: Array, grads: Leaves) -> tuple[Array, Array]:
        """Return the scale and the number of good steps after a step, for `take`.

        Parameters
        ----------
        finite : bool or array
            Whether the gradients were finite: a bool, or 1 or 0 on the device of the first
            gradient.
        grads : sequence of array or None
            The gradients.
        """
        first = next((g for g in grads if g is not None), None)
        if first is None:
            return self._value, self._good
        value, good = (
            _arrays.beside(x, first) if _arrays.is_array(x) else _arrays.number_beside(x, first)
            for x in (self._value, self._good)
        )
        xp = _arrays.namespace(value)
        with _arrays.guard(value)():
            if isinstance(finite, bool):
                finite = _arrays.number_like(float(finite), value, value.dtype)
            fine = xp.astype(_arrays.beside(finite, value), value.dtype)
            good = (good + 1.0) * fine
            rises = xp.astype(good >= self.interval, value.dtype)
            up = 1.0 + (self.growth - 1.0) * rises
            new = value * (fine * up + (1.0 - fine) * self.backoff)
            inside = xp.logical_and(new >= self.minimum, new <= self.maximum)
            value = xp.where(inside, new, value)
            return _arrays.unscalar(value), _arrays.unscalar(good * (1.0 - rises))

    def take(self, after: tuple[Number, Number]) -> None:
        """Adopt the scale and the number of good steps that `after` returned."""
        self._value, self._good = after

    def state_dict(self) -> dict[str, float]:
        """Return the scale and the number of good steps; this synchronises with the device."""
        return {"value": _arrays.to_float(self._value), "good": _arrays.to_float(self._good)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        """
        value = _checks.number("state['value']", state["value"], 0.0, math.inf)
        good = _checks.number("state['good']", state["good"], 0, math.inf)
        self._value, self._good = value, good
