"""What the benchmarks share: array libraries by name, and skips that say why."""

from __future__ import annotations

import importlib

import numpy as np
from asv_runner.benchmarks.mark import SkipNotImplemented


class Skip(SkipNotImplemented):
    """Something a benchmark needs is not here."""


def load(name):
    """Return a module, or skip."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"{name} is not installed"
        raise Skip(msg) from error


class XPBenchmark:
    """A benchmark whose first parameter names an array library and its device.

    The names do not depend on what is installed: an absent library skips. `setup` leaves
    `self.xp`, `self.array`, which turns NumPy's array into one of the library, and `self.wait`,
    which returns when the device has finished an array.
    """

    backends = ("numpy", "cupy", "torch:cpu", "torch:cuda", "jax.numpy:cpu", "array_api_strict")

    def setup(self, backend, *_):
        """Load the library."""
        name, _, device = backend.partition(":")
        self.xp = load(name)
        self.wait = lambda x: None
        self.array = self.xp.asarray
        if name == "cupy":
            if not self.xp.cuda.is_available():
                msg = "no CUDA device"
                raise Skip(msg)
            self.wait = lambda x: self.xp.cuda.get_current_stream().synchronize()
        elif name == "torch":
            if device == "cuda":
                if not self.xp.cuda.is_available():
                    msg = "no CUDA device"
                    raise Skip(msg)
                self.wait = lambda x: self.xp.cuda.synchronize()
            self.array = lambda x: self.xp.asarray(x, device=device, copy=True)
        elif name == "jax.numpy":
            self.wait = lambda x: x.block_until_ready()


def draw(shape, dtype="float32", seed=0):
    """Return random numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=dtype)
