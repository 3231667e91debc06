"""What every model does: checks, shapes, what is held, and the offset."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace, Number

# Numbers, or None where a parameter is to be found.
Held = float | None


@dataclass(frozen=True)
class Model:
    """Base of the models.

    A model is three functions of arrays: `_shared` computes what the value and its derivatives
    share, `_value` and `_columns` continue from there. A fourth, `_start`, guesses parameters
    from data. The last parameter is `offset`, which is added here.

    Attributes
    ----------
    coordinates : tuple of str
        The names of the coordinates of a point. A model of one is called with an array, a model
        of several with a sequence of arrays.
    settings : tuple of str
        Fields that are not parameters.
    """

    coordinates: ClassVar[tuple[str, ...]] = ("x",)
    settings: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the numbers at which parameters are held."""
        for name, value in self._held.items():
            if value is not None:
                _checks.number(f"{type(self).__name__}({name}=)", value, -math.inf, math.inf)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parameters, without those that are held at a number."""
        return self._names

    def __call__(self, x: Array, params: dict[str, Array]) -> Array:
        """Return the values of the model.

        Parameters
        ----------
        x : array, or sequence of arrays
            The points, along the last axis, as real numbers or integers. For a model of two
            coordinates a pair of such arrays, which are broadcast with each other. Leading axes
            belong to problems, for points that differ between them.
        params : dict
            An array for each of `names`: 0-d, or of the shape of the problems. Python's numbers
            may stand beside arrays.

        Returns
        -------
        array
            Of the shape of the problems and the points, in the precision of the parameters.

        Raises
        ------
        TypeError, ValueError
            If parameters are missing or too many, or if libraries, devices, dtypes or shapes do
            not fit.
        """
        return self._evaluate(x, params, value=True)[0]

    def jacobian(self, x: Array, params: dict[str, Array]) -> dict[str, Array]:
        """Return the derivatives of the values in the parameters: arrays of the values' shape.

        Parameters and errors are those of `__call__`.
        """
        return self._evaluate(x, params, columns=True)[1]

    def value_and_jacobian(
        self, x: Array, params: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return the values and their derivatives for little more than the cost of these.

        Parameters and errors are those of `__call__`.
        """
        return self._evaluate(x, params, value=True, columns=True)

    def guess(self, x: Array, y: Array) -> dict[str, Array]:
        """Return parameters that are near enough to data for a fit to begin.

        Nothing is read from the device. Every unit and every order of the points is right, but
        the points should cover the curve evenly.

        Parameters
        ----------
        x : array, or sequence of arrays
            The points, as in a call of the model.
        y : array
            The data, real floating-point numbers: points along the last axis, before it the
            problems.

        Returns
        -------
        dict
            An array for each of `names`, of the shape of the problems and the dtype of `y`.

        Raises
        ------
        TypeError, ValueError
            If libraries, devices, dtypes or shapes do not fit.
        """
        y = _arrays.unscalar(y)
        _checks.floating("y", y, complex_too=False)
        xp, points = _arrays.namespace(y), self._points(x, y)
        with _arrays.guard(y)():
            shape = _shape(points, ["y"], [tuple(y.shape[:-1])])
            if y.ndim == 0 or y.shape[-1] != shape[-1] or shape[-1] == 0:
                expected = shape if shape[-1] else "(..., points), one point at least"
                raise ValueError(_checks.mismatch("y", "shape", tuple(y.shape), expected))
            held: Held = self._held["offset"]
            y = xp.broadcast_to(y if held is None else y - held, shape)
            found = self._start(xp, points, y, raised=held is None)
            start = dict(zip(self._held, found, strict=True))
            return {name: _arrays.unscalar(start[name][..., 0]) for name in self.names}

    # -- what a model defines -------------------------------------------------------------------

    def _shared(self, xp: Namespace, *numbers: Array) -> tuple[Array, ...]:
        """Return what value and derivatives share, from coordinates and all but the offset."""
        raise NotImplementedError

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        """Return the values without the offset."""
        raise NotImplementedError

    def _columns(self, xp: Namespace, *shared: Array) -> tuple[Array, ...]:
        """Return the derivatives in every parameter but the offset."""
        raise NotImplementedError

    def _start(
        self, xp: Namespace, points: Sequence[Array], y: Array, *, raised: bool
    ) -> tuple[Array, ...]:
        """Return every parameter for data; each keeps an axis of length 1 for the points.

        `raised` tells whether there is an offset in the data.
        """
        raise NotImplementedError

    # -- the rest -------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(name for name, value in self._held.items() if value is None)

    @cached_property
    def _places(self) -> dict[str, str]:
        # How errors name the parameters.
        return {name: _checks.where("params", (name,)) for name in self._held}

    @cached_property
    def _held(self) -> dict[str, Held]:
        # The parameters, the offset last, with the numbers at which they are held.
        names = (f.name for f in dataclasses.fields(self) if f.name not in self.settings)
        return {name: getattr(self, name) for name in names}

    def _evaluate(
        self, x: Array, params: dict[str, Array], *, value: bool = False, columns: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        leaves = self._leaves(params, x)
        like = leaves[0]
        xp, points = _arrays.namespace(like), self._points(x, like)
        shape = _shape(points, self._places.values(), [tuple(leaf.shape) for leaf in leaves])
        with _arrays.quiet(like)():
            *own, offset = (leaf[..., None] for leaf in leaves)
            shared = self._shared(xp, *points, *own)
            found: Array = None
            if value:
                found = _broadcast(xp, self._value(xp, *shared) + offset, shape)
            jacobian = {}
            if columns:
                every = (*self._columns(xp, *shared), xp.ones_like(offset))
                jacobian = {
                    name: _broadcast(xp, column, shape)
                    for (name, held), column in zip(self._held.items(), every, strict=True)
                    if held is None
                }
        return found, jacobian

    def _leaves(self, params: object, x: Array) -> list[Array]:
        # An array for each parameter, held ones among them. Numbers become arrays like the others.
        held = self._held
        if not isinstance(params, dict):
            msg = f"params: is {_checks.described(params)}, expected a dict of {list(self.names)}"
            raise TypeError(msg)
        if set(params) != set(self.names):
            got = sorted(map(str, params))
            raise ValueError(_checks.mismatch("params", "entries", got, sorted(self.names)))
        given = {name: _arrays.unscalar(leaf) for name, leaf in params.items()}
        arrays = {name: leaf for name, leaf in given.items() if not _is_number(leaf)}
        like = next(iter(arrays.values()), None)
        if like is None:  # as precise as the points, or as the library prefers
            like = _floating(next(iter(self._coordinates(x).values())))
        for name, leaf in arrays.items():
            _checks.floating(self._places[name], leaf, complex_too=False)
            _checks.same_kind(self._places[name], like, leaf)
        every = (given.get(name, value) for name, value in held.items())
        return [
            _arrays.number_like(leaf, like, like.dtype) if _is_number(leaf) else leaf
            for leaf in every
        ]

    def _coordinates(self, x: Array) -> dict[str, Array]:
        # Each coordinate under its place in the argument.
        n = len(self.coordinates)
        if n == 1:
            return {"x": x}
        if isinstance(x, list | tuple) and len(x) == n:
            return {f"x[{i}]": coordinate for i, coordinate in enumerate(x)}
        got = f"{len(x)} arrays" if isinstance(x, list | tuple) else _checks.described(x)
        msg = f"x: is {got}, expected the arrays ({', '.join(self.coordinates)})"
        raise TypeError(msg)

    def _points(self, x: Array, like: Array) -> list[Array]:
        # The coordinates in the precision of `like`.
        points = []
        for place, coordinate in self._coordinates(x).items():
            _checks.same_kind(place, like, coordinate)
            if not (_arrays.is_real(coordinate) or _arrays.is_integer(coordinate)):
                got = _arrays.dtype_name(coordinate)
                raise TypeError(_checks.mismatch(place, "dtype", got, "real numbers"))
            if coordinate.ndim == 0:
                raise ValueError(_checks.mismatch(place, "shape", (), "(..., points)"))
            points.append(_arrays.cast(coordinate, like))
        return points


def _broadcast(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    return x if tuple(x.shape) == shape else xp.broadcast_to(x, shape)


def _floating(x: Array) -> Array:
    _checks.array("x", x)
    if _arrays.is_real(x):
        return x
    xp = _arrays.namespace(x)
    return xp.astype(x, xp.__array_namespace_info__().default_dtypes()["real floating"])


def _is_number(leaf: Number) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


def _shape(
    points: Sequence[Array], places: Iterable[str], shapes: Iterable[tuple[int, ...]]
) -> tuple[int, ...]:
    # The shape of problems and points. The shapes, each of what has a place, are of problems.
    shape = np.broadcast_shapes(*(tuple(p.shape) for p in points))
    seen: set[tuple[int, ...]] = {()}
    for place, given in zip(places, shapes, strict=True):
        if given in seen:
            continue
        seen.add(given)
        try:
            shape = np.broadcast_shapes(shape, (*given, 1))
        except ValueError as error:
            expected = f"() or one that fits {shape[:-1]}, that of the problems"
            raise ValueError(_checks.mismatch(place, "shape", given, expected)) from error
    return shape


@dataclass(frozen=True)
class Scaled(Model):
    """A model whose first parameter multiplies a profile, the first and last of what is shared."""

    def _value(self, xp: Namespace, *shared: Array) -> Array:
        return shared[0] * shared[-1]

    def _columns(self, xp: Namespace, *shared: Array) -> tuple[Array, ...]:
        return shared[-1], *self._slopes(*shared)

    def _slopes(self, *shared: Array) -> tuple[Array, ...]:
        """Return the derivatives in the parameters between the first and the offset."""
        raise NotImplementedError
