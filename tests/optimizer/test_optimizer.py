"""The Optimizer: binding, bad input, state, changes mid-run, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fallline as fl
from tests.helpers import patch_arrays


def make(rule=None, **more):
    params = {"w": np.ones((2, 3)), "b": np.zeros(3), **more}
    return params, fl.Optimizer(params, rule or fl.Adam(0.1))


def grads(**other):
    return {"w": np.full((2, 3), 0.5), "b": np.full(3, -0.5), **other}


def snapshot(opt):
    return pickle.dumps(opt.state_dict())


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


W = np.ones((2, 3))


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"w": np.ones((3, 2))}, ValueError, r"grads\['w'\]: shape is \(3, 2\), expected \(2, 3\)"),
        (
            {"w": W.astype("float32")},
            TypeError,
            r"\['w'\]: dtype is float32, expected float64",
        ),
        ({"w": W * 1j}, TypeError, "take the real part"),
        ({"w": [1.0, 2.0]}, TypeError, r"grads\['w'\]: is a list, expected an array"),
        ({"w": 1.0}, TypeError, r"grads\['w'\]: is a float"),
        ({"extra": W}, ValueError, r"unexpected grads\['extra'\]"),
        ({"w": {"x": W}}, TypeError, r"grads\['w'\]"),
    ],
)
def test_bad_gradients_change_nothing(bad, error, words):
    _, opt = make()
    opt.step(grads())
    before = snapshot(opt)
    with pytest.raises(error, match=words):
        opt.step(grads(**bad))
    assert snapshot(opt) == before
    opt.step(grads())


def test_a_gradient_for_none():
    opt = fl.Optimizer({"a": None, "w": W.copy()}, fl.Adam())
    with pytest.raises(TypeError, match=r"grads\['a'\]: is an array, but params has None"):
        opt.step({"a": W, "w": W})
    opt.step({"a": None, "w": W})


def test_missing_leaf():
    _, opt = make()
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"missing grads\['b'\]"):
        opt.step({"w": W})
    assert snapshot(opt) == before


def test_other_library_and_device():
    torch = pytest.importorskip("torch")
    _, opt = make()
    before = snapshot(opt)
    with pytest.raises(TypeError, match=r"grads\['w'\]: array library is torch, expected numpy"):
        opt.step(grads(w=torch.ones((2, 3), dtype=torch.float64)))
    assert snapshot(opt) == before
    xp = pytest.importorskip("array_api_strict")
    x = xp.ones(3, device=xp.Device("device1"))
    opt = fl.Optimizer(x, fl.Adam())
    with pytest.raises(ValueError, match="grads: device is"):
        opt.step(xp.ones(3, device=xp.Device("CPU_DEVICE")))


def test_gradients_may_be_the_parameter_or_shared_but_not_overlap():
    x, y = np.arange(4.0), np.arange(4.0)
    expected = [x - 0.1 * x, y - 0.1 * x]
    opt = fl.Optimizer([x, y], fl.GradientDescent(0.1))
    before = x.copy()
    with pytest.raises(ValueError, match=r"grads\[1\]: shares memory with params\[0\]"):
        opt.step([x, x])
    with pytest.raises(ValueError, match=r"grads\[0\]: shares memory with params\[0\]"):
        opt.step([x[::-1], y.copy()])
    np.testing.assert_array_equal(x, before)
    g = x.copy()
    opt.step([g, g])
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_array_equal(y, expected[1])
    z = np.ones(3)
    fl.Optimizer(z, fl.GradientDescent(0.5)).step(z)
    np.testing.assert_array_equal(z, np.full(3, 0.5))
    momentum = fl.Optimizer(z, fl.SGD(momentum=0.9))
    with pytest.raises(ValueError, match=r"grads: shares memory with state\['b'\]"):
        momentum.step(momentum.state["b"])


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
def test_params_that_cannot_be_bound(params, error, words):
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
def test_rules_that_do_not_fit(rule, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer({"w": W.copy(), "b": np.ones(2)}, rule)


def test_prefix_trees_and_functions_of_rules():
    params = {"w": [np.ones(2), np.ones(2)], "b": np.ones(2), "e": np.ones(2)}
    opt = fl.Optimizer(params, {"w": fl.SGD(0.5), "b": fl.SGD(0.1), "e": None})
    one = {"w": [np.ones(2), None], "b": np.ones(2), "e": np.ones(2)}
    opt.step(one)
    same([*params["w"], params["b"], params["e"]], [[0.5] * 2, [1.0] * 2, [0.9] * 2, [1.0] * 2])
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


def test_a_frozen_leaf_keeps_its_state():
    params, opt = make(fl.Adam(0.1))
    opt.step(grads())
    m = opt.state["w"]["m"].copy()
    opt.rule = {"w": None, "b": fl.AdamW(0.1, amsgrad=True)}
    w = params["w"].copy()
    opt.step(grads())
    np.testing.assert_array_equal(params["w"], w)
    assert list(opt.state["b"]) == ["m", "v", "vmax", "step"] or "vmax" in opt.state["b"]
    assert opt.state["b"]["step"] == 2
    opt.rule = fl.Adam(0.2)
    np.testing.assert_array_equal(opt.state["w"]["m"], m)
    assert opt.state["w"]["step"] == 1
    opt.rule = {"w": None, "b": fl.Adam(0.2)}
    opt.rule = fl.SGD(0.1, momentum=0.9)
    assert opt.state["w"]["step"] == 0
    opt.step(grads())


def test_step_counts_are_the_leaf_s_own():
    a, b = np.ones(2), np.ones(2)
    opt = fl.Optimizer([a, b], fl.Adam(0.1))
    alone = np.ones(2)
    single = fl.Optimizer(alone, fl.Adam(0.1))
    for t in range(4):
        opt.step([np.full(2, t + 1.0), np.full(2, t + 1.0) if t % 2 else None])
        if t % 2:
            single.step(np.full(2, t + 1.0))
    np.testing.assert_array_equal(b, alone)
    assert (opt.state[0]["step"], opt.state[1]["step"], opt.step_count) == (4, 2, 4)


def test_replaced_arrays_are_adopted_or_refused():
    params, opt = make(fl.GradientDescent(0.5))
    params["b"] = params["b"] + 1
    opt.step(grads())
    np.testing.assert_array_equal(params["b"], np.full(3, 1.25))
    held = params["b"]
    params["b"] = np.ones(4)
    with pytest.raises(ValueError, match=r"params\['b'\]: shape .* rebind"):
        opt.step(grads())
    params["b"] = params["w"][0]
    with pytest.raises(ValueError, match="shares memory"):
        opt.step(grads())
    params["b"] = held
    opt.step(grads())


def test_state_can_be_read_and_replaced():
    _, opt = make()
    opt.step(grads())
    m = np.zeros((2, 3))
    opt.state["w"]["m"] = m
    opt.step(grads())
    assert opt.state["w"]["m"] is m
    assert m[0, 0] == pytest.approx(0.05)
    for name, value, error in (
        ("m", np.zeros(3), ValueError), ("q", m, KeyError), ("step", -1, ValueError),
        ("m", m.astype("float32"), TypeError), ("v", m, ValueError),
    ):  # fmt: skip
        with pytest.raises(error, match="state"):
            opt.state["w"][name] = value
    with pytest.raises(TypeError):
        opt.state["w"] = {}


def test_an_interrupted_write_is_noticed(monkeypatch):
    from fallline import _arrays

    params = {"w": np.ones((2, 3)), "b": np.zeros(3)}
    opt = fl.Optimizer(params, fl.Adam(0.1), engine="eager")
    opt.step(grads())
    saved = opt.state_dict()
    write, calls = _arrays.write, []

    def interrupted(target, value):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(target, value)

    patch_arrays(monkeypatch, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opt.step(grads())
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="load_state_dict"):
        opt.step(grads())
    opt.load_state_dict(saved)
    opt.step(grads())
    other, twin = make()
    twin.step(grads())
    twin.step(grads())
    same(params.values(), other.values())


def test_a_failing_schedule_changes_nothing():
    _, opt = make({"w": fl.SGD(0.1), "b": fl.SGD(lambda step: -1.0 if step else 0.1)})
    opt.step(grads())
    before = snapshot(opt)
    with pytest.raises(ValueError, match="learning_rate"):
        opt.step(grads())
    assert snapshot(opt) == before


def test_state_dict_round_trip_and_refusals():
    params, opt = make()
    opt.step(grads())
    saved = opt.state_dict()
    kept = pickle.dumps(saved)
    opt.step(grads())
    after = [x.copy() for x in params.values()]
    assert pickle.dumps(saved) == kept
    opt.load_state_dict(saved)
    opt.step(grads())
    same(params.values(), after)
    before = snapshot(opt)
    for key, value in (
        ("version", 3), ("step_count", -1), ("params", {"w": W}),
        ("params", {"w": W, "b": np.ones(3, "float32")}), ("params", {"w": W, "b": None}),
        ("state", {"w": None, "b": None}),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match="state_dict"):
            opt.load_state_dict({**saved, key: value})
    assert snapshot(opt) == before


def test_copies():
    params, opt = make()
    opt.step(grads())
    deep, thawed, shallow = copy.deepcopy(opt), pickle.loads(pickle.dumps(opt)), copy.copy(opt)
    assert shallow.params is params
    assert shallow.state["w"]["m"] is not opt.state["w"]["m"]
    before = params["w"].copy()
    deep.step(grads())
    thawed.step(grads())
    np.testing.assert_array_equal(params["w"], before)
    opt.step(grads())
    same(params.values(), deep.params.values())
    same(params.values(), thawed.params.values())
    assert deep.step_count == 2


def test_transform():
    params, opt = make()
    opt.step({"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)})
    w, m, b = params["w"], opt.state["w"]["m"].copy(), opt.state["b"]["m"].copy()
    expected = np.roll(w, 1, axis=1)
    opt.transform(lambda x: np.roll(x, 1, axis=1), "w")
    assert params["w"] is w
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(opt.state["w"]["m"], np.roll(m, 1, axis=1))
    np.testing.assert_array_equal(opt.state["b"]["m"], b)
    opt.transform(lambda x: np.pad(x, ((0, 1), (0, 0))), ["w"])
    assert params["w"].shape == opt.state["w"]["v"].shape == (3, 3)
    opt.step({"w": np.ones((3, 3)), "b": np.ones(3)})
    with pytest.raises(ValueError, match=r"no leaf params\['q'\]"):
        opt.transform(np.copy, "q")
    with pytest.raises(TypeError, match="dtype"):
        opt.transform(lambda x: x.astype("float32"), "w")
    opt.step({"w": np.ones((3, 3)), "b": np.ones(3)})


def test_rebind():
    _, opt = make()
    opt.step(grads())
    m = opt.state["w"]["m"].copy()
    larger = {"w": np.ones((3, 2)), "new": np.ones(1)}
    with pytest.raises(ValueError, match=r"params\['w'\]: shape .* state='pad'"):
        opt.rebind(larger)
    opt.step(grads())
    m = opt.state["w"]["m"].copy()
    opt.rebind(larger, state="pad")
    np.testing.assert_array_equal(opt.state["w"]["m"], [*m[:, :2], [0, 0]])
    assert (opt.state["w"]["step"], opt.state["new"]["step"], opt.step_count) == (2, 0, 2)
    opt.step({"w": np.ones((3, 2)), "new": np.ones(1)})
    opt.rebind(larger, state="reset")
    assert opt.state["w"]["step"] == 0
    opt.rebind({"w": np.ones((3, 2), "float32")}, rule=fl.Adam(0.5))
    assert opt.state["w"]["m"].dtype == np.float32


def test_byte_swapped_and_strided_arrays():
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
def test_any_tree(tree):
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


def test_the_pure_form_names_what_does_not_fit():
    x = {"w": np.ones(2)}
    rule = fl.Adam()
    with pytest.raises(TypeError, match=r"params\['w'\]: is a float"):
        rule.init({"w": 1.0})
    with pytest.raises(
        ValueError, match=r"state\['w'\]: slots is .*, expected \['m', 'step', 'v'\]"
    ):
        rule.update(params=x, grads=x, state=fl.SGD(momentum=0.9).init(x))
    with pytest.raises(ValueError, match=r"grads\['w'\]: shape"):
        rule.update(params=x, grads={"w": np.ones(3)}, state=rule.init(x))
