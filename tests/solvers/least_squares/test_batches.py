"""Many problems: each ends by itself, is dropped then, and is what it would be alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from fallline._arrays._free import free_bytes
from fallline.solvers.least_squares import _covariance, _driver, _solve
from tests import backends
from tests.helpers import patch_arrays
from tests.solvers.least_squares.curves import decays, singles

NUMPY = backends.make("numpy")


def spread(n, seed=0):
    """Return decays of very different difficulty, so that they need 3 to 30 iterations."""
    problem = decays(NUMPY, n, seed=seed)
    rng = np.random.default_rng(seed)
    problem.start["rate"] = problem.truth["rate"] * 10 ** rng.uniform(-1.5, 0.5, n)
    return problem


def fit(problem, **options):
    return fl.least_squares(
        problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), **options,
    )  # fmt: skip


def same(a, b):
    """Assert that two arrays are the same, bit for bit."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


def equal(a, b):
    """Assert that two results are the same, bit for bit."""
    for name in ("x", "grad", "stderr", "active_mask", "jac"):
        for key in a[name]:
            same(a[name][key], b[name][key])
    for name in ("cost", "fun", "nit", "nfev", "njev", "status", "success", "optimality"):
        same(a[name], b[name])
    assert a.message == b.message


@pytest.mark.parametrize("bounds", [None, {"height": None, "rate": fl.Box(0, 0.9), "floor": None}])
@pytest.mark.parametrize("chunk", [1, 3, 10, 16, 31, 32])
def test_chunks_equal_one_call(chunk, bounds):
    problem = spread(31)
    if bounds is not None:
        problem.start["rate"] = np.minimum(problem.start["rate"], 0.9)
    whole = fit(problem, chunk=31, bounds=bounds, record=("cost", "x"))
    parts = fit(problem, chunk=chunk, bounds=bounds, record=("cost", "x"))
    if chunk == 1:  # NumPy sums a single row in another order
        np.testing.assert_allclose(parts.x["rate"], whole.x["rate"], rtol=1e-9)
        np.testing.assert_array_equal(parts.status, whole.status)
        return
    equal(parts, whole)
    assert len(parts.history["cost"]) == len(whole.history["cost"]) == whole.nit.max() + 1
    for a, b in zip(parts.history["cost"], whole.history["cost"], strict=True):
        same(a, b)
    for a, b in zip(parts.history["x"], whole.history["x"], strict=True):
        same(a["rate"], b["rate"])


def test_a_batch_is_what_its_problems_are_alone():
    problem = spread(40)
    res, runs = fit(problem), singles(problem, problem.both, jacobian=True)
    assert len(set(res.nit)) > 5
    np.testing.assert_array_equal(res.status, [run.status for run in runs])
    assert np.mean(res.nit == [run.nit for run in runs]) > 0.9
    for name, x in res.x.items():
        np.testing.assert_allclose(x, [run.x[name] for run in runs], rtol=1e-9)
    np.testing.assert_allclose(res.cost, [run.cost for run in runs], rtol=1e-12)
    for name in ("covariance", "stderr"):
        one = [run[name]["rate"] for run in runs]
        if name == "covariance":
            one, found = [x["floor"] for x in one], res.covariance["rate"]["floor"]
        else:
            found = res.stderr["rate"]
        np.testing.assert_allclose(found, one, rtol=1e-7)


def test_what_has_ended_is_dropped_and_stays():
    problem, sizes, seen = spread(50), [], []
    number = {y[0]: i for i, y in enumerate(problem.data[0])}

    def fun(x, y, t):
        sizes.append((x["rate"].shape[0], y.shape[0]))
        seen.append({number[row[0]]: rate for row, rate in zip(y, x["rate"], strict=True)})
        return problem.both(x, y, t)

    res = fl.least_squares(
        fun, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), record=("x", "nit"), chunk=50,
    )  # fmt: skip
    assert all(a == b for a, b in sizes)
    left = [a for a, _ in sizes]
    assert left[0] == 50
    assert left[-1] < 10
    assert left == sorted(left, reverse=True)
    assert len(left) == res.nit.max() + 1  # one call an iteration, for all at work
    for k, points in enumerate(seen):
        for i, rate in points.items():  # what has ended and not yet been dropped stays
            assert k <= res.nit[i] or rate == res.x["rate"][i]
    for i, end in enumerate(res.nit):
        for k in range(end, len(res.history["x"])):
            assert res.history["x"][k]["rate"][i] == res.x["rate"][i]
            assert res.history["nit"][k][i] == end
    still = fit(problem, max_iterations=6)
    done = np.flatnonzero(still.success)
    assert 0 < done.size < 50
    for name, x in still.x.items():
        same(x[done], res.x[name][done])


def test_problems_do_not_notice_each_other():
    # Singular, not finite, and at their ends from the start, among good ones.
    problem = spread(12)
    whole = fit(problem)
    start = {k: v.copy() for k, v in problem.start.items()}
    y = problem.data[0].copy()
    start["height"][1] = 0.0  # the column of the rate is zero
    y[3, 5] = np.nan
    start["rate"][5] = -400.0  # overflows
    y[7] = 0.0
    start["height"][7] = start["floor"][7] = 0.0
    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="of 1 of 12 problems is infi"):
        res = fl.least_squares(
            problem.both, start, jacobian=True, batched=True, batched_args=(y,), args=(problem.t,)
        )
    good = np.array([0, 2, 4, 6, 8, 9, 10, 11])
    for name, x in whole.x.items():
        np.testing.assert_allclose(res.x[name][good], x[good], rtol=1e-12)
    np.testing.assert_array_equal(res.status, np.where(np.isin(np.arange(12), [3, 5]), 3, 0))
    assert res.x["rate"][3] == start["rate"][3]
    assert res.x["rate"][5] == start["rate"][5]
    assert res.cost[7] == 0
    assert np.isinf(res.stderr["rate"][7])
    assert "2: the residuals or their derivatives are not finite" in res.message
    assert res.message.startswith("10 of 12 converged; ")


def test_no_library_raises_for_what_is_singular(backend):
    # Two parameters of which only the sum counts; in one problem everything is zero.
    xp = backend.xp
    t = np.linspace(1, 2, 6)
    y = backend.array(np.stack([2 * t, 3 * t, 0 * t, np.where(t > 1.5, np.nan, t)]))
    t = backend.array(t)

    def fun(x, y):
        return (x[:, 0] + x[:, 1])[:, None] * t - y

    start = backend.array(np.array([[0.5, 0.2], [0.1, 0.7], [0.0, 0.0], [1.0, 1.0]]))
    with pytest.warns(UserWarning, match="of 3 of 4 problems is infinite"):
        res = fl.least_squares(fun, start, batched=True, batched_args=(y,))
    assert backend.numpy(res.status).tolist() == [0, 0, 0, 3]
    x = backend.numpy(res.x)
    np.testing.assert_allclose(x[:, 0] + x[:, 1], [2, 3, 0, 2], atol=1e-8)
    assert np.all(np.isinf(backend.numpy(res.stderr)[:3]))
    assert backend.numpy(xp.isfinite(res.cost)).tolist() == [True, True, True, False]


@pytest.mark.parametrize("n", [1, 9])
def test_reads_from_the_device(monkeypatch, backend, n):
    problem = decays(backend, n)
    reads = []
    original = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x.shape) or original(x))
    res = fl.least_squares(
        problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
        args=(problem.t,), max_iterations=6,
    )  # fmt: skip
    calls = int(np.max(backend.numpy(res.nit))) + 1
    # One after the start and each iteration; at the end the codes and which are singular.
    assert len(reads) == calls + 2
    assert all(len(shape) <= 1 and (not shape or shape[0] <= n) for shape in reads)
    reads.clear()
    start = {k: v[0, ...] for k, v in problem.start.items()}
    res = fl.least_squares(
        problem.both, start, jacobian=True, args=(problem.data[0][0, ...], problem.t),
        max_iterations=6,
    )  # fmt: skip
    assert len(reads) == res.nit + 1 + 3
    assert all(shape in [(1,), (6,), (7,)] for shape in reads)


def test_batches_of_none_and_of_one():
    problem = spread(3)
    none = {k: v[:0] for k, v in problem.start.items()}
    res = fl.least_squares(
        problem.both, none, jacobian=True, batched=True, batched_args=(problem.data[0][:0],),
        args=(problem.t,),
    )  # fmt: skip
    assert res.cost.shape == (0,)
    assert res.message == "0 of 0 converged"
    one = {k: v[:1] for k, v in problem.start.items()}
    res = fl.least_squares(
        problem.both, one, jacobian=True, batched=True, batched_args=(problem.data[0][:1],),
        args=(problem.t,),
    )  # fmt: skip
    assert res.x["rate"].shape == (1,)


def test_leaves_of_any_shape():
    # A matrix for each problem, and residuals that are images.
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 4, 6)), rng.standard_normal((5, 4, 3))

    def fun(x, a, b):
        return a @ x["m"] + x["n"][0][:, None, None] - b

    start = {"m": np.zeros((5, 6, 3)), "n": [np.zeros(5), None]}
    with pytest.warns(UserWarning, match="of 5 of 5 problems is infinite"):
        res = fl.least_squares(fun, start, batched=True, batched_args=(a, b))
    assert np.all(res.cost < 1e-12)
    assert res.x["n"][1] is None
    assert res.jac["m"].shape == (5, 4, 3, 6, 3)
    assert res.covariance["m"]["n"][0].shape == (5, 6, 3)
    assert res.covariance["n"][0]["m"].shape == (5, 6, 3)
    assert res.fun.shape == (5, 4, 3)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "array_api_strict"])
def test_single_precision(name, monkeypatch):
    backend = backends.required(name)
    with backend.context(monkeypatch):
        problem = decays(backend, 16, "float32", noise=0.02)
        res = fl.least_squares(
            problem.both, problem.start, jacobian=True, batched=True, batched_args=problem.data,
            args=(problem.t,),
        )  # fmt: skip
        x = {k: backend.numpy(v) for k, v in res.x.items()}
        cost, success = backend.numpy(res.cost), backend.numpy(res.success)
    double = decays(NUMPY, 16, noise=0.02)
    whole = fit(double)
    assert np.all(success)
    assert x["rate"].dtype == cost.dtype == np.float32
    for key, value in whole.x.items():
        np.testing.assert_allclose(x[key], value, rtol=1e-4)
    np.testing.assert_allclose(cost, whole.cost, rtol=1e-5)


def test_jacobians_take_a_share_of_the_free_memory(monkeypatch):
    # 3 parameters, 20 points in double precision: 480 bytes for each problem.
    backend = backends.required("torch")
    problem, sizes = decays(backend, 90), []

    def fun(x, y, t):
        sizes.append(y.shape[0])
        return problem.both(x, y, t)

    monkeypatch.setattr(_driver, "free_bytes", lambda x: 8 * 480 * 30.5)
    options = {"jacobian": True, "batched": True, "batched_args": problem.data}
    res = fl.least_squares(fun, problem.start, args=(problem.t,), **options)
    assert sizes[:2] == [1, 30]  # the first one tells the size
    assert max(sizes) == 30
    whole = fl.least_squares(fun, problem.start, args=(problem.t,), chunk=90, **options)
    np.testing.assert_allclose(res.x["rate"], whole.x["rate"], rtol=1e-12)
    assert res.jac["rate"].shape == (90, 20)
    monkeypatch.setattr(_solve, "_KEPT", 1000)
    assert fl.least_squares(fun, problem.start, args=(problem.t,), **options).jac is None


def test_nobody_tells_the_free_memory_of_a_host():
    assert free_bytes(np.ones(2)) is None
    assert free_bytes(backends.required("torch").array(np.ones(2))) is None


def test_what_is_kept_is_held_once():
    n, points = 4000, np.linspace(0, 1, 120)
    y = np.random.default_rng(0).standard_normal((n, points.size))

    def lines(p, y):
        slopes = np.broadcast_to(points, y.shape), np.ones_like(y)
        both = p["slope"][:, None] * points + p["offset"][:, None] - y
        return both, dict(zip(("slope", "offset"), slopes, strict=True))

    start = {"slope": np.zeros(n), "offset": np.zeros(n)}
    options = {"jacobian": True, "batched": True, "batched_args": (y,), "chunk": 100}
    fl.least_squares(lines, start, **options)
    tracemalloc.start()
    try:
        res = fl.least_squares(lines, start, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    jacobian = sum(x.nbytes for x in res.jac.values())
    assert jacobian == n * 2 * points.size * 8
    # The residuals are half of that; the rest is a chunk at work, and what else is known.
    assert peak < 2.3 * jacobian


@pytest.mark.parametrize("bounded", [False, True])
def test_covariances_of_blocks_are_those_of_all(bounded, monkeypatch):
    problem = decays(NUMPY, 50)
    options = {"bounds": (0.0, 2.5)} if bounded else {}
    whole = fit(problem, **options)
    monkeypatch.setattr(_covariance, "_BLOCK", 7)
    parts = fit(problem, **options)
    for key, x in whole.stderr.items():
        same(parts.stderr[key], x)
        same(parts.covariance[key]["rate"], whole.covariance[key]["rate"])
