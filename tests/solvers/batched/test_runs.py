"""Every problem of a batch runs as it would alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from fallline.solvers.batched import start_batch
from tests.problems import rosenbrock
from tests.solvers.batched.methods import ALL, agree, bowls, name, plain, singles


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
