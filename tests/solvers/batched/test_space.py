"""A batch takes arrays of every library, trees, and the options that fit it."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, stop
from tests.helpers import patch_arrays
from tests.solvers.batched.methods import ALL, agree, bowls, name, plain, singles


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
            "batched: ConjugateGradient .*LBFGS, SteepestD.*rule",
        ),
        (good, {"method": "owlqn"}, ValueError, "batched: OWLQN solves one problem"),
        (good, {"method": "fista"}, ValueError, "batched: ProximalGradient solves one"),
        (good, {"method": "lbfgsb"}, ValueError, "batched: LBFGSB solves one"),
        (good, {"penalty": fl.L1(1.0)}, ValueError, r"penalty: a batch supports L2.*L1\(alpha=1"),
        (good, {"penalty": fl.TotalVariation(1.0)}, ValueError, "penalty: a batch supports L2"),
        (
            good,
            {"method": "adam", "penalty": fl.L1(1.0)},
            ValueError,
            "penalty: a batch supports L2",
        ),
        (
            good,
            {"constraint": fl.NonNegative()},
            ValueError,
            "constraint: LBFGS does not support",
        ),
        (
            good,
            {"method": "adam", "constraint": fl.L2Ball(1.0)},
            ValueError,
            "constraint: a batch supports elementwise constraints only, got L2Ball",
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
