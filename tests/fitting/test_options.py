"""What `fit` has of an Optimizer: transforms, master copies, factors, averages."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import gradients

MODEL = fl.LinearModel(fl.losses.SquaredError())
RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 3))
Y = X @ np.asarray([1.0, -2.0, 0.5]) + RNG.standard_normal(64)


def by_hand(rule, *, epochs=3, average=None, dtype="float64", **options):
    """Return parameters, their average and the norms of gradients of the same steps in a loop."""
    x, y = X.astype(dtype), Y.astype(dtype)
    params = MODEL.initialize(x, y)
    opt = fl.Optimizer(params, rule, **options)
    mean = None if average is None else fl.EMA(params, average)
    batches, norms = fl.Batches(x, y, batch_size=10, rng=4), []
    for _ in range(epochs):
        for batch in batches:
            opt.step(MODEL.value_and_gradient(params, *batch)[1])
            norms.append(opt.gradient_norm)
            if mean is not None:
                mean.update()
    return params, mean and mean.params, norms


def fitted(rule, *, dtype="float64", **options):
    data = X.astype(dtype), Y.astype(dtype)
    options = {"epochs": 3, "batch_size": 10, "rng": 4, **options}
    return fl.fit(MODEL, data, method=rule, **options)


def same(found, params):
    for name, x in params.items():
        assert x.tobytes() == found.params[name].tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"gradients": [gradients.ClipByValue(0.1)]},
        {"gradients": [gradients.Accumulate(2), gradients.ClipByGlobalNorm(0.5)]},
        {"rate_factors": {"weights": np.asarray([1.0, 0.0, 2.0]), "intercept": 0.5}},
        {"master_weights": True},
    ],
    ids=lambda options: " ".join(options),
)
def test_options_are_those_of_an_optimizer(options):
    dtype = "float16" if "master_weights" in options else "float64"
    found = fitted(fl.Adam(0.05), dtype=dtype, **options)
    same(found, by_hand(fl.Adam(0.05), dtype=dtype, **options)[0])


def test_factors_of_the_decay():
    rule, options = (
        fl.AdamW(0.05, weight_decay=0.5),
        {"decay_factors": {"weights": 1.0, "intercept": 0.0}},
    )
    same(fitted(rule, **options), by_hand(rule, **options)[0])


def test_norms_are_in_the_history_where_they_are_measured():
    options = {"gradients": [gradients.ClipByGlobalNorm(0.5)]}
    found = fitted(fl.SGD(0.1), **options)
    norms = by_hand(fl.SGD(0.1), **options)[2]
    np.testing.assert_array_equal(found.history["step_gradient_norm"], np.asarray(norms))
    assert "step_gradient_norm" not in fitted(fl.SGD(0.1)).history


def test_a_loss_scale_is_the_objectives():
    scale = gradients.LossScale(2.0**10)

    class Scaled:
        initialize = MODEL.initialize

        def value_and_gradient(self, params, *batch):
            value, gradient = MODEL.value_and_gradient(params, *batch)
            return value, {name: g * scale.value for name, g in gradient.items()}

    found = fl.fit(
        Scaled(), (X, Y), method=fl.SGD(0.1), gradients=[scale], nonfinite="skip", batch_size=10,
        epochs=3, rng=4,
    )  # fmt: skip
    expected = by_hand(fl.SGD(0.1))[0]
    np.testing.assert_allclose(found.params["weights"], expected["weights"], rtol=1e-12)


def test_the_average_is_of_steps_that_were_made():
    options = {"gradients": [gradients.Accumulate(2)]}
    found = fitted(fl.SGD(0.1), average=0.9, **options)
    params = MODEL.initialize(X, Y)
    opt, batches = (
        fl.Optimizer(params, fl.SGD(0.1), **options),
        fl.Batches(X, Y, batch_size=10, rng=4),
    )
    mean, steps = fl.EMA(params, 0.9), 0
    for batch in [batch for _ in range(3) for batch in batches]:
        opt.step(MODEL.value_and_gradient(params, *batch)[1])
        if opt.step_count > steps:
            mean.update()
            steps += 1
    assert steps == 10
    same(found, mean.params)


@pytest.mark.parametrize("decay", [0.9, lambda step: step / (step + 10)])
def test_the_average_is_validated_and_returned(decay):
    found = fitted(fl.SGD(0.1), average=decay, validation=(X, Y))
    last, mean, _ = by_hand(fl.SGD(0.1), average=decay)
    same(found, mean)
    assert np.abs(mean["weights"] - last["weights"]).max() > 1e-3
    value = MODEL.value_and_gradient(mean, X, Y)[0]
    np.testing.assert_allclose(found.history["validation_loss"][-1], value)
    np.testing.assert_array_equal(found.predict(X), MODEL.predict(mean, X))


def test_the_best_average_is_put_back():
    stopping = fl.callbacks.EarlyStopping(2)
    found = fitted(
        fl.SGD(lambda k: 0.05 if k < 35 else 0.3), average=0.5, epochs=40, validation=(X, Y),
        callbacks=[stopping],
    )  # fmt: skip
    assert found.epochs < 40
    value = MODEL.value_and_gradient(found.params, X, Y)[0]
    np.testing.assert_allclose(value, found.history["validation_loss"].min())


def test_every_library_takes_an_average(backend):
    data = backend.array(X), backend.array(Y)
    found = fl.fit(
        MODEL, data, method=fl.SGD(0.1), average=0.9, batch_size=10, epochs=3, rng=4,
        gradients=[gradients.ClipByGlobalNorm(1e3)],
    )  # fmt: skip
    expected = by_hand(fl.SGD(0.1), average=0.9)[1]
    ours = backend.numpy(found.params["weights"])
    np.testing.assert_allclose(ours, expected["weights"], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradients": [gradients.ClipByValue(0.1)]}, r"gradients: is .*ClipByValue.* for rules"),
        ({"master_weights": True}, "master_weights: is True, which is for rules"),
        ({"rate_factors": np.ones(3)}, "rate_factors: is .* for rules"),
        ({"rate_factors": {"weights": np.ones(3)}}, "rate_factors: is .* for rules"),
        ({"decay_factors": 0.5}, "decay_factors: is 0.5, which is for rules"),
        ({"average": 0.9}, "average: is 0.9, which is for rules"),
        ({"engine": "numba"}, "engine: is 'numba', which is for rules"),
    ],
)
def test_a_solver_refuses_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        fl.fit(MODEL, (X, Y), method="lbfgs", **options)


@pytest.mark.parametrize("given", [lambda p, x: p, np.ones(3), {"weights": np.ones(3)}])
@pytest.mark.parametrize("method", ["lbfgs", fl.SGD(0.1)])
def test_a_gradient_in_the_place_of_transforms(given, method):
    with pytest.raises(TypeError, match=r"gradients: is .*expected a sequence of transforms"):
        fl.fit(MODEL, (X, Y), method=method, gradients=given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradients": [3]}, r"gradients\[0\]: is 3"),
        ({"gradients": gradients.ClipByValue(0.1)}, "gradients: is ClipByValue"),
        ({"average": 1.0}, "decay: is 1.0|average"),
        ({"average": "yes"}, "decay|average"),
        ({"master_weights": 1}, "master_weights: is 1, expected a bool"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fitted(fl.SGD(0.1), **options)
