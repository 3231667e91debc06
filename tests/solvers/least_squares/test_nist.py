"""NIST's reference data: certified sums of squares, parameters and standard deviations."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.nist import MODELS, SETS, Problem, digits

# Runs that do not end at the certified minimum, all others do. From the first start of BoxBOD the
# second parameter leaves for where the curve is flat, as with MINPACK.
MISSED = {("BoxBOD", 0)}
# Terms that may stand in either order: where a fit exchanged them, these are the indices.
EXCHANGED = {"MGH17": [0, 2, 1, 4, 3]}
RUNS = [(name, start) for name in SETS for start in (0, 1)]


def test_every_set_has_a_model_with_right_derivatives():
    assert set(MODELS) == set(SETS)
    assert len(RUNS) == 54
    assert len(MISSED) <= 2
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


@pytest.mark.parametrize(("name", "start"), [run for run in RUNS if run not in MISSED])
def test_certified_numbers(name, start):
    problem = Problem(name)
    with np.errstate(all="ignore"):  # of trials far away
        res = fl.least_squares(problem.residuals, problem.starts[start], jacobian=True)
    assert res.success, res.message
    order = (
        EXCHANGED.get(name, slice(None)) if res.x[1] * problem.parameters[1] < 0 else slice(None)
    )
    assert digits(res.x[order], problem.parameters) >= 5
    if name == "Lanczos1":
        assert res.chi2 < 2e-25
    else:
        assert digits(res.chi2, problem.sum_of_squares) >= 6
        assert digits(res.stderr[order], problem.deviations) >= 4


@pytest.mark.parametrize(("name", "start"), sorted(MISSED))
def test_runs_that_end_elsewhere_return_their_best_point(name, start):
    problem = Problem(name)
    with np.errstate(all="ignore"):
        residuals, _ = problem.residuals(problem.starts[start])
        res = fl.least_squares(problem.residuals, problem.starts[start], jacobian=True)
    assert np.isfinite(res.chi2)
    assert res.chi2 < residuals @ residuals
