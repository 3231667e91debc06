"""Tensors of torch in host memory, and NumPy's views of them.

torch does not know what is written through such a view. It counts the writes to each tensor, and
refuses a backward pass that needs values from before them, so they are told to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from ._facts import dtype_name, family, is_complex
from ._types import Array, Dtype, HostArray

_dtype = attrgetter("dtype")


def numpy_can_view(x: Array) -> bool:
    """Tell whether `x` is a tensor of torch whose memory NumPy can work on.

    Classes of tensors that define what operations do, such as DTensor, have no memory of this kind.
    """
    return _plain(x) and x.device.type == "cpu" and dtype_name(x) != "bfloat16"


def kernels_can_reach(x: Array) -> bool:
    """Tell whether `x` is a tensor of torch whose memory a kernel on its GPU can work on."""
    return _plain(x) and x.device.type == "cuda"


def stream(x: Array) -> int:
    """Return the address of the stream on which torch queues work for the device of a tensor."""
    return int(sys.modules["torch"].cuda.current_stream(x.device).cuda_stream)


def _plain(x: Array) -> bool:
    # Whether operations on a tensor are torch's own.
    if family(x) != "torch":
        return False
    return bool(type(x).__torch_dispatch__ is sys.modules["torch"].Tensor.__torch_dispatch__)


def telling(x: Array) -> tuple[str, ...] | None:
    """Return the attributes that a gradient of `x` shares with it, if nothing else need be asked.

    Others need more than equal attributes: devices, and tensors that are distributed.
    """
    if isinstance(x, np.ndarray):
        return "__class__", "dtype", "shape"
    return ("__class__", "dtype", "is_cpu", "layout", "shape") if numpy_can_view(x) else None


def view(x: Array) -> HostArray | None:
    """Return NumPy's view of a tensor.

    It is `None` for a tensor that is the conjugate or the negative of what its memory holds.
    """
    return None if x.is_conj() or x.is_neg() else x.detach().numpy()


def seen(x: Array) -> HostArray:
    """Return the numbers of a tensor as NumPy's, a view where there is one."""
    try:
        return x.numpy()  # type: ignore[no-any-return]
    except RuntimeError:  # it requires a gradient, or is the conjugate of what its memory holds
        return x.numpy(force=True)  # type: ignore[no-any-return]


def whereabouts(xs: Sequence[Array], params: Sequence[Array]) -> object:
    """Return where tensors lie in memory, and how the parameters among them do, for comparisons.

    A tensor gets other memory by ``x.data = y`` or ``x.share_memory_()``, for instance.
    """
    kind = type(params[0])
    conjugates = list(map(kind.is_conj, params)) if is_complex(params[0]) else ()
    return list(map(kind.data_ptr, xs)), list(map(kind.stride, params)), conjugates


def addresses(xs: Sequence[Array], dtype: Dtype, sizes: Sequence[int]) -> list[int] | None:
    """Return the addresses of tensors that compiled code can walk through.

    It is `None` unless all are of the dtype, with their numbers of elements one after another.
    """
    kind = type(xs[0])
    found: list[int] = list(map(kind.data_ptr, xs))
    fits = (
        list(map(_dtype, xs)) == [dtype] * len(found)
        and list(map(kind.nelement, xs)) == sizes
        and all(map(kind.is_contiguous, xs))
        and True not in list(map(kind.is_neg, xs))
        and not (dtype.is_complex and any(map(kind.is_conj, xs)))
        and 0 not in found
    )
    return found if fits else None


def tell_written(xs: Sequence[Array]) -> None:
    """Tell torch that tensors are written through views."""
    increment_version = sys.modules["torch"].autograd.graph.increment_version
    try:
        increment_version(xs)
    except (RuntimeError, TypeError):  # before torch 2.7: one by one
        for x in xs:
            if not x.is_inference():
                increment_version(x)


def storages(xs: Sequence[Array]) -> list[int]:
    """Return the addresses of the memory blocks that hold tensors."""
    return [x.untyped_storage().data_ptr() for x in xs]
