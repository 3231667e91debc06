"""What an Optimizer can be bound to: trees, rules for them, arrays of any layout."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fallline as fl
from tests.helpers import all_equal

W = np.ones((2, 3))


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        (lambda: {"a": [1, W, W]}, TypeError, r"params\['a'\]\[0\]: is an int"),
        (lambda: {"a": np.arange(3)}, TypeError, r"params\['a'\]: dtype is int64"),
        (lambda: np.float64(3), TypeError, "params: is a float64"),
        (lambda: np.broadcast_to(1.0, 3), ValueError, "params: is read-only"),
        (lambda: [W, W], ValueError, r"params\[1\]: shares memory with params\[0\]"),
        (lambda: [W, W[1:]], ValueError, "shares memory"),
        (lambda: [np.frombuffer(W), W], ValueError, "read-only|shares memory"),
        (
            lambda: np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8), writeable=True),
            ValueError,
            "some of its elements share memory",
        ),
        (lambda: np.ma.array([1.0]), TypeError, "is a MaskedArray"),
    ],
)
def test_params_that_cannot_be_bound_are_refused_by_name(params, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer(params(), fl.Adam())


def test_interleaved_views_are_disjoint():
    x = np.ones(6)
    fl.Optimizer([x[::2], x[1::2]], fl.GradientDescent(0.5)).step([np.ones(3), np.zeros(3)])
    np.testing.assert_array_equal(x, [0.5, 1, 0.5, 1, 0.5, 1])


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        (fl.Adam, TypeError, r"pass an instance: Adam\(\)"),
        ("adam", TypeError, "rules.get"),
        (3, TypeError, "expected a rule"),
        ({"w": fl.Adam()}, ValueError, r"rule: missing rule\['b'\]"),
    ],
)
def test_rules_that_do_not_fit_are_refused_by_name(rule, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer({"w": W.copy(), "b": np.ones(2)}, rule)


def test_rules_come_as_a_prefix_tree_or_a_function():
    params = {"w": [np.ones(2), np.ones(2)], "b": np.ones(2), "e": np.ones(2)}
    opt = fl.Optimizer(params, {"w": fl.SGD(0.5), "b": fl.SGD(0.1), "e": None})
    one = {"w": [np.ones(2), None], "b": np.ones(2), "e": np.ones(2)}
    opt.step(one)
    all_equal(
        [*params["w"], params["b"], params["e"]], [[0.5] * 2, [1.0] * 2, [0.9] * 2, [1.0] * 2]
    )
    assert opt.hyperparameters()["e"] is None
    assert opt.hyperparameters()["w"][1]["learning_rate"] == 0.5
    with pytest.raises(TypeError):
        opt.rule["w"] = fl.Adam()
    opt.rule = {**opt.rule, "e": fl.SGD(0.5)}
    opt.step(one)
    np.testing.assert_array_equal(params["e"], [0.5, 0.5])
    seen = []
    fl.Optimizer(params, lambda path, leaf: seen.append((path, leaf.ndim)) or fl.SGD())
    assert seen == [(("b",), 1), (("e",), 1), (("w", 0), 1), (("w", 1), 1)]


def test_byte_swapped_and_strided_arrays_step_as_plain_ones():
    for make_array in (
        lambda x: x.astype(">f4"),
        lambda x: np.repeat(x, 2)[::2],
        np.asfortranarray,
    ):
        x = make_array(np.arange(12, dtype="f4").reshape(3, 4)[0])
        y = np.arange(4, dtype="f4")
        g = np.linspace(-1, 1, 4, dtype="f4")
        a, b = fl.Optimizer(x, fl.Adam(0.1)), fl.Optimizer(y, fl.Adam(0.1))
        for _ in range(3):
            a.step(g)
            b.step(g)
        np.testing.assert_array_equal(x, y)


leaf = st.builds(
    lambda shape, dtype: np.ones(shape, dtype),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(["float32", "float64", "complex64", "float16"]),
)
trees = st.recursive(
    st.none() | leaf,
    lambda child: (
        st.lists(child, max_size=3)
        | st.dictionaries(st.text(max_size=3), child, max_size=3)
        | st.tuples(child, child)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_any_tree_can_be_bound(tree):
    import optree

    params = copy.deepcopy(tree)
    gradient = copy.deepcopy(tree)
    opt = fl.Optimizer(params, fl.GradientDescent(0.5))
    assert opt.step(gradient) is params
    before, after = (optree.tree_leaves(t, none_is_leaf=True) for t in (tree, params))
    for x, y in zip(before, after, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(y, x * np.asarray(0.5, x.dtype))


def test_immutable_arrays_are_replaced_in_dicts_and_lists():
    jnp = pytest.importorskip("jax").numpy
    params = {"pair": (jnp.ones(2), None), "list": [jnp.zeros(3)], "frozen": jnp.ones(1)}
    rules = {"pair": fl.SGD(0.5), "list": fl.SGD(0.5), "frozen": None}
    opt = fl.Optimizer(params, rules)
    held = params["list"]
    for _ in range(2):
        opt.step({"pair": (jnp.ones(2), None), "list": [jnp.ones(3)], "frozen": None})
    assert opt.params is params
    assert params["list"] is held
    np.testing.assert_array_equal(params["pair"][0], [0.0, 0.0])
    np.testing.assert_array_equal(params["list"][0], [-1.0, -1.0, -1.0])
    alone = fl.Optimizer((jnp.ones(2),), fl.SGD(0.5))
    (x,) = alone.step((jnp.ones(2),))
    np.testing.assert_array_equal(x, [0.5, 0.5])


def test_sparse_arrays_are_refused():
    torch = pytest.importorskip("torch")
    x = torch.ones(3)
    with pytest.raises(TypeError, match="params: is sparse"):
        fl.Optimizer(x.to_sparse(), fl.Adam())
    with pytest.raises(TypeError, match="grads: is sparse"):
        fl.Optimizer(x, fl.Adam()).step(x.to_sparse())
