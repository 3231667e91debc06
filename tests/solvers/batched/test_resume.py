"""Batches continue from files bit for bit; files of something else are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, callbacks, stop
from fallline._arrays import _files
from fallline.optimizer import _saving
from tests.solvers.batched.methods import ALL, SOLVERS, bowls, name, valleys
from tests.solvers.watched import CrashError, crash

MORE_RULES = [fl.SGD(0.05, momentum=0.9), fl.ScheduleFreeAdamW(0.1), fl.Lookahead(fl.Adam(0.1))]
EVERY = pytest.mark.parametrize("method", [*ALL, *MORE_RULES], ids=name)
RECORD = ("fun", "gradient_norm", "nfev", "nit", "step_length", "x")
_, BATCH, X0 = bowls()


def solved(method, points=None, fun=BATCH, x0=X0, **more):
    def watched(x):
        if points is not None:
            points.append(np.array(x))
        return fun(x)

    more = {"stop": stop.GradientNorm(1e-3), "max_iterations": 60, "record": RECORD, **more}
    return fl.minimize(watched, x0, method=method, batched=True, check_every=1, **more)


def assert_the_same(a, b):
    assert list(a) == list(b)
    for key in a:
        if key != "history":
            assert type(a[key]) is type(b[key])
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    assert list(a.history) == list(b.history)
    for key in a.history:
        assert len(a.history[key]) == len(b.history[key])
        for one, two in zip(a.history[key], b.history[key], strict=True):
            assert type(one) is type(two)
            np.testing.assert_array_equal(one, two)
            assert getattr(one, "dtype", None) == getattr(two, "dtype", None)


@EVERY
@pytest.mark.parametrize("at", [1, 4, 13])
def test_a_batch_goes_on_from_a_file_bit_for_bit(method, at, tmp_path):
    whole, begun, rest = [], [], []
    path = tmp_path / "run.npz"
    expected = solved(method, whole)
    if len(whole) <= at + 2:
        pytest.skip("it ends before")
    saving = callbacks.Checkpoint(path, every=at)
    with pytest.raises(CrashError):
        solved(method, begun, callbacks=[crash(at + 1), saving])
    found = solved(method, rest, resume=path)
    assert_the_same(found, expected)
    np.testing.assert_array_equal([*begun[: at + 1], *rest], whole)  # nothing is evaluated twice


@pytest.mark.parametrize(
    "condition",
    [
        None,
        stop.RelativeDecrease(1e-3, times=2),
        stop.NotImproved(3, by=1e-3) | stop.GradientNorm(1e-4),
        stop.ParameterChange(3e-2) & stop.GradientNorm(0.5),
        stop.MaxEvaluations(9) | stop.Target(7.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_conditions_remember_and_what_has_ended_stays(method, condition, tmp_path):
    path = tmp_path / "run.npz"
    expected = solved(method, stop=condition)
    assert condition is None or len(set(expected.nit)) > 1
    for at in (n for n in (1, 2, 3, 5, 8, 13) if n < expected.nfev - 1):
        with pytest.raises(CrashError):
            solved(method, stop=condition, callbacks=[callbacks.Checkpoint(path), crash(at + 1)])
        assert_the_same(solved(method, stop=condition, resume=path), expected)


@pytest.mark.parametrize(
    "method", [fl.LBFGS(), fl.SteepestDescent("wolfe"), fl.Adam(0.1)], ids=name
)
@pytest.mark.parametrize("kind", ["float32", "float16", "complex64", "tree"])
def test_trees_and_precisions_of_every_library_go_on(backend, method, kind, tmp_path):
    if kind != "tree" and not hasattr(backend.xp, kind):
        pytest.skip("no such dtype")
    rng = np.random.default_rng(3)
    starts = {"a": rng.standard_normal((4, 2, 3)), "b": rng.standard_normal(4)}
    scale = backend.array(np.linspace(0.5, 4, 6).astype("float64" if kind == "tree" else kind))
    xp = _arrays.namespace(scale)
    real = getattr(xp, "float64" if kind == "tree" else "float32")
    if kind == "tree":
        x0 = {"a": backend.array(starts["a"]), "b": (backend.array(starts["b"]), None)}
    else:
        x0 = backend.array(starts["a"].astype(kind))

    def summed(x):
        real_part = xp.real(x) if kind == "complex64" else x
        return xp.sum(xp.reshape(xp.astype(real_part, real), (4, -1)), axis=1)

    def fun(x):
        if kind != "tree":
            slope = xp.reshape(scale, (2, 3)) * (x - 1)
            return summed(slope * (x - 1 if kind != "complex64" else xp.conj(x - 1))) / 2, slope
        d, e = x["a"] - 1, x["b"][0] + 2
        total = summed(d**4) + summed(0.1 * d * d) + summed(e * e)
        return total, {"a": 4 * d**3 + 0.2 * d, "b": (2 * e, None)}

    def run(**more):
        options = {"stop": stop.GradientNorm(1e-2), "max_iterations": 12, "record": RECORD}
        return fl.minimize(fun, x0, method=method, batched=True, **options, **more)

    path = tmp_path / "run.npz"
    expected = run(callbacks=[lambda run: None])
    assert expected.nfev > 4
    for at in (2, 5):
        if expected.nfev > at + 2:
            with pytest.raises(CrashError):
                run(callbacks=[crash(at + 1), callbacks.Checkpoint(path)])
            found = run(resume=path)
            assert (found.nfev, found.message) == (expected.nfev, expected.message)
            for key in ("fun", "nit", "status", "success", "gradient_norm"):
                assert found[key].dtype == expected[key].dtype
                one, two = backend.numpy(found[key]), backend.numpy(expected[key])
                np.testing.assert_array_equal(one, two)
            for one, two in zip(leaves(found.x), leaves(expected.x), strict=True):
                np.testing.assert_array_equal(backend.numpy(one), backend.numpy(two))
            for key in RECORD:
                assert len(found.history[key]) == len(expected.history[key])
    saved = fl.read_checkpoint(path)
    assert next(iter(saved.params.values())).shape == (4, 2, 3)


def leaves(x):
    return [x["a"], x["b"][0]] if isinstance(x, dict) else [x]


def test_problems_cut_off_by_a_limit_go_on_and_no_others(tmp_path):
    path = tmp_path / "run.npz"
    for method in (fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)):
        whole = solved(method)
        cut = solved(method, max_iterations=5, callbacks=[callbacks.Checkpoint(path)])
        assert 1 in cut.status
        found = solved(method, resume=path)
        for key in ("x", "fun", "nit", "status", "jac", "gradient_norm"):
            np.testing.assert_array_equal(found[key], whole[key], err_msg=key)
        ended = solved(method, stop=stop.GradientNorm(0.1), callbacks=[callbacks.Checkpoint(path)])
        points = []
        same = solved(method, points, stop=stop.GradientNorm(0.1), resume=path)
        assert_the_same(same, ended)
        assert not points
        tight = solved(method, resume=path)  # the last to end is judged again
        before = ended.nit < max(ended.nit)
        np.testing.assert_array_equal(tight.x[before], ended.x[before])
        np.testing.assert_array_equal(tight.nit[before], ended.nit[before])


@pytest.mark.parametrize("method", SOLVERS[:5], ids=name)
def test_problems_that_a_limit_held_while_others_searched_go_on(method, tmp_path):
    x0 = 2 * np.random.default_rng(0).standard_normal((20, 2))
    path = tmp_path / "run.npz"
    whole = solved(method, fun=valleys, x0=x0)
    saving = [callbacks.Checkpoint(path)]
    held = solved(method, fun=valleys, x0=x0, max_iterations=9, callbacks=saving)
    ends = [int(np.argmax(nit == 9)) for nit in np.transpose(held.history["nit"])]
    assert len(set(ends)) > 2  # at different evaluations
    found = solved(method, fun=valleys, x0=x0, resume=path)
    for key in ("x", "fun", "nit", "status", "jac"):
        np.testing.assert_array_equal(found[key], whole[key], err_msg=key)


def test_an_interrupted_batch_goes_on_from_its_last_file(tmp_path):
    path = tmp_path / "run.npz"

    class Saves(callbacks.Callback):
        def on_end(self, run):
            run.save(path)

    for method in (fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)):
        expected = solved(method, record=())
        for where in ("callback", "function"):
            points = []

            def fun(x, points=points, where=where):
                points.append(1)
                if where == "function" and len(points) == 8:
                    raise KeyboardInterrupt
                return BATCH(x)

            hooks = [Saves(), crash(6, KeyboardInterrupt)] if where == "callback" else [Saves()]
            cut = solved(method, fun=fun, record=(), callbacks=hooks)
            assert 98 in cut.status
            found = solved(method, record=(), resume=path)
            for key in ("x", "fun", "nit", "status"):
                np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_callbacks_and_bars_go_on(tmp_path):
    def run(file, **more):
        log = callbacks.CSVLog(tmp_path / file)
        saving = callbacks.Checkpoint(tmp_path / "run.npz", every=5)
        solved(fl.LBFGS(), callbacks=[log, saving], **more)
        return (tmp_path / file).read_text()

    whole = run("whole.csv")
    with pytest.raises(CrashError):
        run("parts.csv", callback=crash_at(7))
    assert run("parts.csv", resume=tmp_path / "run.npz") == whole


def crash_at(evaluations):
    def callback(record):
        if record.evaluations == evaluations:
            raise CrashError

    return callback


def test_files_of_something_else_are_refused(tmp_path):
    class Sees(callbacks.Callback):  # is told of no end without a start
        def on_end(self, run):
            raise AssertionError

    path, single, rule = (tmp_path / f"{n}.npz" for n in ("batch", "single", "rule"))
    saving = {"max_iterations": 4, "record": ("fun",)}
    solved(fl.LBFGS(), callbacks=[callbacks.Checkpoint(path)], **saving)
    solved(fl.Adam(0.1), callbacks=[callbacks.Checkpoint(rule)], **saving)
    fl.minimize(
        lambda x: (np.sum(x**4), 4 * x**3), X0, max_iterations=2,
        callbacks=[callbacks.Checkpoint(single)],
    )  # fmt: skip
    cases = [
        (path, {"method": fl.LBFGS(history=3)}, ValueError, r"method.*LBFGS\(history=3\)"),
        (path, {"method": fl.SteepestDescent()}, ValueError, "method.*SteepestDescent"),
        (path, {"method": fl.Adam(0.1)}, ValueError, "method.*Adam"),
        (rule, {"method": fl.SGD(0.1)}, ValueError, "Adam"),
        (rule, {}, ValueError, "method is a rule"),
        (path, {"x0": X0[:3]}, ValueError, r"x0.*shape is \(3, 4\), expected \(6, 4\)"),
        (path, {"x0": X0.astype(np.float32)}, ValueError, "x0.*dtype is float32, expected float64"),
        (path, {"record": ("nit",)}, ValueError, r"record.*'nit'"),
        (path, {"callbacks": [Sees()], "x0": X0[:3]}, ValueError, "x0"),
        (single, {}, ValueError, "is of a run of one problem, expected one of many"),
    ]
    for file, options, error, words in cases:
        options = {"x0": X0, "method": fl.LBFGS(), "record": ("fun",), **options}
        points = []
        with pytest.raises(error, match=words):
            solved(options.pop("method"), points, resume=file, **options)
        assert not points
    with pytest.raises(
        ValueError, match="is of a run of many problems, expected one of one problem"
    ):
        fl.minimize(lambda x: (np.sum(x**4), 4 * x**3), X0, resume=path)


def test_a_forged_file_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    solved(fl.LBFGS(), max_iterations=4, callbacks=[callbacks.Checkpoint(path)])
    with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
        header = {k: v for k, v in file.header.items() if k not in ("arrays", "kind", "version")}
        arrays = {n: (file.array(n), file.dtype(n)) for n in file.header["arrays"]}

    def refused(change):
        forged, members = json.loads(json.dumps(header)), dict(arrays)
        change(forged["minimize"], members)
        _files.write(path, _saving.KIND, _saving.VERSION, forged, members)
        points = []
        with pytest.raises((ValueError, TypeError), match=r"resume|run\.npz"):
            solved(fl.LBFGS(), points, resume=path)
        assert not points

    refused(lambda saved, _: saved["state"].pop("_pairs"))
    refused(lambda saved, _: saved["state"].update(solver=3))
    refused(lambda saved, _: saved.pop("judged"))
    seven = {n: (x + 7, dtype) for n, (x, dtype) in arrays.items() if n.endswith("/codes")}
    refused(lambda _, members: members.update(seven))
    refused(lambda saved, _: saved["state"].update(at={"Popen": {}}))
    refused(lambda saved, _: saved["stop"].update(memory={"best": 0.0}))
    for part in ("x", "t", "value", "codes", "iteration"):
        names = [n for n in arrays if n.rpartition("/")[2] == part]
        assert names, part
        short = {n: (arrays[n][0][..., :2], arrays[n][1]) for n in names}
        refused(lambda _, members, short=short: members.update(short))


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_files_show_ended_problems_where_they_ended(method, tmp_path):
    path = tmp_path / "run.npz"
    found = solved(method, stop=stop.GradientNorm(0.3), callbacks=[callbacks.Checkpoint(path)])
    assert len(set(found.nit)) > 1
    np.testing.assert_array_equal(next(iter(fl.read_checkpoint(path).params.values())), found.x)
