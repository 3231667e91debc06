"""The CUDA engine: a program as one kernel launch for many arrays of CuPy, or tensors of torch.

A launch takes a table of addresses, sizes and scalars by value. It is queued on the current stream
of the arrays' library, and nothing waits for it. A CUDA graph keeps the scalars of its capture.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import is_

import numpy as np

from .. import _arrays
from .._arrays._types import Array, HostArray, Json
from . import _cache
from ._cuda_source import capacity, layout, source
from ._device_memory import CuPyMemory, DeviceMemory, TensorMemory
from ._runner import Arrays, Begin, Indices, Replaced, Runner, ScalarsByName
from .program import Program, once

THREADS = 256  # of a block
CHUNK = 4096  # elements that a block updates
FEW = 32  # arrays up to which a shorter table is passed
ARGUMENTS = 32_764  # bytes that a kernel can be passed since CUDA 12.1
OLD_ARGUMENTS = 4096  # and before
REMEMBERED = 1 << 21  # bytes of gradients up to which they are kept alive, to be recognised
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")


MEMORIES: dict[str, DeviceMemory] = {"cupy": CuPyMemory(), "torch": TensorMemory()}


def runs(p: Array) -> bool:
    """Tell whether these kernels run on the device of an array: NVIDIA's, since Volta."""
    import cupy

    device = MEMORIES[_arrays.library(p)].device(p)
    return not cupy.cuda.runtime.is_hip and capability(device) >= 70


class CudaRunner(Runner):
    """Runs a program on leaves of one device, arrays of CuPy or tensors of torch.

    A leaf whose memory is not contiguous is copied for the launch, and copied back. A gradient that
    is laid out unlike its parameter is copied too.

    Parameters
    ----------
    program : Program
        The traced rule.
    leaves : sequence of list of arrays
        The parameter and the slots of each leaf.
    threads, chunk : int
        Threads of a block; elements that a block updates, a multiple of 16.
    """

    name = "cuda"

    def __init__(
        self,
        program: Program,
        leaves: Sequence[list[Array]],
        *,
        threads: int = THREADS,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__(leaves)
        self.program = program
        self.threads, self.chunk = threads, chunk
        first = leaves[0][0]
        self.memory = MEMORIES[_arrays.library(first)]
        self.device = self.memory.device(first)
        self.sizes = np.asarray([math.prod(leaf[0].shape) for leaf in leaves])
        # Gradients that are recognised keep their memory.
        self.light = self.memory.where([first]) is None
        self.light &= sum(leaf[0].nbytes for leaf in leaves) <= REMEMBERED
        self.flat = [x for leaf in leaves for x in leaf]
        self.launched = 0  # kernels so far
        self._look()

    def _look(self) -> None:
        # Take the addresses of all arrays.
        self.where = self.memory.where(self.flat)
        self.orders = [self.memory.order(leaf) for leaf in self.leaves]
        self.addresses = np.zeros((len(self.leaves), len(self.program.arrays)), np.uint64)
        for row, leaf in zip(self.addresses, self.leaves, strict=True):
            row[[0, *range(2, len(row))]] = [self.memory.address(x) for x in leaf]
        self.launches: tuple[list[int], list[int], list[_Table]] | None = None
        self.last: Sequence[Array] = ()

    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update the leaves `which`; return when the work is queued."""
        numbers = self.program.numbers(scalars)
        with self.memory.current(self.leaves[0][0]):
            if self.memory.where(self.flat) != self.where:
                self._look()
            tables, kept = self._aimed(which, grads)
            pieces = self._pieces(which, grads)
            begin()
            changed = self.program.changed
            self.memory.tell_written(self.leaves[i][k] for i in which for k in changed)
            self.launched += len(tables) + len(pieces)
            for table in tables:
                table.launch(numbers)
            for leaf, table, copies in pieces:
                table.launch(numbers)
                for k in changed:
                    _arrays.write(leaf[k], copies[k])
        del kept  # Memory given back now is used again only after what is queued.
        return {}

    def _aimed(
        self, which: Sequence[int], grads: Sequence[Array]
    ) -> tuple[list[_Table], Sequence[Array]]:
        # Tables of the contiguous leaves, aimed at these gradients, and what must be kept alive.
        if self.launches is None or self.launches[0] != which:
            flat = [k for k, i in enumerate(which) if self.orders[i] and self.sizes[i]]
            tables = self._tables(np.asarray([which[k] for k in flat], np.intp))
            self.launches, self.last = (list(which), flat, tables), ()
        _, flat, tables = self.launches
        taken = grads if len(flat) == len(grads) else [grads[k] for k in flat]
        if len(self.last) == len(taken) and all(map(is_, taken, self.last)):
            return tables, taken
        self.last = ()
        laid, address = self.memory.laid, self.memory.address
        used = [laid(g, self.orders[which[k]] or "C") for k, g in zip(flat, taken, strict=True)]
        start = 0
        for table in tables:
            table.aim([address(g) for g in used[start : start + table.count]])
            start += table.count
        if self.light and all(map(is_, taken, used)):
            self.last = list(taken)
        return tables, used

    def _tables(self, which: HostArray) -> list[_Table]:
        if not len(which):
            return []
        most = capacity(self.program, _argument_bytes())
        size = min(FEW, most) if len(which) <= FEW else most
        return [
            _Table(self, self.addresses[some], self.sizes[some], size)
            for some in np.split(which, range(size, len(which), size))
        ]

    def _pieces(
        self, which: Sequence[int], grads: Sequence[Array]
    ) -> list[tuple[list[Array], _Table, list[Array]]]:
        # Leaves that are not contiguous, each with contiguous copies and a table of these.
        found = []
        for i, g in zip(which, grads, strict=True):
            if self.orders[i] is None and self.sizes[i]:
                leaf = self.leaves[i]
                copies = [self.memory.laid(x, "C") for x in (leaf[0], g, *leaf[1:])]
                addresses = np.asarray([[self.memory.address(x) for x in copies]], np.uint64)
                table = _Table(self, addresses, self.sizes[i : i + 1], FEW, keep=copies)
                found.append((leaf, table, copies[:1] + copies[2:]))
        return found


class _Table:
    """The argument of one launch, and the kernel it is for."""

    def __init__(
        self,
        runner: CudaRunner,
        addresses: HostArray,
        sizes: HostArray,
        size: int,
        keep: Sequence[Array] = (),
    ) -> None:
        self.keep = keep
        self.count = len(sizes)
        self.threads = runner.threads
        self.function = kernel(runner.program, size, runner.device)
        dtype = layout(runner.program, size)
        record = np.zeros(1, dtype)
        blocks = -(-sizes // runner.chunk)
        record["address"][0, :, : self.count] = addresses.T
        record["size"][0, : self.count] = sizes
        record["first"][0, : self.count] = np.cumsum(blocks) - blocks
        record["count"], record["chunk"] = self.count, runner.chunk
        self.blocks = int(blocks.sum())
        self.gradients = record["address"][0, 1, : self.count]
        self.scalars = record["scalars"][0]
        self.argument = record.view(f"V{dtype.itemsize}")

    def aim(self, addresses: Sequence[int]) -> None:
        """Set the addresses of the gradients."""
        self.gradients[:] = addresses

    def launch(self, numbers: Sequence[float]) -> None:
        """Queue the kernel."""
        self.scalars[: len(numbers)] = numbers
        self.function((self.blocks,), (self.threads,), (self.argument,))


# -- from a program to a kernel on a device ---------------------------------------------------


@once
def kernel(program: Program, arrays: int, device: int) -> Callable[..., None]:
    """Return the kernel for tables of some arrays on a device, which must be the current one."""
    from cupy.cuda import function

    module = function.Module()
    module.load(compiled(source(program, arrays), capability(device)))
    return module.get_function("step")  # type: ignore[no-any-return]


@lru_cache
def capability(device: int) -> int:
    """Return the compute capability of a device: 90 is 9.0."""
    import cupy

    return int(cupy.cuda.Device(device).compute_capability)


@lru_cache
def _argument_bytes() -> int:
    from cupy.cuda import nvrtc, runtime

    new = nvrtc.getVersion() >= (12, 1) and runtime.driverGetVersion() >= 12_010
    return ARGUMENTS if new else OLD_ARGUMENTS


def tables(program: Program, arrays: int) -> int:
    """Return how many tables, and so how many launches, a number of arrays take at most."""
    return -(-arrays // capacity(program, _argument_bytes()))


def described() -> dict[str, Json]:
    """Return what is known of the current device, its driver and the compiler."""
    import cupy
    from cupy.cuda import nvrtc, runtime

    device = cupy.cuda.Device()
    return {
        "name": runtime.getDeviceProperties(device.id)["name"].decode(),
        "compute_capability": int(device.compute_capability),
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "nvrtc": list(nvrtc.getVersion()),
    }


def compiled(text: str, capability: int) -> bytes:
    """Return machine code from NVRTC, or from the user's cache.

    For a device that is too new for this NVRTC it is PTX, which the driver compiles.
    """
    from cupy.cuda import nvrtc

    known = [arch for arch in nvrtc.getSupportedArchs() if arch <= capability]
    exact = capability in known
    options = (*OPTIONS, f"--gpu-architecture={'sm' if exact else 'compute'}_{max(known)}")
    digest = hashlib.sha256(repr((text, options, nvrtc.getVersion())).encode()).hexdigest()[:32]
    folder = _cache.folder("cuda")
    path = None if folder is None else folder / f"kernel_{digest}.bin"
    if path is not None and (found := _cache.read_sealed(path)) is not None:
        return found
    program = nvrtc.createProgram(text, f"fallline_{digest}.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        code: bytes = nvrtc.getCUBIN(program) if exact else nvrtc.getPTX(program)
    finally:
        nvrtc.destroyProgram(program)
    if path is not None:
        _cache.write_sealed(path, code)
    return code
