"""The parameters that the linear estimators share, once."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from .._arrays._types import Method
from ..losses import Loss
from ..penalties import Penalty


@dataclass(eq=False, repr=False)
class Parameters:
    """Fields that scikit-learn reads off the signature; `LinearRegressor` describes them."""

    loss: str | Loss
    _: KW_ONLY
    penalty: str | Penalty | None = "l2"
    alpha: float = 3e-3
    l1_ratio: float = 0.5
    fit_intercept: bool = True
    positive: bool = False
    method: Method = "auto"
    batch_size: int | None = None
    max_iter: int = 1000
    tol: float | None = 1e-4
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0
