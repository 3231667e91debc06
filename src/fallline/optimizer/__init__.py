"""Parameters, rules and state, stepped in place."""

from ._averages import EMA
from ._from_torch import from_torch
from ._optimizer import Optimizer
from ._row_sparse import RowSparse
from ._saving import CheckpointContents, read_checkpoint

__all__ = ["EMA", "CheckpointContents", "Optimizer", "RowSparse", "from_torch", "read_checkpoint"]
