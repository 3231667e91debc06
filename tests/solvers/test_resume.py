"""A run continues from a file bit for bit; other files are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks, solvers, stop
from fallline.solvers._proximal import ProximalRun
from tests.problems import rosenbrock
from tests.solvers.watched import (
    EVERY,
    X0,
    CrashError,
    assert_the_same,
    crash,
    seeing,
    solved,
)


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


@pytest.mark.parametrize("where", ["callback", "function"])
@pytest.mark.parametrize("method", [fl.LBFGS(), fl.Adam(0.05)], ids=repr)
def test_an_interrupted_run_may_be_saved_at_its_end(method, where, tmp_path):
    class Saves(callbacks.Callback):
        def on_end(self, run):
            run.save(tmp_path / "run.npz")

    def fun(x):
        points.append(x)
        if where == "function" and len(points) == 8:
            raise KeyboardInterrupt
        return rosenbrock(x)

    points = []
    hooks = [Saves(), crash(6, KeyboardInterrupt)] if where == "callback" else [Saves()]
    options = {"method": method, "stop": None, "max_iterations": 12}
    cut = fl.minimize(fun, X0, callbacks=hooks, **options)
    assert cut.status == 98
    found = fl.minimize(rosenbrock, X0, resume=tmp_path / "run.npz", **options)
    expected = fl.minimize(rosenbrock, X0, **options)
    np.testing.assert_array_equal(found.x, expected.x)
    assert (found.fun, found.nit) == (expected.fun, expected.nit)


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


def test_files_from_before_something_was_remembered_go_on(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    older = tuple(name for name in ProximalRun.remembers if name != "_straight")
    saving = [callbacks.Checkpoint(path)]
    with monkeypatch.context() as patch:
        patch.setattr(ProximalRun, "remembers", older)
        solved([], "fista", {}, max_iterations=5, callbacks=saving)
    expected = solved([], "fista", {}, max_iterations=9)
    assert_the_same(solved([], "fista", {}, max_iterations=9, resume=path), expected)
    with monkeypatch.context() as patch:
        patch.setattr(ProximalRun, "remembers", older[:-1])
        solved([], "fista", {}, max_iterations=5, callbacks=saving)
    with pytest.raises(ValueError, match="what its method remembers is damaged"):
        solved([], "fista", {}, max_iterations=9, resume=path)
