"""New arrays from others: made, moved, cast, written and read, on the device where they belong."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial

import array_api_compat as compat
import numpy as np

from ._facts import (
    compute_dtype,
    device,
    dtype_name,
    family,
    is_array,
    is_complex,
    is_half,
    is_immutable,
    is_sparse,
    is_traced,
    library,
    namespace,
    on_host,
)
from ._types import Array, Device, Dtype, HostArray

_NOTHING = contextlib.nullcontext()
_QUIET = partial(np.errstate, all="ignore")


def unscalar(x: Array) -> Array:
    """Return a NumPy scalar, as NumPy's operations on 0-d arrays give, as the 0-d array."""
    return np.asarray(x) if isinstance(x, np.generic) else x


def shielded(x: Array) -> Array:
    """Return `x` so that its numbers cannot be changed through it: read-only, or a copy."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
        return x
    return x if is_immutable(x) else moved(x, x, x.dtype)


def full(like: Array, value: float, dtype: Dtype, shape: tuple[int, ...] | None = None) -> Array:
    """Return a new array on the device of `like`, and of its shape if none is given."""
    if shape is not None and shape != tuple(like.shape):
        with on_device(like):
            return namespace(like).full(shape, value, dtype=dtype, **placed(like))
    with on_device(like):
        result = namespace(like).full_like(like, value, dtype=dtype, **placed(like))
    return np.ascontiguousarray(result).reshape(result.shape) if on_host(like) else result


def moved(x: Array, like: Array, dtype: Dtype) -> Array:
    """Return a copy of `x` (same library, or NumPy) with a dtype, on the device of `like`."""
    if type(x) is np.ndarray and type(like) is np.ndarray:
        return np.array(x, dtype)
    xp = namespace(like)
    with on_device(like):
        if isinstance(x, np.ndarray) or library(x) != library(like):
            # In two steps: torch refuses to copy and convert a 0-d array at once.
            return xp.astype(xp.asarray(x, copy=True, **placed(like)), dtype, copy=False)
        if device(x) != device(like):
            x = compat.to_device(x, device(like))
        return xp.astype(x, dtype, copy=True)


def placed(x: Array) -> dict[str, Device]:
    """Return the keyword that makes a new array on the device of `x`.

    JAX moves an array that was made without a device to where the others are, and compiles again
    when one of them is bound to a device. So nothing is bound if `x` itself is not.
    """
    free = is_traced(x) or (is_immutable(x) and not x.committed)
    return {} if free else {"device": device(x)}


def cast(x: Array, like: Array) -> Array:
    """Return `x` as an array (never a NumPy scalar) with the dtype of `like`."""
    x = unscalar(x)
    return x if x.dtype == like.dtype else namespace(like).astype(x, like.dtype)


def widened(x: Array) -> Array:
    """Return arrays of half precision as float32, and others unchanged."""
    return namespace(x).astype(x, compute_dtype(x)) if is_half(x) else x


def as_numbers(value: Array, like: Array) -> Array:
    """Return truths as 0 and 1 in the real dtype of `like`, and other values unchanged."""
    if not is_array(value) or str(value.dtype).rpartition(".")[2] != "bool":
        return value
    return namespace(value).astype(value, compute_dtype(like))


def abs2(z: Array) -> Array:
    """Return the squared magnitude, elementwise and real."""
    if not is_complex(z):
        return z * z
    re, im = parts(z)
    return re * re + im * im


def beside(number: Array, like: Array) -> Array:
    """Return a 0-d array on the device and in the real dtype of `like`, without reading it."""
    if device(number) != device(like):
        number = compat.to_device(number, device(like))
    return namespace(like).astype(number, compute_dtype(like), copy=False)


def spread(x: Array, like: Array) -> Array:
    """Return a copy of `x` in the shape, the real dtype and on the device of `like`."""
    xp = namespace(like)
    with on_device(like):
        wide = xp.broadcast_to(xp.astype(x, compute_dtype(like)), like.shape)
        return xp.asarray(wide, copy=True)


def number_like(x: Array, like: Array, dtype: Dtype) -> Array:
    """Return a 0-d array, or a float, as a 0-d array of a dtype on the device of `like`."""
    x, xp = unscalar(x), namespace(like)
    if is_array(x):
        return xp.astype(x, dtype, copy=False)
    with on_device(like):
        return xp.asarray(x, dtype=dtype, **placed(like))


def number_beside(number: float, like: Array) -> Array:
    """Return a number as a 0-d array in single precision on the device of `like`."""
    return number_like(number, like, namespace(like).float32)


def nan(like: Array) -> Array:
    """Return NaN as a 0-d array of the dtype and on the device of `like`."""
    return namespace(like).asarray(math.nan, dtype=like.dtype, **placed(like))


def arange(n: int, like: Array) -> Array:
    """Return the integers below `n` on the device of `like`."""
    with on_device(like):
        return namespace(like).arange(n, **placed(like))


def parts(z: Array) -> tuple[Array, Array]:
    """Return the real and the imaginary part of a complex array."""
    xp = namespace(z)
    return xp.real(z), xp.imag(z)


def joined(re: Array, im: Array, like: Array) -> Array:
    """Return the complex array with these parts, exact for infinities and NaN where it can be.

    The standard has no such function. NumPy, CuPy, torch and JAX are exact; elsewhere
    ``re + 1j * im`` turns an infinite part into NaN.
    """
    if compat.is_torch_array(like):
        import torch

        return torch.complex(re, im)
    if compat.is_jax_array(like):
        import jax

        return jax.lax.complex(re, im)
    xp = namespace(like)
    if on_host(like) or compat.is_cupy_array(like):
        with on_device(like):
            out = xp.empty_like(like)
        out.real[...] = re
        out.imag[...] = im
        return out
    return xp.astype(re, like.dtype) + xp.astype(im, like.dtype) * 1j


def write(target: Array, value: Array) -> None:
    """Write `value` into `target`, rounding to its dtype."""
    if isinstance(target, np.ndarray):
        target[...] = value
    elif compat.is_torch_array(target):
        target.copy_(value)
    elif value.dtype != target.dtype:
        target[...] = cast(value, target)
    else:
        target[...] = value


def detached(x: Array) -> Array:
    """Return an array without the tape on which torch records gradients."""
    return x.detach() if family(x) == "torch" else x


def with_row(matrix: Array, i: int, row: Array) -> Array:
    """Return a matrix with one row replaced, in place where arrays can be written."""
    if is_immutable(matrix):
        return matrix.at[i].set(row)
    matrix[i, ...] = row
    return matrix


def on_device(x: Array) -> contextlib.AbstractContextManager[object]:
    """Make the device of `x` the current one of its library, where there is such a thing."""
    current: contextlib.AbstractContextManager[object] = _NOTHING
    if not isinstance(x, np.ndarray) and compat.is_cupy_array(x):
        current = x.device
    return current


def guard(x: Array) -> Callable[[], contextlib.AbstractContextManager[object]]:
    """Return a factory of the context in which arrays like `x` are stepped.

    No gradient tape (torch), no floating-point warnings (NumPy), the right device (CuPy).
    """
    if not on_host(x) and compat.is_torch_array(x):
        import torch

        no_grad: Callable[[], contextlib.AbstractContextManager[object]] = torch.no_grad
        return no_grad
    return quiet(x)


def quiet(x: Array) -> Callable[[], contextlib.AbstractContextManager[object]]:
    """Return the same with a tape, for functions of `x` that torch may differentiate."""
    if on_host(x):
        return _QUIET
    if compat.is_cupy_array(x):
        return lambda: on_device(x)
    return _QUIET if library(x) == "array_api_strict" else contextlib.nullcontext


def to_float(x: Array) -> float:
    """Return a number or a one-element array as a float; this synchronises with the device."""
    return float(to_numpy(x).reshape(()) if is_array(x) else x)


def to_numpy(x: Array) -> HostArray:
    """Return a copy of an array on the host, as NumPy's; bfloat16 of torch as float32."""
    if isinstance(x, np.ndarray | np.generic) or compat.is_jax_array(x):
        return np.array(x)
    if compat.is_cupy_array(x):
        return np.asarray(x.get())
    if compat.is_torch_array(x):
        x = x.detach().cpu().resolve_conj().resolve_neg()
        return np.asarray(x.float() if dtype_name(x) == "bfloat16" else x).copy()
    try:
        return np.from_dlpack(x, device="cpu", copy=True)
    except (AttributeError, TypeError):  # no DLPack, or NumPy 2.0, which cannot ask for a copy
        if hasattr(x, "asnumpy"):
            return np.asarray(x.asnumpy())
        if library(x) == "array_api_strict":
            x = np.from_dlpack(compat.to_device(x, type(compat.device(x))("CPU_DEVICE")))
        return np.array(x)


def from_numpy(x: HostArray, like: Array) -> Array:
    """Return NumPy's array as one of the library and on the device of `like`."""
    if on_host(like):
        return x
    with on_device(like):
        return namespace(like).asarray(x, **placed(like))


def rows(x: Array, indices: Array) -> Array:
    """Return some rows of an array, gathered on its device."""
    if on_host(x) or is_sparse(x):
        return x[indices]  # unlike np.take this reads only these rows of a memory map
    with on_device(x):
        return namespace(x).take(x, indices, axis=0)
