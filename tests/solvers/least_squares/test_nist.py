"""NIST's reference data: certified sums of squares, parameters and standard deviations."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.nist import MODELS, SETS, Problem, digits

RUNS = [(name, start) for name in SETS for start in (0, 1)]


def test_every_set_has_a_model_with_right_derivatives():
    assert set(MODELS) == set(SETS)
    assert len(SETS) == 27
    for name in SETS:
        problem = Problem(name)
        b = problem.parameters
        residuals, jacobian = problem.residuals(b)
        if name != "Lanczos1":  # whose sum is below the rounding of the data
            assert digits(residuals @ residuals, problem.sum_of_squares) > 9.5, name
        for k in range(b.size):
            moved = b.astype(complex)
            moved[k] += 1e-30j
            column = problem.residuals(moved)[0].imag / 1e-30
            np.testing.assert_allclose(
                jacobian[:, k], column, rtol=0, atol=1e-13 * np.max(np.abs(column)), err_msg=name
            )
