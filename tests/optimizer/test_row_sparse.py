"""Gradients of some rows: against the dense rule, and torch's SparseAdam."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from tests.cases import RULES
from tests.helpers import COMPILED, same_bits

EXACT = [fl.GradientDescent(0.1), fl.SGD(0.1), fl.Adagrad(0.1)]


def draw(rng, k, n, shape, dtype):
    """Return rows, some of them twice, and a gradient for each."""
    indices = rng.integers(0, n, k)
    values = rng.standard_normal((k, *shape)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal((k, *shape))
    return indices, values.astype(dtype)


def dense(indices, values, n):
    g = np.zeros((n, *values.shape[1:]), values.dtype)
    np.add.at(g, indices, values)
    return g


@pytest.mark.parametrize("rule", EXACT, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("engine", ["eager", *COMPILED])
def test_exact_rules_equal_the_dense_gradient(rule, dtype, shape, engine):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, *shape)).astype(dtype)
    y = x.copy()
    opts = fl.Optimizer(x, rule, engine=engine), fl.Optimizer(y, rule, engine="eager")
    for k in (3, 30, 0, 1):
        indices, values = draw(rng, k, 20, shape, dtype)
        opts[0].step(fl.RowSparse(indices, values))
        opts[1].step(dense(indices, values, 20))
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)
    indices = rng.permutation(20)[:7]
    values = draw(rng, 7, 20, shape, dtype)[1]
    x[...] = y
    opts[0].load_state_dict(opts[1].state_dict())
    opts[0].step(fl.RowSparse(indices, values))  # each once: nothing is summed
    opts[1].step(dense(indices, values, 20))
    same_bits(x, y)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_touched_rows_are_updated_and_the_others_rest(rule, backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    if backend.name == "array_api_strict":
        pytest.skip("its flags forbid shapes that depend on data, which unique rows have")
    rng = np.random.default_rng(1)
    start = rng.standard_normal((9, 2))
    p = backend.tree({"x": start})
    opt = fl.Optimizer(p, rule)
    small = start[[1, 4, 7]].copy()
    twin = fl.Optimizer(small, rule)
    for _ in range(3):
        g = rng.standard_normal((3, 2))
        twice = np.concatenate([g, g]) / 2
        indices = backend.array(np.asarray([1, 4, 7, 1, 4, 7]))
        opt.step({"x": fl.RowSparse(indices, backend.array(twice))})
        twin.step(g)
    found = backend.numpy(opt.params["x"])
    np.testing.assert_allclose(found[[1, 4, 7]], small, rtol=1e-9, atol=1e-12)
    rest = [0, 2, 3, 5, 6, 8]
    np.testing.assert_array_equal(found[rest], start[rest])
    assert opt.state["x"]["step"] == 3


def test_rows_step_on_a_library_without_assignment_to_several_rows():
    strict = pytest.importorskip("array_api_strict")
    x = strict.ones((4, 2), dtype=strict.float64)
    opt = fl.Optimizer({"x": x}, fl.SGD(0.5, momentum=0.9))
    values = strict.ones((2, 2), dtype=strict.float64)
    opt.step({"x": fl.RowSparse(strict.asarray([3, 0]), values)})
    np.testing.assert_array_equal(np.asarray(x._array)[:, 0], [0.5, 1.0, 1.0, 0.5])
    assert opt.step_count == 1


def test_a_frozen_leaf_s_gradient_is_not_looked_at():
    params = {"a": np.ones((3, 2)), "b": np.ones(2)}
    for options in ({}, {"nonfinite": "skip"}):
        opt = fl.Optimizer(params, {"a": None, "b": fl.SGD(0.5)}, **options)
        given = fl.RowSparse(np.asarray([0]), np.ones((1, 2)))
        for other in (given, given, np.ones(7), "nothing"):
            opt.step({"a": other, "b": np.ones(2)})
        assert opt.step_count == 4
        assert np.all(params["a"] == 1)


def test_lazy_adam_is_torch_s():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((8, 3))
    y = torch.tensor(x, requires_grad=True)
    oracle = torch.optim.SparseAdam([y], lr=0.1, eps=0.01)
    opt = fl.Optimizer(x, fl.Adam(0.1, eps=0.01, eps_hat=True))
    for _ in range(6):
        indices, values = draw(rng, 6, 8, (3,), "float64")
        y.grad = torch.sparse_coo_tensor(
            indices[None], torch.tensor(values), (8, 3), check_invariants=True
        )
        oracle.step()
        opt.step(fl.RowSparse(indices, values))
        np.testing.assert_allclose(x, y.detach().numpy(), rtol=1e-10)


def test_rows_go_with_what_surrounds_a_rule():
    rng = np.random.default_rng(3)
    options = {
        "gradients": [gradients.ClipByGlobalNorm(1.0)], "nonfinite": "skip",
        "penalty": {"t": fl.L1(0.1), "d": None},
        "constraint": {"t": fl.Box(np.full(2, -0.5)), "d": fl.L2Ball(1.0)},
    }  # fmt: skip
    x = {"t": rng.standard_normal((6, 2)), "d": rng.standard_normal(3)}
    y = {key: value.copy() for key, value in x.items()}
    opts = [fl.Optimizer(params, fl.Adagrad(0.1), **options) for params in (x, y)]
    touched = np.asarray([4, 0])
    for t in range(4):
        values, g = rng.standard_normal((2, 2)), rng.standard_normal(3)
        values[0, 0] = np.nan if t == 2 else values[0, 0]
        opts[0].step({"t": fl.RowSparse(touched, values), "d": g})
        opts[1].step({"t": dense(touched, values, 6), "d": g})
    np.testing.assert_allclose(x["t"][touched], y["t"][touched], rtol=1e-12)
    np.testing.assert_allclose(x["d"], y["d"], rtol=1e-12)
    assert opts[0].skipped == 1


@pytest.mark.parametrize(
    ("g", "error", "words"),
    [
        (
            (np.asarray([5]), np.ones((1, 2))),
            ValueError,
            r"grads\['t'\].indices: 5 is outside of 4",
        ),
        ((np.asarray([-1]), np.ones((1, 2))), ValueError, "indices: -1 is outside"),
        ((np.asarray([1.0]), np.ones((1, 2))), TypeError, "indices: kind is float64 of 1 axes"),
        ((np.asarray([[1]]), np.ones((1, 2))), TypeError, "indices: kind is int64 of 2 axes"),
        ((np.asarray([1]), np.ones((2, 2))), ValueError, r"values: shape is \(2, 2\)"),
        ((np.asarray([1]), np.ones((1, 2), "f4")), TypeError, "values: dtype is float32"),
        (([1], np.ones((1, 2))), TypeError, "indices: is a list"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name_and_change_nothing(g, error, words):
    params = {"t": np.ones((4, 2))}
    opt = fl.Optimizer(params, fl.SGD(0.1))
    with pytest.raises(error, match=words):
        opt.step({"t": fl.RowSparse(*g)})
    assert np.all(params["t"] == 1)
    assert opt.step_count == 0


def test_what_takes_dense_gradients_only_says_so():
    g = fl.RowSparse(np.asarray([0]), np.ones((1, 2)))
    for rule, options, words in (
        (fl.LAMB(), {}, "LAMB looks at whole leaves"),
        (fl.Muon(), {}, "Muon looks at whole leaves"),
        (fl.SGD(), {"gradients": [gradients.Accumulate(2)]}, "does not go with a sum"),
        (fl.SGD(), {"penalty": fl.TotalVariation(1.0)}, "does not go with TotalVariation"),
    ):
        x = np.ones((2, 2))
        with pytest.raises(TypeError, match=words):
            fl.Optimizer(x, rule, **options).step(g)
    with pytest.raises(ValueError, match="has no rows"):
        fl.Optimizer(np.ones(()), fl.SGD()).step(g)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("row", [-1, 4])
def test_rows_that_are_not_there_are_refused_where_the_host_can_see_them(library, row):
    xp = pytest.importorskip(library)
    table = xp.ones((4, 2))
    opt = fl.Optimizer(table, fl.SGD(1.0))
    g = fl.RowSparse(xp.asarray([3, row]), xp.ones((2, 2)))
    with pytest.raises(ValueError, match=rf"grads.indices: {row} is outside of 4 rows"):
        opt.step(g)
    assert float(table.sum()) == 8


def test_values_that_are_a_parameter_which_is_written_are_refused():
    params = {"a": np.ones((3, 2)), "b": np.zeros((3, 2))}
    opt = fl.Optimizer(params, fl.SGD(1.0))
    row = np.asarray([0])
    grads = {"a": fl.RowSparse(row, np.full((1, 2), 5.0)), "b": fl.RowSparse(row, params["a"][:1])}
    with pytest.raises(ValueError, match=r"grads\['b'\]: shares memory with params\['a'\]"):
        opt.step(grads)
    assert np.all(params["a"] == 1)
