"""Which arrays share memory, in every library whose arrays can."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from . import family, is_writable
from ._shards import local
from ._tensors import numpy_can_view, storages
from ._types import Array, HostArray

_owns = attrgetter("flags.owndata")


def owner(x: Array) -> object:
    """Return a key of the memory block that holds `x`; arrays with different keys are disjoint."""
    match family(x):
        case "numpy":
            while isinstance(x.base, np.ndarray):
                x = x.base
            return id(x) if x.base is None else "foreign"
        case "cupy":
            return id(x.data.mem)
        case "torch":
            return local(x).untyped_storage().data_ptr()
    return id(x)


def overlap(a: Array, b: Array) -> bool:
    """Tell whether two arrays of one library share an element's memory."""
    if a is b:
        return True
    shadows = _shadow(a), _shadow(b)
    if shadows[0] is None or shadows[1] is None or not np.may_share_memory(*shadows):
        return False
    try:
        return np.shares_memory(*shadows, max_work=1_000_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(x: Array) -> bool:
    """Tell whether two elements of a strided array lie in the same place."""
    shadow = _shadow(x)
    if shadow is None or shadow.size < 2:
        return False
    extent = shadow.itemsize
    axes = zip(shadow.strides, shadow.shape, strict=True)
    for stride, n in sorted((abs(stride), n) for stride, n in axes if n > 1):
        if stride < extent:
            return True
        extent += stride * (n - 1)
    return False


def lendable(x: Array) -> Array:
    """Return an array of NumPy or CuPy, or a copy of it that every other library can work on.

    Other libraries do not know negative strides (torch ends the process), foreign byte orders and
    strides that are not multiples of the size of an element. They must not write to arrays that are
    read-only or whose elements share memory.
    """
    aligned = not isinstance(x, np.ndarray) or x.flags.aligned
    ahead = all(step >= 0 and step % x.itemsize == 0 for step in x.strides)
    if x.dtype.isnative and aligned and ahead and is_writable(x) and not overlaps_itself(x):
        return x
    return x.astype(x.dtype.newbyteorder("="), order="C", copy=True)


def same_place(a: Array, b: Array) -> bool:
    """Tell whether two arrays are views of the same elements in the same order."""
    if a is b:
        return True
    x, y = _shadow(a), _shadow(b)
    return (
        x is not None
        and y is not None
        and x.__array_interface__["data"][0] == y.__array_interface__["data"][0]
        and (x.shape, x.strides, x.itemsize) == (y.shape, y.strides, y.itemsize)
    )


def _shadow(x: Array) -> HostArray | None:
    # An array with the same addresses, which is never read. With it NumPy's own overlap test works
    # for every library with strides, and for memory of devices.
    if family(x) == "numpy":
        return np.asarray(x)
    if family(x) == "cupy":
        address, strides = x.data.ptr, x.strides
    elif family(x) == "torch":
        x = local(x)
        address = x.data_ptr()
        strides = tuple(step * x.element_size() for step in x.stride())
    else:
        return None
    if 0 in x.shape:
        return np.empty(0)
    itemsize = x.element_size() if family(x) == "torch" else x.itemsize
    holder = type("Shadow", (), {})()
    holder.__array_interface__ = {
        "data": (address, False),
        "shape": tuple(x.shape),
        "strides": strides,
        "typestr": f"|V{itemsize}",
        "version": 3,
    }
    return np.asarray(holder)


class Memory:
    """The arrays that an Optimizer writes to, by memory block; they must be pairwise disjoint."""

    def __init__(self, leaves: Sequence[Any]) -> None:
        self._blocks: dict[object, list[tuple[str, Array]]] = {}
        self._foreign = False
        for leaf in leaves:
            if leaf.p is None or leaf.immutable:
                continue
            arrays = [(leaf.name("params"), leaf.p)] if leaf.rule is not None else []
            if leaf.state is not None:
                arrays += [
                    (f"{leaf.name('state')}[{name!r}]", x) for name, x in leaf.state.slots.items()
                ]
            for place, x in arrays:
                if self.may_hold(x):
                    self.check(place, x)
                self._blocks.setdefault(owner(x), []).append((place, x))
                self._foreign = "foreign" in self._blocks

    def may_hold(self, x: Array) -> bool:
        """Tell quickly whether `x` could share memory with an array that is written to."""
        key = owner(x)
        return key in self._blocks or key == "foreign" or self._foreign

    def may_hold_any(self, arrays: Sequence[Array]) -> bool:
        """Tell the same of some arrays of one library."""
        if self._foreign:
            return True
        blocks, first = self._blocks.keys(), arrays[0]
        if isinstance(first, np.ndarray) and all(map(_owns, arrays)):
            return not blocks.isdisjoint(map(id, arrays))  # as `owner` says of such arrays
        keys: Sequence[object]
        keys = storages(arrays) if numpy_can_view(first) else list(map(owner, arrays))
        return "foreign" in keys or not blocks.isdisjoint(keys)

    def check(self, place: str, x: Array, *, own: Array = None) -> None:
        """Check that `x` shares no memory with an array that is written to, except with `own`."""
        key = owner(x)
        blocks = (
            self._blocks.values()
            if key == "foreign"
            else (self._blocks.get(key, ()), self._blocks.get("foreign", ()))
        )
        for block in blocks:
            for other, y in block:
                if overlap(x, y) and not (y is own and same_place(x, y)):
                    msg = f"{place}: shares memory with {other}, which is written"
                    raise ValueError(msg)
