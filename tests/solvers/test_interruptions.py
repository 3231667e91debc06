"""An interrupted run returns the best that it found."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.problems import rosenbrock
from tests.solvers.watched import (
    EVERY,
    MOST,
    X0,
    crash,
)


@EVERY
@pytest.mark.parametrize("where", ["function", "callback"])
def test_an_interrupted_run_returns_its_best_point(method, options, where):
    points = []

    def fun(x):
        if where == "function" and len(points) == 9:
            raise KeyboardInterrupt
        points.append(x)
        return rosenbrock(x)

    hooks = [crash(7, KeyboardInterrupt)] if where == "callback" else []
    found = fl.minimize(
        fun, X0, method=method, **options, stop=None, max_iterations=MOST, callbacks=hooks
    )
    assert (found.success, found.status) == (False, 98)
    assert "interrupted" in found.message
    assert found.fun == min(found.history["fun"] + [found.fun])
    # With momentum and given lengths it is evaluated where steps begin, not where they end.
    ahead = isinstance(method, fl.ProximalGradient) and method.accelerated and method.step_size
    assert ahead or any(np.array_equal(found.x, x) for x in points)
    if not options:
        assert found.fun == rosenbrock(found.x)[0]
        np.testing.assert_array_equal(found.jac, rosenbrock(found.x)[1])


def test_a_rule_that_nobody_looks_at_keeps_its_progress():
    def fun(x):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return np.sum((x - 3) ** 2), 2 * (x - 3)

    calls = []
    found = fl.minimize(fun, np.zeros(2), method=fl.SGD(0.1))
    assert (found.status, found.nit) == (98, 39)
    assert found.fun == np.sum((found.x - 3) ** 2) < 1e-4


def test_an_interruption_before_the_first_value_goes_on():
    def fun(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fl.minimize(fun, np.zeros(2))


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=repr)
@pytest.mark.parametrize("every", [1, 4])
def test_an_interrupted_batch_returns_the_best_points(method, every):
    def fun(x):
        if len(points) == 9:
            raise KeyboardInterrupt
        points.append(x.copy())
        values = np.array([rosenbrock(row)[0] for row in x])
        return values, np.array([rosenbrock(row)[1] for row in x])

    points = []
    x0 = np.array([X0, np.ones(4), -X0])  # the second stands at its minimum
    found = fl.minimize(fun, x0, method=method, batched=True, check_every=every)
    assert found.status[0] == found.status[2] == 98
    assert not found.success[0]
    assert "interrupted" in found.message
    for i, (x, value) in enumerate(zip(found.x, found.fun, strict=True)):
        assert value == rosenbrock(x)[0]
        np.testing.assert_array_equal(found.jac[i], rosenbrock(x)[1])
    assert found.fun[0] < rosenbrock(X0)[0]


def test_a_batch_that_nobody_looks_at_keeps_its_progress():
    def fun(x):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return np.sum((x - 3) ** 2, axis=-1), 2 * (x - 3)

    calls = []
    found = fl.minimize(fun, np.zeros((2, 2)), method=fl.SGD(0.1), batched=True)
    one = fl.minimize(fun, np.zeros(2), method=fl.SGD(0.1), max_iterations=38)
    assert set(found.status) == {98}
    np.testing.assert_array_equal(found.nit, 38)
    np.testing.assert_array_equal(found.x, [one.x, one.x])
    np.testing.assert_array_equal(found.fun, np.sum((found.x - 3) ** 2, axis=-1))


def test_fit_tells_of_an_interrupted_solver():
    X, y = np.random.default_rng(0).standard_normal((30, 3)), np.arange(30.0)
    hooks = [crash(2, KeyboardInterrupt)]
    model = fl.LinearModel(fl.losses.SquaredError())
    found = fl.fit(model, (X, y), method="cg", callbacks=hooks)
    assert (found.success, found.status) == (False, 98)
    assert "interrupted" in found.message
    assert model.value_and_gradient(found.params, X, y)[0] == found.loss
