"""Runs that go on from files: bit for bit the whole run, or a word about what is not the same."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks

MODEL = fl.LinearModel(fl.losses.SquaredError())
NAMES = ("loss", "step_loss", "validation_loss")


def problem(n=103, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4))
    return X, X @ np.asarray([1.0, -2, 0.5, 0]) + 0.1 * rng.standard_normal(n)


X, Y = problem()
COMMON = {"method": fl.SGD(0.3), "batch_size": 10, "epochs": 14, "validation": (X[:20], Y[:20])}


class Kill(callbacks.Callback):
    """Ends the process, as it were, after a step, or after an epoch before all else."""

    def __init__(self, *, step=None, epoch=None):
        self.at = step, epoch

    @property
    def watches_steps(self):
        return self.at[0] is not None

    def on_step(self, run):
        if run.step == self.at[0]:
            raise SystemExit

    def on_epoch(self, run):
        if run.epoch == self.at[1]:
            raise SystemExit


def killed(path, kill, before=(), after=(), *, steps=None, **options):
    """Run until it is killed, with a file of every epoch or of some steps."""
    checkpoint = callbacks.Checkpoint(path, steps=steps)
    hooks = [*before, checkpoint, *after, kill]
    with pytest.raises(SystemExit):
        fl.fit(MODEL, (X, Y), callbacks=hooks, **{**COMMON, "rng": 0, **options})


def same(one, other, names=NAMES):
    for name in names:
        np.testing.assert_array_equal(one.history[name], other.history[name])
    for name, x in one.params.items():
        assert x.tobytes() == other.params[name].tobytes()
    assert (one.message, one.status, one.success) == (other.message, other.status, other.success)
    assert (one.epochs, one.steps) == (other.epochs, other.steps)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop": fl.stop.NotImproved(5)},
        {"stop": fl.stop.RelativeDecrease(1e-3) | fl.stop.Target(0.0)},
        {"weights": np.arange(103.0)},
        {"average": 0.9},
        {"average": lambda step: step / (step + 10)},
        {"gradients": [fl.gradients.ClipByGlobalNorm(0.5)]},
        {"gradients": [fl.gradients.Accumulate(3)]},
        {"method": fl.Adam(fl.schedules.ReduceOnPlateau(0.1))},
        {"method": fl.ScheduleFreeSGD(0.1)},
        {"nonfinite": "skip"},
    ],
    ids=lambda options: " ".join(options),
)
@pytest.mark.parametrize(
    ("kill", "steps"), [({"step": 47}, 5), ({"step": 45}, 11), ({"epoch": 5}, None)]
)
def test_a_resumed_run_is_the_whole_run(tmp_path, options, kill, steps):
    path = tmp_path / "run.npz"
    whole = fl.fit(MODEL, (X, Y), rng=0, **{**COMMON, **options})
    killed(path, Kill(**kill), steps=steps, **options)
    if steps:
        assert fl.read_checkpoint(path).header["run"]["step"] in (44, 45)
    same(fl.fit(MODEL, (X, Y), rng=7, resume=path, **{**COMMON, **options}), whole)


@pytest.mark.parametrize(
    "stop", [fl.stop.NotImproved(4), fl.stop.NotImproved(4) & fl.stop.Target(1.0)]
)
@pytest.mark.parametrize("kill", [{"step": 63}, {"epoch": 5}, {"epoch": 7}])
def test_conditions_remember(tmp_path, kill, stop):
    # The best epoch is before the file, and the end after it.
    path = tmp_path / "run.npz"
    common = {**COMMON, "method": fl.SGD(0.5), "epochs": 30, "stop": stop}
    whole = fl.fit(MODEL, (X, Y), rng=0, **common)
    assert int(np.argmin(whole.history["validation_loss"])) < 4
    assert whole.epochs == 8
    killed(path, Kill(**kill), steps=9 if "step" in kill else None, **common)
    same(fl.fit(MODEL, (X, Y), resume=path, **common), whole)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("kill", [{"step": 63}, {"step": 67}, {"epoch": 4}, {"epoch": 6}])
def test_early_stopping_goes_on(tmp_path, kill, restore, order):
    # Before or behind the callback that writes the file: it is written after both.
    path, options = tmp_path / "run.npz", {"restore_best": restore}
    one, two, three = (callbacks.EarlyStopping(3, **options) for _ in range(3))
    common = {**COMMON, "method": fl.SGD(0.5), "epochs": 30}
    whole = fl.fit(MODEL, (X, Y), rng=0, callbacks=[one], **common)
    assert whole.epochs < 30
    steps = 9 if "step" in kill else None
    killed(path, Kill(**kill), **{order: [two]}, steps=steps, **common)
    again = fl.fit(MODEL, (X, Y), callbacks=[three], resume=path, **common)
    same(again, whole)


@pytest.mark.parametrize("stop", [None, fl.stop.NotImproved(2)])
def test_a_run_that_has_ended_ends_again(tmp_path, stop):
    path = tmp_path / "run.npz"
    hooks = [] if stop else [callbacks.EarlyStopping(3)]
    common = {**COMMON, "method": fl.SGD(0.5), "epochs": 30, "stop": stop}
    whole = fl.fit(MODEL, (X, Y), rng=0, callbacks=[*hooks, callbacks.Checkpoint(path)], **common)
    assert whole.epochs < 30
    same(fl.fit(MODEL, (X, Y), callbacks=hooks, resume=path, **common), whole)
    # With more patience it goes on.
    more = {**common, "stop": fl.stop.NotImproved(8) if stop else None}
    hooks = [] if stop else [callbacks.EarlyStopping(8)]
    assert fl.fit(MODEL, (X, Y), callbacks=hooks, resume=path, **more).epochs > whole.epochs


@pytest.mark.parametrize("ends", ["nan", "interrupt"])
def test_the_best_parameters_are_in_the_file(tmp_path, ends):
    path, bad = tmp_path / "run.npz", False

    class Objective:
        initialize = MODEL.initialize

        def value_and_gradient(self, params, *batch):
            value, gradient = MODEL.value_and_gradient(params, *batch)
            if bad and ends == "interrupt":
                raise KeyboardInterrupt
            return value * (np.nan if bad else 1), gradient

    common = {**COMMON, "method": fl.SGD(lambda k: 0.1 if k < 33 else 0.45), "epochs": 5}
    del common["validation"]
    before = fl.fit(Objective(), (X, Y), rng=0, callbacks=[callbacks.Checkpoint(path)], **common)
    best = int(np.argmin(before.history["loss"])) + 1
    assert 1 < best < 5
    expected = fl.fit(Objective(), (X, Y), rng=0, **{**common, "epochs": best})
    bad = True
    found = fl.fit(Objective(), (X, Y), resume=path, **{**common, "epochs": 9})
    assert found.status == (3 if ends == "nan" else 98)
    np.testing.assert_array_equal(found.params["weights"], expected.params["weights"])


def test_own_callbacks_are_remembered(tmp_path):
    class Mean(callbacks.Callback):
        def on_start(self, run):
            self.known = {
                "count": 0,
                "sums": [],
                "none": None,
                "pair": (1, "a"),
                "numpy": np.float64(2),
            }
            self.array = np.zeros((2, 2), np.float32)

        def on_epoch(self, run):
            self.known["count"] += 1
            self.known["sums"].append(run.copied())
            self.array += 1

        def state_dict(self):
            return {**self.known, "array": self.array}

        def load_state_dict(self, state_dict):
            self.array = state_dict.pop("array")
            self.known = state_dict

    path = tmp_path / "run.npz"
    whole, one, two = Mean(), Mean(), Mean()
    fl.fit(MODEL, (X, Y), rng=0, callbacks=[whole], **COMMON)
    killed(path, Kill(epoch=4), after=[one])
    fl.fit(MODEL, (X, Y), callbacks=[two], resume=path, **COMMON)
    assert two.known["count"] == whole.known["count"] == 14
    assert two.known["pair"] == (1, "a")
    assert two.array.dtype == np.float32
    np.testing.assert_array_equal(two.array, whole.array)
    for mine, theirs in zip(two.known["sums"], whole.known["sums"], strict=True):
        np.testing.assert_array_equal(mine["weights"], theirs["weights"])
    Mean.state_dict = lambda self: {"what": object()}
    with pytest.raises(TypeError, match="run/callbacks/1/what: is an object, expected numbers"):
        fl.fit(MODEL, (X, Y), callbacks=[callbacks.Checkpoint(path), Mean()], **COMMON)


def test_logs_go_on(tmp_path):
    for name in ("whole", "part"):
        logs = [callbacks.CSVLog(tmp_path / name), callbacks.JSONLog(tmp_path / f"{name}.json")]
        if name == "whole":
            fl.fit(MODEL, (X, Y), rng=0, callbacks=logs, **COMMON)
        else:
            killed(tmp_path / "run.npz", Kill(epoch=6), before=logs)
            (tmp_path / name).unlink()
            logs = [callbacks.CSVLog(tmp_path / name), callbacks.JSONLog(tmp_path / f"{name}.json")]
            fl.fit(MODEL, (X, Y), callbacks=logs, resume=tmp_path / "run.npz", **COMMON)
    read = [
        [line.split(",")[:4] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("whole", "part")
    ]
    assert read[0] == read[1]
    assert len(read[0]) == 15
    rows = [json.loads(line) for line in (tmp_path / "part.json").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 15))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 16}, "batch_size is 10, expected 16 as in this call"),
        ({"data": problem(104)}, r"the data is .*'shape': \[103, 4\].*expected .*\[104, 4\]"),
        ({"data": tuple(x.astype("float32") for x in (X, Y))}, "float64"),
        ({"weights": np.ones(103)}, "the data is"),
        ({"average": 0.9}, "average: is given, unlike in"),
        ({"method": fl.Adam(0.3)}, "was saved with SGD"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_what_does_not_fit_is_refused(tmp_path, change, words):
    path = tmp_path / "run.npz"
    killed(path, Kill(epoch=4))
    options = {**COMMON, **change}
    data = options.pop("data", (X, Y))
    if data[0].dtype == "float32":
        options["validation"] = None
    with pytest.raises((TypeError, ValueError), match=words):
        fl.fit(MODEL, data, resume=path, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": fl.SGD(0.1)}, r"learning_rate is 0.1, saved 0.3"),
        ({"data": problem(seed=1)}, "the data are not those of .*some of 64 rows differ"),
        ({"callbacks": []}, "the run had EarlyStopping, which is not among the callbacks now"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_what_may_be_meant_is_told(tmp_path, change, words):
    path = tmp_path / "run.npz"
    killed(path, Kill(epoch=4), before=[callbacks.EarlyStopping(50)])
    options = {**COMMON, "callbacks": [callbacks.EarlyStopping(50)], **change}
    data = options.pop("data", (X, Y))
    with pytest.warns(UserWarning, match=words):
        fl.fit(MODEL, data, resume=path, **options)


def test_files_of_other_libraries_and_streams(backend, tmp_path):
    path = tmp_path / "run.npz"
    arrays = tuple(backend.array(x) for x in (X, Y))
    common = {"method": fl.Adam(0.1), "batch_size": 10, "rng": 0, "average": 0.5}
    hooks = [callbacks.EarlyStopping(3), callbacks.Checkpoint(path)]
    fl.fit(MODEL, arrays, epochs=3, callbacks=hooks, **common)
    rest = fl.fit(MODEL, arrays, epochs=5, callbacks=hooks, resume=path, **common)
    whole = fl.fit(MODEL, arrays, epochs=5, callbacks=hooks[:1], **common)
    np.testing.assert_array_equal(rest.history["loss"], whole.history["loss"])
    for name, x in rest.params.items():
        np.testing.assert_array_equal(backend.numpy(x), backend.numpy(whole.params[name]))


def test_streams_go_on(tmp_path):
    path = tmp_path / "run.npz"
    stream = [(X[i : i + 20], Y[i : i + 20]) for i in range(0, 100, 20)]
    common = {"method": fl.Adam(0.1), "params": MODEL.initialize(X, Y)}
    fl.fit(MODEL, stream, epochs=2, callbacks=[callbacks.Checkpoint(path, steps=8)], **common)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = fl.fit(MODEL, stream, epochs=4, resume=path, **common)
    same(rest, fl.fit(MODEL, stream, epochs=4, **common), ("loss", "step_loss"))
