"""What a recording is made of: operations and where their operands come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ..._arrays._types import Array, HostDtype


class UnrecordableError(TypeError):
    """A formula does something that cannot be recorded; its steps are made one by one."""


# What an operation needs beside its operands: its walks, the array of "memory" and "rows", the
# `Source` of a product with a sparse matrix, the place of a scalar, or the number of a constant.
Detail: TypeAlias = Any


class Node(NamedTuple):
    """An operation and its result, whose elements lie one after another in the order of C.

    Operations are "walks", which go through their operands with loops of NumPy; "rows" of an array;
    "dot" and "slope", the products with rows of a sparse matrix and with their transpose; and
    "memory", "scalar" and "constant", which stand for numbers that exist already. The result may
    take the memory of an operand in `free`: each element is read just before it is written.
    """

    op: str
    args: tuple[int, ...]
    dtype: HostDtype
    size: int
    detail: Detail = None
    free: tuple[int, ...] = ()

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
