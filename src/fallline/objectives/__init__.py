"""Objectives: linear models, automatic differentiation, and checks of gradients and Jacobians."""

from ._autodiff import value_and_gradient
from ._gradient_check import GradientCheck, check_gradient
from ._jacobian_check import check_jacobian
from ._linear_model import LinearModel
from ._residuals import residuals_and_jacobian

__all__ = [
    "GradientCheck", "LinearModel", "check_gradient", "check_jacobian",
    "residuals_and_jacobian", "value_and_gradient",
]  # fmt: skip
