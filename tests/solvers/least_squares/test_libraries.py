"""Fits on every array library, one by one and side by side."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.solvers.least_squares.curves import decays, singles


@pytest.mark.parametrize("jacobian", ["2-point", "3-point", True, "callable"])
def test_a_batch_is_its_problems(backend, jacobian):
    problem = decays(backend, 7)
    jacobian, fun = problem.jacobian(jacobian)
    options = {"jacobian": jacobian}
    found = fl.least_squares(
        fun, problem.start, batched=True, batched_args=problem.data, args=(problem.t,), **options
    )
    runs = singles(problem, fun, **options)
    for name in ("height", "rate", "floor"):
        x = backend.numpy(found.x[name])
        one = np.array([float(backend.numpy(run.x[name])) for run in runs])
        assert np.max(np.abs(x - one) / np.abs(one)) < 1e-10
        assert x.shape == (7,)
    assert backend.numpy(found.status).tolist() == [run.status for run in runs] == [0] * 7
    assert backend.numpy(found.nit).tolist() == [run.nit for run in runs]
    assert backend.numpy(found.nfev).tolist() == [run.nfev for run in runs]
    assert np.allclose(backend.numpy(found.cost), [run.cost for run in runs], rtol=1e-12)
    assert backend.numpy(found.fun).shape == (7, 20)
    assert backend.numpy(found.jac["rate"]).shape == (7, 20)
    assert backend.numpy(found.covariance["rate"]["floor"]).shape == (7,)
