"""A training job in one call."""

from ._fit import FitResult, fit
from ._learning_rate import RateTest, find_learning_rate
from ._run_record import RunRecord, fingerprint

__all__ = ["FitResult", "RateTest", "RunRecord", "find_learning_rate", "fingerprint", "fit"]
