"""Linear models with scikit-learn's conventions: ``pip install 'fallline[sklearn]'``.

They are not part of ``import fallline``, which does not import scikit-learn.
"""

from __future__ import annotations

try:
    from ._classifier import LinearClassifier
    from ._regressor import LinearRegressor
except ImportError as error:
    if not (error.name or "").startswith("sklearn"):
        raise
    msg = "fallline.estimators needs scikit-learn 1.6 or newer: pip install 'fallline[sklearn]'"
    raise ImportError(msg) from error

__all__ = ["LinearClassifier", "LinearRegressor"]
