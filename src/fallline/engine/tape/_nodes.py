"""What a recording is made of: operations and where their operands come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..._arrays._types import Array


class UnrecordableError(TypeError):
    """A formula does something that cannot be recorded; its steps are made one by one."""


class Node(NamedTuple):
    """An operation and its result.

    Operations are the names of ufuncs, "matmul", "sum" and "where"; "rows" of an array; "dot" and
    "slope", the products with rows of a sparse matrix and with their transpose; and "memory",
    "scalar" and "constant", which stand for numbers that exist already.
    """

    op: str
    args: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    detail: Any = None

    @property
    def given(self) -> bool:
        """Whether this stands for numbers that exist already."""
        return self.op in ("memory", "scalar", "constant")


@dataclass(frozen=True)
class Source:
    """The arrays of a sparse matrix with rows (CSR), and its number of columns."""

    ends: Any
    columns: Any
    numbers: Array
    width: int
