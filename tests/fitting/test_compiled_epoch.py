"""Steps without the interpreter: the bits of the same steps one by one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline.callbacks import Callback
from fallline.engine.tape import _nodes, _numpy_loops, _tape
from fallline.fitting import _compiled_epoch, _epoch_data
from tests import cases
from tests.helpers import made_loop, misaligned

from .compiled import FEATURES, LOSSES, OF_ROWS, ROWS, data, fitted, same, sparse

pytest.importorskip("numba", reason="numba is not installed")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        *((loss, n) for loss in LOSSES if loss not in OF_ROWS for n in (None, 1, 3)),
        *((loss, n) for loss in OF_ROWS for n in (1, 2, 5, 19)),
    ],
)
def test_losses(loss, outputs, dtype, scanned):
    found = data(loss, dtype, outputs=outputs)
    one = fitted(found, "auto", loss=loss, penalty=fl.L2(0.1))
    assert scanned == [7, 1] * 3
    for engine in ("eager", "blocked"):
        same(one, fitted(found, engine, loss=loss, penalty=fl.L2(0.1)))
    assert len(scanned) == 6
    same(one, fitted(found, "numba", loss=loss, penalty=fl.L2(0.1)))
    assert np.isfinite(one.history["step_loss"]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", cases.RULES, ids=repr)
def test_rules(rule, dtype, scanned):
    found = data("binary", dtype)
    one = fitted(found, "auto", method=rule, epochs=4)
    program = _program(rule, dtype)
    assert bool(scanned) == program
    same(one, fitted(found, "eager", method=rule, epochs=4))


def _program(rule, dtype):
    opt = fl.Optimizer(np.zeros(3, dtype), rule)
    group = opt._bound.groups[0]
    return group.engine == "numba" and not group.reads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("places", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix"])
def test_sparse(kind, places, dtype, scanned):
    X, y = data("binary", dtype, d=300)
    X = sparse(X, kind, places)
    weights = np.random.default_rng(2).random(ROWS)
    for options in ({}, {"weights": weights}, {"penalty": fl.L1(0.01), "intercept": False}):
        options = {"method": fl.Adagrad(0.1), **options}
        one = fitted((X, y), "auto", **options)
        same(one, fitted((X, y), "eager", **options))
    assert len(scanned) == 18


@pytest.mark.parametrize("n", [1, 2, 33, 64, 65])
@pytest.mark.parametrize("d", [1, 2, 7, 8, 129, 1030])
def test_shapes(n, d, scanned):
    X, y = data("squared", "float64", n=n, d=d)
    for size in (1, 2, 16, 31):
        scanned.clear()
        one = fitted((X, y), "auto", loss="squared", batch_size=size)
        assert sum(scanned) == (0 if size >= n else one.steps)
        same(one, fitted((X, y), "eager", loss="squared", batch_size=size))


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": fl.L1(0.05)},
        {"penalty": fl.ElasticNet(0.05)},
        {"constraint": {"weights": fl.constraints.NonNegative(), "intercept": None}},
        {"weights": np.linspace(0, 2, ROWS)},
        {"weights": np.arange(ROWS) % 3},
        {"method": {"weights": fl.Adam(0.1), "intercept": fl.SGD(0.1)}},
        {"method": {"weights": fl.Adam(0.1), "intercept": None}},
        {"method": fl.SGD(lambda step: 0.1 / (1 + step))},
        {"method": fl.Adam(fl.schedules.Exponential(0.1, decay=0.9))},
        {"intercept": False},
        {"nonfinite": "propagate"},
        {"gradients": [fl.gradients.ClipByValue(0.02)]},
        {"gradients": [fl.gradients.ClipByValue(0.1)] * 2, "penalty": fl.L1(0.05)},
        {"params": {"weights": np.ones(FEATURES), "intercept": np.ones(())}},
    ],
    ids=lambda options: ", ".join(options),
)
def test_what_is_around(options, scanned):
    found = data("binary", "float64")
    one = fitted(found, "auto", **options)
    assert len(scanned) == 6
    same(one, fitted(found, "eager", **options))


@pytest.mark.parametrize(
    "options",
    [
        {"nonfinite": "skip"},
        *(
            {"gradients": transforms}
            for transforms in (
                [fl.gradients.ClipByNorm(0.1)],
                [fl.gradients.ClipByGlobalNorm(0.1), fl.gradients.ClipByValue(0.02)],
                [fl.gradients.Accumulate(2)],
                [fl.gradients.ClipByValue(0.02), fl.gradients.Centralize()],
                [fl.gradients.LossScale(1.0)],
            )
        ),
        {"penalty": fl.GroupL1(0.1)},
        {"method": fl.LARS(0.1)},
        {"callbacks": [type("Looks", (Callback,), {"on_step": lambda self, run: None})()]},
        {"batch_size": None},
    ],
    ids=lambda options: ", ".join(options),
)
def test_what_is_left_to_single_steps(options, scanned):
    found, seen = data("binary", "float64"), []
    one = fitted(found, "auto", **{"callbacks": [seen.append], **options})
    assert not scanned
    if "gradients" in options:
        assert seen[-1].uncompiled.startswith("transforms but for ClipByValue")
    same(one, fitted(found, "eager", **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 5, 40])
@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda X: X[:, ::-1],
        lambda X: X[::-1],
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: np.repeat(X, 3, axis=1)[:, 1::3],
        lambda X: np.pad(X, 2)[2:-2, 2:-2],
        lambda X: np.asfortranarray(np.pad(X, 2))[2:-2, 2:-2],
        lambda X: np.broadcast_to(X[:1], X.shape),
    ],
)
def test_layouts_of_data(layout, d, dtype, scanned):
    X, y = data("squared", dtype, d=d)
    X = layout(X)
    X.flags.writeable = False
    one = fitted((X, y), "auto", loss="squared")
    assert sum(scanned) == one.steps
    same(one, fitted((X, y), "eager", loss="squared"))


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: (X.astype(X.dtype.newbyteorder()), y),
        lambda X, y: (misaligned(X), y),
        lambda X, y: (X.astype("float16"), y),
    ],
)
def test_arrays_left_to_single_steps(change, scanned):
    found = change(*data("squared", "float64"))
    one = fitted(found, "auto", loss="squared")
    assert not scanned
    same(one, fitted(found, "eager", loss="squared"))


def test_targets_of_other_dtypes_and_arrays_that_cannot_be_written(scanned):
    X, y = data("binary", "float32")
    X.flags.writeable = False
    for target in (y.astype(int), y.astype(bool), y.astype("float64"), np.repeat(y, 2)[::2]):
        one = fitted((X, target), "auto")
        same(one, fitted((X, target), "eager"))
    assert sum(scanned) == 4 * one.steps


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda X, y, w: y.__setitem__(5, 2.0), r"target: some elements are outside \[0, 1\]"),
        (lambda X, y, w: w.__setitem__(5, -1.0), "weights: some are negative"),
    ],
)
def test_bad_data_are_refused_as_in_single_steps(damage, message, scanned):
    X, y = data("binary", "float64")
    w = np.ones(ROWS)
    damage(X, y, w)
    with pytest.raises(ValueError, match=message):
        fitted((X, y), "auto", weights=w)
    assert not scanned


@pytest.mark.parametrize("own", ["check", "whole"])
def test_a_loss_of_ones_own_looks_at_the_targets(own, scanned):
    @dataclasses.dataclass(frozen=True)
    class Picky(fl.losses.SquaredError):
        def _check(self, pred, target):
            super()._check(pred, target)
            if isinstance(target, np.ndarray) and (target == 7).any():
                msg = "target: there is a 7"
                raise ValueError(msg)

    @dataclasses.dataclass(frozen=True)
    class Whole(fl.losses.Loss):
        def value_and_gradient(self, pred, target, weights=None):
            return Picky().value_and_gradient(pred, target, weights)

    X, y = data("squared", "float64")
    model = fl.LinearModel(Picky() if own == "check" else Whole())
    options = {"method": fl.SGD(0.01), "batch_size": 32, "epochs": 1, "rng": 0}
    one = fl.fit(model, (X, y), **options)
    assert not scanned  # it may look at anything
    same(one, fl.fit(model, (X, y), engine="eager", **options))
    y[200] = 7
    with pytest.raises(ValueError, match="there is a 7"):
        fl.fit(model, (X, y), **options)


@pytest.mark.parametrize(
    "rule",
    [
        lambda: fl.AdamW(0.05, weight_decay=0.5),
        lambda: fl.Adam(0.05, weight_decay=0.1),
        lambda: fl.Adam(0.05, maximize=True),
    ],
)
def test_rules_that_keep_the_state_are_followed(rule, scanned):
    def change(run):
        if run.epoch == 1:
            run.optimizer.rule = rule()

    found = data("binary", "float64")
    one = fitted(found, "auto", callbacks=[change])
    assert sum(scanned) == 24
    same(one, fitted(found, "eager", callbacks=[change]))


def test_a_penalty_by_its_gradient_is_not_left_out(scanned):
    found = data("binary", "float64")
    penalty = {"weights": fl.TotalVariation(0.1), "intercept": None}
    model = fl.LinearModel(LOSSES["binary"])
    options = {"method": fl.Adam(0.05), "batch_size": 32, "epochs": 2, "rng": 7}
    one = fl.fit(model, found, penalty=penalty, **options)
    assert not scanned
    assert (
        np.abs(one.params["weights"] - fl.fit(model, found, **options).params["weights"]).max() > 0
    )


def test_checkpoints_between_epochs_do_not_slow_a_run_and_those_of_others_are_called(
    tmp_path, scanned
):
    class Sees(fl.callbacks.Checkpoint):
        count = 0

        def on_step(self, run):
            self.count += 1

    found = data("binary", "float64")
    fitted(found, "auto", callbacks=[fl.callbacks.Checkpoint(tmp_path / "a.npz")])
    assert sum(scanned) == 24
    sees = Sees(tmp_path / "b.npz")
    fitted(found, "auto", callbacks=[sees])
    assert sum(scanned) == sees.count == 24


def test_a_run_that_is_stopped_ends_as_single_steps_do(scanned):
    class Stops(Callback):
        def on_start(self, run):
            run.stop("enough")

    found = data("binary", "float64")
    one = fitted(found, "auto", callbacks=[Stops()])
    assert (one.steps, one.message) == (1, "enough")
    same(one, fitted(found, "eager", callbacks=[Stops()]))

    X, y = data("binary", "float64", n=4000)
    runs = []

    class Later(Callback):
        def on_start(self, run):
            threading.Timer(0.05, run.stop, ("late",)).start()
            runs.append(run)

    one = fitted((X, y), "auto", epochs=10**5, batch_size=2, callbacks=[Later()])
    assert one.message == "late"
    assert one.steps % 2000 == sum(scanned) % 2000


def test_a_run_that_is_stopped_between_two_epochs_says_why(scanned, monkeypatch):
    order, runs = _compiled_epoch.CompiledEpoch.order, []

    class Starts(Callback):
        def on_start(self, run):
            runs.append(run)

    def drawn(self):
        if runs[0].epoch == 2:
            runs[0].stop("late", status=7)  # as another thread may
        return order(self)

    monkeypatch.setattr(_compiled_epoch.CompiledEpoch, "order", drawn)
    one = fitted(data("binary", "float64"), "auto", callbacks=[Starts()])
    assert scanned
    assert (one.message, one.status, one.epochs) == ("late", 7, 2)


def test_a_rule_that_keeps_a_number_takes_single_steps(scanned):
    class Counts(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(default=0.1)

        @property
        def slots(self):
            return (fl.rules.Slot("n"),)

        def scalars(self, t):
            return {"learning_rate": self.learning_rate, "t": float(t)}

        def formula(self, xp, s, p, g, n):
            return p - s.learning_rate * g, s.t

    found = data("binary", "float64")
    fitted(found, "auto", method=Counts())
    assert not scanned


def test_data_that_become_others_are_followed(scanned):
    X, y = data("binary", "float64", d=300)

    def changes(batches, found):
        def change(run):
            if run.epoch == 1:
                found.data = found.data * 2
            if run.epoch == 2:
                found[1, 2] = 3.0
            if run.epoch == 3:
                batches.arrays = found, 1 - y
            if run.epoch == 4:
                batches.shuffle = False

        return change

    results = []
    for engine in ("auto", "eager"):
        S, target = sparse(X), y.copy()
        batches = fl.Batches(S, target, batch_size=32, rng=0)
        model = fl.LinearModel(LOSSES["binary"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a new element of a sparse matrix is slow
            results.append(
                fl.fit(
                    model, batches, params=model.initialize(S, target), method=fl.Adam(0.1),
                    epochs=6, engine=engine, callbacks=[changes(batches, S)],
                )
            )  # fmt: skip
        np.testing.assert_array_equal(target, y)
    same(*results)
    assert sum(scanned) == 32


@pytest.mark.parametrize(("part", "value"), [(1, 5.0), (2, -1.0)])
def test_values_that_become_wrong_are_refused(part, value, scanned):
    found = [*data("binary", "float64"), np.ones(ROWS)]

    def change(run):
        found[part][:] = value

    with pytest.raises(ValueError, match="outside" if part == 1 else "negative"):
        fitted(tuple(found[:2]), "auto", weights=found[2], callbacks=[change])
    assert sum(scanned) == 8


def test_sparse_matrices_of_other_kinds_take_single_steps(scanned):
    scipy = pytest.importorskip("scipy.sparse", reason="scipy is not installed")

    class Doubles(scipy.csr_array):
        def __matmul__(self, other):
            return 2 * super().__matmul__(other)

    X, y = data("binary", "float64", d=300)
    S = sparse(X)
    swapped = sparse(X)
    swapped.indices = swapped.indices.astype(">i4")
    swapped.indptr = swapped.indptr.astype(">i4")
    for other in (Doubles(S), swapped, S.tocsc()):
        with pytest.raises(_nodes.UnrecordableError, match="only rows"):
            _epoch_data._source(other)
    with pytest.raises(_nodes.UnrecordableError, match="kinds of numbers"):
        _epoch_data._source(S.astype("int64"))
    wrapped = sparse(X)
    wrapped.indptr[1], wrapped.indptr[2] = 2**31 - 1, -2
    with pytest.raises(ValueError, match=r"X\.indptr: its numbers do not ascend"):
        _epoch_data._source(wrapped)
    fitted((Doubles(S), y), "auto", method=fl.SGD(0.1), epochs=1)
    assert not scanned


def test_what_cannot_be_compiled_is_tried_once(monkeypatch):
    tries = []
    make = _compiled_epoch.CompiledEpoch.__init__
    monkeypatch.setattr(
        _compiled_epoch.CompiledEpoch,
        "__init__",
        lambda self, *a: (tries.append(None), make(self, *a))[1],
    )
    fitted(data("binary", "float64"), "auto", method=fl.LARS(0.1), epochs=4)
    assert len(tries) == 1


def test_a_transform_that_remembers_takes_single_steps(scanned):
    class Grows(fl.gradients.Transform):
        limit = 0.01

        def scalars(self):
            return {"limit": self.limit}

        def formula(self, xp, s, g, *measured):
            return xp.where(g > s.limit, s.limit, g)

        def state_dict(self):
            return {"limit": self.limit}

        def load_state_dict(self, state):
            self.limit = state["limit"]

    found = data("binary", "float64")
    one = fitted(found, "auto", gradients=[Grows()])
    assert not scanned
    same(one, fitted(found, "eager", gradients=[Grows()]))


def test_a_loss_that_is_no_number_is_refused(scanned):
    model = fl.LinearModel(fl.losses.SquaredError(reduction="none"))
    with pytest.raises(TypeError):
        fl.fit(model, data("squared", "float64"), method=fl.SGD(0.1), batch_size=1, epochs=1)
    assert not scanned


def test_an_unfinished_step_is_noticed(scanned):
    def cut(run):
        run.optimizer._unfinished = True

    with pytest.raises(RuntimeError, match="interrupted while it wrote"):
        fitted(data("binary", "float64"), "auto", callbacks=[cut])
    assert sum(scanned) == 8


def test_overflows_of_numbers_do_not_warn(scanned):
    X, y = data("squared", "float32")
    w = np.ones(ROWS)
    w[3] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = fitted((X, y), "auto", loss="squared", weights=w, method=fl.SGD(0.1), epochs=1)
    assert sum(scanned) == one.steps


def test_schedules_are_asked_once_for_each_step(scanned):
    asked = {}

    def rate(step):
        asked[engine].append(step)
        return 0.1

    def thaw(run):
        if run.epoch == 1:
            run.optimizer.rule = {"weights": rule, "intercept": rule}

    found = data("binary", "float64")
    results = []
    for engine in ("auto", "blocked"):
        asked[engine], rule = [], fl.SGD(rate)
        method = {"weights": rule, "intercept": None}
        results.append(fitted(found, engine, method=method, callbacks=[thaw]))
    assert asked["auto"] == asked["blocked"]
    same(*results)


def test_numbers_that_are_not_finite_end_the_run(scanned):
    X, y = data("squared", "float64")
    X[17, 3] = np.nan
    one = fitted((X, y), "auto", loss="squared")
    assert scanned
    assert (one.status, one.epochs) == (3, 1)
    same(one, fitted((X, y), "eager", loss="squared"))


def test_a_damaged_sparse_matrix_is_not_run(scanned):
    X, _ = data("binary", "float64", d=300)
    for part, value in (("indices", 300), ("indices", -1), ("indptr", 10**9)):
        bad = sparse(X)
        getattr(bad, part)[3] = value
        with pytest.raises(ValueError, match=rf"^X\.{part}: "):
            _epoch_data._source(bad)


def test_a_rate_that_a_callback_lowers_is_summed_as_it_was(scanned):
    # By a rule that weighs each step by its rate.
    class Lower(Callback):
        def __init__(self, rate):
            self.rate = rate

        def on_epoch(self, run):
            flows.append(run.optimizer.state_dict()["flow"])
            self.rate.update(1.0)

    found, runs, flows = data("binary", "float64"), [], []
    for engine in ("auto", "eager"):
        rate = fl.schedules.ReduceOnPlateau(0.5, factor=0.5, patience=0)
        rule = fl.ScheduleFreeSGD(fl.schedules.LinearWarmup(rate, steps=9))
        options = {"method": rule, "callbacks": [Lower(rate)], "epochs": 4}
        runs.append(fitted(found, engine, **options))
    assert scanned == [7, 1] * 4
    same(*runs)
    assert flows[:4] == flows[4:]


def test_a_failing_schedule_leaves_the_steps_before(scanned):
    def rate(step):
        if step == 40:
            msg = "no rate"
            raise RuntimeError(msg)
        return 0.1

    X, y = data("binary", "float64")
    model = fl.LinearModel(LOSSES["binary"])
    seen = {}

    class Keeps(Callback):
        def on_start(self, run):
            seen[engine] = run

    for engine in ("auto", "eager"):
        with pytest.raises(RuntimeError, match="no rate"):
            fl.fit(
                model, (X, y), method=fl.SGD(rate), batch_size=4, epochs=3, rng=0, engine=engine,
                callbacks=[Keeps()],
            )  # fmt: skip
    assert seen["auto"].step == seen["eager"].step == 40
    assert scanned == [40]
    for name in ("weights", "intercept"):
        a, b = (seen[x].optimizer.params[name] for x in ("auto", "eager"))
        assert a.tobytes() == b.tobytes()
    assert seen["auto"].optimizer.step_count == 40


def test_what_callbacks_change_between_epochs_is_followed(scanned):
    def change(run):
        if run.epoch == 1:
            run.optimizer.rule = fl.NAdam(0.02)  # whose count starts afresh
        if run.epoch == 2:
            run.optimizer.params["weights"] *= 0.5
        if run.epoch == 3:
            run.optimizer.params["weights"] = np.ones(FEATURES)
        if run.epoch == 4:
            run.restore({"weights": np.full(FEATURES, 0.5), "intercept": np.ones(())})

    found = data("binary", "float64")
    one = fitted(found, "auto", epochs=6, callbacks=[change])
    assert sum(scanned) == one.steps
    same(one, fitted(found, "eager", epochs=6, callbacks=[change]))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_targets_that_change_between_epochs(dtype, scanned):
    found = []
    for engine in ("auto", "eager"):
        X, y = data("binary", "float64")
        y = y.astype(dtype)

        def change(run, X=X, y=y):
            y[:] = 1 - y
            X[0] *= 2

        found.append(fitted((X, y), engine, callbacks=[change]))
    assert sum(scanned) == 24
    same(*found)


def test_parameters_that_are_not_those_of_the_optimizer_take_single_steps(scanned):
    def change(run):
        if run.epoch == 1:
            run.params = {"weights": np.ones(FEATURES), "intercept": np.ones(())}

    found = data("binary", "float64")
    one = fitted(found, "auto", callbacks=[change])
    assert sum(scanned) == 16
    same(one, fitted(found, "eager", callbacks=[change]))


def test_resuming_from_a_file_of_single_steps(tmp_path, scanned):
    found = data("binary", "float64")
    whole = fitted(found, "auto")
    path = tmp_path / "run.npz"
    # A callback that looks at steps makes them one by one; the file is of the middle of an epoch.
    fitted(found, "auto", epochs=2, callbacks=[fl.callbacks.Checkpoint(path, steps=13)])
    scanned.clear()
    same(fitted(found, "auto", resume=path), whole)
    assert scanned[:2] == [2, 1]


def test_an_interrupted_run_keeps_whole_steps(scanned):
    X, y = data("binary", "float64", n=4000, d=50)
    # Where a shell started this in the background, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    runs = []

    def press(run):
        if run.epoch == 2:
            runs.append(run)
            threading.Timer(0.05, signal.raise_signal, (signal.SIGINT,)).start()

    try:
        one = fitted((X, y), "auto", epochs=2000, batch_size=2, callbacks=[press])
    finally:
        signal.signal(signal.SIGINT, before)
    assert one.status == 98
    assert not one.success
    assert one.steps == len(one.history["step_loss"])
    opt = runs[0].optimizer
    assert one.steps == opt.step_count == opt.state["weights"]["step"] >= 4000
    assert scanned
    assert np.isfinite(one.params["weights"]).all()


@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_in_a_call_leaves_whole_steps(late, monkeypatch):
    run, calls, seen = _tape.Tape.run, [], []

    def interrupted(self, *arguments):
        calls.append(None)
        if len(calls) == 3 and not late:
            raise KeyboardInterrupt
        run(self, *arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_tape.Tape, "run", interrupted)
    found = data("binary", "float64")
    # Without a look at the loss of epochs the last parameters are the best that are known.
    options = {"nonfinite": "propagate", "callbacks": [lambda run: seen.append(run)]}
    one = fitted(found, "auto", **options)
    assert (one.status, one.steps, one.epochs) == (98, 15 if late else 8, 1)
    assert len(calls) == 3
    opt = seen[0].optimizer
    assert opt.step_count == opt.state["weights"]["step"] == one.steps == 8 + 7 * late
    assert len(one.history["step_loss"]) == one.steps
    monkeypatch.undo()
    whole = fl.fit(
        fl.LinearModel(LOSSES["binary"]), found, method=fl.Adam(0.05), batch_size=32, epochs=2,
        rng=7, callbacks=[_Keep(at := [], one.steps)],
    )  # fmt: skip
    assert whole.steps == 16
    assert at[0].tobytes() == one.params["weights"].tobytes()


class _Keep(Callback):
    def __init__(self, found, step):
        self.found, self.step = found, step

    def on_step(self, run):
        if run.step == self.step:
            self.found.append(run.params["weights"].copy())


SCRIPT = """
import sys
import numpy as np
import fallline as fl

rng = np.random.default_rng(3)
X = rng.standard_normal((500, 20))
y = (X[:, 0] + rng.logistic(size=500) > 0).astype(float)
model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(0.01))
found = fl.fit(
    model, (X, y), method=fl.Adam(0.01), batch_size=32, epochs=3, rng=0, engine=sys.argv[1]
)
print(found.params["weights"].tobytes().hex(), found.history["step_loss"].tobytes().hex())
"""


def test_other_processes_find_the_same_bits():
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, engine], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for engine, seed in (("auto", "1"), ("auto", "2"), ("blocked", "3"))
    ]  # fmt: skip
    assert found[0] == found[1] == found[2] != ""


def test_another_structure_of_loops_is_refused(monkeypatch, scanned):
    _numpy_loops.find.cache_clear()
    monkeypatch.setattr(_numpy_loops, "KNOWN", b"numpy_9.9_ufunc_call_info")
    seen = []
    one = fitted(data("binary", "float64"), "auto", callbacks=[seen.append])
    assert not scanned
    assert "PyCapsule_GetPointer called with incorrect name" in seen[0].uncompiled
    monkeypatch.undo()
    same(one, fitted(data("binary", "float64"), "auto"))


def test_a_loop_that_fails_later_leaves_an_unfinished_step(monkeypatch):
    X, y = data("squared", "float64")
    model = fl.LinearModel(LOSSES["squared"])
    calls, seen = [], []
    failing = made_loop(lambda *_: calls.append(1) or -(len(calls) > 20))
    find = _numpy_loops.find
    monkeypatch.setattr(
        _numpy_loops, "find",
        lambda name, dtypes: failing(None, dtypes) if name == "multiply" else find(name, dtypes),
    )  # fmt: skip

    class Keep(Callback):
        def on_start(self, run):
            seen.append(run)

    with pytest.raises(RuntimeError, match="a loop of NumPy failed in step"):
        fl.fit(model, (X, y), method=fl.SGD(0.1), batch_size=8, epochs=1, rng=0, callbacks=[Keep()])
    opt = seen[0].optimizer
    assert 0 < opt.step_count < 29
    with pytest.raises(RuntimeError, match="interrupted while it wrote"):
        opt.step(opt.params)


def test_the_environment_switches_compiled_epochs_off(monkeypatch, scanned):
    seen, found = [], data("binary", "float64")
    monkeypatch.setenv("FALLLINE_COMPILED_EPOCHS", "0")
    one = fitted(found, "auto", callbacks=[seen.append])
    assert not scanned
    assert "FALLLINE_COMPILED_EPOCHS" in seen[0].uncompiled
    monkeypatch.setenv("FALLLINE_COMPILED_EPOCHS", "1")
    same(one, fitted(found, "auto", callbacks=[seen.append]))
    assert scanned
    assert seen[-1].uncompiled == ""


def test_why_steps_are_made_one_by_one_is_told(caplog):
    seen, found = [], data("binary", "float64")
    with caplog.at_level("DEBUG", logger="fallline"):
        fitted(found, "auto", method=fl.LARS(0.1), callbacks=[seen.append])
    assert "measure whole leaves" in seen[-1].uncompiled
    assert [record.message for record in caplog.records] == [
        f"the steps of an epoch are made one by one: {seen[-1].uncompiled}"
    ]
    fitted(found, "auto", average=0.9, callbacks=[seen.append])
    assert "an average" in seen[-1].uncompiled
    fitted(found, "auto", callbacks=[seen.append, _Keep([], 1)])
    assert "every step" in seen[-1].uncompiled


def test_frozen_leaves_need_no_numba(monkeypatch):
    monkeypatch.setattr("fallline.engine.numba_.installed", lambda: False)
    seen = []
    frozen = {"weights": None, "intercept": None}
    fitted(data("binary", "float64"), "auto", method=frozen, callbacks=[seen.append])
    assert seen[-1].uncompiled == "Numba is not installed"
