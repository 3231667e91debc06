"""Coefficients as a sparse matrix, and back."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_is_fitted

from .. import _arrays
from .._arrays import _checks, is_sparse
from .._arrays._types import Array


class SparseCoefficients:
    """What an estimator can do with coefficients most of which are zero."""

    coef_: Array

    def sparsify(self) -> Self:
        """Make `coef_` a sparse matrix, of one row where it had one axis.

        For coefficients under an L1 penalty, most of which are zero: `predict` then multiplies by
        the others only.

        Returns
        -------
        LinearRegressor or LinearClassifier
            Itself.

        Raises
        ------
        TypeError
            If the coefficients are not NumPy's.
        """
        check_is_fitted(self)
        if not is_sparse(self.coef_):
            if not isinstance(self.coef_, np.ndarray):
                library = _arrays.library(self.coef_)
                raise TypeError(_checks.mismatch("sparsify: coef_", "library", library, "numpy"))
            self.coef_ = scipy.sparse.csr_matrix(np.atleast_2d(self.coef_))
        return self

    def densify(self) -> Self:
        """Make `coef_` a dense array, as it was before `sparsify`.

        Returns
        -------
        LinearRegressor or LinearClassifier
            Itself.
        """
        check_is_fitted(self)
        self.coef_ = self._dense()
        return self

    def _dense(self) -> Array:
        return self.coef_.toarray() if is_sparse(self.coef_) else self.coef_


def decision(X: Array, coef: Array, intercept: Array) -> Array:
    """Return the linear predictions by sparse coefficients, of shape (n,) or (n, outputs)."""
    z = X @ coef.T
    z = z.toarray() if is_sparse(z) else z
    return (z[:, 0] if z.shape[1] == 1 else z) + intercept
