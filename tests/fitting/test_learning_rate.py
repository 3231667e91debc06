"""find_learning_rate: rates of a known problem, what it leaves alone, when it ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fallline as fl

MODEL = fl.LinearModel(fl.losses.SquaredError())


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, X @ np.asarray([1.0, -2.0, 0.5]) + 0.1 * rng.standard_normal(n)


def quadratic(curvature):
    def fun(x, rows):
        return 0.5 * curvature * np.sum(x * x), curvature * x

    return fun


@pytest.mark.parametrize("curvature", [0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("steps", [60, 100, 300])
def test_the_suggestion_follows_the_curvature(curvature, steps):
    found = fl.find_learning_rate(
        quadratic(curvature), (np.zeros((10, 1)),), method=fl.GradientDescent(), params=np.ones(2),
        low=1e-7, high=1e3, steps=steps,
    )  # fmt: skip
    # Steps above 2 / curvature do harm, but have to make up for the smaller ones before.
    assert 0.05 < found.suggestion * curvature < 1.0
    assert "exploded" in found.message
    assert len(found.rates) < steps


def test_the_losses_are_those_of_a_loop_by_hand():
    X, y = data()
    found = fl.find_learning_rate(
        MODEL, (X, y), method=fl.Adam(), low=1e-4, high=0.1, steps=30, batch_size=50, rng=3
    )
    rates = 1e-4 * 1000 ** (np.arange(30) / 29)
    np.testing.assert_allclose(found.rates, rates)
    params = MODEL.initialize(X, y)
    opt = fl.Optimizer(params, fl.Adam(lambda step: rates[step]))
    batches = fl.Batches(X, y, batch_size=50, rng=3)
    rows = [batch for _ in range(8) for batch in batches]
    losses = []
    for now, after in itertools.pairwise(rows[:31]):
        opt.step(MODEL.value_and_gradient(params, *now)[1])
        losses.append(MODEL.value_and_gradient(params, *after)[0])
    np.testing.assert_allclose(found.losses, losses)
    np.testing.assert_allclose(found.smoothed[10], np.mean(losses[9:12]))
    assert found.suggestion == pytest.approx(found.rates[np.argmin(found.smoothed)] / 10)
    assert repr(found).startswith("<RateTest of 30 rates, suggestion ")


def test_params_and_rule_are_left_alone(backend):
    X, y = (backend.array(x) for x in data())
    params = {"weights": backend.array(np.ones(3)), "intercept": backend.array(np.ones(()))}
    rule = fl.SGD(0.5, momentum=0.5)
    found = fl.find_learning_rate(
        MODEL, (X, y), method=rule, params=params, batch_size=20, rng=0, weights=y * 0 + 1
    )
    np.testing.assert_array_equal(backend.numpy(params["weights"]), np.ones(3))
    np.testing.assert_array_equal(backend.numpy(params["intercept"]), np.ones(()))
    assert rule == fl.SGD(0.5, momentum=0.5)
    expected = fl.find_learning_rate(
        MODEL, data(), method=rule, batch_size=20, rng=0,
        params={"weights": np.ones(3), "intercept": np.ones(())},
    )  # fmt: skip
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-8)
    assert type(found.losses) is np.ndarray
    assert found.suggestion == expected.suggestion
    assert 0.003 < found.suggestion < 0.3


@pytest.mark.parametrize("low", [0.5, 1e200])
def test_an_explosion_ends_it(low):
    calls = []

    def fun(x, rows):
        calls.append(1)
        return np.sum(x**4), 4 * x**3

    found = fl.find_learning_rate(
        fun, (np.zeros((4, 1)),), method=fl.GradientDescent(), params=np.full(3, 10.0), low=low,
        high=1e250,
    )  # fmt: skip
    assert (len(calls), len(found.losses)) == (2, 1)
    assert found.losses[0] == (np.inf if low > 1 else 3 * 1990.0**4)
    assert np.isnan(found.suggestion)
    assert found.message == (
        f"the loss exploded at a rate of {low:.2g}; the loss never fell clearly"
    )


def test_a_loss_that_is_nan_ends_it():
    def fun(x, rows):
        return (np.sum(x) if x[0] > 0.9 else np.asarray(np.nan)), np.ones(2)

    found = fl.find_learning_rate(fun, (np.zeros((4, 1)),), method=fl.SGD(), params=np.ones(2))
    assert np.isnan(found.losses[-1])
    assert not np.isnan(found.losses[:-1]).any()
    assert np.isfinite(found.suggestion)


def test_seeds_repeat():
    one, same, other = (
        fl.find_learning_rate(MODEL, data(), batch_size=10, rng=rng) for rng in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.losses, same.losses)
    assert not np.array_equal(one.losses, other.losses)


def test_streams_and_short_data():
    X, y = data(40)
    batches = [(X[:20], y[:20]), (X[20:], y[20:])]
    params = MODEL.initialize(X, y)
    found = fl.find_learning_rate(MODEL, batches, params=params, steps=20)
    assert len(found.rates) == 20
    found = fl.find_learning_rate(MODEL, iter(batches), params=params, steps=20)
    assert (len(found.rates), found.message[:29]) == (1, "the data ended after 1 rates;")


def test_batches_need_no_rows():
    def fun(x, batch):
        return batch["size"] * np.sum(x * x), 2 * batch["size"] * x

    batches = [{"size": 1.0}, {"size": 2.0}]
    found = fl.find_learning_rate(fun, batches, params=np.ones(2), high=1e-3, steps=10)
    assert len(found.losses) == 10
    run = fl.fit(fun, batches, method=fl.SGD(1e-9), params=np.ones(2), epochs=1)
    assert run.loss == pytest.approx(3.0)  # the mean over the batches, each of which counts once


def test_an_interruption_is_passed_on():
    calls = []

    def fun(x, rows):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return np.sum(x * x), 2 * x

    with pytest.raises(KeyboardInterrupt):
        fl.find_learning_rate(fun, (np.zeros((4, 1)),), params=np.ones(2))


def test_what_the_message_says():
    low = fl.find_learning_rate(MODEL, data(), low=1e-12, high=1e-9, batch_size=5, rng=0)
    assert np.isnan(low.suggestion)
    assert "never fell" in low.message
    short = fl.find_learning_rate(MODEL, data(), method=fl.SGD(), high=1e-2)
    assert short.message.endswith("a larger high may tell more")
    assert short.suggestion == pytest.approx(1e-3)


def test_a_penalty_that_is_not_smooth_takes_part():
    model = fl.LinearModel(fl.losses.SquaredError(), fl.L1(10.0))
    found = fl.find_learning_rate(model, data(), method=fl.SGD(), high=0.1)
    plain = fl.find_learning_rate(MODEL, data(), method=fl.SGD(), high=0.1)
    assert found.losses[-1] > 2 * plain.losses[-1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": fl.Lookahead(fl.Adam())}, TypeError, "expected one rule with a learning_rate"),
        ({"method": {"weights": fl.Adam()}}, TypeError, "expected one rule with a learning_rate"),
        ({"low": 0.0}, ValueError, "low: is 0.0, expected a number in"),
        ({"low": 1.0}, ValueError, "low: value is 1.0, expected less than high, 1.0"),
        ({"steps": 1}, ValueError, "steps: is 1, expected an integer >= 2"),
        ({"weights": np.ones(3)}, ValueError, "weights: length is 3, expected 200"),
        ({"objective": 3}, TypeError, "objective: is 3"),
        ({"objective": quadratic(1.0)}, TypeError, "params: are needed"),
        (
            {"data": [], "params": MODEL.initialize(*data())},
            ValueError,
            "data: gave no batches",
        ),
        (
            {"objective": lambda x, *rows: (np.nan, x), "params": np.ones(3)},
            ValueError,
            "objective: the loss is nan before the first step",
        ),
    ],
)
def test_errors(arguments, error, words):
    with pytest.raises(error, match=words):
        fl.find_learning_rate(**{"objective": MODEL, "data": data(), **arguments})
