"""How many kernels a step launches, and how long it takes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np

from .. import _arrays
from .._arrays._types import Array, Json
from ..engine import cuda
from ..engine.trace import trace
from ..optimizer import Optimizer
from ..rules import Adam
from ._cases import Library

MANY = 300  # arrays, which few launches should update
SIZES = (1000, 100_000, 10_000_000)
SECONDS = 0.3  # that a time is measured for


def launches(library: Library) -> dict[str, Json]:
    """Count the kernels that a step of many arrays launches."""
    arrays = [library.array(np.ones(n % 50 + 1, np.float32)) for n in range(MANY)]
    opt = Optimizer(arrays, Adam(0.1), engine="cuda")
    opt.step(arrays)
    before = _launched(opt)
    opt.step(arrays)
    most = cuda.tables(trace(Adam(0.1), "float32"), MANY)
    return {"arrays": MANY, "launches": _launched(opt) - before, "most": most}


def _launched(opt: Optimizer) -> int:
    return sum(getattr(group.runner, "launched", 0) for group in opt._bound.groups)


def times(library: Library) -> Iterator[dict[str, Json]]:
    """Measure steps of Adam in single precision, by every engine of a library."""
    engines = dict.fromkeys([*library.engines, "eager"])
    for (count, n), engine in itertools.product([*((1, n) for n in SIZES), (MANY, 1000)], engines):
        params = [library.array(np.ones(n, np.float32)) for _ in range(count)]
        grads = itertools.cycle(
            [[library.array(np.full(n, x, np.float32)) for _ in range(count)] for x in (0.1, 0.2)]
        )
        opt = Optimizer(params, Adam(1e-3), engine=engine)
        seconds = _median(opt, grads)
        yield {"engine": engine, "arrays": count, "elements": n, "seconds": seconds}


def _median(opt: Optimizer, grads: Iterator[list[Array]]) -> float:
    # The median duration of a step, until the device has finished it.
    found: list[float] = []
    end = 0.0
    for k in itertools.count():
        start = time.perf_counter()
        last = opt.step(next(grads))[-1]
        _arrays.to_numpy(last[:1])
        if k < 2:  # the first ones compile
            end = time.perf_counter() + SECONDS
        else:
            found.append(time.perf_counter() - start)
            if len(found) > 2 and time.perf_counter() > end:
                return float(f"{statistics.median(found):.3g}")
    raise AssertionError
