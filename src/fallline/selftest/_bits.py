"""The bits of every engine, compared with those of the formula itself on NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .. import _arrays
from .._arrays._types import HostArray, Json
from ..testing import _bits, _draw
from ._cases import DTYPES, Case, Library, cases, dtype_of

STEPS = 4


def _numbers(seed: int, n: int, dtype: str, special: bool = False) -> HostArray:
    drawn = _draw(seed, "float32" if dtype == "bfloat16" else dtype, n, special and n > 1)
    return drawn.astype(dtype_of(dtype))


# Arrays of several layouts, as parts of arrays that lie one after another in memory: one element,
# all of an odd number, a start that no vector fits, every second element.
LAYOUTS: dict[str, tuple[int, slice]] = {
    "one element": (1, slice(None)),
    "1003 elements": (1003, slice(None)),
    "an odd start": (131, slice(1, None)),
    "every second": (66, slice(None, None, 2)),
}


def same_bits(library: Library, engine: str, case: Case, dtype: str) -> str:
    """Step arrays by an engine, and copies by NumPy; return what differs first, if anything."""
    starts = [_numbers(k, n, dtype) for k, (n, _) in enumerate(LAYOUTS.values())]
    parts = [part for _, part in LAYOUTS.values()]
    ours = [library.array(x)[part] for x, part in zip(starts, parts, strict=True)]
    theirs = [x[part].copy() for x, part in zip(starts, parts, strict=True)]
    one, other = case.optimizer(ours, engine), case.optimizer(theirs, "eager")
    for t in range(STEPS):
        grads = [
            _numbers(10 * t + k, x.size, dtype, t == 2) for k, x in enumerate(theirs, start=10)
        ]
        one.step([library.array(g) for g in grads])
        other.step(grads)
        for k, layout in enumerate(LAYOUTS):
            pairs = {"the parameter": (ours[k], theirs[k])}
            for name in other.state[k]:
                if name != "step":
                    pairs[f"state {name!r}"] = one.state[k][name], other.state[k][name]
            for what, (x, y) in pairs.items():
                if difference := _difference(_arrays.to_numpy(x), y):
                    return f"{what} of {layout}, step {t + 1}: {difference}"
    return ""


def _difference(x: HostArray, y: HostArray) -> str:
    if x.dtype != y.dtype or x.shape != y.shape:
        return f"is {x.dtype} of shape {x.shape}, expected {y.dtype} of shape {y.shape}"
    wrong = np.flatnonzero(_bits(x) != _bits(y))
    if not wrong.size:
        return ""
    parts = 2 if x.dtype.kind == "c" else 1
    i = int(wrong[0]) // parts
    count = np.unique(wrong // parts).size
    return f"{count} of {x.size} elements differ; [{i}] is {x[i]!r}, expected {y[i]!r}"


def bits(library: Library) -> Iterator[dict[str, Json]]:
    """Compare every case in every dtype, by every engine of a library."""
    for engine, case in itertools.product(library.engines, cases()):
        found = {}
        for dtype in DTYPES:
            if library.suits(engine, dtype):
                try:
                    found[dtype] = same_bits(library, engine, case, dtype)
                except Exception as error:  # whatever it is, the next case is tried
                    found[dtype] = f"{type(error).__name__}: {error}"
        yield {"case": str(case), "engine": engine, "differs": found}
