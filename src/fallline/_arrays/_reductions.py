"""Norms and finiteness of whole arrays: floats on the host, otherwise 0-d on their device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from .. import _arrays
from ._pairs import Pair, length, scale_of
from ._shards import gathered, is_sharded, local
from ._types import Array, Device, Dtype, HostArray, Namespace, Number

# Elements that are squared and summed at once: so few that the errors of rounding in single
# precision stay below the rounding of the sum itself.
_BLOCK = 1 << 17
# Elements of a tensor on the processor that are taken at once: torch would share more between
# threads, which wait for each other.
_PIECE = 1 << 14
# A sum of squares below this, by the size of a number in bytes, may have lost squares to underflow.
_SMALL = {4: 1e-24, 8: 1e-280}


def norm(*arrays: Array) -> Number:
    """Return the Euclidean norm of all arrays or pairs together, in double where the device has it.

    NumPy also computes it for tensors of torch in host memory, by the same dot products.
    Squares may leave the range of the dtype although the norm does not. Nothing as large as an
    array is allocated on the host, and nothing waits for a device. All must be on one device.
    """
    if any(map(is_sharded, arrays)):
        return combined([n for x in arrays for n in _norms(x)])
    parts = [_arrays.unscalar(part) for x in arrays for part in _parts(x)]
    first = parts[0]
    if _arrays.on_host(first):
        return _on_host(parts)
    if all(map(_arrays.numpy_can_view, parts)):
        return _arrays.number_like(_on_host(map(_arrays.seen, parts)), first, double_of(first))
    with _arrays.guard(first)():
        return _on_device([piece for part in parts for piece in _pieces(part)])


def hypotenuse(sides: Sequence[float]) -> float:
    """Return the root of a sum of squares; NaN if one of them is, even if another is infinite."""
    return math.nan if any(map(math.isnan, sides)) else math.hypot(*sides)


def _norms(x: Array) -> Sequence[Array]:
    # Of an array, or of the parts of it that the processes have.
    return list(gathered(norm(local(x)), x)) if is_sharded(x) else [norm(x)]


def _parts(x: Array) -> tuple[Array, ...]:
    if not isinstance(x, Pair):
        return (x,)
    return (x.re,) if x.im is None else (x.re, x.im)


def combined(norms: Sequence[Array]) -> Number:
    """Return the norm of arrays with these norms, in the widest precision among them."""
    if len(norms) == 1:
        return norms[0]
    wide = next((x for x in norms if _arrays.dtype_name(x) == "float64"), norms[0])
    with _arrays.guard(wide)():
        return _together([_arrays.beside(x, wide) for x in norms])


def all_finite(x: Array) -> Array:
    """Tell whether every element is finite: a 0-d truth on the device of `x`."""
    xp = _arrays.namespace(x)
    if is_sharded(x):
        return xp.all(gathered(all_finite(local(x)), x))
    if _arrays.on_host(x) and math.isfinite(norm(x)):
        return np.asarray(True)
    parts = _arrays.parts(x) if _arrays.is_complex(x) else (x,)
    with _arrays.guard(x)():
        found = [xp.all(xp.isfinite(part)) for part in parts]
        return _arrays.unscalar(found[0] if len(found) == 1 else xp.logical_and(*found))


# -- on the host --------------------------------------------------------------------------------


def _on_host(arrays: Iterable[Array]) -> float:
    with np.errstate(all="ignore"):
        return hypotenuse([_root(block) for x in arrays for block in _blocks(x)])


def _blocks(x: Array) -> Iterator[HostArray]:
    # The real numbers of an array, some at a time, one after another in memory.
    x = _arrays.unscalar(x)
    real, flags = x.real.dtype.newbyteorder("="), x.flags
    if (flags.c_contiguous or flags.f_contiguous) and flags.aligned and x.dtype.isnative:
        flat = x.ravel(order="K").view(real)
        for start in range(0, flat.size, _BLOCK):
            yield flat[start : start + _BLOCK]
        return
    chunks: Iterable[HostArray] = np.nditer(  # type: ignore[call-overload]
        x, ["external_loop", "buffered", "zerosize_ok"], [["readonly", "contig"]],
        [x.dtype.newbyteorder("=")], order="K", buffersize=_BLOCK // 2,
    )  # fmt: skip
    for chunk in chunks:
        yield chunk.view(real)


def _root(block: Array) -> float:
    # The root of the sum of squares, by one product where that stays in the range of the dtype.
    if block.itemsize == 2:
        block = block.astype(np.float32)
    square = float(np.dot(block, block))
    if _SMALL[block.itemsize] < square < math.inf:
        return math.sqrt(square)
    peak = max(float(block.max()), -float(block.min()))
    if not 0 < peak < math.inf:
        return peak
    y = block.astype(np.float64)
    y /= peak
    return peak * math.sqrt(np.dot(y, y))


# -- elsewhere ----------------------------------------------------------------------------------


def _pieces(x: Array) -> Sequence[Array]:
    # An array without its tape, in pieces that one thread handles within the cache.
    x = _arrays.detached(x)
    if _arrays.family(x) != "torch":
        return _arrays.parts(x) if _arrays.is_complex(x) else (x,)
    import torch

    flat = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    if x.device.type != "cpu" or flat.numel() <= _PIECE:
        return (flat,)
    pieces: Sequence[Array] = flat.reshape(-1).split(_PIECE)
    return pieces


def _on_device(pieces: Sequence[Array]) -> Array:
    # The norm of real arrays: single precision by squares in double, double by scaling.
    if _arrays.family(pieces[0]) == "cupy":
        return _together([_cupy_norm(_arrays.widened(x)) for x in pieces])
    double = double_of(pieces[0])
    single = [x for x in pieces if double is not None and x.dtype != double]
    norms = [_root_in(double, x) for x in single]
    if len(single) < len(pieces):
        rest = (x for x in pieces if double is None or x.dtype == double)
        norms.append(_scaled_norm([_arrays.widened(x) for x in rest]))
    return _together(norms)


def _together(norms: Sequence[Array]) -> Array:
    # The norm of arrays with these norms, which are of one dtype and on one device.
    if len(norms) == 1:
        return norms[0]
    return _scaled_norm([_arrays.namespace(norms[0]).stack(norms)])


def _root_in(dtype: Dtype, x: Array) -> Array:
    # The root of the sum of squares, computed in a dtype in which they stay in range.
    xp = _arrays.namespace(x)
    if _arrays.family(x) == "torch":
        import torch

        return torch.linalg.vector_norm(x, dtype=dtype)
    return length(xp, xp.astype(x, dtype, copy=False))


def _scaled_norm(pieces: Sequence[Array]) -> Array:
    # The norm of arrays of one dtype, all divided by one number.
    first = pieces[0]
    xp, dtype = _arrays.namespace(first), first.dtype
    sizes = xp.stack([_largest(xp, x) for x in pieces])
    scale = scale_of(xp, xp.max(sizes), _arrays.dtype_name(first))
    roots = [_root_in(dtype, x / scale) for x in pieces]
    root = roots[0] if len(roots) == 1 else _root_in(dtype, xp.stack(roots))
    return _arrays.unscalar(scale * root)


def _largest(xp: Namespace, x: Array) -> Array:
    if not math.prod(x.shape):
        return xp.sum(x)
    if _arrays.family(x) == "torch":
        import torch

        low, high = torch.aminmax(x)
        return torch.maximum(-low, high)
    return xp.max(xp.abs(x))


def double_of(x: Array) -> Array:
    """Return the dtype of double precision, or `None` where the device of `x` has none."""
    if _arrays.is_immutable(x):  # JAX's is a switch
        return _found_double(_arrays.namespace(x), None)
    return _cached(_arrays.namespace(x), _arrays.device(x))


def _found_double(xp: Namespace, device: Device) -> Array:
    return xp.__array_namespace_info__().dtypes(device=device, kind="real floating").get("float64")


_cached = cache(_found_double)


def _cupy_norm(x: Array) -> Array:
    scale, total = _cupy_kernels()
    if _arrays.dtype_name(x) == "float32":
        return total(x, 1.0)
    size = scale(x)
    return size * total(x, size)


@cache
def _cupy_kernels() -> tuple[Array, Array]:
    # What `scaled` divides by, and the root of the sum of squares over that: a launch each.
    import cupy

    size = cupy.ReductionKernel(
        "T x", "float64 y", "fabs((double)x)", "a > b ? a : b",
        "y = a > 0 && isfinite(a) && (a < 1e-120 || a > 1e120) ? a : 1.0",
        "0", "fallline_size",
    )  # fmt: skip
    total = cupy.ReductionKernel(
        "T x, float64 s", "float64 y", "((double)x / s) * ((double)x / s)", "a + b", "y = sqrt(a)",
        "0", "fallline_norm",
    )  # fmt: skip
    return size, total
