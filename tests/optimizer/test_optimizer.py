"""The Optimizer: bad input, state, changes mid-run, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fallline as fl
from tests.helpers import all_equal, patch_arrays


def make(rule=None, **more):
    params = {"w": np.ones((2, 3)), "b": np.zeros(3), **more}
    return params, fl.Optimizer(params, rule or fl.Adam(0.1))


def grads(**other):
    return {"w": np.full((2, 3), 0.5), "b": np.full(3, -0.5), **other}


def snapshot(opt):
    return pickle.dumps(opt.state_dict())


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


def test_only_none_may_be_given_for_a_none_leaf():
    opt = fl.Optimizer({"a": None, "w": W.copy()}, fl.Adam())
    with pytest.raises(TypeError, match=r"grads\['a'\]: is an array, but params has None"):
        opt.step({"a": W, "w": W})
    opt.step({"a": None, "w": W})


def test_a_missing_gradient_changes_nothing():
    _, opt = make()
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"missing grads\['b'\]"):
        opt.step({"w": W})
    assert snapshot(opt) == before


def test_gradients_of_another_library_or_device_are_refused():
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
    all_equal(params.values(), other.values())


def test_a_failing_schedule_changes_nothing():
    _, opt = make({"w": fl.SGD(0.1), "b": fl.SGD(lambda step: -1.0 if step else 0.1)})
    opt.step(grads())
    before = snapshot(opt)
    with pytest.raises(ValueError, match="learning_rate"):
        opt.step(grads())
    assert snapshot(opt) == before


def test_a_snapshot_comes_back_and_a_spoilt_one_is_refused():
    params, opt = make()
    opt.step(grads())
    saved = opt.state_dict()
    kept = pickle.dumps(saved)
    opt.step(grads())
    after = [x.copy() for x in params.values()]
    assert pickle.dumps(saved) == kept
    opt.load_state_dict(saved)
    opt.step(grads())
    all_equal(params.values(), after)
    before = snapshot(opt)
    for key, value in (
        ("version", 3), ("step_count", -1), ("params", {"w": W}),
        ("params", {"w": W, "b": np.ones(3, "float32")}), ("params", {"w": W, "b": None}),
        ("state", {"w": None, "b": None}),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match="state_dict"):
            opt.load_state_dict({**saved, key: value})
    assert snapshot(opt) == before


def test_copies_go_on_alone_with_the_same_bits():
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
    all_equal(params.values(), deep.params.values())
    all_equal(params.values(), thawed.params.values())
    assert deep.step_count == 2


def test_transform_moves_a_parameter_together_with_its_state():
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


def test_rebind_pads_the_state_or_starts_it_anew_as_it_is_told():
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
