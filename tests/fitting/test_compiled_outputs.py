"""Compiled epochs of models with several outputs: the bits of single steps."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.engine.tape import _numpy_loops, _walks

from .compiled import FEATURES, OF_ROWS, ROWS, data, fitted, same, sparse

pytest.importorskip("numba", reason="numba is not installed")

FOUR = ["labels", "divergence", "cosine", "squared"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["labels", "probabilities", "cosine", "huber"])
@pytest.mark.parametrize(
    "options",
    [
        {"penalty": fl.L1(0.05)},
        {"penalty": fl.L2(0.5), "method": fl.Rprop(0.01)},  # whose L2 stays in the objective
        {"penalty": fl.ElasticNet(0.05), "intercept": False},
        {"weights": np.linspace(0, 2, ROWS)},
        {"weights": np.arange(ROWS) % 3, "penalty": fl.L2(0.1)},
        {"method": {"weights": fl.AdamW(0.1), "intercept": None}},
        {"method": {"weights": None, "intercept": fl.SGD(0.1, momentum=0.9)}},
        {"method": fl.SGD(lambda step: 0.1 / (1 + step))},
        {"constraint": {"weights": fl.constraints.NonNegative(), "intercept": None}},
        {"batch_size": 1},
        {"batch_size": 115},
    ],
    ids=lambda options: ", ".join(options),
)
def test_what_is_around(options, loss, dtype, scanned):
    found = data(loss, dtype, outputs=4)
    one = fitted(found, "auto", loss=loss, **options)
    assert sum(scanned) == one.steps
    assert one.params["weights"].shape == (FEATURES, 4)
    same(one, fitted(found, "eager", loss=loss, **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", FOUR)
@pytest.mark.parametrize("outputs", [1, 2, 7, 8, 9, 130])
def test_shapes(outputs, loss, dtype, scanned):
    for n, d in ((33, 1), (64, 2), (131, 40)):
        found = data(loss, dtype, n=n, d=d, outputs=outputs)
        for size in (1, 2, 32):
            scanned.clear()
            one = fitted(found, "auto", loss=loss, batch_size=size, epochs=2)
            assert sum(scanned) == one.steps
            same(one, fitted(found, "eager", loss=loss, batch_size=size, epochs=2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 3, 10])
@pytest.mark.parametrize("loss", FOUR)
def test_sparse(loss, outputs, dtype, scanned):
    X, y = data(loss, dtype, d=300, outputs=outputs)
    for options in ({}, {"weights": np.linspace(0, 2, ROWS), "intercept": False}):
        one = fitted((sparse(X), y), "auto", loss=loss, **options)
        assert scanned
        scanned.clear()
        same(one, fitted((sparse(X), y), "eager", loss=loss, **options))
        assert not scanned


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64", ">i4"])
def test_labels_of_any_integers(dtype, scanned):
    X, y = data("labels", "float32", outputs=4)
    for labels in (y.astype(dtype), np.repeat(y.astype(dtype), 2)[::2]):
        scanned.clear()
        one = fitted((X, labels), "auto", loss="labels")
        assert sum(scanned) == one.steps
        same(one, fitted((X, y), "eager", loss="labels"))


def test_targets_of_other_dtypes_and_layouts(scanned):
    X, y = data("squared", "float32", outputs=3)
    for target in (y.astype("float64"), np.asfortranarray(y), (10 * y).astype(int)):
        scanned.clear()
        one = fitted((X, target), "auto", loss="squared")
        assert sum(scanned) == one.steps
        same(one, fitted((X, target), "eager", loss="squared"))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_regression_is_that_of_a_plain_loop(reduction, scanned):
    X, y = data("labels", "float64", n=90, d=4, outputs=3)
    w, b, count = np.zeros((4, 3)), np.zeros(3), 0
    losses = []
    rng = np.random.default_rng(5)
    for _ in range(3):
        order = rng.permutation(90)
        for start in range(0, 90, 32):
            batch = order[start : start + 32]
            n = len(batch) if reduction == "mean" else 1
            value, slope = 0.0, {"w": np.zeros((4, 3)), "b": np.zeros(3)}
            for i in batch:
                z = [sum(X[i, j] * w[j, k] for j in range(4)) + b[k] for k in range(3)]
                powers = np.exp(np.asarray(z))
                p = powers / powers.sum()
                value -= np.log(p[y[i]]) / n
                for k in range(3):
                    error = (p[k] - (k == y[i])) / n
                    slope["b"][k] += error
                    slope["w"][:, k] += X[i] * error
            losses.append(value)
            count += 1
            w, b = w - 0.1 * slope["w"] / count, b - 0.1 * slope["b"] / count
    model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy(reduction=reduction))
    rule = fl.SGD(lambda step: 0.1 / (step + 1))
    one = fl.fit(model, (X, y), method=rule, batch_size=32, epochs=3, rng=5)
    assert sum(scanned) == one.steps == 9
    np.testing.assert_allclose(one.history["step_loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(one.params["weights"], w, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(one.params["intercept"], b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "outputs"), [("squared", None), ("labels", 5), ("cosine", 3)])
def test_batches_that_fill_the_buffer_of_numpy(loss, outputs, dtype, scanned):
    found = data(loss, dtype, n=17_001, d=2, outputs=outputs)
    one = fitted(found, "auto", loss=loss, batch_size=9000)
    pieces = not _walks._at_once("add", np.dtype(dtype).char)  # as in NumPy 2.0
    assert sum(scanned) == (0 if pieces else one.steps)
    same(one, fitted(found, "eager", loss=loss, batch_size=9000))


def test_parameters_of_more_classes_than_there_are(scanned):
    X, y = data("labels", "float64", outputs=3)
    runs = []
    for engine in ("auto", "eager"):
        model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy(), n_outputs=6)
        options = {"method": fl.Adam(0.1), "batch_size": 50, "epochs": 2, "rng": 0}
        runs.append(fl.fit(model, (X, y), engine=engine, **options))
    assert sum(scanned) == runs[0].steps
    same(*runs)


def test_labels_that_change_between_epochs_are_followed(scanned):
    runs = []
    for engine in ("auto", "eager"):
        X, y = data("labels", "float64", outputs=4)
        y = y.astype("int32")

        def change(run, y=y):
            y[:] = (y + 1) % 4

        runs.append(fitted((X, y), engine, loss="labels", callbacks=[change]))
    assert sum(scanned) == runs[0].steps
    same(*runs)


@pytest.mark.parametrize("label", [-1, 4])
@pytest.mark.parametrize("late", [False, True])
def test_labels_outside_the_classes_are_refused_as_in_single_steps(late, label, scanned):
    X, y = data("labels", "float64", outputs=4)
    model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy(), n_outputs=4)
    seen = []

    def change(run):
        seen.append(run.uncompiled)
        y[7] = label

    if not late:
        y[7] = label
    with pytest.raises(ValueError, match=r"target: some elements are outside \[0, 3\]"):
        fl.fit(
            model, (X, y), method=fl.SGD(0.1), batch_size=32, epochs=3, rng=0, callbacks=[change]
        )
    assert sum(scanned) == (8 if late else 0)
    assert seen == [""] * late


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda y: y[:, :2], "shape is"),  # than the parameters have outputs
        (lambda y: -y, "outside"),
        (lambda y: y > 0.3, None),
    ],
)
def test_targets_that_do_not_fit_are_left_to_single_steps(change, error, scanned):
    X, y = data("probabilities", "float64", outputs=3)
    model, seen = fl.LinearModel(fl.losses.KLDivergence(), n_outputs=3), []
    options = {"method": fl.SGD(0.1), "batch_size": 32, "epochs": 1, "rng": 0}
    with pytest.raises((TypeError, ValueError), match=error):
        fl.fit(model, (X, change(y)), callbacks=[seen.append], **options)
    assert not scanned


@pytest.mark.parametrize("loss", OF_ROWS)
def test_numbers_that_are_not_finite_end_the_run(loss, scanned):
    X, y = data(loss, "float64", outputs=3)
    X[17, 3] = np.nan
    one = fitted((X, y), "auto", loss=loss)
    assert scanned
    assert (one.status, one.epochs) == (3, 1)
    other = fitted((X, y), "eager", loss=loss)
    np.testing.assert_array_equal(one.history["step_loss"], other.history["step_loss"])
    for name, x in one.params.items():
        np.testing.assert_array_equal(x, other.params[name])


def test_numpy_that_reduces_in_another_order_is_left_to_single_steps(monkeypatch, scanned):
    found, seen = data("labels", "float64", outputs=9), []

    def backwards(name, dtype, shape, axis, reduction=_walks._reduction):
        start, walks = reduction(name, dtype, shape, axis)
        times, jumps = walks[-1].times, walks[-1].jumps
        spots = [
            (i, offset + (times - 1) * jump)
            for (i, offset), jump in zip(walks[-1].spots, jumps, strict=True)
        ]
        turned = walks[-1]._replace(spots=tuple(spots), jumps=tuple(-jump for jump in jumps))
        return start, (*walks[:-1], turned)

    _walks._compare.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(_walks, "_reduction", backwards)
        one = fitted(found, "auto", loss="labels", callbacks=[seen.append])
    assert not scanned
    assert "numpy.add.reduce for 'd' takes the numbers in another order" in seen[0].uncompiled
    same(one, fitted(found, "auto", loss="labels"))
    assert scanned


def test_products_that_numpy_makes_otherwise_are_left_to_single_steps(monkeypatch, scanned):
    found, seen = data("labels", "float64", outputs=9), []
    loop = _numpy_loops._found(np.matmul, "dd")
    _numpy_loops.find.cache_clear()
    call = _numpy_loops.call

    def doubled(used, places, lengths, strides):
        if used.function == loop.function and lengths[3] > 1:
            lengths = [*lengths[:3], lengths[3] - 1]
        return call(used, places, lengths, strides)

    monkeypatch.setattr(_numpy_loops, "call", doubled)
    fitted(found, "auto", loss="labels", callbacks=[seen.append])
    _numpy_loops.find.cache_clear()
    assert not scanned
    assert "numpy.matmul" in seen[0].uncompiled
