"""What a recording is made of: operations and where their operands come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ..._arrays._types import Array, HostDtype


class UnrecordableError(TypeError):
    """A formula does something that cannot be recorded; its steps are made one by one."""


# What an operation needs beside its operands: the array of "memory" and "rows", the `Source` of a
# product with a sparse matrix, the place of a scalar, a constant, or the loop of a ufunc.
Detail: TypeAlias = Any


class Node(NamedTuple):
    """An operation and its result.

    Operations are the names of ufuncs, "matmul", "sum" and "where"; "rows" of an array; "dot" and
    "slope", the products with rows of a sparse matrix and with their transpose; and "memory",
    "scalar" and "constant", which stand for numbers that exist already.
    """

    op: str
    args: tuple[int, ...]
    dtype: HostDtype
    size: int
    detail: Detail = None

    @property
    def given(self) -> bool:
        """Whether this stands for numbers that exist already."""
        return self.op in ("memory", "scalar", "constant")


@dataclass(frozen=True)
class Source:
    """The arrays of a sparse matrix with rows (CSR), and its number of columns."""

    ends: Array
    columns: Array
    numbers: Array
    width: int
