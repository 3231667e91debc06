"""How much memory of a device is free."""

from __future__ import annotations

from . import family, is_immutable, on_device
from ._types import Array


def free_bytes(x: Array) -> int | None:
    """Return the bytes that are free on the device of an array; `None` where nobody tells.

    Blocks that a library keeps for itself count as free. This does not wait for the device.
    """
    if family(x) == "cupy":
        import cupy

        with on_device(x):
            pool = cupy.get_default_memory_pool()
            return int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
    if family(x) == "torch" and x.device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(x.device)
        kept = torch.cuda.memory_reserved(x.device) - torch.cuda.memory_allocated(x.device)
        return int(free) + int(kept)
    if is_immutable(x):
        (device, *_) = x.devices()
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            return int(stats["bytes_limit"]) - int(stats["bytes_in_use"])
    return None
