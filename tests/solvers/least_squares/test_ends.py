"""How runs end: conditions, limits, callbacks, interruptions, points that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from tests import backends
from tests.solvers.least_squares.curves import decays

NUMPY = backends.make("numpy")


def rosenbrock(x):
    return np.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), np.array([[-20 * x[0], 10], [-1, 0]])


START = np.array([-1.2, 1.0])


def run(**options):
    return fl.least_squares(rosenbrock, START, jacobian=True, **options)


def test_a_limit():
    res = run(max_iterations=3)
    assert (res.status, res.success, res.nit, res.nfev) == (1, False, 3, 4)
    assert res.message == "3 iterations were made"
    res = run(max_iterations=0)
    assert (res.status, res.nit, res.nfev) == (1, 0, 1)
    np.testing.assert_array_equal(res.x, START)


def test_conditions_of_other_runs():
    res = run(stop=stop.Target(0.5), record=("cost", "x", "nit", "nfev", "optimality", "damping"))
    costs = res.history["cost"]
    assert costs[-1] <= 0.5 < min(costs[:-1])
    assert res.message == "the objective is at most 0.5"
    assert {len(some) for some in res.history.values()} == {res.nit + 1}
    assert run(stop=stop.MaxEvaluations(4)).nfev == 4
    assert run(stop=stop.MaxTime(0)).status == 1
    assert run(stop=stop.GradientNorm(1e-3)).optimality <= 1e-3
    assert run(stop=stop.RelativeDecrease(0.3) | stop.Target(1e-20)).success
    assert run(stop=stop.ParameterChange(1e-3)).success
    assert run(stop=stop.NotImproved(3) | stop.FitTolerance()).success


def test_conditions_remember_each_problem_of_a_batch():
    problem = decays(NUMPY, 20)
    rng = np.random.default_rng(0)
    problem.start["rate"] = problem.truth["rate"] * 10 ** rng.uniform(-1, 0.3, 20)
    for condition in (stop.RelativeDecrease(1e-3), stop.ParameterChange(1e-2) & stop.Target(0.03)):
        res = fl.least_squares(
            problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
            args=(problem.t,), stop=condition | stop.FitTolerance(),
        )  # fmt: skip
        ones = [
            fl.least_squares(
                problem.both, {k: v[i, ...] for k, v in problem.start.items()}, jacobian=True,
                args=(problem.data[0][i], problem.t), stop=condition | stop.FitTolerance(),
            )
            for i in range(20)
        ]  # fmt: skip
        assert len(set(res.nit)) > 3
        np.testing.assert_array_equal(res.nit, [one.nit for one in ones])


@pytest.mark.parametrize(
    ("name", "message"),
    [("cost", "the cost fell"), ("step", "the point"), ("gradient", "the cosi")],
)
def test_each_tolerance_ends_a_run(name, message):
    problem = decays(NUMPY, 1)
    tolerances = dict.fromkeys(("cost", "step", "gradient"), 0.0) | {name: 1e-3}
    res = fl.least_squares(
        problem.both, {k: v[0, ...] for k, v in problem.start.items()}, jacobian=True,
        args=(problem.data[0][0], problem.t), stop=stop.FitTolerance(**tolerances),
    )  # fmt: skip
    assert res.success
    assert res.message.startswith(message)
    with pytest.raises(TypeError, match="stop: FitTolerance is for least_squares"):
        fl.minimize(lambda x: (x @ x, 2 * x), np.ones(2), stop=stop.FitTolerance())
    with pytest.raises(ValueError, match="cost: is -1"):
        stop.FitTolerance(cost=-1)


def test_callbacks_see_records_and_end_runs():
    seen = []
    res = run(callback=lambda record: seen.append(record))
    assert [record.iteration for record in seen] == list(range(1, res.nit + 1))
    assert seen[-1].cost == res.cost
    assert isinstance(seen[0].cost, float)
    assert seen[0].accepted in (True, False)
    assert "cost=" in repr(seen[0])
    assert seen[-1].evaluations == res.nfev
    with pytest.raises(ValueError, match="read-only"):
        seen[0].x[0] = 3
    res = run(callback=lambda record: record.iteration == 2)
    assert (res.status, res.nit) == (99, 2)
    problem, sizes = decays(NUMPY, 9), []
    fl.least_squares(
        problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), chunk=5, callback=lambda r: sizes.append(r.cost.shape[0]),
    )  # fmt: skip
    assert sizes[0] == 5
    assert set(sizes) <= {1, 2, 3, 4, 5}


def test_an_interrupted_run_returns_its_best_point():
    calls = []

    def stopped(x):
        calls.append(x)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return rosenbrock(x)

    res = fl.least_squares(stopped, START, jacobian=True)
    assert (res.status, res.nit) == (98, 2)
    assert res.cost == pytest.approx(0.5 * np.sum(rosenbrock(res.x)[0] ** 2))
    problem = decays(NUMPY, 6)
    calls.clear()

    def stopped_batch(x, y, t):
        calls.append(x)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return problem.both(x, y, t)

    res = fl.least_squares(
        stopped_batch, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), chunk=3,
    )  # fmt: skip
    assert res.status.tolist() == [98] * 6
    assert res.nit.tolist() == [1] * 3 + [0] * 3


def test_steps_are_taken_only_where_the_cost_falls():
    # A function that rises where its Jacobian promises a fall.
    def wrong(x):
        r, j = rosenbrock(x)
        return r, -j

    res = fl.least_squares(wrong, START, jacobian=True)
    assert (res.status, res.success) == (2, False)
    assert res.message == "no step was found that lowers the cost"
    np.testing.assert_array_equal(res.x, START)
    bumpy = fl.least_squares(
        lambda x: (rosenbrock(x)[0] + 0.01 * np.sin(1e5 * x), rosenbrock(x)[1]), START,
        jacobian=True,
    )  # fmt: skip
    assert np.all(np.diff(bumpy.history["cost"]) <= 0)


def test_trials_that_are_not_finite_are_refused():
    def logs(x):
        with np.errstate(all="ignore"):
            return np.stack([np.log(x[0]) + 3, x[1] - 1])

    res = fl.least_squares(logs, np.array([2.0, 0.0]))
    np.testing.assert_allclose(res.x, [np.exp(-3), 1], rtol=1e-7)
    assert res.success

    def wall(x):
        return np.where(x > 1, x - 3, np.nan)[:, None] * np.ones(3)

    res = fl.least_squares(wall, np.array([2.0, 1.5]), batched=True, batched_args=())
    np.testing.assert_allclose(res.x, 3)
    stuck = fl.least_squares(
        lambda x: (np.where(x == 2, x, np.nan), np.eye(1)), np.array([2.0]), jacobian=True
    )
    assert (stuck.status, stuck.message) == (3, "the residuals are not finite around the point")
    np.testing.assert_array_equal(stuck.x, [2])


def test_a_start_that_is_not_finite():
    res = fl.least_squares(lambda x: x * np.nan, np.ones(2))
    assert (res.status, res.success, res.nit) == (3, False, 0)
    assert res.message == "the residuals or their derivatives are not finite"
    np.testing.assert_array_equal(res.x, [1, 1])


def test_a_start_at_the_end():
    res = fl.least_squares(rosenbrock, np.ones(2), jacobian=True)
    assert (res.success, res.nit, res.nfev, res.cost) == (True, 0, 1, 0.0)


def test_fewer_residuals_than_parameters():
    with pytest.warns(UserWarning, match="covariance is infinite: the residuals do not determine"):
        res = fl.least_squares(lambda x: x[:1] * x[1:2] - 2, np.ones(3))
    assert res.success
    assert res.cost < 1e-20
    assert np.all(np.isinf(res.stderr))
    assert np.all(np.isinf(res.covariance))


def test_progress_over_iterations_and_problems(capsys):
    pytest.importorskip("tqdm", reason="the bar is tqdm's")
    res = run(progress=True)
    assert f"{res.nit}it" in capsys.readouterr().err
    problem = decays(NUMPY, 9)
    fl.least_squares(
        problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), chunk=4, progress=True,
    )  # fmt: skip
    assert "9/9" in capsys.readouterr().err
