"""How arrays of a library lie in the memory of a GPU, for kernels that are given addresses."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from .. import _arrays
from .._arrays._types import Array
from . import _layout

Context = contextlib.AbstractContextManager[object]


class DeviceMemory(ABC):
    """What the CUDA engine asks of the arrays of a library."""

    @abstractmethod
    def device(self, x: Array) -> int:
        """Return the number of the device of an array."""

    @abstractmethod
    def address(self, x: Array) -> int:
        """Return where the first element lies."""

    @abstractmethod
    def order(self, arrays: Sequence[Array]) -> str | None:
        """Return an order, "C" or "F", in which all arrays lie without gaps, or `None`."""

    @abstractmethod
    def laid(self, x: Array, order: str) -> Array:
        """Return an array itself if it lies without gaps in an order, or a copy that does."""

    @abstractmethod
    def current(self, x: Array) -> Context:
        """Return the context in which a launch goes to the stream that the library uses."""

    @abstractmethod
    def where(self, arrays: Sequence[Array]) -> object:
        """Return where arrays lie, for comparisons, if they can get other memory."""

    @abstractmethod
    def tell_written(self, arrays: Iterable[Array]) -> None:
        """Tell the library that arrays are about to be written."""


class CuPyMemory(DeviceMemory):
    """The memory of CuPy's arrays."""

    def device(self, x: Array) -> int:
        """Return the number of the device of an array."""
        return int(x.device.id)

    def address(self, x: Array) -> int:
        """Return where the first element lies."""
        return int(x.data.ptr)

    def order(self, arrays: Sequence[Array]) -> str | None:
        """Return an order, "C" or "F", in which all arrays lie without gaps, or `None`."""
        return _layout.common_order(arrays)

    def laid(self, x: Array, order: str) -> Array:
        """Return an array itself if it lies without gaps in an order, or a copy that does."""
        return x if _layout.is_contiguous(x, order) else x.copy(order=order)

    def current(self, x: Array) -> Context:
        """Return the context in which a launch goes to CuPy's stream of the device."""
        return _arrays.on_device(x)

    def where(self, arrays: Sequence[Array]) -> object:
        """Return nothing: CuPy's arrays keep their memory."""
        return None

    def tell_written(self, arrays: Iterable[Array]) -> None:
        """Do nothing: CuPy does not count writes."""


class TensorMemory(DeviceMemory):
    """The memory of torch's tensors, to which kernels are launched by CuPy."""

    def device(self, x: Array) -> int:
        """Return the number of the device of a tensor."""
        return int(x.device.index or 0)

    def address(self, x: Array) -> int:
        """Return where the first element lies."""
        return int(x.data_ptr())

    def order(self, arrays: Sequence[Array]) -> str | None:
        """Return an order, "C" or "F", in which all tensors lie without gaps, or `None`.

        It is `None` too for what is the conjugate or the negative of what its memory holds.
        """
        if any(x.is_conj() or x.is_neg() for x in arrays):
            return None
        return next((o for o in ("C", "F") if all(_in_order(x, o) for x in arrays)), None)

    def laid(self, x: Array, order: str) -> Array:
        """Return a tensor itself if it lies without gaps in an order, or a copy that does."""
        if self.order([x]) is not None and _in_order(x, order):
            return x
        x = x.detach().resolve_conj().resolve_neg()
        return x.contiguous() if order == "C" else _transposed(_transposed(x).contiguous())

    def current(self, x: Array) -> Context:
        """Return the context in which a launch goes to torch's stream of the device."""
        import cupy

        all_three = contextlib.ExitStack()
        all_three.enter_context(_arrays.guard(x)())
        all_three.enter_context(cupy.cuda.Device(self.device(x)))
        all_three.enter_context(cupy.cuda.ExternalStream(_arrays.stream(x)))
        return all_three

    def where(self, arrays: Sequence[Array]) -> object:
        """Return where tensors lie: ``x.data = y`` gives them other memory."""
        return _arrays.whereabouts(arrays, arrays)

    def tell_written(self, arrays: Iterable[Array]) -> None:
        """Tell torch, whose backward passes refuse values from before a write."""
        _arrays.tell_written(list(arrays))


def _in_order(x: Array, order: str) -> bool:
    return bool((x if order == "C" else _transposed(x)).is_contiguous())


def _transposed(x: Array) -> Array:
    return x.permute(*range(x.ndim - 1, -1, -1))
