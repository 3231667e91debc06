"""fit: the same as its parts by hand; what stops it; resuming; records."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks
from tests.helpers import patch_arrays


def problem(dtype="float64", n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)).astype(dtype)
    z = X @ np.asarray([1.0, -2.0, 0.5, 0.0]) + 0.3
    return X, (z + rng.logistic(size=n) > 0).astype(dtype)


MODEL = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(0.1))


def start():
    return {"weights": np.zeros(4), "intercept": np.zeros(())}


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_its_loop_by_hand(weighted):
    X, y = problem()
    weights = np.linspace(0.5, 2, len(y)) if weighted else None
    found = fl.fit(
        MODEL, (X, y), method=fl.Adam(0.05), weights=weights, batch_size=32, epochs=3, rng=5
    )
    w, b = np.zeros(4), np.zeros(())
    opt = fl.Optimizer([w, b], fl.Adam(0.05), penalty=[fl.L2(0.1), None])
    weights = np.ones(len(y)) if weights is None else weights
    batches = fl.Batches(X, y, weights, batch_size=32, rng=5)
    losses, epochs = [], []
    for _ in range(3):
        total = 0.0
        for x, t, v in batches:
            z = x @ w + b
            each = v / (len(v) * weights.mean())
            value = np.sum(each * (np.logaddexp(0, z) - t * z)) + 0.05 * w @ w
            slope = each * (1 / (1 + np.exp(-z)) - t)
            opt.step([x.T @ slope, np.asarray(slope.sum())])
            losses.append(value)
            total += value * len(t)
        epochs.append(total / 120)
    np.testing.assert_allclose(found.params["weights"], w, rtol=1e-9)
    np.testing.assert_allclose(found.params["intercept"], b, rtol=1e-9)
    np.testing.assert_allclose(found.history["step_loss"], losses, rtol=1e-9)
    np.testing.assert_allclose(found.history["loss"], epochs, rtol=1e-9)
    assert (found.success, found.status, found.epochs, found.steps) == (False, 1, 3, 12)
    assert found.message == "3 epochs were made"


def test_integer_weights_are_repeated_rows():
    X, y = problem()
    counts = np.random.default_rng(1).integers(0, 3, len(y))
    one = fl.fit(MODEL, (X, y), weights=counts.astype(float))
    other = fl.fit(MODEL, (np.repeat(X, counts, axis=0), np.repeat(y, counts)))
    np.testing.assert_allclose(one.params["weights"], other.params["weights"], atol=1e-5)


def test_every_library_fits_alike(backend):
    X, y = problem()
    expected = fl.fit(MODEL, (X, y), method=fl.Adam(0.1), batch_size=50, epochs=4, rng=0)
    found = fl.fit(
        MODEL, (backend.array(X), backend.array(y)), method=fl.Adam(0.1), batch_size=50,
        epochs=4, rng=0, validation=(backend.array(X), backend.array(y)),
    )  # fmt: skip
    for key in ("weights", "intercept"):
        ours = backend.numpy(found.params[key])
        np.testing.assert_allclose(ours, expected.params[key], rtol=1e-9)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-9)
    assert found.history["validation_loss"].shape == (4,)
    solver = fl.fit(MODEL, (backend.array(X), backend.array(y)), method="lbfgs")
    assert solver.success
    pred = backend.numpy(solver.predict(backend.array(X)))
    assert np.mean((pred > 0) == (y > 0.5)) > 0.75


def test_reads_from_the_device(backend, monkeypatch):
    if backend.name.startswith("numpy"):
        pytest.skip("arrays on the host need no reads")
    from fallline import _arrays

    X, y = problem()
    reads = []
    original = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(1) or original(x))
    found = fl.fit(
        MODEL, (backend.array(X), backend.array(y)), method=fl.Adam(0.1), batch_size=10,
        epochs=3, rng=0, nonfinite="propagate",
    )  # fmt: skip
    assert len(reads) <= 2  # of the whole run, for the result
    assert len(found.history["step_loss"]) == 36


@pytest.mark.parametrize("outputs", [None, 3])
def test_gradients_of_the_model(outputs):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((10, 4))
    y = rng.standard_normal((10,) if outputs is None else (10, outputs))
    for penalty in (None, fl.L2(0.3), fl.L1(0.3)):
        for intercept in (True, False):
            model = fl.LinearModel(
                fl.losses.Huber(), penalty, fit_intercept=intercept, n_outputs=outputs
            )
            params = model.initialize(X, y)
            params = {key: rng.standard_normal(x.shape) for key, x in params.items()}
            check = fl.check_gradient(lambda p, m=model: m.value_and_gradient(p, X, y), params)
            assert check.ok, check


def test_classes_decide_the_outputs():
    X, _ = problem()
    labels = np.arange(120) % 5
    model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy())
    assert model.initialize(X, labels)["weights"].shape == (4, 5)
    counts = fl.LinearModel(fl.losses.Poisson())
    params = {"weights": np.zeros(4), "intercept": np.asarray(1.0)}
    np.testing.assert_allclose(counts.predict(params, X), np.e)


def test_sparse_rows_equal_dense_ones():
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(3)
    X = rng.standard_normal((80, 30)) * (rng.random((80, 30)) < 0.2)
    y = (X[:, 0] > 0).astype(float)
    for method in (fl.Adagrad(0.1), "lbfgs"):
        batch = None if method == "lbfgs" else 16
        one = fl.fit(MODEL, (X, y), method=method, batch_size=batch, rng=0)
        other = fl.fit(MODEL, (sparse.csr_array(X), y), method=method, batch_size=batch, rng=0)
        np.testing.assert_allclose(
            other.params["weights"], one.params["weights"], rtol=1e-6, atol=1e-9
        )
        assert other.record["data"][0]["sparse"]


def test_penalties_that_are_not_smooth_are_found_by_every_method():
    X, y = problem()
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L1(0.1))
    auto = fl.fit(model, (X, y), stop=fl.stop.GradientNorm(1e-8))
    assert auto.record["method"]["name"] == "OWLQN"
    assert np.any(auto.params["weights"] == 0)
    for method in ("fista", fl.GradientDescent(1.0)):
        found = fl.fit(model, (X, y), method=method, epochs=1500)
        np.testing.assert_allclose(found.params["weights"], auto.params["weights"], atol=1e-4)


def test_functions_trees_and_streams():
    target = np.arange(3.0)

    def fun(params, noise):
        d = params["x"] - target
        return np.sum(d * d) + 0 * noise.sum(), {"x": 2 * d}

    stream = [(np.zeros(5),), (np.ones(3),)]
    found = fl.fit(fun, stream, params={"x": np.zeros(3)}, method=fl.SGD(0.1), epochs=30)
    np.testing.assert_allclose(found.params["x"], target, atol=1e-4)
    assert found.steps == 60
    once = fl.fit(fun, iter(stream), params={"x": np.zeros(3)}, method=fl.SGD(0.1), epochs=3)
    assert once.epochs == 1


LARGE = """
import resource, sys
import numpy as np
import fallline as fl

n = 125_000
X = np.memmap(sys.argv[1], np.float32, "w+", shape=(n, 1000))  # 500 MB, zeros
y = np.zeros(n, np.float32)
model = fl.LinearModel(fl.losses.SquaredError())
fl.fit(model, (X[:1000], y[:1000]), method=fl.Adam(0.1), batch_size=500, epochs=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = fl.fit(model, (X, y), method=fl.Adam(0.1), batch_size=2000, epochs=1, rng=0)
stream = fl.Batches(X, y, batch_size=2000, shuffle=False)
fl.fit(model, stream, params=found.params, method=fl.Adam(0.1), epochs=1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's units")
def test_memory_maps_stay_on_disk(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", LARGE, tmp_path / "X.dat"], capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    assert int(run.stdout) < 200  # MB


# -- how runs end --------------------------------------------------------------------------------


def bad_after(n):
    """Return an objective whose value is NaN from a step on."""
    count = 0

    def fun(params, x):
        nonlocal count
        count += 1
        value = np.nan if count > n else np.sum(params**2)
        return value, 2 * params

    return fun


def test_a_loss_that_is_not_finite():
    data = (np.zeros(4),)
    for nonfinite in ("stop", "propagate"):
        found = fl.fit(
            bad_after(3), data, params=np.ones(2), method=fl.SGD(0.1), epochs=9, nonfinite=nonfinite
        )
        assert (found.status, found.success) == (3, False)
        assert found.epochs == (4 if nonfinite == "stop" else 9)
    found = fl.fit(bad_after(3), data, params=np.ones(2), method=fl.SGD(0.1), epochs=9)
    assert "the loss is nan in epoch 4" in found.message
    np.testing.assert_allclose(found.params, 0.8**3)  # the best, after the third epoch

    def broken(params, x):
        return np.sum(params), params * np.nan

    with pytest.raises(FloatingPointError, match="grads: is not finite"):
        fl.fit(broken, data, params=np.ones(2), method=fl.SGD(0.1), nonfinite="raise")
    kept = fl.fit(broken, data, params=np.ones(2), method=fl.SGD(0.1), nonfinite="skip")
    np.testing.assert_array_equal(kept.params, 1)


def test_ctrl_c_gives_the_best_parameters():
    def interrupted(params, x):
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return np.sum(params**2), 2 * params

    for method in (fl.SGD(0.1), "cg"):
        count = 0
        found = fl.fit(interrupted, (np.zeros(3),), params=np.ones(2), method=method, epochs=100)
        assert found.status in (98, 0)
        if found.status == 98:
            assert not found.success
            assert np.sum(found.params**2) < 2
            assert found.epochs >= 1
    assert count >= 1


def test_the_best_parameters_are_those_of_the_best_epoch():
    # A rate at which p goes to 0.9 p in three steps and to -1.2 p in the others.
    def rate(step):
        return 0.05 if step < 3 else 1.1

    def turning(last):
        calls = 0

        def fun(params, x):
            nonlocal calls
            calls += 1
            if calls == 8 and last is KeyboardInterrupt:
                raise KeyboardInterrupt
            return np.sum(params**2) * (np.nan if calls == 8 else 1), 2 * params

        return fun

    for last, status in ((KeyboardInterrupt, 98), (None, 3)):
        options = {"params": np.ones(2), "method": fl.SGD(rate), "epochs": 9}
        found = fl.fit(turning(last), (np.zeros(3),), **options)
        assert found.status == status
        # The loss of an epoch is that before its step: the lowest is seen in the fourth.
        np.testing.assert_allclose(found.params, -1.2 * 0.9**3)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("ends", ["nan", "interrupt", "limit", "stop", "callback"])
def test_a_run_that_only_got_worse_gives_its_start(ends, validated):
    calls = 0

    def fun(params, x):
        nonlocal calls
        calls += len(x) == 3
        fourth = calls == 4 and len(x) == 3
        if fourth and ends == "interrupt":
            raise KeyboardInterrupt
        return np.sum(params**2) * (np.nan if fourth and ends == "nan" else 1), 2 * params

    found = fl.fit(
        fun, (np.zeros(3),), params=np.ones(2), method=fl.SGD(1.1), epochs=6,
        validation=(np.zeros(5),) if validated else None,
        stop=fl.stop.NotImproved(3) if ends == "stop" else None,
        callbacks=[fl.callbacks.EarlyStopping(2)] if ends == "callback" else (),
    )  # fmt: skip
    status = {"nan": 3, "interrupt": 98, "limit": 1}.get(ends, 2)
    assert (found.status, found.success) == (status, False)
    if ends in ("limit", "stop", "callback"):
        assert found.message.endswith("; the loss ended above its first value")
    np.testing.assert_array_equal(found.params, 1)


@pytest.mark.parametrize("nonfinite", ["stop", "propagate"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_parameters_that_are_not_finite_are_not_returned(nonfinite, epochs):
    # The loss of an epoch was finite; its last step spoiled the parameters.
    calls = 0

    def fun(params, x):
        nonlocal calls
        calls += 1
        return np.sum(params**2), params * (np.inf if calls == epochs else 0.2)

    found = fl.fit(
        fun, (np.zeros(3),), params=np.ones(2), method=fl.SGD(0.1), epochs=epochs,
        nonfinite=nonfinite,
    )  # fmt: skip
    assert (found.status, found.success) == (3, False)
    assert found.message == f"{epochs} epochs were made; the parameters are not finite"
    np.testing.assert_array_equal(found.params, 1)


def test_steps_that_are_left_out_do_not_count_in_the_loss():
    X, y = problem()
    X[:8, 0] = np.nan
    kept = fl.LinearModel(fl.losses.BinaryCrossEntropy())
    found = fl.fit(
        kept, (X, y), method=fl.Adam(0.05), batch_size=8, epochs=4, nonfinite="skip", rng=0
    )
    losses = found.history["step_loss"].reshape(4, 15)
    assert np.isnan(losses).any(axis=1).all()
    np.testing.assert_allclose(found.history["loss"], np.nanmean(losses, axis=1))
    assert found.status == 1
    assert np.isfinite(found.params["weights"]).all()


def test_a_step_cut_in_two_gives_the_first_parameters():
    class Cut(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(default=0.1)

        def scalars(self, t):
            return {"learning_rate": self.learning_rate}

        def formula(self, xp, s, p, g):
            if p.shape == (3,):
                raise KeyboardInterrupt
            return (p - s.learning_rate * g,)

    start = {"a": np.ones(2), "b": np.ones(3)}
    for rule in (Cut(), {"a": Cut(), "b": fl.SGD(0.1)}):
        found = fl.fit(
            lambda p, x: (np.sum(p["a"]), p), (np.zeros(3),), params=start, method=rule, epochs=3,
            engine="eager",
        )  # fmt: skip
        cut = isinstance(rule, Cut)
        assert found.status == (98 if cut else 1)
        np.testing.assert_allclose(found.params["a"], 1 if cut else 0.729)


def test_the_method_is_what_the_penalty_and_the_constraint_need():
    X, y = problem()
    inside = {"weights": fl.constraints.NonNegative(), "intercept": None}
    for penalty, constraint, name in (
        (None, None, "LBFGS"),
        (fl.L2(0.1), None, "LBFGS"),
        (fl.L1(0.01), None, "OWLQN"),
        (fl.ElasticNet(0.01), None, "OWLQN"),
        (fl.GroupL1(0.01), None, "ProximalGradient"),
        (fl.L1(0.01), inside, "ProximalGradient"),
        (None, inside, "ProximalGradient"),
    ):
        model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), penalty)
        found = fl.fit(model, (X, y), constraint=constraint, epochs=2)
        assert found.record["method"]["name"] == name


SIGINT = """
import os, signal
import numpy as np
import fallline as fl

signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell had it ignored


class Kill(fl.callbacks.Callback):
    def on_step(self, run):
        if run.step == 1000:
            os.kill(os.getpid(), signal.SIGINT)


X = np.random.default_rng(0).standard_normal((5000, 20))
y = (X[:, 0] > 0).astype(float)
model = fl.LinearModel(fl.losses.BinaryCrossEntropy())
found = fl.fit(
    model, (X, y), method=fl.Adam(0.01), batch_size=32, epochs=10**6, rng=0, callbacks=[Kill()]
)
assert found.status == 98, found
assert found.epochs == 6
assert np.isfinite(found.params["weights"]).all()
print(found.message)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="no signals here")
def test_a_real_signal_ends_a_run(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SIGINT], capture_output=True, text=True, check=True, timeout=60
    )
    assert "interrupted" in run.stdout


def test_conditions_look_at_epochs():
    X, y = problem()
    found = fl.fit(
        MODEL, (X, y), method=fl.Adam(0.05), epochs=1000, stop=fl.stop.RelativeDecrease(1e-4)
    )
    assert found.success
    assert 1 < found.epochs < 1000
    assert "the objective fell" in found.message
    found = fl.fit(MODEL, (X, y), method=fl.Adam(0.05), epochs=10**6, stop=fl.stop.MaxTime(0.1))
    assert (found.success, found.status) == (False, 1)


# -- callbacks ---------------------------------------------------------------------------------


def test_callbacks_are_called_in_order():
    seen = []

    class All(callbacks.Callback):
        def on_start(self, run):
            seen.append("start")

        def on_step(self, run):
            seen.append("step")
            assert math.isfinite(float(run.loss))

        def on_epoch(self, run):
            seen.append("epoch")

        def on_end(self, run):
            seen.append("end")

    X, y = problem()
    fl.fit(MODEL, (X, y), method=fl.SGD(0.1), batch_size=60, epochs=2, callbacks=[All()])
    assert seen == ["start", "step", "step", "epoch", "step", "step", "epoch", "end"]
    found = fl.fit(MODEL, (X, y), method=fl.SGD(0.1), callbacks=[lambda run: run.epoch == 3])
    assert (found.epochs, found.status, found.success) == (3, 99, False)
    found = fl.fit(MODEL, (X, y), method="lbfgs", callbacks=[lambda run: run.epoch == 2])
    assert (found.epochs, found.status) == (2, 99)


def test_logs(tmp_path, caplog):
    X, y = problem()
    with caplog.at_level(logging.INFO, "fallline"):
        fl.fit(
            MODEL, (X, y), method=fl.SGD(lambda k: 0.1 / (1 + k)), epochs=4, validation=(X, y),
            callbacks=[
                callbacks.Log(2), callbacks.LearningRateLog(), callbacks.CSVLog(tmp_path / "a.csv"),
                callbacks.JSONLog(tmp_path / "a.jsonl"),
            ],
        )  # fmt: skip
    assert len(caplog.records) == 2
    assert "epoch 4: loss" in caplog.text
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) == 4
    assert float(rows[3]["validation_loss"]) == lines[3]["validation_loss"]
    assert [round(row["learning_rate"], 6) for row in lines] == [0.1, 0.05, 0.033333, 0.025]


def test_early_stopping_goes_back_to_the_best():
    X, y = problem(n=30)
    V, t = problem(n=200, seed=1)
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy())
    stop = callbacks.EarlyStopping(patience=5)
    found = fl.fit(
        model, (X, y), method=fl.Adam(0.3), epochs=500, validation=(V, t), callbacks=[stop]
    )
    history = found.history["validation_loss"]
    assert found.epochs == int(np.argmin(history)) + 1 + 6
    value, _ = model.value_and_gradient(found.params, V, t)
    assert float(value) == pytest.approx(history.min())


def test_a_progress_bar(capsys):
    pytest.importorskip("tqdm")
    X, y = problem()
    fl.fit(MODEL, (X, y), method=fl.SGD(0.1), epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err


# -- checkpoints, records -------------------------------------------------------------------------


@pytest.mark.parametrize("at", [{"every": 2}, {"steps": 7}])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, at):
    X, y = problem()
    path = tmp_path / "run.npz"
    options = {"method": fl.Adam(0.05), "batch_size": 32, "epochs": 5, "validation": (X, y)}
    whole = fl.fit(MODEL, (X, y), **options, rng=3)

    class Crash(callbacks.Callback):
        def on_step(self, run):
            if run.step == 11:
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fl.fit(
            MODEL, (X, y), **options, rng=3, callbacks=[callbacks.Checkpoint(path, **at), Crash()]
        )
    rest = fl.fit(MODEL, (X, y), **options, rng=99, resume=path)
    for key in ("weights", "intercept"):
        np.testing.assert_array_equal(rest.params[key], whole.params[key])
    for name in ("loss", "step_loss", "validation_loss"):
        np.testing.assert_array_equal(rest.history[name], whole.history[name])
    assert rest.steps == whole.steps == 20
    opt = fl.Optimizer(start(), fl.Adam())
    opt.save(path)
    with pytest.raises(ValueError, match="is of an Optimizer, not of a run"):
        fl.fit(MODEL, (X, y), **options, resume=path)


def test_the_record_tells_what_ran(tmp_path):
    X, y = problem()
    found = fl.fit(
        MODEL, (X, y), method=fl.Adam(0.05, weight_decay=lambda k: 0.1), batch_size=32, epochs=2,
        rng=7, validation=(X, y), stop=fl.stop.Target(-1.0),
    )  # fmt: skip
    path = tmp_path / "run.json"
    found.record.save(path)
    saved = json.loads(path.read_text())
    assert saved["objective"]["loss"]["name"] == "BinaryCrossEntropy"
    assert saved["objective"]["penalty"] == {"name": "L2", "alpha": 0.1}
    assert saved["method"]["learning_rate"] == 0.05
    assert saved["method"]["weight_decay"].startswith("function ")
    assert (saved["seed"], saved["batch_size"]) == (7, 32)
    assert saved["data"][0] == {
        "shape": [120, 4], "dtype": "float64", "library": "numpy", "device": "cpu", "sparse": False,
    }  # fmt: skip
    assert saved["outcome"]["epochs"] == 2
    assert len(saved["history"]["validation_loss"]) == 2
    assert saved["versions"]["numpy"] == np.__version__
    assert saved["engine"] in ("numba", "blocked")
    text = path.read_text()
    assert "0x" not in text
    assert str(tmp_path) not in text
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprints_are_of_the_content(backend):
    x = np.arange(6.0).reshape(2, 3)
    assert (
        fl.fingerprint(backend.array(x))
        == fl.fingerprint(x)
        == fl.fingerprint(np.asfortranarray(x))
    )
    assert fl.fingerprint(x) != fl.fingerprint(x.reshape(3, 2))
    assert fl.fingerprint(x) != fl.fingerprint(x.astype("float32"))


def test_the_same_seed_gives_the_same_bits():
    X, y = problem()
    found = [
        fl.fit(MODEL, (X, y), method=fl.Adam(0.1), batch_size=16, epochs=3, rng=1) for _ in range(2)
    ]
    np.testing.assert_array_equal(found[0].params["weights"], found[1].params["weights"])


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": (np.ones((5, 2)), np.ones(4))}, ValueError, r"data\[1\]: length is 4"),
        ({"weights": np.ones(3)}, ValueError, "weights: length is 3, expected 120"),
        ({"data": ()}, ValueError, "empty tuple"),
        ({"data": 3}, TypeError, "data: is an int"),
        ({"data": ([1.0], [2.0])}, TypeError, r"data\[0\]: is a list"),
        ({"objective": 3}, TypeError, "objective: is 3"),
        ({"method": "adamm"}, ValueError, "unknown method 'adamm'"),
        ({"nonfinite": "no"}, ValueError, "unknown nonfinite"),
        ({"callbacks": [3]}, TypeError, r"callbacks\[0\]: is 3"),
        ({"callbacks": [callbacks.Log]}, TypeError, "an instance"),
        ({"batch_size": 0}, ValueError, "batch_size: is 0"),
        ({"method": "lbfgs", "batch_size": 10}, ValueError, "a solver takes all data"),
        ({"weights": -np.ones(120)}, ValueError, "weights: some are negative"),
        ({"params": {"weights": np.zeros(4)}}, ValueError, "params: structure is .*'intercept'"),
        ({"params": [np.zeros(4)]}, ValueError, "params: structure is list"),
        (
            {"params": {"weights": np.zeros(3), "intercept": np.zeros(())}},
            ValueError,
            r"params\['weights'\]: shape is \(3,\), expected \(4,\)",
        ),
        ({"data": (np.ones((5, 2)), np.asarray(1.0))}, ValueError, r"data\[1\]: is 0-d"),
        ({"validation": np.ones(3)}, TypeError, "validation: is a ndarray, expected a tuple"),
        ({"validation": (np.ones((3, 4)), [1])}, TypeError, r"validation\[1\]: is a list"),
        (
            {"validation": (np.ones((3, 4)), np.ones(2))},
            ValueError,
            r"validation\[1\]: length is 2, expected 3",
        ),
        ({"engine": "fast"}, ValueError, "unknown engine 'fast'"),
        ({"engine": "cuda"}, TypeError, "engine 'cuda' runs CuPy arrays"),
        ({"method": "lbfgs", "engine": "numba"}, ValueError, "engine: is 'numba'"),
        ({"objective": lambda p, x, y: 1.0, "params": np.ones(2)}, TypeError, "returned a float"),
    ],
)  # fmt: skip
def test_mistakes(change, error, words):
    X, y = problem()
    arguments = {"objective": MODEL, "data": (X, y), "method": fl.SGD(0.1), **change}
    with pytest.raises(error, match=words):
        fl.fit(arguments.pop("objective"), arguments.pop("data"), **arguments)


def test_a_gradient_of_another_structure_is_named():
    def fun(params, x):
        return 0.0, {"a": params["a"]}

    params = {"a": np.ones(2), "b": np.ones(2)}
    with pytest.raises(ValueError, match=r"grads: .*missing grads\['b'\]"):
        fl.fit(fun, (np.zeros(3),), params=params, method=fl.SGD(0.1))
    with pytest.raises(TypeError, match="params: are needed"):
        fl.fit(fun, (np.zeros(3),), method=fl.SGD(0.1))
    with pytest.raises(TypeError, match="has no predict"):
        fl.fit(lambda p, x: (np.sum(p), p), (np.zeros(3),), params=np.ones(1)).predict(np.ones(2))
    with pytest.raises(TypeError, match="plain function takes none"):
        fl.fit(fun, (np.zeros(3),), params=params, method=fl.SGD(0.1), weights=np.ones(3))
    for bad in (lambda: fl.LinearModel("log"), lambda: fl.LinearModel(fl.losses.Huber(), 3)):
        with pytest.raises(TypeError, match="expected a"):
            bad()


def test_arrays_on_different_devices_are_refused():
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed")
    X, y = (strict.asarray(x) for x in problem())
    there = strict.Device("device1")
    for place, data, more in (
        (r"data\[1\]", (X, strict.asarray(y, device=there)), {}),
        ("weights", (X, y), {"weights": strict.ones(120, device=there)}),
        (r"validation\[0\]", (X, y), {"validation": (strict.asarray(X, device=there), y)}),
        (r"params\['weights'\]", (X, y), {"params": _there(strict, there)}),
    ):
        with pytest.raises(ValueError, match=f"{place}: device is "):
            fl.fit(MODEL, data, method=fl.Adam(), **more)


def _there(strict, device):
    zeros = {"weights": strict.zeros(4), "intercept": strict.zeros(())}
    return {name: strict.asarray(x, device=device) for name, x in zeros.items()}
