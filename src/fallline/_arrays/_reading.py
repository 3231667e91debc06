"""Copies from a device to the host that do not block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat as compat
import numpy as np

from . import _making
from ._types import Array, HostArray


def begin_read(x: Array) -> Callable[[], HostArray]:
    """Start to copy an array to the host; return a function that waits for the copy and returns it.

    Where the library can, the copy is queued right after the work that makes the array, so that the
    function waits for nothing else.
    """
    if compat.is_cupy_array(x):
        import cupy

        host = cupy.cuda.alloc_pinned_memory(max(x.nbytes, 1))
        result = np.frombuffer(host, x.dtype, x.size).reshape(x.shape)
        with x.device:
            stream = cupy.cuda.get_current_stream()
            x.get(stream=stream, out=result, blocking=False)
            event = stream.record()
        return lambda: _after(event, result)
    if compat.is_torch_array(x) and x.device.type == "cuda":
        import torch

        copied = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        copied.copy_(x.detach(), non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(x.device))
        return lambda: _after(done, copied)
    return lambda: _making.to_numpy(x)


def _after(event: Any, x: Array) -> HostArray:
    event.synchronize()
    return np.asarray(x)
