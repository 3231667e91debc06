"""minimize(batched=True) against single runs of the same solver."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, stop
from fallline.solvers import _search
from fallline.solvers.batched import _search as batched_search
from fallline.solvers.batched import start_batch
from tests.helpers import patch_arrays
from tests.problems import rosenbrock

SOLVERS = [
    fl.LBFGS(),
    fl.LBFGS(history=2),
    fl.SteepestDescent(),
    fl.SteepestDescent("wolfe"),
    fl.SteepestDescent("armijo"),
    fl.SteepestDescent(0.2),
    fl.SteepestDescent(lambda k: 0.2 / (1 + 0.01 * k)),
]
RULES = [fl.Adam(0.1), fl.GradientDescent(0.2)]
ALL = [*SOLVERS, *RULES]


def name(method):
    return repr(method).partition(" at ")[0]


def singles(fun, x0, **options):
    """Return runs of ``fun(x, i)`` from each row of x0."""
    return [
        fl.minimize(fun, np.array(row), args=(i,), **options)
        for i, row in enumerate(np.asarray(x0))
    ]


def plain(method):
    """Tell whether every trial is a step."""
    return method in RULES or not isinstance(getattr(method, "step_size", ""), str)


def agree(batch, runs, atol, *, nit=True):
    for i, one in enumerate(runs):
        assert np.allclose(batch.x[i], one.x, rtol=0, atol=atol), i
        assert np.isclose(batch.fun[i], one.fun, rtol=1e-10, atol=1e-10), i
        assert (batch.status[i], batch.success[i]) == (one.status, one.success), i
        assert not nit or batch.nit[i] == one.nit, i


# -- the searches -------------------------------------------------------------------------


def lines(n, rng):
    """Return functions of a step length, with slopes that are negative at zero, and first steps."""
    a, b, w = rng.standard_normal(n), rng.standard_normal(n), rng.uniform(0.5, 9, n)
    p, size = rng.uniform(0, 6, n), np.where(rng.uniform(size=n) < 0.3, 1e-3, 1.0)
    wall = np.where(rng.uniform(size=n) < 0.3, rng.uniform(0.01, 3, n), math.inf)
    curve = np.where(rng.uniform(size=n) < 0.2, -0.01, np.exp(rng.uniform(-3, 3, n)))

    def fun(t):
        with np.errstate(all="ignore"):
            value = curve * (t - 1) ** 2 + a * np.sin(w * t + p) + 0.1 * b * t
            slope = 2 * curve * (t - 1) + a * w * np.cos(w * t + p) + 0.1 * b
        value, slope = size * value, size * slope
        return np.where(t < wall, value, math.inf), np.where(t < wall, slope, math.nan)

    value, slope = fun(np.zeros(n))
    keep = slope < -1e-3 * size
    return fun, keep, value, slope, np.exp(rng.uniform(-5, 4, n))


@pytest.mark.parametrize(("noise", "constants"), [(0.0, {}), (1e-3, {}), (0.0, {"c1": 0.4})])
@pytest.mark.parametrize("search", ["strong_wolfe", "armijo"])
def test_searches_make_the_trials_of_single_ones(search, noise, constants):
    n, rng = 1000, np.random.default_rng(0)
    fun, keep, value, slope, t = lines(n, rng)
    zero = np.zeros(n)
    start = batched_search.Point(zero, value, slope)
    wolfe = search == "strong_wolfe"
    options = {"noise": noise + zero} if wolfe else {"reference": value + noise}
    options |= constants
    begin = batched_search.begin_wolfe if wolfe else batched_search.begin_halving
    state = begin(np, start, t) if wolfe else begin(np, t)
    going, tried, ends = keep.copy(), [[] for _ in range(n)], [None] * n
    while going.any():
        f, d = fun(state.t)
        again = state.again if wolfe else ~keep
        for i in np.flatnonzero(going & ~again):
            tried[i].append(state.t[i])
        trial = batched_search.Point(state.t, f, d)
        with np.errstate(all="ignore"):
            found = getattr(batched_search, search)(np, state, start, trial, **options)
        for i in np.flatnonzero(going & found.accepted):
            ends[i] = state.t[i]
        going &= ~(found.accepted | found.failed)
        state = found.search
    for i in np.flatnonzero(keep):
        seen = []

        def line(t, i=i, seen=seen):
            seen.append(t)
            at = np.zeros(n)
            at[i] = t
            f, d = fun(at)
            return _search.Trial(t, float(f[i]), float(d[i]))

        first = _search.Trial(0.0, value[i], slope[i])
        one = {"noise": noise} if wolfe else {"reference": value[i] + noise}
        try:
            end = getattr(_search, search)(line, first, t[i], **one, **constants)
        except _search.NoProgress:  # it falls without bound
            end = None
        assert np.allclose(seen, tried[i], rtol=1e-6), i
        assert (end is None) == (ends[i] is None), i
        assert end is None or np.isclose(end.t, ends[i], rtol=1e-6), i


# -- against single runs ------------------------------------------------------------------


def regressions(n=1000, rows=50, features=5):
    """Return penalised logistic regressions, side by side and one by one."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, rows, features))
    z = np.squeeze(X @ rng.standard_normal((n, features, 1)), axis=-1)
    y = np.where(rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z)), 1.0, -1.0)
    X = X * y[:, :, None]

    def loss(z):
        small = np.exp(-np.abs(z))
        value = np.mean(np.maximum(-z, 0) + np.log1p(small), axis=-1)
        return value, -np.where(z < 0, 1.0, small) / (1 + small) / rows

    def batch(x):
        value, slope = loss((X @ x[:, :, None])[..., 0])
        gradient = (slope[:, None, :] @ X)[:, 0] + 1e-2 * x
        return value + 5e-3 * np.sum(x * x, axis=1), gradient

    def one(x, i):
        value, slope = loss(X[i] @ x)
        return value + 5e-3 * (x @ x), slope @ X[i] + 1e-2 * x

    return batch, one, np.zeros((n, features))


@pytest.mark.parametrize(
    ("condition", "n"), [(None, 300), (stop.GradientNorm(1e-8), 1000)], ids=repr
)
def test_a_thousand_regressions(condition, n):
    batch, one, x0 = regressions(n)
    found = fl.minimize(batch, x0, batched=True, stop=condition)
    runs = singles(one, x0, stop=condition)
    agree(found, runs, 1e-10 if condition is None else 1e-6, nit=condition is None)
    assert np.all(found.success)
    assert found.message.startswith(f"{n} of {n} converged; ")
    # No problem waits for another: as many evaluations as the slowest needs alone.
    slowest = max(run.nfev for run in runs)
    assert found.nfev <= slowest if condition is None else found.nfev <= slowest + 5


def bowls(n=6, size=4):
    """Return quadratic functions with ripples, one by one and side by side, and their starts."""
    rng = np.random.default_rng(1)
    scale, aim = np.exp(rng.uniform(-1, 1, (n, size))), rng.standard_normal((n, size))

    def fun(x, i):
        d = x - aim[i]
        value = 0.5 * np.sum(scale[i] * d * d, axis=-1) + 0.05 * np.sum(np.cos(2 * d), axis=-1)
        return value, scale[i] * d - 0.1 * np.sin(2 * d)

    return fun, lambda x: fun(x, slice(None)), 3 * rng.standard_normal((n, size))


@pytest.mark.parametrize("method", ALL, ids=name)
def test_trajectories_are_those_of_single_runs(method):
    one, batch, x0 = bowls()
    options = {"method": method, "stop": stop.GradientNorm(1e-2), "record": ("x", "nit")}
    found = fl.minimize(batch, x0, batched=True, **options)
    runs = singles(one, x0, **options)
    agree(found, runs, 1e-9)
    assert np.all(found.success)
    assert len({run.nit for run in runs}) > 1
    for i, run in enumerate(runs):
        moved = np.flatnonzero(np.diff([nit[i] for nit in found.history["nit"]], prepend=-1))
        path = np.array([found.history["x"][k][i] for k in moved])
        assert np.allclose(path, run.history["x"], rtol=0, atol=1e-9)
        if plain(method):
            assert np.allclose(path, run.history["x"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent()], ids=name)
def test_rosenbrock_from_a_hundred_starts(method):
    x0 = np.random.default_rng(0).uniform(-2, 2, (100, 2))

    def batch(x):
        a, b = x[:, 0], x[:, 1]
        r = b - a * a
        value = 100 * r**2 + (1 - a) ** 2
        return value, np.stack([-400 * a * r - 2 * (1 - a), 200 * r], axis=1)

    x0[0] = 1.0  # a gradient of zero
    options = {"method": method, "stop": stop.GradientNorm(1e-7), "max_iterations": 400}
    found = fl.minimize(batch, x0, batched=True, **options)
    runs = singles(lambda x, i: rosenbrock(x), x0, **options)
    assert np.all(found.nit[0] == 0)
    if method == fl.LBFGS():
        assert np.all(found.success)
        assert np.allclose(found.x, 1, atol=1e-5)
        assert found.nfev <= max(run.nfev for run in runs) + 3
        nit = np.array([run.nit for run in runs])
        assert np.median(np.abs(found.nit - nit)) <= 1  # rounding parts long paths
    assert abs(np.sum(found.success) - sum(run.success for run in runs)) <= 15


def test_lbfgs_forgets_and_leaves_out_pairs_as_alone():
    # Kinks, and gradients that are wrong: searches fail, curvatures are negative.
    n, rng = 200, np.random.default_rng(3)
    w, aim = rng.uniform(0.5, 3, (n, 3)), rng.standard_normal((n, 3))

    def fun(x, i=slice(None)):
        d = x - aim[i]
        value = np.sum(w[i] * np.abs(d) + 0.05 * d * d, axis=-1)
        return value, w[i] * np.sign(d) + 0.1 * d + 3 * np.cos(3 * d)

    x0, options = 3 * rng.standard_normal((n, 3)), {"max_iterations": 15}
    found = fl.minimize(fun, x0, batched=True, **options)
    runs = singles(fun, x0, **options)
    same = [np.allclose(run.x, x, atol=1e-6) for run, x in zip(runs, found.x, strict=True)]
    assert np.mean(same) > 0.9  # the rest is chaos
    assert np.mean([run.nit for run in runs] == found.nit) > 0.85
    assert np.mean([run.status for run in runs] == found.status) > 0.9
    assert np.sum(found.status == 2) > 20


def test_lbfgs_turns_downhill_where_its_direction_is_none():
    _, batch, x0 = bowls()
    run = start_batch(fl.LBFGS(), batch, x0)
    for _ in range(8):
        run.advance()
    up = np.arange(6) < 3
    run._pairs = [p._replace(rho=np.where(up, math.nan, p.rho)) for p in run._pairs]
    before = run.iteration
    run.advance()
    lost = up & (run.iteration > before)
    assert lost.any()
    assert np.all(run._fresh == lost)
    assert np.all(run._d[:, lost] == -run.at.gradient[:, lost])
    assert np.allclose(run._slope[lost], -np.sum(run._d**2, axis=0)[lost])
    for _ in range(30):
        run.advance()
    assert np.all(run.at.norm < 1e-6)


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
            assert np.all(ones == (pairs[0][0] if pairs else np.zeros(50, bool)))
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


# -- freezing -----------------------------------------------------------------------------


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


# -- libraries, dtypes, trees -------------------------------------------------------------


def trees(backend, dtype="float64"):
    """Return four problems of two leaves and a None, their starts and their solutions."""
    xp, n = backend.xp, 4
    scale = np.linspace(0.5, 2.0, 6 * n).reshape(n, 2, 3).astype(dtype)
    aim = np.linspace(-2, 3, 6 * n).reshape(n, 2, 3).astype(dtype)
    turn = np.exp(1j * np.arange(n)).astype("complex64" if dtype == "float32" else complex)
    scale_, aim_, turn_ = (backend.array(x) for x in (scale, aim, turn))

    def fun(x):
        d, e = x["a"] - aim_, x["b"][0] - turn_
        value = 0.5 * xp.sum(scale_ * d * d, axis=(1, 2)) + _arrays.abs2(e)
        return value, {"a": scale_ * d, "b": [2 * e, None]}

    x0 = {"a": np.zeros((n, 2, 3), dtype), "b": [np.zeros(n, turn.dtype), None]}
    return fun, x0, {"a": aim, "b": [turn, None]}


CASES = [(method, "float64") for method in ALL]
CASES += [(fl.LBFGS(), "float32")]


@pytest.mark.parametrize(
    ("method", "dtype"), CASES, ids=lambda x: x if isinstance(x, str) else name(x)
)
def test_methods_on_every_library(backend, method, dtype):
    if backend.name == "jax" and dtype == "float32":
        pytest.skip("would compile everything once more")
    fun, x0, solution = trees(backend, dtype)
    start = backend.tree(x0)
    tolerance = 1e-2 if plain(method) or dtype == "float32" else 1e-5
    found = fl.minimize(
        fun, start, batched=True, method=method, stop=stop.GradientNorm(tolerance),
        record=("fun", "gradient_norm"), max_iterations=400,
    )  # fmt: skip
    numbers = {key: backend.numpy(found[key]) for key in ("fun", "nit", "success", "status")}
    assert [x.shape for x in numbers.values()] == [(4,)] * 4
    assert [x.dtype.name for x in numbers.values()] == [dtype, "int32", "bool", "int32"]
    assert np.all(numbers["success"])
    assert np.all(numbers["status"] == 0)
    assert np.all(numbers["nit"] > 0)
    assert (found.nfev, found.njev) == (found.nfev, found.nfev)
    a, b = backend.numpy(found.x["a"]), backend.numpy(found.x["b"][0])
    assert (a.dtype.name, b.dtype) == (dtype, x0["b"][0].dtype)
    assert np.allclose(a, solution["a"], atol=4 * tolerance)
    assert np.allclose(b, solution["b"][0], atol=4 * tolerance)
    assert found.x["b"][1] is None
    assert found.jac["b"][1] is None
    assert backend.numpy(found.jac["a"]).shape == (4, 2, 3)
    assert all(backend.numpy(x).shape == (4,) for x in found.history["fun"])
    assert all(backend.numpy(x).shape == (4,) for x in found.history["gradient_norm"])
    assert np.all(backend.numpy(start["a"]) == 0)  # never written


def test_reads_from_the_device(monkeypatch, backend):
    fun, x0, _ = trees(backend)
    reads = []
    original = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x.shape) or original(x))
    for method in (fl.LBFGS(), fl.SteepestDescent(), fl.SteepestDescent(0.2)):
        reads.clear()
        found = fl.minimize(fun, backend.tree(x0), batched=True, method=method, max_iterations=20)
        assert reads == [(4,)] * found.nfev, method
    for condition, every, looks in ((None, None, 2), (stop.Target(-1.0), 10, 6)):
        reads.clear()
        fl.minimize(
            fun, backend.tree(x0), batched=True, method=fl.Adam(0.1), max_iterations=50,
            stop=condition, check_every=every,
        )  # fmt: skip
        assert reads == [(4,)] * looks


@pytest.mark.parametrize("method", ALL, ids=name)
def test_trees_are_their_matrices(method):
    _, batch, x0 = bowls(5, 8)

    def tree(x):
        value, g = batch(np.concatenate([x["a"].reshape(5, 4), x["b"], x["c"][0][:, None]], axis=1))
        return value, {"a": g[:, :4].reshape(5, 2, 2), "b": g[:, 4:7], "c": [g[:, 7], None]}

    start = {"a": x0[:, :4].reshape(5, 2, 2), "b": x0[:, 4:7], "c": [x0[:, 7], None]}
    options = {"method": method, "max_iterations": 20, "batched": True}
    other, found = fl.minimize(tree, start, **options), fl.minimize(batch, x0, **options)
    assert np.all(found.x[:, :4].reshape(5, 2, 2) == other.x["a"])
    assert np.all(found.x[:, 7] == other.x["c"][0])
    assert np.all(found.jac[:, 4:7] == other.jac["b"])
    assert np.all(found.nit == other.nit)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_complex_leaves_are_twins_of_reals(method):
    rng = np.random.default_rng(0)
    m = (rng.standard_normal((3, 8, 5)) + 1j * rng.standard_normal((3, 8, 5))) / 4
    b = rng.standard_normal((3, 8)) + 1j * rng.standard_normal((3, 8))

    def fun(z, i=slice(None)):
        r = np.einsum("...ij,...j->...i", m[i], z) - b[i]
        gradient = np.einsum("...ij,...i->...j", m[i].conj(), r)
        return 0.5 * np.sum(np.abs(r) ** 2, axis=-1), gradient

    x0 = np.zeros((3, 5), complex)
    options = {"method": method, "max_iterations": 8}
    agree(fl.minimize(fun, x0, batched=True, **options), singles(fun, x0, **options), 1e-10)


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_batches_of_one_and_of_none(method):
    one, batch, x0 = bowls(1)
    options = {"method": method, "stop": stop.GradientNorm(1e-6), "max_iterations": 500}
    agree(fl.minimize(batch, x0, batched=True, **options), singles(one, x0, **options), 1e-10)
    found = fl.minimize(
        lambda x: (np.sum(x * x, axis=1), 2 * x), np.zeros((0, 3)), batched=True, **options
    )
    assert (found.x.shape, found.fun.shape, found.nit.shape) == ((0, 3), (0,), (0,))
    assert found.message == "0 of 0 converged"
    assert found.success.dtype == bool
    found = fl.minimize(lambda x: (np.sum(x, axis=1), x), np.zeros((2, 0)), batched=True, **options)
    assert np.all(found.success)


def test_half_precision_is_computed_in_single():
    def fun(x):
        d = x - np.arange(3, dtype=np.float16)
        return np.sum(d * d, axis=1), 2 * d

    found = fl.minimize(fun, np.full((2, 3), 5, np.float16), batched=True)
    assert (found.x.dtype, found.jac.dtype, found.fun.dtype) == (np.float16, np.float16, np.float32)
    assert np.allclose(found.x, np.arange(3), atol=1e-3)


def test_a_function_may_use_its_buffers_again():
    _, batch, x0 = bowls()
    value, gradient = np.empty(6), np.empty_like(x0)

    def fun(x):
        value[...], gradient[...] = batch(x)
        return value, gradient

    for method in ALL:
        options = {"method": method, "batched": True, "max_iterations": 15}
        found = fl.minimize(fun, x0, **options)
        assert np.all(found.x == fl.minimize(batch, x0, **options).x)
        assert found.fun is not value


def test_torch_s_tape_stays_outside():
    torch = pytest.importorskip("torch")

    def fun(x):
        x = x.detach().requires_grad_()
        value = torch.sum((x - 3) ** 4 + x**2, dim=1)
        torch.sum(value).backward()
        return value, x.grad

    x0 = torch.nn.Parameter(torch.zeros((2, 3), dtype=torch.float64))
    for method in (fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.05)):
        found = fl.minimize(
            fun, x0, batched=True, method=method, stop=stop.GradientNorm(1e-6), max_iterations=2000
        )
        assert not any(x.requires_grad for x in (found.x, found.fun, found.jac))
        assert torch.all(found.success)
    assert x0.grad is None


# -- penalties, constraints, separate gradients -------------------------------------------


@pytest.mark.parametrize("method", [fl.LBFGS(), fl.SteepestDescent(), fl.Adam(0.1)], ids=name)
def test_ridge_joins_each_problem(backend, method):
    fun, x0, _ = trees(backend)
    xp = backend.xp

    def ridge(x):
        value, gradient = fun(x)
        value = value + 0.15 * xp.sum(x["a"] * x["a"], axis=(1, 2)) + _arrays.abs2(x["b"][0])
        b = gradient["b"][0] + 2 * x["b"][0]
        return value, {"a": gradient["a"] + 0.3 * x["a"], "b": [b, None]}

    options = {"method": method, "batched": True, "max_iterations": 30}
    penalty = {"a": fl.L2(0.3), "b": [fl.L2(2.0), None]}
    one = fl.minimize(fun, backend.tree(x0), penalty=penalty, **options)
    other = fl.minimize(ridge, backend.tree(x0), **options)
    for a, b in ((one.x["a"], other.x["a"]), (one.x["b"][0], other.x["b"][0])):
        assert np.allclose(backend.numpy(a), backend.numpy(b), atol=1e-9)
    assert np.allclose(backend.numpy(one.fun), backend.numpy(other.fun))


def test_rules_project_after_each_step():
    one, batch, x0 = bowls()
    options = {"method": fl.GradientDescent(0.1), "constraint": fl.Box(-0.5, 0.5)}
    options["max_iterations"] = 50
    found = fl.minimize(batch, x0, batched=True, **options)
    agree(found, singles(one, x0, **options), 1e-12)
    assert np.max(np.abs(found.x)) == 0.5


def test_separate_gradient_and_arguments():
    found = fl.minimize(
        lambda x, a: np.sum((x - a) ** 2, axis=1), np.zeros((3, 2)), batched=True,
        gradient=lambda x, a: 2 * (x - a), args=(np.array([[1.0], [2.0], [3.0]]),),
    )  # fmt: skip
    assert np.allclose(found.x, [[1, 1], [2, 2], [3, 3]])


# -- bad input ----------------------------------------------------------------------------


def test_clear_errors(backend):
    xp = backend.xp
    x0 = {"w": backend.array(np.ones((3, 2))), "b": backend.array(np.ones(3))}

    def values(x):
        return xp.sum(x["w"] * x["w"], axis=1)

    def gives(value):
        return lambda x: (value(x), x)

    good = gives(values)
    cases = [
        (gives(lambda x: xp.sum(x["w"])), {}, ValueError, r"fun: its values: shape is \(\), .*3,"),
        (gives(lambda x: x["w"]), {}, ValueError, r"fun: its values: shape is \(3, 2\)"),
        (gives(lambda x: 1.0), {}, TypeError, "fun: its values: are a float, expected an array"),
        (gives(lambda x: values(x) * (1 + 0j)), {}, TypeError, "fun: its values: are complex"),
        (values, {}, TypeError, r"fun: returned a .*expected \(value, gradient\)"),
        (
            good,
            {"method": "cg"},
            ValueError,
            "batched: ConjugateGradient .*LBFGS, SteepestD.*rules",
        ),
        (good, {"method": "owlqn"}, ValueError, "batched: OWLQN takes one problem"),
        (good, {"method": "fista"}, ValueError, "batched: ProximalGradient takes one"),
        (good, {"method": "lbfgsb"}, ValueError, "batched: LBFGSB takes one"),
        (good, {"penalty": fl.L1(1.0)}, ValueError, r"penalty: a batch takes L2.*L1\(alpha=1"),
        (good, {"penalty": fl.TotalVariation(1.0)}, ValueError, "penalty: a batch takes L2"),
        (good, {"method": "adam", "penalty": fl.L1(1.0)}, ValueError, "penalty: a batch takes L2"),
        (good, {"constraint": fl.NonNegative()}, ValueError, "constraint: LBFGS has none"),
        (
            good,
            {"method": "adam", "constraint": fl.L2Ball(1.0)},
            ValueError,
            "constraint: a batch takes those that act on each element, not L2Ball",
        ),
        (good, {"stop": 1e-3}, TypeError, "stop: is a float"),
        (good, {"record": ("loss",)}, ValueError, "unknown record 'loss'"),
        (good, {"check_every": 0}, ValueError, "check_every: is 0"),
    ]
    for fun, options, error, words in cases:
        with pytest.raises(error, match=words):
            fl.minimize(fun, x0, batched=True, **options)
    starts = [
        (
            {**x0, "b": backend.array(np.ones(()))},
            r"x0\['b'\]: has no axis, expected a leading one",
        ),
        (
            {**x0, "w": backend.array(np.ones((4, 2)))},
            r"x0\['w'\]: leading axis is 4, expected 3 as in x0\['b'\]",
        ),
    ]
    for start, words in starts:
        with pytest.raises(ValueError, match=words):
            fl.minimize(good, start, batched=True)
    if not backend.name.startswith("numpy"):
        with pytest.raises(TypeError, match="fun: its values: array library is numpy"):
            fl.minimize(gives(lambda x: np.ones(3)), x0, batched=True)
