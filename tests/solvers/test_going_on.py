"""Runs of `minimize` that are watched, saved, cut off and taken up again."""

from __future__ import annotations

import io
import json
import logging

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks, solvers, stop
from fallline.solvers._proximal import ProximalRun
from tests.problems import rosenbrock

X0 = np.array([-1.2, 1.0, 0.7, -0.3])
BOX = {"constraint": fl.Box(-0.5, 0.8)}
L1 = {"penalty": fl.L1(0.5)}
WAYS = [
    (fl.LBFGS(), {}),
    (fl.LBFGS(history=2), {"penalty": fl.L2(0.1)}),
    (fl.LBFGSB(history=3), BOX),
    (fl.OWLQN(), L1),
    (fl.ConjugateGradient(), {}),
    (fl.ConjugateGradient("dai-yuan"), {}),
    (fl.ConjugateGradient("hager-zhang"), {}),
    (fl.SteepestDescent(), {}),
    (fl.SteepestDescent("wolfe"), {}),
    (fl.SteepestDescent("armijo"), {}),
    (fl.SteepestDescent(lambda k: 1e-3 / (1 + k)), {}),
    (fl.ProximalGradient(), {**L1, **BOX}),
    (fl.ProximalGradient(accelerated=True), L1),
    (fl.ProximalGradient(lambda k: 1e-3 / (1 + k), accelerated=True), L1),
    (fl.Adam(0.05), {}),
    (fl.SGD(1e-3, momentum=0.9), {**L1, **BOX}),
    (fl.ScheduleFreeAdamW(0.05), {}),
    (fl.NAdam(0.05), {}),
]
NAMES = [f"{method!r} {options}".split(" at 0x")[0] for method, options in WAYS]
EVERY = pytest.mark.parametrize(("method", "options"), WAYS, ids=NAMES)
MOST = 25


class CrashError(Exception):
    """The end of a process."""


def crash(at, error=CrashError):
    def callback(run):
        if run.epoch == at:
            raise error

    return callback


def seeing(points, fun=rosenbrock):
    def watched(x):
        points.append(np.array(x))
        return fun(x)

    return watched


def solved(points, method, options, **more):
    more = {"stop": None, "check_every": 1, "record": ("fun", "x", "nfev"), **more}
    more = {"max_iterations": MOST, **more}
    return fl.minimize(seeing(points), X0, method=method, **options, **more)


def assert_the_same(a, b):
    assert list(a) == list(b)
    for name in ("message", "success", "status", "fun", "gradient_norm", "nit", "nfev"):
        assert a[name] == b[name], name
    for name in ("x", "jac"):
        np.testing.assert_array_equal(a[name], b[name])
    assert list(a.history) == list(b.history)
    for name in a.history:
        assert len(a.history[name]) == len(b.history[name])
        for one, two in zip(a.history[name], b.history[name], strict=True):
            assert type(one) is type(two)
            np.testing.assert_array_equal(one, two)


# -- files --------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("at", [1, 4, 13])
def test_a_run_goes_on_from_a_file_bit_for_bit(method, options, at, tmp_path):
    whole, begun, rest = [], [], []
    expected = solved(whole, method, options)
    path = tmp_path / "run.npz"
    if expected.nit <= at:
        pytest.skip("it ends before")
    saving = [callbacks.Checkpoint(path, every=at)]
    solved(begun, method, options, callbacks=saving, max_iterations=at)
    found = solved(rest, method, options, resume=path)
    assert_the_same(found, expected)
    assert len(begun) + len(rest) == len(whole)  # nothing is evaluated twice
    np.testing.assert_array_equal(begun + rest, whole)


@EVERY
def test_what_changes_in_a_run_is_remembered(method, options):
    run = solvers.start(method, rosenbrock, X0, **options)
    if not isinstance(run, solvers.Run):
        return
    before = dict(vars(run))
    for _ in run.steps(3):
        pass
    made_anew = {"_filled", "_length"} - set(type(run).remembers)  # in every iteration
    changed = {k for k, v in vars(run).items() if k not in before or before[k] is not v}
    assert changed - made_anew <= set(type(run).remembers)
    assert isinstance(run, ProximalRun) or "_d" in type(run).remembers


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.ConjugateGradient(), fl.Adam(0.1)], ids=repr)
def test_trees_of_every_library_go_on(backend, method, tmp_path):
    xp = backend.xp

    def fun(x):
        d, e = x["a"] - 1, x["b"][0] + 2
        value = xp.sum(d**4) + xp.sum(e * e) + 0.1 * xp.sum(d * d)
        return value, {"a": 4 * d**3 + 0.2 * d, "b": [2 * e, None]}

    def run(**more):
        x0 = {"a": backend.array(np.linspace(-1, 2, 6).reshape(2, 3)), "b": None}
        x0["b"] = [backend.array(np.ones((), np.float64)), None]
        return fl.minimize(fun, x0, method=method, stop=None, max_iterations=12, **more)

    path = tmp_path / "run.npz"
    expected = run()
    with pytest.raises(CrashError):
        run(callbacks=[crash(6), callbacks.Checkpoint(path)])
    found = run(resume=path)
    for a, b in ((found.x["a"], expected.x["a"]), (found.x["b"][0], expected.x["b"][0])):
        np.testing.assert_array_equal(backend.numpy(a), backend.numpy(b))
    assert (found.nit, found.nfev, found.fun) == (expected.nit, expected.nfev, expected.fun)
    saved = fl.read_checkpoint(path)
    assert saved.step_count == 5
    assert saved.params["a",].shape == (2, 3)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.Adam(0.02)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float16"])
def test_other_precisions_go_on(method, dtype, tmp_path):
    aim = (np.arange(4) + (1j if dtype == "complex64" else 0)).astype(dtype)

    def fun(x):
        d = (x - aim).astype(np.complex128 if dtype == "complex64" else np.float64)
        scale = np.arange(1.0, 5.0)
        return float(np.sum(scale * abs(d) ** 2)), (2 * scale * d).astype(dtype)

    def run(**more):
        more = {"max_iterations": 8, "check_every": 1, **more}
        return fl.minimize(fun, np.zeros(4, dtype), method=method, **more)

    path = tmp_path / "run.npz"
    expected = run()
    run(callbacks=[callbacks.Checkpoint(path)], max_iterations=min(3, expected.nit))
    assert_the_same(run(resume=path), expected)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.Adam(0.05)], ids=repr)
def test_conditions_remember_across_a_file(method, tmp_path):
    path = tmp_path / "run.npz"
    condition = stop.NotImproved(3, by=0.5) & stop.RelativeDecrease(0.9) | stop.Target(-1.0)
    expected = solved([], method, {}, stop=condition, max_iterations=500)
    for at in range(1, expected.nit + 1):
        saving = [callbacks.Checkpoint(path)]
        solved([], method, {}, stop=condition, max_iterations=at, callbacks=saving)
        found = solved([], method, {}, stop=condition, max_iterations=500, resume=path)
        assert_the_same(found, expected)
    other = solved([], method, {}, stop=stop.NotImproved(3), max_iterations=40, resume=path)
    assert other.nit > expected.nit  # another condition begins afresh


def test_a_run_that_has_ended_goes_on_to_another_end(tmp_path):
    path = tmp_path / "run.npz"
    solved([], "lbfgs", {}, max_iterations=5, callbacks=[callbacks.Checkpoint(path)])
    again = solved([], "lbfgs", {}, max_iterations=5, resume=path)
    assert (again.nit, again.status) == (5, 1)
    assert_the_same(solved([], "lbfgs", {}, resume=path), solved([], "lbfgs", {}))
    loose = stop.GradientNorm(1.0)
    ended = solved([], "lbfgs", {}, stop=loose, callbacks=[callbacks.Checkpoint(path)])
    points = []
    assert_the_same(solved(points, "lbfgs", {}, stop=loose, resume=path), ended)
    assert not points
    tight = {"stop": stop.GradientNorm(1e-6), "max_iterations": 99}
    assert_the_same(solved([], "lbfgs", {}, **tight, resume=path), solved([], "lbfgs", {}, **tight))


def test_a_file_may_wait_for_the_other_callbacks(tmp_path):
    path = tmp_path / "run.npz"
    order = []
    solved(
        [], "lbfgs", {}, max_iterations=1,
        callbacks=[
            lambda run: run.save_later(path),
            lambda run: order.append(path.exists()),
            lambda run: run.save(path),
            lambda run: order.append(path.exists()),
        ],
    )  # fmt: skip
    assert order == [False, True]
    assert fl.read_checkpoint(path).step_count == 1


def test_callbacks_go_on_with_what_they_know(tmp_path):
    def run(name, most, **more):
        log = callbacks.CSVLog(tmp_path / name)
        saving = callbacks.Checkpoint(tmp_path / "run.npz", every=5)
        solved([], "lbfgs", {}, max_iterations=most, callbacks=[log, saving], **more)
        return (tmp_path / name).read_text()

    whole = run("whole.csv", 12)
    run("parts.csv", 7)
    assert run("parts.csv", 12, resume=tmp_path / "run.npz") == whole


def test_files_of_something_else_are_refused(tmp_path):
    class Sees(callbacks.Callback):  # is told of no end without a start
        def on_end(self, run):
            raise AssertionError

    path, other = tmp_path / "run.npz", tmp_path / "other.npz"
    solved([], fl.LBFGS(), {}, max_iterations=4, callbacks=[callbacks.Checkpoint(path)])
    cases = [
        (path, {"method": fl.LBFGS(history=3)}, ValueError, r"method.*LBFGS\(history=3\)"),
        (path, {"method": "cg"}, ValueError, "method.*ConjugateGradient"),
        (path, {"method": fl.Adam(0.1)}, ValueError, "method.*Adam"),
        (path, {"x0": np.ones(3)}, ValueError, r"x0.*shape is \(3,\), expected \(4,\)"),
        (path, {"x0": {"w": np.ones(4)}}, ValueError, "x0"),
        (path, {"x0": X0.astype(np.float32)}, ValueError, "x0.*dtype is float32, expected float64"),
        (path, {"record": ("nit",)}, ValueError, r"record.*'nit'"),
        (tmp_path / "none.npz", {}, OSError, "none.npz"),
        (tmp_path / "none.npz", {"callbacks": [Sees()]}, OSError, "none.npz"),
    ]
    for file, options, error, words in cases:
        options = {"x0": X0, "method": fl.LBFGS(), "record": ("fun", "x", "nfev"), **options}
        calls = []
        with pytest.raises(error, match=words):
            fl.minimize(seeing(calls), resume=file, **options)
        assert not calls
    fl.Optimizer(X0.copy(), fl.Adam(0.1)).save(other)
    with pytest.raises(ValueError, match=r"resume: .*is not of a run of minimize"):
        solved([], fl.Adam(0.1), {}, resume=other)
    with pytest.raises(ValueError, match="batched"):
        fl.minimize(rosenbrock, X0[None], batched=True, resume=path)
    with pytest.raises(ValueError, match="batched"):
        fl.minimize(rosenbrock, X0[None], batched=True, callbacks=[callbacks.Checkpoint(path)])


def test_a_forged_file_is_refused(tmp_path):
    from fallline._arrays import _files
    from fallline.optimizer import _saving

    path = tmp_path / "run.npz"
    solved([], fl.LBFGS(), {}, max_iterations=4, callbacks=[callbacks.Checkpoint(path)])
    with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
        header = {k: v for k, v in file.header.items() if k not in ("arrays", "kind", "version")}
        arrays = {n: (file.array(n), file.dtype(n)) for n in file.header["arrays"]}

    def refused(change, words="resume|run.npz"):
        forged = json.loads(json.dumps(header))
        members = dict(arrays)
        change(forged["minimize"], members)
        _files.write(path, _saving.KIND, _saving.VERSION, forged, members)
        with pytest.raises(ValueError, match=words):
            solved([], fl.LBFGS(), {}, resume=path)

    refused(lambda saved, _: saved["state"].pop("_slots"))
    refused(lambda saved, _: saved["state"].update(solver=3))
    refused(lambda saved, _: saved.pop("best"))
    refused(lambda saved, _: saved["state"].update(at={"kind": "Popen", "fields": {}}))
    short = {name: (x[..., :2], dtype) for name, (x, dtype) in arrays.items()}
    refused(lambda _, members: members.update(short))


# -- interruptions ------------------------------------------------------------------------


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
        fun, X0, method=method, **options, stop=None, max_iterations=MOST, callbacks=hooks,
        record=["fun", "x"],
    )  # fmt: skip
    assert (found.success, found.status) == (False, 98)
    assert "interrupted" in found.message
    assert found.fun == min(found.history["fun"] + [found.fun])
    assert any(np.array_equal(found.x, x) for x in [*points, *found.history["x"]])
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


def test_fit_tells_of_an_interrupted_solver():
    X, y = np.random.default_rng(0).standard_normal((30, 3)), np.arange(30.0)
    hooks = [crash(2, KeyboardInterrupt)]
    model = fl.LinearModel(fl.losses.SquaredError())
    found = fl.fit(model, (X, y), method="cg", callbacks=hooks)
    assert (found.success, found.status) == (False, 98)
    assert "interrupted" in found.message
    assert model.value_and_gradient(found.params, X, y)[0] == found.loss


# -- what watches -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lbfgs", fl.Adam(0.1)], ids=repr)
def test_a_bar_shows_progress(method, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    text = io.StringIO()
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(file=text, **options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    found = solved([], method, {}, progress=True, check_every=5)
    assert [bar.n for bar in bars] == [found.nit]
    assert bars[0].total == MOST
    assert "loss=" in text.getvalue()


def test_callbacks_see_the_run(caplog, tmp_path):
    class Sees(callbacks.Callback):
        def on_start(self, run):
            seen.append(("start", run.epoch, run.step))

        def on_epoch(self, run):
            seen.append((run.loss, run.epoch, run.step))
            assert run.loss == run.history.last("loss") == rosenbrock(run.params)[0]
            assert run.history.last("gradient_norm") == np.max(np.abs(rosenbrock(run.params)[1]))
            assert run.optimizer is None
            if run.epoch == 6:
                run.stop("enough", status=0)

        def on_end(self, run):
            seen.append(("end", run.epoch, run.step))

    seen, log = [], tmp_path / "log.csv"
    with caplog.at_level(logging.INFO, "fallline"):
        found = solved([], "lbfgs", {}, callbacks=[Sees(), callbacks.Log(2), callbacks.CSVLog(log)])
    assert (found.message, found.status, found.success) == ("enough", 0, True)
    assert seen[0] == ("start", 0, 1)
    assert [entry[0] for entry in seen[1:-1]] == found.history["fun"][1:]
    assert seen[-1] == ("end", 6, found.nfev)
    assert len(caplog.records) == 3
    assert len(log.read_text().splitlines()) == 7

    def ends(run):
        if run.epoch == 2:
            raise StopIteration

    for hook in (ends, lambda run: run.epoch == 2):
        stopped = solved([], "lbfgs", {}, callbacks=[hook])
        assert (stopped.nit, stopped.status, stopped.success) == (2, 99, False)


def test_what_belongs_to_fit_is_refused(tmp_path):
    for hook, words in [
        (callbacks.Checkpoint(tmp_path / "x", steps=3), r"callbacks\[0\]: .*every="),
        (callbacks.EarlyStopping(3), r"callbacks\[0\]: .*stop=.*NotImproved"),
        (callbacks.Log, r"callbacks\[0\]: is .*expected"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            solved([], "lbfgs", {}, callbacks=[hook])


def test_hooks_are_told_of_the_end_whatever_happens():
    class Sees(callbacks.Callback):
        def on_end(self, run):
            ends.append(run.epoch)

    ends = []
    with pytest.raises(CrashError):
        solved([], "lbfgs", {}, callbacks=[Sees(), crash(3)])
    assert ends == [3]
