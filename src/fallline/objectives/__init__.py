"""Objectives: linear models, automatic differentiation, and a check of gradients."""

from ._autodiff import value_and_gradient
from ._gradient_check import GradientCheck, check_gradient
from ._linear_model import LinearModel
from ._residuals import residuals_and_jacobian

__all__ = [
    "GradientCheck", "LinearModel", "check_gradient", "residuals_and_jacobian",
    "value_and_gradient",
]  # fmt: skip
