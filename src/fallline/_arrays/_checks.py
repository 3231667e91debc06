"""The wording of errors: every message names the argument and the leaf's path.

A message reads ``where: what``, for instance
``grads['layers'][0]['w']: shape is (3, 4), expected (4, 3)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from .. import _arrays
from . import _shards

# What other libraries call our fields; those in `PAIRS` stand for two.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "alpha": ("rho", "power", "learning_rate"),
    "betas": ("beta1", "beta2"),
    "etas": ("shrink", "grow"),
    "step_sizes": ("minimum", "maximum"),
    "lambd": ("decay",),
    "t0": ("start",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "b1": ("beta1",),
    "b2": ("beta2",),
    "b3": ("beta3",),
    "decay": ("rho", "weight_decay"),
    "epsilon": ("eps",),
    "lr_decay": ("learning_rate_decay",),
    "initial_accumulator_value": ("initial_accumulator",),
    "decoupled_weight_decay": ("decoupled",),
    "ns_steps": ("iterations",),
    "ns_coefficients": ("coefficients",),
}
PAIRS = ("betas", "etas", "step_sizes")
# Libraries whose names are not written as their packages'.
TITLES = {"numpy": "NumPy", "cupy": "CuPy", "jax": "JAX"}


def where(argument: str, path: Sequence[Any]) -> str:
    """Return the name of a leaf: ``where("params", ("layers", 0))`` is ``params['layers'][0]``."""
    return argument + "".join(f"[{key!r}]" for key in path)


def mismatch(place: str, what: str, got: object, expected: object) -> str:
    """Return the message for a property that differs from what it must be."""
    return f"{place}: {what} is {got}, expected {expected}"


def number(
    place: str,
    value: Any,
    low: float,
    high: float,
    *,
    open_high: bool = False,
    what: str = "a number",
) -> float:
    """Return `value` as a float inside ``[low, high]``, or ``[low, high)`` if `open_high`.

    What jax is tracing has no value yet, and stays as it is.
    """
    if _arrays.is_traced(value):
        return value  # type: ignore[no-any-return]
    try:
        result = float(value)
    except (TypeError, ValueError) as error:
        msg = f"{place} must be {what}, got {value!r}"
        raise TypeError(msg) from error
    inside = low <= result <= high and math.isfinite(result) and not (open_high and result == high)
    if not inside:
        end = ")" if open_high or math.isinf(high) else "]"
        msg = f"{place} is {result!r}, expected a finite number in [{low:g}, {high:g}{end}"
        raise ValueError(msg)
    return result


def count(place: str, value: Any) -> int:
    """Return `value`, which must be an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(mismatch(place, "value", repr(value), "an integer >= 0"))
    return value


def array(place: str, x: Any) -> None:
    """Check that `x` is an array that stores every element."""
    if not _arrays.is_array(x):
        msg = f"{place}: is {_described(x)}, expected an array"
        raise TypeError(msg)
    if not _arrays.is_dense(x):
        msg = f"{place}: is sparse, expected a dense array"
        raise TypeError(msg)


def leaf(place: str, p: Any) -> None:
    """Check that `p` is an array that a leaf of params may be: of a floating dtype."""
    array(place, p)
    if _arrays.dtype_name(p) not in _arrays.COMPUTE:
        msg = mismatch(
            place, "dtype", _arrays.dtype_name(p), f"one of {', '.join(_arrays.COMPUTE)}"
        )
        raise TypeError(msg)


def floating(place: str, x: Any, *, complex_too: bool = True) -> None:
    """Check that `x` is an array of floating-point numbers."""
    array(place, x)
    if not (_arrays.is_real(x) or (complex_too and _arrays.is_complex(x))):
        kind = "floating-point" if complex_too else "real floating-point"
        raise TypeError(mismatch(place, "dtype", _arrays.dtype_name(x), kind))


def equal_shapes(
    place: str, x: Any, like: Any, *, axes: slice = slice(None), what: str = ""
) -> None:
    """Check that `x` has the shape of `like`, or of some axes of it."""
    expected = tuple(like.shape[axes])
    if tuple(x.shape) != expected:
        msg = mismatch(place, "shape", tuple(x.shape), expected)
        raise ValueError(msg + (f" for {what}" if what else ""))


def inside(place: str, x: Any, domain: Any) -> None:
    """Check that every element of an array on the host is in a domain, which says what it holds."""
    if not domain.holds(x).all():
        msg = f"{place}: some elements are outside {domain}"
        raise ValueError(msg)


def positive(place: str, value: Any, below: float = math.inf) -> None:
    """Check that a number is positive, and smaller than `below`."""
    given = number(place, value, 0.0, below, open_high=True)
    if not _arrays.is_traced(given) and given == 0:
        msg = f"{place} is {value!r}, expected a number in (0, {below:g})"
        raise ValueError(msg)


def gradient(place: str, p: Any, g: Any) -> None:
    """Check that the array `g` can be a gradient of the parameter `p`."""
    same_kind(place, p, g)
    if not _arrays.is_dense(g):
        msg = f"{place}: is sparse, expected a dense array"
        raise TypeError(msg)
    if g.shape != p.shape:
        raise ValueError(mismatch(place, "shape", tuple(g.shape), tuple(p.shape)))
    if g.dtype != p.dtype and (got := _arrays.dtype_name(g)) != (expected := _arrays.dtype_name(p)):
        msg = mismatch(place, "dtype", got, expected)
        if _arrays.is_complex(g) and not _arrays.is_complex(p):
            msg += "; the gradient of a real parameter is real: take the real part"
        raise TypeError(msg)


def slots(place: str, state: Any, names: Sequence[str]) -> None:
    """Check that the state of a leaf holds the slots of its rule."""
    got = sorted(map(str, state)) if isinstance(state, Mapping) else _described(state)
    if got != sorted([*names, "step"]):
        raise ValueError(mismatch(place, "slots", got, sorted([*names, "step"])))


def same_kind(place: str, like: Any, x: Any) -> None:
    """Check that `x` is an array of the library and on the device of `like`."""
    if not _arrays.is_array(x):
        msg = f"{place}: is {_described(x)}, expected an array like its parameter"
        raise TypeError(msg)
    if type(x) is not type(like) and _arrays.library(x) != _arrays.library(like):
        msg = mismatch(place, "array library", _arrays.library(x), _arrays.library(like))
        raise TypeError(msg)
    if _arrays.device(x) != _arrays.device(like) and not any(map(_arrays.is_traced, (x, like))):
        raise ValueError(mismatch(place, "device", _arrays.device(x), _arrays.device(like)))
    same_layout(place, like, x)


def one_library(leaves: Iterable[tuple[str, Any]]) -> None:
    """Check that arrays, each with its place, belong to the library of the first."""
    first: tuple[str, Any] | None = None
    for place, x in leaves:
        first = first or (place, x)
        if _arrays.namespace(x) is not _arrays.namespace(first[1]):
            got, expected = (TITLES.get(name, name) for name in map(_arrays.library, (x, first[1])))
            msg = f"{place}: is a {got} array, expected {expected} as {first[0]}"
            raise TypeError(msg)


def same_layout(place: str, like: Any, x: Any) -> None:
    """Check that `x` is distributed over processes as `like` is, if this is."""
    if _shards.layout(x) != _shards.layout(like):
        raise ValueError(mismatch(place, "layout", *map(_layout, (x, like))))


def _layout(x: Any) -> str:
    found = _shards.layout(x)
    return "that of one process" if found is None else f"{found[1]} on {found[0]}"


def _described(x: object) -> str:
    name = type(x).__name__
    if name.lower() == "array":  # of some other library
        name = f"{type(x).__module__.partition('.')[0]}.{name}"
    return "None" if x is None else f"a {name}"


def unknown_argument(owner: str, name: str, known: Iterable[str]) -> TypeError:
    """Return the error for a keyword that `owner` does not have, with the name it does have."""
    known = list(known)
    ours = [field for field in SYNONYMS.get(name, ()) if field in known]
    if name not in PAIRS:
        ours = ours[:1]
    ours = ours or get_close_matches(name, known, n=1)
    hint = (
        f"did you mean {' and '.join(f'{field}=' for field in ours)}?"
        if ours
        else (f"its arguments are {', '.join(known)}")
    )
    return TypeError(f"{owner}() has no argument {name!r}; {hint}")


def unknown_name(what: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not in a table."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}; {hint}known: {', '.join(known)}")
