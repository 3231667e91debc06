"""The CUDA engine without a GPU: kernels run by the host, on arrays and tensors in host memory.

What this leaves out is the launch itself, streams, and the device's own arithmetic.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from array_api_compat import is_cupy_array

from fallline import _arrays
from fallline.engine import cuda
from fallline.engine._cuda_source import layout, source
from fallline.engine._device_memory import CuPyMemory, TensorMemory
from tests.helpers import patch_arrays

COMPILER = shutil.which("g++")

HEADER = """
extern "C" {
float sqrtf(float);
float fabsf(float);
double sqrt(double);
double fabs(double);
void* memcpy(void*, const void*, unsigned long);
}
#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define step fallline_host_step // libc has a step of its own
struct Dim { unsigned int x; };
static Dim blockIdx, threadIdx, blockDim;
"""

FOOTER = """
extern "C" unsigned long long table_bytes() { return sizeof(Table); }
extern "C" void launch(const Table* table, unsigned int blocks, unsigned int threads)
{
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
            step(*table);
}
"""


@lru_cache
def folder():
    return tempfile.TemporaryDirectory(prefix="fallline-host-kernels-")


@lru_cache
def library(text):
    """Return the kernel of a text, compiled for the host."""
    path = Path(folder().name) / hashlib.sha256(text.encode()).hexdigest()[:24]
    path.with_suffix(".cpp").write_text(HEADER + text + FOOTER)
    command = [COMPILER, "-O1", "-std=c++17", "-ffp-contract=off", "-fno-strict-aliasing"]
    command += [
        "-shared",
        "-fPIC",
        "-Wl,-Bsymbolic",
        "-o",
        path.with_suffix(".so"),
        path.with_suffix(".cpp"),
    ]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(path.with_suffix(".so")))
    found.table_bytes.restype = ctypes.c_ulonglong
    return found


launches = []


def kernel(program, arrays, device):
    """Stand in for `cuda.kernel`: the same text, run by the host."""
    compiled = library(source(program, arrays))
    assert compiled.table_bytes() == layout(program, arrays).itemsize

    def function(grid, block, arguments):
        (argument,) = arguments
        assert argument.size == 1
        assert argument.dtype.itemsize == compiled.table_bytes()
        launches.append((grid[0], block[0], device))
        compiled.launch(ctypes.c_void_p(argument.ctypes.data), grid[0], block[0])

    return function


def on_cupy(x, device=0):
    """Return a CuPy array over the memory of a NumPy array, strides and all."""
    import cupy

    span = np.lib.array_utils.byte_bounds(x) if x.size else (x.ctypes.data, x.ctypes.data)
    memory = cupy.cuda.UnownedMemory(x.ctypes.data, max(span[1] - span[0], 1), x, device)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(x.shape, x.dtype, memptr=pointer, strides=x.strides)


def on_numpy(x):
    """Return NumPy's view of what `on_cupy` made."""
    holder = type("Holder", (), {})()
    holder.__array_interface__ = {
        "data": (x.data.ptr, False),
        "shape": x.shape,
        "strides": x.strides,
        "typestr": f"|V{x.itemsize}",
        "version": 3,
    }
    return np.asarray(holder).view(x.dtype)


@pytest.fixture
def host_device(monkeypatch):
    """Make `engine="cuda"` run on the host; ordinary operations of CuPy still fail."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    if COMPILER is None:
        pytest.skip("no g++")

    real = {"full": _arrays.full, "moved": _arrays.moved, "write": _arrays.write}

    def full(like, value, dtype, shape=None):
        if not is_cupy_array(like):
            return real["full"](like, value, dtype, shape)
        return on_cupy(
            np.full(like.shape if shape is None else shape, value, dtype), like.device.id
        )

    def moved(x, like, dtype):
        if not is_cupy_array(x):
            return real["moved"](x, like, dtype)
        return on_cupy(np.array(on_numpy(x), dtype), x.device.id)

    def contiguous(x, order):
        flags = x.flags
        if flags.c_contiguous if order == "C" else flags.f_contiguous:
            return x
        return on_cupy(np.array(on_numpy(x), order=order), x.device.id)

    def write(target, value):
        if not is_cupy_array(target):
            real["write"](target, value)
        else:
            on_numpy(target)[...] = on_numpy(value)

    patch_arrays(monkeypatch, "on_device", contextlib.nullcontext)
    patch_arrays(monkeypatch, "full", full)
    patch_arrays(monkeypatch, "moved", moved)
    patch_arrays(monkeypatch, "write", write)
    monkeypatch.setattr(CuPyMemory, "laid", lambda _, x, order: contiguous(x, order))
    monkeypatch.setattr(cuda, "kernel", kernel)
    monkeypatch.setattr(cuda, "capability", lambda device: 90)
    monkeypatch.setattr(cuda, "_argument_bytes", lambda: cuda.ARGUMENTS)
    launches.clear()


@pytest.fixture
def host_tensors(host_device, monkeypatch):
    """Make `engine="cuda"` take tensors in host memory for tensors on a GPU."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(_arrays, "numpy_can_view", lambda x: False)
    monkeypatch.setattr(_arrays, "kernels_can_reach", lambda x: isinstance(x, torch.Tensor))
    monkeypatch.setattr(TensorMemory, "current", lambda self, x: torch.no_grad())
    return launches
