"""Conditions judge each problem, and what has ended stays."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks, solvers, stop
from tests.solvers.batched.methods import ALL, SOLVERS, agree, bowls, name, plain, singles, valleys


@pytest.mark.parametrize(
    "condition",
    [
        None,
        stop.GradientNorm(1e-3),
        stop.RelativeDecrease(1e-4),
        stop.ParameterChange(1e-3),
        stop.Target(-0.3),
        stop.NotImproved(3, by=1e-3),
        stop.GradientNorm(1e-2) & stop.RelativeDecrease(1e-3),
        stop.Target(-0.3) | stop.GradientNorm(1e-3),
        (stop.Target(-0.3) | stop.ParameterChange(1e-2)) & stop.GradientNorm(1e-2),
        stop.MaxTime(60) & stop.GradientNorm(1e-3),
        stop.MaxTime(60) | stop.GradientNorm(1e-3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent("armijo")], ids=name)
def test_conditions_judge_each_problem(method, condition):
    one, batch, x0 = bowls()
    options = {"method": method, "stop": condition, "max_iterations": 12}
    found = fl.minimize(batch, x0, batched=True, **options)
    runs = singles(one, x0, **options)
    agree(found, runs, 1e-8)
    for message in {run.message for run in runs}:
        count = sum(run.message == message for run in runs)
        assert f"{count}: {message}" in found.message


@pytest.mark.parametrize("method", [fl.Adam(0.1), fl.SteepestDescent(0.1)], ids=name)
def test_conditions_that_remember_judge_rules_too(method):
    one, batch, x0 = bowls()
    for condition in (stop.RelativeDecrease(1e-4), stop.NotImproved(5, by=1e-3)):
        options = {"method": method, "stop": condition, "max_iterations": 300}
        runs = singles(one, x0, **options)
        agree(fl.minimize(batch, x0, batched=True, **options), runs, 1e-10)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent("wolfe")], ids=name)
def test_small_decreases_in_a_row_are_counted_by_iterations(method, times):
    x0 = 2 * np.random.default_rng(0).standard_normal((40, 2))
    condition = stop.RelativeDecrease(1e-2, times=times)
    options = {"method": method, "stop": condition, "max_iterations": 200}
    found = fl.minimize(valleys, x0, batched=True, **options)
    assert list(found.nit) == [run.nit for run in singles(valleys, x0, **options)]


def test_conditions_judge_floats_and_arrays_alike():
    rng = np.random.default_rng(0)
    values = np.sort(rng.standard_normal((30, 50)) * np.exp(rng.uniform(-3, 3, 50)), axis=0)[::-1]
    for condition in (
        stop.RelativeDecrease(0.5),
        stop.NotImproved(2, by=0.3),
        stop.Target(-1.0) & stop.RelativeDecrease(0.9),
    ):
        judge = condition.judge(1e-16)
        watches = [condition.watch(1e-16) for _ in range(50)]
        for k, row in enumerate(values):
            arrays = SimpleNamespace(value=row, iteration=np.full(50, k))
            floats = [SimpleNamespace(value=float(value), iteration=k) for value in row]
            ones = [w(f) is not None for w, f in zip(watches, floats, strict=True)]
            pairs = judge(arrays)
            some = np.any([holds for holds, _ in pairs], axis=0) if pairs else np.zeros(50, bool)
            assert np.all(ones == some)
            if condition == stop.RelativeDecrease(0.5) and k:
                last, scale = values[k - 1], np.maximum(np.abs(row), np.abs(values[k - 1]))
                assert np.all(ones == (last - row <= 0.5 * np.maximum(scale, 1)))


def test_conditions_are_what_they_say():
    _, batch, x0 = bowls()
    options = {"method": fl.SteepestDescent(0.1), "max_iterations": 300, "record": ("fun", "x")}

    def ended(condition, holds):
        found = fl.minimize(batch, x0, batched=True, stop=condition, **options)
        f, x = np.array(found.history["fun"]), np.array(found.history["x"])
        for i, end in enumerate(found.nit):
            held = [k for k in range(end + 1) if holds(f[: k + 1, i], x[: k + 1, i])]
            assert held[:1] == [end], (condition, i)
        assert len(set(found.nit)) > 1

    def falls(f, x):
        return len(f) > 1 and 0 <= f[-2] - f[-1] <= 1e-4 * max(abs(f[-2]), abs(f[-1]), 1)

    def short(f, x):
        step = math.inf if len(x) < 2 else np.linalg.norm(x[-1] - x[-2])
        return step <= 1e-2 * max(np.linalg.norm(x[-1]), 1)

    def late(f, x):
        best, since = math.inf, 0
        for k, value in enumerate(f):
            if value < best - 1e-2:
                best, since = value, k
        return len(f) - 1 - since >= 3

    ended(stop.RelativeDecrease(1e-4), falls)
    ended(stop.ParameterChange(1e-2), short)
    ended(stop.NotImproved(3, by=1e-2), late)
    ended(stop.Target(0.0) | stop.NotImproved(3, by=1e-2), lambda f, x: late(f, x) or f[-1] <= 0)
    ended(
        stop.ParameterChange(1e-2) & stop.NotImproved(3, by=1e-2),
        lambda f, x: short(f, x) and late(f, x),
    )


def test_limits_are_of_all_problems():
    _, batch, x0 = bowls()
    found = fl.minimize(batch, x0, batched=True, stop=stop.MaxEvaluations(5))
    assert found.nfev == 5
    assert np.all(found.status == 1)
    assert found.message == "0 of 6 converged; 6: the objective was evaluated 5 times"
    assert np.all(fl.minimize(batch, x0, batched=True, stop=stop.MaxTime(0)).nit == 0)
    for every in (1, 50):
        found = fl.minimize(
            batch, x0, batched=True, stop=stop.GradientNorm(0.0), max_iterations=3,
            check_every=every, method=fl.SteepestDescent("wolfe"),
        )  # fmt: skip
        assert np.all(found.nit == 3)
        assert np.all(found.status == 1)
    found = fl.minimize(
        batch, x0, batched=True, stop=stop.ParameterChange(0.0), max_iterations=5, check_every=2,
        method=fl.SteepestDescent("armijo"),
    )  # fmt: skip
    assert not np.any(found.success)  # a step of a look before is no step of length zero
    found = fl.minimize(batch, x0, batched=True, max_iterations=0)
    assert (found.nfev, set(found.status)) == (1, {1})


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("method", [fl.LBFGS(), fl.Adam(0.1)], ids=name)
def test_a_callback_sees_arrays_and_stops(method, how):
    _, batch, x0 = bowls()
    seen = []

    def callback(record):
        assert record.value.shape == record.gradient_norm.shape == record.iteration.shape == (6,)
        value, gradient = batch(record.x)
        assert np.allclose(record.value, value)
        assert np.allclose(record.gradient, gradient)
        seen.append(record)
        if len(seen) == 4 and how == "raise":
            raise StopIteration
        return len(seen) == 4

    found = fl.minimize(batch, x0, batched=True, method=method, callback=callback)
    assert (found.nfev, set(found.status)) == (5, {99})
    assert np.all(found.fun == seen[-1].value)
    assert "6: the callback stopped the run" in found.message


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_callbacks_see_the_means(method, caplog):
    _, batch, x0 = bowls()
    seen = []

    class Watching(callbacks.Callback):
        def on_start(self, run):
            seen.append(("start", run.epoch, run.step, run.loss))

        def on_epoch(self, run):
            values, gradients = batch(run.params)
            assert run.loss == run.history.last("loss") == pytest.approx(np.mean(values))
            norm = np.max(np.abs(gradients))
            assert run.history.last("gradient_norm") == pytest.approx(norm)
            assert (run.optimizer is None) == isinstance(method, solvers.Solver)
            seen.append(("epoch", run.epoch, run.step, run.loss))

        def on_end(self, run):
            seen.append(("end", run.epoch, run.step, run.loss))

    options = {"method": method, "max_iterations": 5}
    with caplog.at_level("INFO"):
        found = fl.minimize(
            batch, x0, batched=True, callbacks=[Watching(), callbacks.Log()], **options
        )
    n, first = found.nfev, np.mean(batch(x0)[0])
    kinds = ["start", *["epoch"] * (n - 1), "end"]
    assert [kind for kind, *_ in seen] == kinds
    assert [(epoch, step) for _, epoch, step, _ in seen[:-1]] == [(k, k + 1) for k in range(n)]
    assert seen[0][3] == pytest.approx(first)
    assert seen[-1][3] == pytest.approx(np.mean(found.fun))
    assert len(caplog.records) == n - 1
    plain = fl.minimize(batch, x0, batched=True, check_every=1, **options)
    np.testing.assert_array_equal(found.x, plain.x)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_a_batch_of_no_problems_has_callbacks(method, tmp_path):
    path = tmp_path / "run.npz"
    losses = []
    hooks = [callbacks.Checkpoint(path), callbacks.Log(), lambda run: losses.append(run.loss)]
    options = {"method": method, "batched": True, "record": ("fun", "x"), "max_iterations": 3}
    found = fl.minimize(lambda x: (x.sum(axis=1), x), np.ones((0, 3)), callbacks=hooks, **options)
    assert found.message == "0 of 0 converged"
    assert found.x.shape == (0, 3)
    assert set(losses) <= {0.0}


@pytest.mark.parametrize("how", ["true", "stop", "raise", "interrupt"])
def test_callbacks_end_a_batch(how):
    _, batch, x0 = bowls()
    ended = []

    class Ending(callbacks.Callback):
        def on_epoch(self, run):
            if run.epoch < 3:
                return None
            if how == "stop":
                run.stop("enough", status=1)
            if how == "raise":
                raise StopIteration
            if how == "interrupt":
                raise KeyboardInterrupt
            return how == "true"

        def on_end(self, run):
            ended.append(run.epoch)

    found = fl.minimize(batch, x0, batched=True, callbacks=[Ending()])
    status, text = {
        "stop": (1, "enough"), "interrupt": (98, "interrupted; this is the best point so far"),
    }.get(how, (99, "a callback stopped the run"))  # fmt: skip
    assert (found.nfev, set(found.status), set(found.success)) == (4, {status}, {False})
    assert found.message == f"0 of 6 converged; 6: {text}"
    assert ended == [3]


def test_a_bar_counts_the_evaluations_of_a_batch(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, initial, **_):
            self.total, self.n, self.closed = total, initial, False
            bars.append(self)

        def set_postfix(self, numbers, refresh):
            self.numbers = numbers

        def update(self, by):
            self.n += by

        def close(self):
            self.closed = True

    monkeypatch.setattr(pytest.importorskip("tqdm"), "tqdm", Bar)
    _, batch, x0 = bowls()
    found = fl.minimize(batch, x0, batched=True, progress=True)
    (bar,) = bars
    assert (bar.total, bar.n, bar.closed) == (None, found.nfev - 1, True)
    assert float(bar.numbers["loss"]) == pytest.approx(np.mean(found.fun), rel=1e-3)


def test_history_is_of_arrays():
    _, batch, x0 = bowls()
    record = ("fun", "gradient_norm", "nfev", "nit", "step_length", "x")
    found = fl.minimize(batch, x0, batched=True, record=record)
    assert all(len(entries) == found.nfev for entries in found.history.values())
    assert found.history["nfev"] == list(range(1, found.nfev + 1))
    assert np.all(found.history["fun"][-1] == found.fun)
    assert np.all(found.history["x"][0] == x0)
    assert np.all(np.max(np.abs(found.jac), axis=1) == found.history["gradient_norm"][-1])
    assert np.all(np.diff(found.history["fun"], axis=0) <= 0)
    assert "success: [ True" in repr(found)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_what_has_ended_stays_bit_for_bit(method):
    _, batch, x0 = bowls()
    given = []

    def fun(x):
        given.append(x.copy())
        return batch(x)

    found = fl.minimize(
        fun, x0, batched=True, method=method, stop=stop.GradientNorm(1e-2), record=("x", "nit"),
        max_iterations=300,
    )  # fmt: skip
    assert np.all(found.success)
    nit = np.array(found.history["nit"])
    for i in range(6):
        end = int(np.argmax(nit[:, i] == found.nit[i]))  # the look that ended it
        for x in (*found.history["x"][end:], *given[end + 1 :]):
            assert x[i].tobytes() == found.x[i].tobytes()
    assert len({np.argmax(nit[:, i] == found.nit[i]) for i in range(6)}) > 2


@pytest.mark.parametrize("broken", ["value", "gradient"])
@pytest.mark.parametrize("method", ALL, ids=name)
def test_one_that_is_not_finite_stays_at_its_best_point(method, broken):
    one, batch, x0 = bowls()
    bad, trials = 2, []

    def fun(x):
        trials.append(x[bad].copy())
        value, gradient = batch(x)
        if len(trials) > 3 and plain(method):
            value, gradient = value.copy(), gradient.copy()
            value[bad], gradient[bad, 1] = -math.inf if broken == "value" else -1e9, math.nan
        return value, gradient

    options = {"method": method, "stop": stop.GradientNorm(1e-4), "max_iterations": 500}
    found = fl.minimize(fun, x0, batched=True, **options)
    others = [i for i in range(6) if i != bad]
    runs = singles(one, x0, **options)
    for i in others:
        assert found.success[i]
        assert np.allclose(found.x[i], runs[i].x, rtol=0, atol=1e-9)
    assert (found.status[bad] == 3) == plain(method)
    if plain(method):
        assert not found.success[bad]
        best = min(trials[:3], key=lambda x: one(x, bad)[0])
        assert np.all(found.x[bad] == best)
        assert np.isclose(found.fun[bad], one(best, bad)[0])
        assert np.allclose(found.jac[bad], one(best, bad)[1])
        assert found.nit[bad] == 3
        assert "5 of 6 converged; 5: " in found.message
        assert "1: the value or the gradient is not finite" in found.message


def test_starts_that_are_not_finite_and_walls():
    def fun(x):
        with np.errstate(all="ignore"):
            return np.sum(x - np.log(x), axis=1), 1 - 1 / x

    x0 = np.full((4, 3), 1e-3)
    x0[1], x0[3] = -1.0, 5.0
    for method in (fl.LBFGS(), *SOLVERS[2:5]):
        found = fl.minimize(fun, x0, batched=True, method=method, stop=stop.GradientNorm(1e-7))
        assert list(found.status) == [0, 3, 0, 0], method
        assert list(found.nit == 0) == [False, True, False, False]
        assert np.allclose(found.x[[0, 2, 3]], 1, atol=1e-6)
        assert np.all(found.x[1] == -1.0)


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_what_rounding_ends_has_converged_as_if_alone(unit):
    # The first step of the last search is long enough to be seen: its curvature tells the gain.
    for seed in range(3):
        rng = np.random.default_rng(seed)
        scale, aim = np.exp(rng.uniform(-3, 3, (6, 4))), rng.standard_normal((6, 4))
        x0 = 3 * rng.standard_normal((6, 4))

        def fun(x, i=slice(None), scale=scale, aim=aim):
            d = x - aim[i]
            value = np.sum(0.5 * scale[i] * d * d + 0.3 * np.cos(2 * d), axis=-1)
            return unit * value, unit * (scale[i] * d - 0.6 * np.sin(2 * d))

        options = {"stop": stop.Target(-1e100), "max_iterations": 300}
        found = fl.minimize(fun, x0, batched=True, **options)
        # Some go around in circles at this precision until the limit, alone or not.
        assert np.sum(found.status == 0) >= 5
        assert 2 not in [*found.status, *(run.status for run in singles(fun, x0, **options))]


def test_problems_without_progress():
    sign = np.array([[1.0], [-1.0], [1.0]])
    for method in (fl.LBFGS(), fl.SteepestDescent("wolfe")):
        found = fl.minimize(
            lambda x: (np.sum(x * x, axis=1), 2 * sign * x), np.ones((3, 2)), batched=True,
            method=method, stop=stop.GradientNorm(1e-6),
        )  # fmt: skip
        assert list(found.status) == [0, 2, 0]
        assert np.all(found.x[1] == 1)
        assert found.message.endswith("1: no step lowers the objective")
    found = fl.minimize(
        lambda x: (np.sum(x * x, axis=1), 2 * x), np.array([[0.0], [1.0]]), batched=True,
        stop=stop.Target(-1.0),
    )  # fmt: skip
    assert list(found.success) == [True, True]
    assert "no step at this precision lowers the objective" in found.message
