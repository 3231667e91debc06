"""Parameters, rules and state, stepped in place."""

from ._averages import EMA
from ._from_torch import from_torch
from ._optimizer import Optimizer
from ._row_sparse import RowSparse

__all__ = ["EMA", "Optimizer", "RowSparse", "from_torch"]
