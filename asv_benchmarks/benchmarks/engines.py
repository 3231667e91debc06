"""What an engine costs beside its steps: the first one, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc

import fallline as fl

from .common import draw, few, load

FIRST = """
import time, numpy as np, fallline as fl
x, g = np.ones(1000, "float32"), np.ones(1000, "float32")
start = time.perf_counter()
fl.Optimizer(x, fl.Adam(1e-3), engine="{engine}").step(g)
print(time.perf_counter() - start)
"""


class FirstStep:
    """Seconds from the making of an Optimizer to the end of its first step, imports included."""

    params = (("numba", "blocked"), ("empty cache", "filled cache"))
    param_names = ("engine", "cache")
    unit = "seconds"

    def track_first_step(self, engine, cache):
        """Run it in an interpreter of its own."""
        if engine == "numba":
            load("numba")
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "FALLLINE_CACHE_DIR": folder}
            for _ in range(1 if cache == "empty cache" else 2):
                run = subprocess.run(
                    [sys.executable, "-c", FIRST.format(engine=engine)],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
            return float(run.stdout)


class Memory:
    """Bytes that a step allocates at its peak, beyond params, gradients and state."""

    params = (("numba", "blocked"), few((1000, 100_000, 10_000_000)))
    param_names = ("engine", "size")
    unit = "bytes"

    def track_peak(self, engine, size):
        """Trace one step, and the making of what runs it."""
        if engine == "numba":
            load("numba")
        x, g = draw(size), draw(size, seed=1)
        # Compiled before: on one thread, or on several above some size.
        fl.Optimizer(x.copy()[:100_000], fl.Adam(1e-3), engine=engine).step(g[:100_000])
        opt = fl.Optimizer(x, fl.Adam(1e-3), engine=engine)
        tracemalloc.start()
        opt.step(g)
        opt.step(g)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak
