"""What is minimized: a linear model, a function that another library differentiates; a check."""

from ._autodiff import value_and_gradient
from ._gradient_check import GradientCheck, check_gradient
from ._linear_model import LinearModel

__all__ = ["GradientCheck", "LinearModel", "check_gradient", "value_and_gradient"]
