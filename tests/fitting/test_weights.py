"""Weights of rows: mini-batches minimize what the whole does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fallline as fl

LOSS = fl.losses.SquaredError()
MODEL = fl.LinearModel(LOSS, fit_intercept=False)


def rate(step):
    return 0.05 / (1 + step / 200)


def unequal(n=103):
    """Return rows of two kinds that want different weights, the rarer one with the larger ones."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    few = np.arange(n) < 20
    return X, np.where(few, -X[:, 0], X[:, 0] - 2 * X[:, 1]), np.where(few, 100.0, 1.0)


@dataclasses.dataclass
class Plain:
    """An objective that is no linear model."""

    model: fl.LinearModel = MODEL

    def initialize(self, X, y):
        return self.model.initialize(X, y)

    def value_and_gradient(self, params, X, y, weights=None):
        return self.model.value_and_gradient(params, X, y, weights)


@pytest.mark.parametrize("objective", [MODEL, Plain()], ids=["model", "own"])
def test_batches_minimize_what_the_whole_does(objective):
    X, y, w = unequal()
    whole = fl.fit(objective, (X, y), weights=w, method="lbfgs").params["weights"]
    options = {"method": fl.SGD(rate), "batch_size": 10, "rng": 0}
    parts = fl.fit(objective, (X, y), weights=w, epochs=400, **options).params["weights"]
    repeated = np.repeat(X, w.astype(int), axis=0), np.repeat(y, w.astype(int))
    rows = fl.fit(objective, repeated, epochs=20, **options).params["weights"]
    np.testing.assert_allclose(parts, whole, rtol=0.03, atol=0.01)
    np.testing.assert_allclose(rows, whole, rtol=0.03, atol=0.01)


@pytest.mark.parametrize("kind", ["float64", "int64", "bool", "float32"])
@pytest.mark.parametrize("objective", [MODEL, Plain()], ids=["model", "own"])
def test_the_batches_of_an_epoch_add_up(objective, kind):
    # By a rate of zero, so that all are taken at one point.
    X, y, _ = unequal()
    w = (np.random.default_rng(1).integers(0, 4, len(y))).astype(kind)
    params = {"weights": np.asarray([0.3, -0.7])}
    frozen = {"weights": None}
    found = fl.fit(
        objective, (X, y), params=params, weights=w, method=frozen, batch_size=10, epochs=2, rng=0
    )
    whole = objective.value_and_gradient(params, X, y, w.astype(float))[0]
    np.testing.assert_allclose(
        found.history["loss"], whole, rtol=1e-6 if kind == "float32" else 1e-12
    )
    sizes = np.asarray([10] * 10 + [3] * 1)
    np.testing.assert_allclose(found.history["step_loss"][:11] @ sizes / 103, whole, rtol=1e-6)


@pytest.mark.parametrize("shape", [(103,), (103, 3)])
def test_several_outputs_count_by_their_terms(shape):
    X, y, _ = unequal()
    y = np.stack([y, 2 * y, -y], axis=1)
    w = np.random.default_rng(1).uniform(0, 3, shape)
    model = fl.LinearModel(LOSS, fit_intercept=False)
    params = {"weights": np.full((2, 3), 0.2)}
    found = fl.fit(
        model, (X, y), params=params, weights=w, method={"weights": None}, batch_size=10, epochs=1
    )
    each = w[:, None] if w.ndim == 1 else w
    terms = each * (X @ params["weights"] - y) ** 2
    expected = terms.sum() / np.broadcast_to(each, y.shape).sum()
    np.testing.assert_allclose(found.loss, expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ["auto", "blocked", "eager"])
@pytest.mark.parametrize("objective", [MODEL, Plain()], ids=["model", "own"])
def test_batches_without_weight_contribute_nothing(objective, engine):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 4))
    y, w = X[:, 0] + 0.0, np.r_[np.ones(10), np.zeros(290)]
    found = fl.fit(
        objective, (X, y), weights=w, method=fl.SGD(1e-3), batch_size=10, epochs=2500, rng=0,
        engine=engine,
    )  # fmt: skip
    assert np.isfinite(found.history["step_loss"]).all()
    assert (found.history["step_loss"] == 0).any()
    np.testing.assert_allclose(found.params["weights"], [1, 0, 0, 0], atol=0.03)


def test_a_penalty_counts_once_whatever_the_weights():
    # A total variation stays part of the gradient.
    X, y, w = unequal()
    model = fl.LinearModel(LOSS, fl.TotalVariation(0.5), fit_intercept=False)
    whole = fl.fit(model, (X, y), weights=w, method="lbfgs").params["weights"]
    options = {"method": fl.SGD(rate), "batch_size": 10, "rng": 0, "epochs": 400}
    parts = fl.fit(model, (X, y), weights=w, **options).params["weights"]
    np.testing.assert_allclose(parts, whole, rtol=0.03, atol=0.02)
    one = fl.fit(model, (X, y), weights=w, batch_size=10, method={"weights": None}, epochs=1)
    value = model.value_and_gradient(one.params, X, y, w)[0]
    np.testing.assert_allclose(one.loss, value, rtol=1e-12)


@pytest.mark.parametrize("name", ["sum", "own"])
def test_losses_that_do_not_average_are_left_as_they_are(name):
    X, y, w = unequal()
    if name == "sum":
        loss = fl.losses.SquaredError(reduction="sum")
    else:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        from fallline.estimators._losses import PerRow

        loss = PerRow(loss=LOSS)
    model = fl.LinearModel(loss, fit_intercept=False)
    params = {"weights": np.asarray([0.3, -0.7])}
    found = fl.fit(
        model, (X, y), params=params, weights=w, method={"weights": None}, batch_size=10, epochs=1,
        rng=0,
    )  # fmt: skip
    first = next(iter(fl.Batches(X, y, w, batch_size=10, rng=0)))
    expected = model.value_and_gradient(params, *first)[0]
    np.testing.assert_allclose(found.history["step_loss"][0], expected)


def test_the_rate_test_weighs_alike():
    X, y, w = unequal()
    options = {"method": "sgd", "batch_size": 10, "low": 1e-9, "high": 1e-8, "rng": 0}
    found = fl.find_learning_rate(MODEL, (X, y), weights=w, **options)
    whole = MODEL.value_and_gradient(MODEL.initialize(X, y), X, y, w)[0]
    assert abs(found.losses[:99].mean() / whole - 1) < 0.05


def test_every_library_weighs_alike(backend):
    X, y, w = unequal()
    options = {"method": fl.SGD(0.01), "batch_size": 10, "rng": 0, "epochs": 3}
    w[:15] = 0
    expected = fl.fit(MODEL, (X, y), weights=w, **options)
    found = fl.fit(MODEL, (backend.array(X), backend.array(y)), weights=backend.array(w), **options)
    np.testing.assert_allclose(
        backend.numpy(found.params["weights"]), expected.params["weights"], rtol=1e-9
    )
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-9)


@pytest.mark.parametrize("method", ["lbfgs", fl.SGD(0.1)])
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.zeros(103), "weights: mean is 0.0, expected a positive number"),
        (np.full(103, np.nan), "weights: mean is nan"),
        (np.r_[np.ones(102), -1], "weights: some are negative"),
        (np.ones(103, complex), "weights: dtype is complex128, expected real"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, words, method):
    X, y, _ = unequal()
    with pytest.raises((TypeError, ValueError), match=words):
        fl.fit(MODEL, (X, y), weights=weights, method=method)


# -- streams, whose batches bring their own weights ------------------------------------------------


def parts(*arrays, size=13):
    return [tuple(x[i : i + size] for x in arrays) for i in range(0, len(arrays[0]), size)]


def mean_by_weights(params, X, y, w):
    e = X @ params["weights"] - y
    return np.sum(w * e * e) / np.sum(w)


FROZEN = {"params": {"weights": np.asarray([0.3, -0.7])}, "method": {"weights": None}}


@pytest.mark.parametrize("kind", ["float64", "int64", "bool", "float32"])
@pytest.mark.parametrize("nonfinite", ["stop", "skip", "propagate"])
@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("objective", [MODEL, Plain()], ids=["model", "own"])
def test_the_loss_of_a_stream_is_the_mean_by_its_weights(objective, epochs, nonfinite, kind):
    X, y, w = unequal()
    w = np.where(np.arange(103) % 7 == 0, w, np.random.default_rng(1).integers(0, 3, 103) / 256)
    w = (w * (256 if kind in ("int64", "bool") else 1)).astype(kind)
    w[26:39] = 0  # all of a batch
    stream, held = parts(X, y, w), (X[:30], y[:30], w[:30].astype(float))
    found = fl.fit(objective, stream, epochs=epochs, validation=held, nonfinite=nonfinite, **FROZEN)
    expected = mean_by_weights(FROZEN["params"], X, y, w.astype(float))
    np.testing.assert_allclose(found.history["loss"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found.history["validation_loss"], mean_by_weights(FROZEN["params"], *held), rtol=1e-12
    )
    if epochs:
        each = [mean_by_weights(FROZEN["params"], *b) if b[2].any() else 0 for b in stream]
        np.testing.assert_allclose(found.history["step_loss"], each * 2, rtol=1e-6)


@pytest.mark.parametrize("objective", [MODEL, Plain()], ids=["model", "own"])
def test_a_stream_steps_by_the_means_of_its_batches(objective):
    X, y, w = unequal()
    y = X @ np.asarray([1.0, -2.0]) + 0.1 * y
    w = w / 500  # a sum below one is no count of rows
    w[26:39] = 0
    stream, p, losses = parts(X, y, w), np.asarray([0.3, -0.7]), []
    found = fl.fit(objective, stream, params={"weights": p.copy()}, method=fl.SGD(0.05), epochs=3)
    for _ in range(3):
        total = weight = 0.0
        for A, b, u in stream:
            e = A @ p - b
            if u.any():
                total, weight = total + np.sum(u * e * e), weight + np.sum(u)
                p = p - 0.05 * 2 * A.T @ (u * e) / np.sum(u)
        losses.append(total / weight)
    np.testing.assert_allclose(found.params["weights"], p, rtol=1e-12)
    np.testing.assert_allclose(found.history["loss"], losses, rtol=1e-12)


def test_batches_of_arrays_that_end_with_weights_count_by_them():
    X, y, w = unequal()
    expected = mean_by_weights(FROZEN["params"], X, y, w)
    for data, options in [
        ((X, y, w), {"batch_size": 10}),
        (fl.Batches(X, y, w, batch_size=10, rng=0), {}),
    ]:
        found = fl.fit(MODEL, data, epochs=1, **FROZEN, **options)
        np.testing.assert_allclose(found.loss, expected, rtol=1e-12)
    trained = fl.fit(MODEL, (X, y, w), batch_size=10, rng=0, method=fl.SGD(1e-3), epochs=2)
    steps = fl.fit(
        MODEL, (X, y, w), batch_size=10, rng=0, method=fl.SGD(1e-3), epochs=2, engine="eager"
    )
    np.testing.assert_array_equal(trained.history["loss"], steps.history["loss"])


def test_weighted_streams_of_every_library(backend):
    X, y, w = unequal()
    w = w / 500
    w[26:39] = 0
    options = {"method": fl.SGD(0.01), "epochs": 3}
    stream = [tuple(map(backend.array, batch)) for batch in parts(X, y, w)]
    start = {"weights": backend.array(np.zeros(2))}
    found = fl.fit(MODEL, stream, params=start, **options)
    expected = fl.fit(MODEL, parts(X, y, w), params={"weights": np.zeros(2)}, **options)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-12)


def test_a_stream_without_any_weight_has_no_loss():
    X, y, _ = unequal()
    found = fl.fit(MODEL, parts(X, y, np.zeros(103)), epochs=3, **FROZEN)
    assert (found.status, found.epochs) == (3, 1)
    assert np.isnan(found.loss)


def test_a_weighted_stream_goes_on_in_the_midst_of_an_epoch(tmp_path):
    X, y, w = unequal()
    stream, path = parts(X, y, w / 500), tmp_path / "run.npz"
    options = {"method": fl.Adam(0.1), "params": {"weights": np.zeros(2)}}

    def ends(run):
        if run.step == 13:
            raise SystemExit

    class Kill(fl.callbacks.Callback):
        def on_step(self, run):
            ends(run)

    saving = [fl.callbacks.Checkpoint(path, steps=6), Kill()]
    with pytest.raises(SystemExit):
        fl.fit(MODEL, stream, epochs=4, callbacks=saving, **options)
    whole = fl.fit(MODEL, stream, epochs=4, **options)
    again = fl.fit(MODEL, stream, epochs=4, resume=path, **options)
    np.testing.assert_array_equal(again.history["loss"], whole.history["loss"])
    np.testing.assert_array_equal(again.params["weights"], whole.params["weights"])
