"""Distributed tensors of torch (DTensor): arrays of which each process holds a part.

The parameters of FSDP2 are such tensors. Elementwise operations act on the part in this process.
Numbers of the whole array are combined from those of all parts, which every process must do at the
same time.
"""

from __future__ import annotations

import sys

from ._types import Array


def is_sharded(x: object) -> bool:
    """Tell whether `x` is an array of which this process may hold only a part."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Array) -> Array:
    """Return a view of the part of an array in this process; other arrays unchanged."""
    if not is_sharded(x):
        return x
    import torch

    with torch.no_grad():
        return x.to_local()


def layout(x: Array) -> tuple[object, object] | None:
    """Return how an array is distributed, for comparisons; `None` if it is not."""
    return (x.device_mesh, x.placements) if is_sharded(x) else None


def is_partial(x: Array) -> bool:
    """Tell whether the parts of an array are terms of a sum that has not been computed yet."""
    return is_sharded(x) and any(placement.is_partial() for placement in x.placements)


def gathered(number: Array, like: Array) -> Array:
    """Return one number for each part of `like`, 0-d here, as a vector in all processes."""
    import torch.distributed.tensor as tensors

    spread = [
        tensors.Replicate() if placement.is_replicate() else tensors.Shard(0)
        for placement in like.placements
    ]
    parts = tensors.DTensor.from_local(number.reshape(1), like.device_mesh, spread)
    return parts.full_tensor()
