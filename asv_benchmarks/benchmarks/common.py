"""What the benchmarks share: how a call is timed, array libraries by name, numbers."""

from __future__ import annotations

import importlib
import math
import os
import statistics
import time
from abc import ABC, abstractmethod

import numpy as np

SMOKE = os.environ.get("FALLLINE_BENCH_SMOKE") == "1"  # everything once, with little data


def few(values, n=1):
    """Return the values of a parameter, of which a smoke test takes the first ones only."""
    return tuple(values)[:n] if SMOKE else tuple(values)


def rows(n, least=2048):
    """Return a number of rows, which is smaller in a smoke test."""
    return min(n, least) if SMOKE else n


class Skip(NotImplementedError):
    """Something a benchmark needs is not here; asv knows the base."""


def load(name):
    """Return a module, or skip."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"{name} is not installed"
        raise Skip(msg) from error


MATRIX = np.random.default_rng(99).standard_normal((400, 400), dtype=np.float32)
PRODUCT = np.empty_like(MATRIX)
PLACES = ("alone", "after a product")


def burst(call, place="alone", budget=0.05, least=3):
    """Return the median duration of a call in seconds.

    After a product of two matrices of 400 x 400 the threads of NumPy's BLAS still spin, as they do
    in the training of a network; the product itself is not timed. A call that returns an integer
    did so many things, and the duration of one is returned.
    """
    found, end = [], time.perf_counter() + budget
    while len(found) < least or time.perf_counter() < end:
        if place != "alone":
            np.matmul(MATRIX, MATRIX, out=PRODUCT)
        start = time.perf_counter()
        done = call()
        seconds = time.perf_counter() - start
        found.append(seconds / done if isinstance(done, int) else seconds)
    return statistics.median(found)


class Timed(ABC):
    """A benchmark of a call that `make` returns; where something is absent the time is NaN."""

    unit = "seconds"
    timeout = 300
    place = "alone"
    budget, least = 0.2, 5

    @abstractmethod
    def make(self, *params):
        """Return the call, or skip."""

    def setup(self, *params):
        """Make the call, and call it until it is warm."""
        try:
            self.call = self.make(*params)
        except Skip:
            self.call = None
        else:
            burst(self.call, self.place, self.budget / 6, 1)

    def track_seconds(self, *params):
        """Return the median duration."""
        if self.call is None:
            return math.nan
        return burst(self.call, self.place, 0 if SMOKE else self.budget, 1 if SMOKE else self.least)


class XPBenchmark:
    """A benchmark whose first parameter names an array library and its device.

    The names do not depend on what is installed: an absent library skips. `setup` leaves
    `self.xp`, `self.array`, which turns NumPy's array into one of the library, and `self.wait`,
    which returns when the device has finished an array.
    """

    backends = ("numpy", "cupy", "torch:cpu", "torch:cuda", "jax.numpy:cpu")

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


def absent():
    """Return the names of peers and devices that are not here."""
    found = []
    for name in ("numba", "torch", "jax", "optax", "optimistix", "scipy", "sklearn", "cupy"):
        try:
            load(name)
        except Skip:
            found.append(name)
    for name in ("cupy", "torch:cuda"):
        try:
            XPBenchmark().setup(name)
        except Skip as skip:
            if name.partition(":")[0] not in found:
                found.append(f"{name} ({skip})")
    return found
