"""The wording of errors: every message names the argument and the leaf's path.

A message reads ``where: what``, for instance
``grads['layers'][0]['w']: shape is (3, 4), expected (4, 3)``.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import (
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    Set,
    ValuesView,
)
from typing import Any

import numpy as np

from .. import _arrays
from . import _shards, _spelling
from ._types import Array, Number

# Names that begin with the sound of a vowel.
AN = ("ndarray", "mlx.array")
# Libraries whose names are not written as their packages'.
TITLES = {"numpy": "NumPy", "cupy": "CuPy", "jax": "JAX"}


def where(argument: str, path: Sequence[object]) -> str:
    """Return the name of a leaf: ``where("params", ("layers", 0))`` is ``params['layers'][0]``."""
    return argument + "".join(f"[{key!r}]" for key in path)


def mismatch(place: str, what: str, got: object, expected: object) -> str:
    """Return the message for a property that differs from what it must be."""
    return f"{place}: {what} is {got}, expected {expected}"


def unlike(place: str, value: object, expected: str) -> str:
    """Return the message for a value that is not what it must be."""
    return f"{place}: is {value!r}, expected {expected}"


def number(
    place: str,
    value: Number,
    low: float,
    high: float,
    *,
    open_high: bool = False,
    what: str = "a number",
) -> float:
    """Return `value` as a float inside ``[low, high]``, or ``[low, high)`` if `open_high`.

    A symbol that JAX traces has no value yet and is returned unchanged.
    """
    if _arrays.is_traced(value):
        return value  # type: ignore[no-any-return]
    result = real(place, value, what)
    inside = low <= result <= high and math.isfinite(result) and not (open_high and result == high)
    if not inside:
        first = "(" if math.isinf(low) else "["
        last = ")" if open_high or math.isinf(high) else "]"
        expected = f"a finite number in {first}{low:g}, {high:g}{last}"
        raise ValueError(unlike(place, result, expected))
    return result


def real(place: str, value: Number, what: str = "a number") -> float:
    """Return `value` as a float, which need not be finite.

    Text and truths are refused, although Python converts them.
    """
    try:
        if isinstance(value, str | bytes) or _is_truth(value) or bool(getattr(value, "shape", ())):
            raise TypeError
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError) as error:
        raise TypeError(unlike(place, value, what)) from error


def count(place: str, value: Number, low: int = 0, high: int | None = None) -> int:
    """Return `value`, an integer of any library in ``[low, high]``, as Python's."""
    expected = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    try:
        if _is_truth(value):
            raise TypeError
        result = operator.index(value)
    except TypeError as error:
        raise TypeError(unlike(place, value, expected)) from error
    if result < low or (high is not None and result > high):
        raise ValueError(unlike(place, value, expected))
    return result


def _is_truth(value: object) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def flag(place: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, bool):
        raise TypeError(unlike(place, value, "a bool"))
    return value


def sequence(place: str, value: Any, of: str) -> tuple[Any, ...]:
    """Return the entries of a sequence, or of an array with one axis."""
    if _arrays.is_array(value):
        if value.ndim != 1:
            raise TypeError(mismatch(place, "shape", tuple(value.shape), f"one axis of {of}"))
        return tuple(_arrays.to_numpy(value).tolist())
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | Set):
        raise TypeError(unlike(place, value, f"a sequence of {of}"))
    return tuple(value)


def axes(place: str, value: object, ndim: int) -> tuple[int, ...]:
    """Return one axis or several of an array, or with `None` all, counted from the first.

    A 0-d array counts as having one axis, which is left out of the result.
    """
    if value is None:
        return tuple(range(ndim))
    n = max(ndim, 1)
    given = sequence(place, value, "integers") if isinstance(value, Iterable) else (value,)
    expected = f"integers in [{-n}, {n - 1}], the axes of the array"
    try:
        found = tuple(count(place, axis, -n, n - 1) % n for axis in given)
    except (TypeError, ValueError) as error:
        raise type(error)(unlike(place, value, expected)) from error
    if len(set(found)) < len(found):
        raise ValueError(unlike(place, value, f"different {expected}"))
    return found if ndim else ()


def array(place: str, x: Array, what: str = "an array") -> None:
    """Check that `x` is an array that a step can work with."""
    if not _arrays.is_array(x):
        msg = f"{place}: is {described(x)}, expected {what}{_hint(x)}"
        raise TypeError(msg)


def _hint(x: object) -> str:
    # What to do with something that is not an array.
    if why := _arrays.refusal(x):
        return f"; it is {why}"
    if isinstance(x, Iterator | KeysView | ValuesView):
        return " or a tree of arrays; make a list of it"
    if isinstance(x, np.generic | float | int | complex) and not isinstance(x, bool | np.bool_):
        return "; make one of it with numpy.asarray"
    if (isinstance(x, Mapping) and not isinstance(x, dict)) or dataclasses.is_dataclass(x):
        return "; make a dict of its arrays"
    return ""


def dense(place: str, x: Array) -> None:
    """Check that `x` is an array that stores every element."""
    array(place, x)
    if not _arrays.is_dense(x):
        msg = f"{place}: is sparse, expected a dense array"
        raise TypeError(msg)


def leaf(place: str, p: Array) -> None:
    """Check that `p` is an array that a leaf of params may be: of a floating dtype."""
    dense(place, p)
    if _arrays.dtype_name(p) not in _arrays.COMPUTE:
        msg = mismatch(
            place, "dtype", _arrays.dtype_name(p), f"one of {', '.join(_arrays.COMPUTE)}"
        )
        raise TypeError(msg)


def floating(place: str, x: Array, *, complex_too: bool = True) -> None:
    """Check that `x` is an array of floating-point numbers."""
    array(place, x)
    if not (_arrays.is_real(x) or (complex_too and _arrays.is_complex(x))):
        kind = "floating-point" if complex_too else "real floating-point"
        raise TypeError(mismatch(place, "dtype", _arrays.dtype_name(x), kind))


def equal_shapes(
    place: str, x: Array, like: Array, *, axes: slice = slice(None), what: str = ""
) -> None:
    """Check that `x` has the shape of `like`, or of some axes of it."""
    expected = tuple(like.shape[axes])
    if tuple(x.shape) != expected:
        msg = mismatch(place, "shape", tuple(x.shape), expected)
        raise ValueError(msg + (f" for {what}" if what else ""))


def not_negative(place: str, x: Array) -> None:
    """Check the elements of an array on the host."""
    if (x < 0).any():
        msg = f"{place}: some are negative"
        raise ValueError(msg)


def inside(place: str, x: Array, domain: Any, unless: Array = False) -> None:
    """Check that elements of an array on the host are in a domain, except where `unless` holds."""
    if not (domain.holds(x) | unless).all():
        msg = f"{place}: some elements are outside {domain}"
        raise ValueError(msg)


def positive(place: str, value: Number, below: float = math.inf) -> None:
    """Check that a number is positive, and smaller than `below`."""
    given = number(place, value, 0.0, below, open_high=True)
    if not _arrays.is_traced(given) and given == 0:
        raise ValueError(unlike(place, value, f"a number in (0, {below:g})"))


def gradient(place: str, p: Array, g: Array) -> None:
    """Check that the array `g` can be a gradient of the parameter `p`, and be kept beside it."""
    if _arrays.is_traced(g) and not _arrays.is_traced(p):
        msg = f"{place}: is a symbol that JAX traces, which an Optimizer cannot keep; "
        raise TypeError(msg + "inside jax.jit use the pure form, Rule.update")
    pure_gradient(place, p, g)


def pure_gradient(place: str, p: Array, g: Array) -> None:
    """Check the same where the gradient is not kept: `g` may be a symbol while `p` is an array."""
    same_kind(place, p, g)
    if not _arrays.is_dense(g):
        what = "a dense array, or fallline.RowSparse(indices, values) for some of its rows"
        msg = f"{place}: is sparse, expected {what}"
        raise TypeError(msg)
    if g.shape != p.shape:
        raise ValueError(mismatch(place, "shape", tuple(g.shape), tuple(p.shape)))
    if g.dtype != p.dtype and (got := _arrays.dtype_name(g)) != (expected := _arrays.dtype_name(p)):
        msg = mismatch(place, "dtype", got, expected)
        if _arrays.is_complex(g) and not _arrays.is_complex(p):
            msg += "; the gradient of a real parameter is real: take the real part"
        raise TypeError(msg)


def slots(place: str, state: object, names: Sequence[str]) -> None:
    """Check that the state of a leaf holds the slots of its rule."""
    got = sorted(map(str, state)) if isinstance(state, Mapping) else described(state)
    if got != sorted([*names, "step"]):
        raise ValueError(mismatch(place, "slots", got, sorted([*names, "step"])))


def same_kind(place: str, like: Array, x: Array) -> None:
    """Check that `x` is an array of the library and on the device of `like`."""
    if type(x) is type(like) is np.ndarray:
        return
    array(place, x)
    if type(x) is not type(like) and _arrays.library(x) != _arrays.library(like):
        msg = mismatch(place, "array library", _arrays.library(x), _arrays.library(like))
        raise TypeError(msg)
    traced = _arrays.is_traced(like) or _arrays.is_traced(x)  # symbols are on no device
    if not traced and _arrays.device(x) != _arrays.device(like):
        raise ValueError(mismatch(place, "device", _arrays.device(x), _arrays.device(like)))
    same_layout(place, like, x)


def one_library(leaves: Iterable[tuple[str, Array]]) -> None:
    """Check that arrays, each with its place, belong to the library of the first."""
    first: tuple[str, Array] | None = None
    for place, x in leaves:
        first = first or (place, x)
        if _arrays.namespace(x) is not _arrays.namespace(first[1]):
            got, expected = (TITLES.get(name, name) for name in map(_arrays.library, (x, first[1])))
            msg = f"{place}: is a {got} array, expected {expected} as {first[0]}"
            raise TypeError(msg)


def same_layout(place: str, like: Array, x: Array) -> None:
    """Check that `x` is distributed over processes as `like` is, if this is."""
    if _shards.layout(x) != _shards.layout(like):
        raise ValueError(mismatch(place, "layout", *map(_layout, (x, like))))


def _layout(x: Array) -> str:
    found = _shards.layout(x)
    return "that of one process" if found is None else f"{found[1]} on {found[0]}"


def described(x: object) -> str:
    """Return the kind of `x` in words, such as "a list"."""
    if x is None:
        return "None"
    name = type(x).__name__
    if name.lower() == "array":  # of some other library
        name = f"{type(x).__module__.partition('.')[0]}.{name}"
    return f"{'an' if name[0] in 'AEIOUaeiou' or name in AN else 'a'} {name}"


def unknown_argument(owner: str, name: str, known: Iterable[str]) -> TypeError:
    """Return the error for a keyword that `owner` does not have, with the name it does have."""
    known = list(known)
    ours = _spelling.meant(name, known)
    hint = (
        f"did you mean {' and '.join(f'{field}=' for field in ours)}?"
        if ours
        else (f"its arguments are {', '.join(known)}")
    )
    return TypeError(f"{owner}() has no argument {name!r}; {hint}")


def unknown_name(what: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not in a table."""
    known = sorted(known)
    close = _spelling.closest(name, known)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}; {hint}known: {', '.join(known)}")
