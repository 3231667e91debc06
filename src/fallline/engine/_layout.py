"""How arrays lie in memory: which of them can be walked through as one flat piece."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .._arrays._types import Array
from .program import Operand, Program

HALVES = ("float16", "bfloat16")
# NumPy works out the name of a dtype each time it is asked; to compare dtypes is fast.
DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "complex64", "complex128")}


def is_contiguous(x: Array, order: str | None) -> bool:
    """Tell whether the elements of an array follow each other in an order, without gaps."""
    flags = x.flags
    return bool(flags.c_contiguous if order == "C" else flags.f_contiguous)


def is_plain(x: Array, order: str = "C") -> bool:
    """Tell whether compiled code can walk through NumPy's array: contiguous, aligned, native."""
    return is_contiguous(x, order) and bool(x.flags.aligned and x.dtype.isnative)


def common_order(arrays: Iterable[Array]) -> str | None:
    """Return an order, "C" or "F", in which all arrays are contiguous; `None` if there is none."""
    arrays = list(arrays)
    return next((o for o in ("C", "F") if all(is_contiguous(x, o) for x in arrays)), None)


def flat(x: Array, order: str, operand: Operand) -> Array | None:
    """Return a 1-d view of an array's real numbers in an order, or `None` if there is none.

    The real and the imaginary part of a complex number stand next to each other.
    """
    if operand.single:
        return x.reshape(1)
    if operand.dtype in HALVES or x.dtype != DTYPES[operand.dtype]:
        return None
    if not (is_contiguous(x, order) and x.flags.aligned):
        return None
    if x.ndim != 1:
        x = (x if order == "C" else x.T).reshape(-1)
    return x if operand.parts == 1 else x.view(x.real.dtype)


def flat_leaf(program: Program, leaf: list[Array]) -> tuple[str, list[Array]] | None:
    """Return the order of a leaf and 1-d views of its arrays, or `None` if one has no such view."""
    order = common_order(leaf)
    if order is None:
        return None
    views = [flat(x, order, operand) for x, operand in zip(leaf, program.bound, strict=True)]
    return None if any(view is None for view in views) else (order, views)


def separated(view: Array, operand: Operand) -> list[Array]:
    """Return an array for each part of the elements of a flat view."""
    if operand.single:
        return [view.reshape(())]
    return [view] if operand.parts == 1 else [view[0::2], view[1::2]]


def cut(views: Sequence[Array], operands: Sequence[Operand], step: int) -> list[list[Array]]:
    """Return pieces of flat views, each of so many elements; single numbers are in all."""
    size = views[0].size // operands[0].parts
    return [
        [
            x if operand.single else x[low * operand.parts : (low + step) * operand.parts]
            for x, operand in zip(views, operands, strict=True)
        ]
        for low in range(0, size, step)
    ]
