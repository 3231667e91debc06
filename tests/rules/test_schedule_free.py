"""Schedule-free rules: the weights of their averages, late leaves, evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

WARM = fl.schedules.LinearWarmup(fl.schedules.Constant(0.5), steps=4, start_factor=0.0)
FALLING = fl.schedules.Exponential(0.5, decay=0.8)


def points(schedule, gradients, beta, start=0.7):
    """Return x and y after each step, by the definition, all weights of all steps summed."""
    x = z = y = start
    weights = []
    for k, g in enumerate(gradients):
        rate = schedule(k) if callable(schedule) else schedule
        weights.append(max([rate, *weights]))
        total = sum(w * w for w in weights)
        share = weights[-1] ** 2 / total if total else 0.0
        z -= rate * g
        x = (1 - share) * x + share * z
        y = beta * x + (1 - beta) * z
        yield x, y


@pytest.mark.parametrize("schedule", [0.3, WARM, FALLING, lambda step: 0.3], ids=str)
def test_weights_follow_a_schedule(schedule):
    rng = np.random.default_rng(0)
    y = np.asarray([0.7])
    gradients = rng.standard_normal(12)
    rule = fl.ScheduleFreeSGD(schedule, beta1=0.8)
    opt = fl.Optimizer(y, rule)
    for k, (average, expected) in enumerate(points(schedule, gradients, 0.8)):
        if k % 5 == 3:
            rule.hyperparameters(0)  # a look at another step
            rule.hyperparameters(100)
        opt.step(gradients[k : k + 1])
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        np.testing.assert_allclose(rule.evaluation(y, opt.state), average, rtol=1e-12)


@pytest.mark.parametrize("schedule", [0.3, WARM, FALLING], ids=str)
@pytest.mark.parametrize("cls", [fl.ScheduleFreeSGD, fl.ScheduleFreeAdamW])
def test_weights_follow_a_schedule_under_jit(schedule, cls):
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(1)
    gradients = rng.standard_normal((12, 3)).astype("float32")
    rule = cls(schedule, beta1=0.8)
    step = jax.jit(lambda p, g, s: rule.update(params=p, grads=g, state=s))
    x = jax.numpy.ones(3)
    y = np.ones(3, "float32")
    state, opt = rule.init(x), fl.Optimizer(y, rule)
    for g in gradients:
        x, state = step(x, jax.numpy.asarray(g), state)
        opt.step(g)
    np.testing.assert_allclose(np.asarray(x), y, rtol=1e-5, atol=1e-6)
    average = np.asarray(rule.evaluation(x, state.leaves))
    np.testing.assert_allclose(average, rule.evaluation(y, opt.state), rtol=1e-5, atol=1e-6)
    # Eagerly again, with counts that are arrays of jax.
    x, state = rule.update(params=x, grads=jax.numpy.asarray(gradients[0]), state=state)
    opt.step(gradients[0])
    np.testing.assert_allclose(np.asarray(x), y, rtol=1e-5, atol=1e-6)


def test_a_schedule_under_jit_beyond_the_table():
    jax = pytest.importorskip("jax")
    rule = fl.ScheduleFreeSGD(fl.schedules.LinearWarmup(fl.schedules.Constant(1.0), steps=100))
    share = lambda step: rule.at(step).scalars(10**6)["share"]  # noqa: E731
    for step in (50, 16_000, 17_000, 100_000):
        assert float(jax.jit(share)(step)) == pytest.approx(share(step), rel=1e-6)


def test_a_leaf_that_joins_late_starts_its_own_average():
    params = {"a": np.ones(1), "b": np.ones(1)}
    rule = fl.ScheduleFreeSGD(WARM, beta1=0.8)
    opt = fl.Optimizer(params, rule)
    for _ in range(20):
        opt.step({"a": np.ones(1), "b": None})
    for average, y in points(0.5, [1.0, -2.0, 1.0], 0.8, 1.0):
        opt.step({"a": None, "b": np.asarray([1.0, -2.0, 1.0])[[opt.step_count - 20]]})
        np.testing.assert_allclose(params["b"], y, rtol=1e-12)
        found = rule.evaluation(opt.params, opt.state)["b"]
        np.testing.assert_allclose(found, average, rtol=1e-12)


def test_rows_and_elements_that_join_late_start_at_the_parameter():
    rng = np.random.default_rng(6)
    table = rng.standard_normal((6, 2))
    start = table.copy()
    opt = fl.Optimizer(table, fl.ScheduleFreeSGD(0.1, beta1=0.8))
    for rows in ([0, 1], [0, 1], [0, 4]):
        opt.step(fl.RowSparse(np.asarray(rows), np.ones((2, 2))))
    share = 1 / 3  # of the first gradient of row 4, in the third step
    np.testing.assert_allclose(table[4], start[4] - 0.1 * (1 - 0.8 * (1 - share)), rtol=1e-12)
    np.testing.assert_array_equal(opt.rule.evaluation(table, opt.state)[2], start[2])
    opt.rebind(np.concatenate([table, np.ones((1, 2))]), state="pad")
    opt.step(np.zeros((7, 2)))
    np.testing.assert_array_equal(opt.params[6], 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
@pytest.mark.parametrize("cls", [fl.ScheduleFreeSGD, fl.ScheduleFreeAdamW])
def test_trees_are_evaluated_leaf_by_leaf(dtype, cls):
    rng = np.random.default_rng(2)
    draw = lambda shape: np.asarray(rng.standard_normal(shape) + 1).astype(dtype)  # noqa: E731
    params = {"w": [draw((2, 3)), draw(())], "fixed": draw(2), "none": None, "adam": draw(3)}
    rule = cls(0.1)
    rules = {"w": rule, "fixed": None, "none": None, "adam": fl.FTRL(0.1, l1=0.1)}
    opt = fl.Optimizer(params, rules, master_weights=dtype == "float16")
    start = rule.evaluation(opt.params, opt.state)
    np.testing.assert_allclose(start["w"][0], params["w"][0], rtol=1e-3)
    for _ in range(5):
        grads = {"w": [draw((2, 3)), draw(())], "fixed": None, "none": None, "adam": draw(3)}
        opt.step(grads)
    found = rule.evaluation(opt.params, opt.state)
    for x, y, state in zip(found["w"], params["w"], opt.state["w"], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        wide = np.asarray(state.get("master", y))
        z = wide + state["ahead"]
        np.testing.assert_allclose(x, (wide - (1 - 0.9) * z) / 0.9, rtol=2e-3)
    assert found["none"] is None
    for name in ("fixed", "adam"):
        assert found[name] is params[name]


def test_a_schedule_of_beta1_is_read_at_the_last_step():
    y = np.asarray([1.0])
    rule = fl.ScheduleFreeSGD(0.1, beta1=lambda step: 0.5 + 0.1 * step)
    opt = fl.Optimizer(y, rule)
    for _ in range(3):
        opt.step(np.ones(1))
    expected = (y - (1 - 0.7) * (y + opt.state["ahead"])) / 0.7
    np.testing.assert_allclose(rule.evaluation(y, opt.state), expected, rtol=1e-12)
