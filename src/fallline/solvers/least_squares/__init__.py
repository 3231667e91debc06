"""Least squares: Levenberg and Marquardt's method for one problem, or for many side by side."""

from ._curve_fit import CurveFitResult, curve_fit
from ._least_squares import least_squares
from ._record import FitRecord
from ._result import LeastSquaresResult

__all__ = ["CurveFitResult", "FitRecord", "LeastSquaresResult", "curve_fit", "least_squares"]
