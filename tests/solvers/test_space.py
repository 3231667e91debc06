"""Solvers take arrays and trees of every library, dtype and shape."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, stop
from fallline.solvers._space import Space
from tests.helpers import patch_arrays
from tests.problems import rosenbrock
from tests.solvers.methods import CONVERGES, SMOOTH, quadratic, quartic


@pytest.mark.parametrize("solver", SMOOTH, ids=lambda s: repr(s).partition(" at ")[0])
def test_methods_on_every_library(backend, solver):
    fun, x0, solution = quadratic(backend)
    start = backend.tree(x0)
    found = fl.minimize(fun, start, method=solver, stop=CONVERGES)
    assert found.success, found.message
    assert found.x["b"][1] is None
    assert np.allclose(backend.numpy(found.x["a"]), solution["a"], atol=1e-6)
    assert np.allclose(backend.numpy(found.x["b"][0]), -1, atol=1e-6)
    assert np.all(backend.numpy(start["a"]) == 0)  # never written


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rules_are_methods(backend, dtype):
    fun, x0, solution = quadratic(backend, dtype)
    start = backend.tree(x0)
    found = fl.minimize(fun, start, method=fl.Adam(0.1), max_iterations=250)
    assert (found.status, found.nit, found.nfev) == (1, 250, 251)
    assert np.allclose(backend.numpy(found.x["a"]), solution["a"], atol=1e-2)
    assert np.all(backend.numpy(start["a"]) == 0)
    if backend.name == "numpy-readonly":
        return  # minimize has a copy of its own; an Optimizer writes the caller's
    own = fl.Optimizer(backend.tree(x0), fl.Adam(0.1))
    for _ in range(250):
        own.step(fun(own.params)[1])
    assert np.all(backend.numpy(own.params["a"]) == backend.numpy(found.x["a"]))


def test_rules_project_after_each_step(backend):
    fun, x0, _ = quadratic(backend)
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.GradientDescent(0.3), max_iterations=300,
        constraint={"a": fl.Box(1.0, 3.5), "b": None},
    )  # fmt: skip
    expected = np.clip(np.arange(6.0).reshape(2, 3), 1, 3.5)
    assert np.allclose(backend.numpy(found.x["a"]), expected, atol=1e-6)
    assert np.allclose(backend.numpy(found.x["b"][0]), -1)


def test_reads_from_the_device(monkeypatch, backend):
    if backend.name.startswith("numpy"):
        pytest.skip("arrays on the host need no reads")
    fun, x0, _ = quadratic(backend)
    reads = []
    original = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x.shape) or original(x))
    for method in SMOOTH:
        start = backend.tree(x0)
        reads.clear()
        found = fl.minimize(fun, start, method=method, stop=CONVERGES, max_iterations=50)
        assert len(reads) <= found.nfev, method
    reads.clear()
    found = fl.minimize(fun, backend.tree(x0), method=fl.Adam(0.1), max_iterations=100)
    assert len(reads) == 2  # at the start and at the end
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.Adam(0.1), max_iterations=100, check_every=10,
        stop=stop.Target(-1.0),
    )  # fmt: skip
    assert len(reads) == 2 + 11


@pytest.mark.parametrize("solver", SMOOTH[:6], ids=repr)
def test_complex_is_its_twin_of_two_reals(backend, solver):
    rng = np.random.default_rng(0)
    m = rng.standard_normal((8, 5)) + 1j * rng.standard_normal((8, 5))
    b = rng.standard_normal(8) + 1j * rng.standard_normal(8)
    xp = backend.xp
    m_, b_, mh = (backend.array(x) for x in (m, b, m.conj().T.copy()))

    def fun(z):
        r = m_ @ z - b_
        return 0.5 * xp.sum(_arrays.abs2(r)), mh @ r

    def twin(x):
        z = x[:5] + 1j * x[5:]
        r = m @ z - b
        g = m.conj().T @ r
        return 0.5 * np.sum(np.abs(r) ** 2), np.concatenate([g.real, g.imag])

    ours = fl.minimize(fun, backend.array(np.zeros(5, complex)), method=solver, max_iterations=8)
    theirs = fl.minimize(twin, np.zeros(10), method=solver, max_iterations=8)
    z = backend.numpy(ours.x)
    assert np.allclose(np.concatenate([z.real, z.imag]), theirs.x, rtol=0, atol=1e-9)


def test_a_tree_is_its_flattened_vector():
    def tree(x):
        value, g = rosenbrock(np.concatenate([x["a"].ravel(), x["b"]]))
        return value, {"a": g[:4].reshape(2, 2), "b": g[4:]}

    x0 = np.array([-1.2, 1.0] * 4)
    for method in ("lbfgs", "cg"):
        one = fl.minimize(rosenbrock, x0, method=method)
        other = fl.minimize(tree, {"a": x0[:4].reshape(2, 2), "b": x0[4:]}, method=method)
        assert one.nfev == other.nfev
        assert np.all(one.x == np.concatenate([other.x["a"].ravel(), other.x["b"]]))


def test_mixed_and_half_precision_keep_their_dtypes():
    def fun(x):
        a, b = x["a"].astype(np.float64) - 1, x["b"] - 2
        return float(a @ a + b @ b), {"a": (2 * a).astype(np.float16), "b": 2 * b}

    x0 = {"a": np.zeros(3, np.float16), "b": np.zeros(2)}
    found = fl.minimize(fun, x0)
    assert (found.x["a"].dtype, found.x["b"].dtype) == (np.float16, np.float64)
    assert np.allclose(found.x["a"], 1)
    assert np.allclose(found.x["b"], 2)


def test_products_in_blocks():
    rows = np.random.default_rng(0).standard_normal((5, 20_001))
    space = Space(rows[0])
    assert np.allclose(space.products(rows, 2), rows[:2] @ rows.T, rtol=0, atol=1e-9)


def test_torch_s_tape_stays_outside():
    torch = pytest.importorskip("torch")

    def fun(x):
        x = x.detach().requires_grad_()
        value = torch.sum((x - 3) ** 4) + torch.sum(x**2)
        value.backward()
        return value, x.grad

    x0 = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    expected = fl.minimize(quartic, np.zeros(3), stop=CONVERGES).x
    for method in (*SMOOTH, fl.Adam(0.1)):
        if isinstance(method, fl.SteepestDescent) and not isinstance(method.step_size, str):
            continue  # these rates are too large for the fourth power
        if method == fl.ProximalGradient(0.2):
            continue
        found = fl.minimize(fun, x0, method=method, stop=CONVERGES, max_iterations=3000)
        assert not found.x.requires_grad
        assert np.allclose(found.x.numpy(), expected, atol=1e-5), method
    assert x0.requires_grad
    assert x0.grad is None
