"""Runs of solvers that go on from files: bit for bit the whole run, and not an evaluation more."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks, stop

LOGISTIC = fl.losses.BinaryCrossEntropy()
NAMES = ("loss", "gradient_norm", "validation_loss")


def problem(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)) * [1.0, 3.0, 0.3, 1.0]
    return X, (X @ [1.0, -0.5, 2.0, 0.0] + rng.logistic(size=n) > 0).astype(float)


X, Y = problem()
VALIDATION = (X[:20], Y[:20])


class Counted:
    """A model that keeps all the points where it was evaluated."""

    def __init__(self, model):
        self.model, self.points, self.initialize = model, [], model.initialize

    def value_and_gradient(self, params, X, y, weights=None):
        self.points.append(np.concatenate([np.ravel(params["weights"]), [params["intercept"]]]))
        return self.model.value_and_gradient(params, X, y, weights)


class Kill(callbacks.Callback):
    """Ends the process, as it were, after an iteration."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch(self, run):
        if run.epoch == self.epoch:
            raise SystemExit


class Mean(callbacks.Callback):
    """Knows numbers, arrays and trees."""

    def on_start(self, run):
        self.known = {"count": 0, "trees": [], "sum": np.zeros(4, np.float32), "pair": (1, None)}

    def on_epoch(self, run):
        self.known["count"] += 1
        self.known["trees"].append(run.copied())
        self.known["sum"] += run.params["weights"].astype(np.float32)

    def state_dict(self):
        return self.known

    def load_state_dict(self, state_dict):
        self.known = state_dict


def same(one, other):
    assert list(one.history) == list(other.history)
    for name in one.history:
        if name != "seconds":
            np.testing.assert_array_equal(one.history[name], other.history[name])
    assert len(one.history["seconds"]) == len(other.history["seconds"])
    for name, x in one.params.items():
        assert x.tobytes() == other.params[name].tobytes()
    for name in ("message", "status", "success", "loss", "epochs", "steps"):
        assert one[name] == other[name], name


WAYS = [
    {"method": "lbfgs"},
    {"method": fl.LBFGS(history=2), "weights": np.arange(60.0)},
    {"method": "cg", "stop": stop.NotImproved(3, by=1e-4) & stop.GradientNorm(1.0)},
    {"method": fl.SteepestDescent(), "stop": stop.NotImproved(4, by=1e-3)},
    {"method": "owlqn", "penalty": {"weights": fl.L1(0.02), "intercept": None}},
    {"method": "fista", "penalty": {"weights": fl.L1(0.02), "intercept": None}},
    {"method": "lbfgsb", "constraint": {"weights": fl.NonNegative(), "intercept": None}},
]


@pytest.mark.parametrize("options", WAYS, ids=lambda x: " ".join([str(x["method"]), *x]))
@pytest.mark.parametrize(("at", "every"), [(2, 1), (6, 2), (8, 3)])
def test_a_resumed_run_is_the_whole_run(tmp_path, options, at, every):
    path = tmp_path / "run.npz"
    options = {"validation": VALIDATION, "epochs": 12, **options}
    models = [Counted(fl.LinearModel(LOGISTIC)) for _ in range(3)]
    means = [Mean(), Mean(), Mean()]
    whole = fl.fit(models[0], (X, Y), callbacks=[means[0]], **options)
    saving = [callbacks.Checkpoint(path, every=every), means[1], Kill(at + 1)]
    if whole.epochs <= at:
        pytest.skip("it ends before")
    with pytest.raises(SystemExit):
        fl.fit(models[1], (X, Y), callbacks=saving, **options)
    again = fl.fit(models[2], (X, Y), callbacks=[means[2]], resume=path, **options)
    same(again, whole)
    # Of the killed run, what came after its file is made again; nothing else is.
    rest = len(models[2].points)
    assert rest < len(models[0].points)
    np.testing.assert_array_equal(models[2].points, models[0].points[-rest:])
    saved = fl.read_checkpoint(path)
    assert saved.header["run"]["epoch"] == saved.step_count == at // every * every
    evaluated = saved.header["minimize"]["evaluations"] + saved.header["run"]["epoch"]
    assert evaluated + rest == len(models[0].points)  # a validation after each iteration
    for name in ("count", "pair"):
        assert means[2].known[name] == means[0].known[name]
    np.testing.assert_array_equal(means[2].known["sum"], means[0].known["sum"])
    for mine, theirs in zip(means[2].known["trees"], means[0].known["trees"], strict=True):
        np.testing.assert_array_equal(mine["weights"], theirs["weights"])


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("at", [2, 4])
def test_early_stopping_goes_on(tmp_path, at, restore, order):
    # The validation is against the data, so that it rises soon.
    path, validation = tmp_path / "run.npz", (X[:9], 1 - Y[:9])
    one, two, three = (callbacks.EarlyStopping(4, restore_best=restore) for _ in range(3))
    model, common = fl.LinearModel(LOGISTIC), {"method": "lbfgs", "validation": validation}
    whole = fl.fit(model, (X, Y), callbacks=[one], **common)
    assert "has not fallen" in whole.message
    assert whole.epochs > at
    saving, kill = callbacks.Checkpoint(path), Kill(at + 1)
    hooks = [two, saving, kill] if order == "before" else [saving, two, kill]
    with pytest.raises(SystemExit):
        fl.fit(model, (X, Y), callbacks=hooks, **common)
    same(fl.fit(model, (X, Y), callbacks=[three], resume=path, **common), whole)


@pytest.mark.parametrize("how", ["condition", "callback", "limit", "precision"])
def test_a_run_that_has_ended_ends_again(tmp_path, how):
    path, hooks = tmp_path / "run.npz", []
    common = {"method": "lbfgs", "epochs": 30}
    if how == "condition":
        common["stop"] = stop.NotImproved(3, by=1e-3)
    elif how == "callback":
        hooks = [callbacks.EarlyStopping(2, by=0.01)]
    elif how == "limit":
        common["epochs"] = 4
    else:
        common |= {"stop": stop.GradientNorm(0.0), "epochs": None}
    model = Counted(fl.LinearModel(LOGISTIC))
    whole = fl.fit(model, (X, Y), callbacks=[*hooks, callbacks.Checkpoint(path)], **common)
    model.points.clear()
    same(fl.fit(model, (X, Y), callbacks=hooks, resume=path, **common), whole)
    assert how == "precision" or not model.points
    if how != "precision":
        more = {**common, "stop": stop.NotImproved(9), "epochs": 60}
        longer = fl.fit(model, (X, Y), callbacks=hooks and [callbacks.EarlyStopping(9)],
                        resume=path, **more)  # fmt: skip
        assert longer.epochs > whole.epochs


@pytest.mark.parametrize("ends", ["nan", "interrupt"])
def test_the_best_parameters_are_in_the_file(tmp_path, ends):
    path, model = tmp_path / "run.npz", fl.LinearModel(LOGISTIC)

    class Objective:
        initialize, bad = model.initialize, False

        def value_and_gradient(self, params, *batch):
            value, gradient = model.value_and_gradient(params, *batch)
            if self.bad and ends == "interrupt":
                raise KeyboardInterrupt
            return value * (np.nan if self.bad else 1), gradient

    before = fl.fit(
        Objective(), (X, Y), method="cg", epochs=4, callbacks=[callbacks.Checkpoint(path)]
    )
    Objective.bad = True
    found = fl.fit(Objective(), (X, Y), method="cg", resume=path)
    assert not found.success
    assert found.status in (2, 3, 98)
    np.testing.assert_array_equal(found.params["weights"], before.params["weights"])


def test_other_libraries_go_on(backend, tmp_path):
    path, model = tmp_path / "run.npz", fl.LinearModel(LOGISTIC)
    arrays = tuple(backend.array(x) for x in (X, Y))

    class Knows(Mean):
        def on_epoch(self, run):
            self.known["count"] += 1
            self.known["trees"] = [run.copied()]

    def run(hooks, epochs, **more):
        return fl.fit(model, arrays, method="lbfgs", epochs=epochs, callbacks=hooks, **more)

    one, two = Knows(), Knows()
    whole = run([one, callbacks.EarlyStopping(3)], 7)
    run([Knows(), callbacks.EarlyStopping(3), callbacks.Checkpoint(path)], 3)
    again = run([two, callbacks.EarlyStopping(3)], 7, resume=path)
    np.testing.assert_array_equal(again.history["loss"], whole.history["loss"])
    for name, x in again.params.items():
        np.testing.assert_array_equal(backend.numpy(x), backend.numpy(whole.params[name]))
    assert type(two.known["trees"][0]["weights"]) is type(one.known["trees"][0]["weights"])
    assert type(two.known["sum"]) is np.ndarray  # NumPy's arrays stay NumPy's
    assert two.known["count"] == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": problem(61)}, r"the data is .*'shape': \[60, 4\].*expected .*\[61, 4\]"),
        ({"data": tuple(x.astype("float32") for x in (X, Y))}, "float64"),
        ({"weights": np.ones(60)}, "the data is"),
        ({"data": problem(seed=1)}, "the data are not those of .*some of 64 rows differ"),
        ({"objective": fl.LinearModel(fl.losses.Huber())}, "objective.loss is Huber.*saved Binary"),
        ({"objective": fl.LinearModel(LOGISTIC, fl.L2(0.2))}, "penalty.alpha is 0.2, saved 0.1"),
        ({"objective": fl.LinearModel(LOGISTIC, fl.L2(0.1), fit_intercept=False)}, "its leaves is"),
        ({"constraint": {"weights": None, "intercept": fl.NonNegative()}}, r"constraint\['inter"),
        ({"method": fl.LBFGS(history=3)}, r"method is LBFGS\(.*expected LBFGS\(history=3\)"),
        ({"method": "cg"}, "method is LBFGS"),
        ({"method": fl.Adam(0.1)}, "method is a solver, expected a rule"),
        ({"resume": "minimize"}, "is of minimize, not of fit; use minimize"),
        ({"resume": "rule"}, "method is a rule, expected a solver"),
        ({"resume": "optimizer"}, "is of an Optimizer, not of a run; use Optimizer.load"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_what_does_not_fit_is_refused(tmp_path, change, words):
    class Sees(callbacks.Callback):  # is told of no end without a start
        def on_start(self, run):
            raise AssertionError

        on_end = on_start

    model, path = fl.LinearModel(LOGISTIC, fl.L2(0.1)), tmp_path / "run.npz"
    saving = [callbacks.Checkpoint(path)]
    if change.get("resume") == "minimize":
        fl.minimize(lambda x: (x @ x, 2 * x), np.ones(3), callbacks=saving)
    elif change.get("resume") == "optimizer":
        fl.Optimizer(np.ones(3), fl.SGD(0.1)).save(path)
    elif change.get("resume") == "rule":
        fl.fit(model, (X, Y), method=fl.SGD(0.1), epochs=2, callbacks=saving)
    else:
        fl.fit(model, (X, Y), method="lbfgs", epochs=3, callbacks=saving)
    options = {"objective": model, "data": (X, Y), "method": "lbfgs", **change}
    options |= {"resume": path, "callbacks": [Sees()]}
    with pytest.raises(ValueError, match=words):
        fl.fit(options.pop("objective"), options.pop("data"), **options)


def test_what_a_solver_cannot_save_is_refused(tmp_path):
    saving = [callbacks.Checkpoint(tmp_path / "run.npz", steps=3)]
    with pytest.raises(ValueError, match=r"callbacks\[0\]: Checkpoint watches the steps of a rule"):
        fl.fit(fl.LinearModel(LOGISTIC), (X, Y), method="lbfgs", callbacks=saving)


def test_logs_go_on_and_nothing_warns(tmp_path):
    path, model = tmp_path / "run.npz", fl.LinearModel(LOGISTIC)

    def run(name, epochs, **more):
        hooks = [callbacks.CSVLog(tmp_path / name), callbacks.Checkpoint(path, every=2)]
        fl.fit(model, (X, Y), method="lbfgs", epochs=epochs, callbacks=hooks, **more)
        lines = (tmp_path / name).read_text().splitlines()
        return [line.split(",")[:2] for line in lines]

    whole = run("whole.csv", 8)
    run("parts.csv", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("parts.csv", 8, resume=path) == whole
