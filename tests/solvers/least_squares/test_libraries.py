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
    for name in ("nit", "nfev"):
        assert backend.numpy(found[name]).tolist() == [run[name] for run in runs]
    assert np.allclose(backend.numpy(found.cost), [run.cost for run in runs], rtol=1e-12)
    assert backend.numpy(found.fun).shape == (7, 20)
    assert backend.numpy(found.jac["rate"]).shape == (7, 20)
    assert backend.numpy(found.covariance["rate"]["floor"]).shape == (7,)


@pytest.mark.parametrize(("m", "n"), [(30, 18), (12, 18)])
def test_many_parameters_of_one_problem(backend, m, n):
    # A single large matrix goes to the library's linear algebra, where there is one.
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((m, n)), rng.standard_normal(m)
    a[:, 3] = 2 * a[:, 1]
    exact = np.linalg.lstsq(a, y, rcond=None)[0]
    ours, data = backend.array(a), backend.array(y)
    with pytest.warns(UserWarning, match="covariance is infinite"):
        res = fl.least_squares(
            lambda x: ours @ x - data, backend.array(np.zeros(n)), jacobian=lambda x: ours
        )
    assert res.success
    found = backend.numpy(res.x)
    np.testing.assert_allclose(a @ found, a @ exact, atol=1e-8)
    broken = backend.array(np.where(np.arange(m) == 2, np.nan, y))
    res = fl.least_squares(
        lambda x: ours @ x - broken, backend.array(np.zeros(n)), jacobian=lambda x: ours
    )
    assert res.status == 3
