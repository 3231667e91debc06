"""What a leaf keeps when its array or its shape changes; nothing changes on an error."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from tests.helpers import stepped


def test_a_padded_leaf_and_a_mask_of_its_old_shape():
    mask = np.ones((4, 4), bool)
    params = {"object": np.ones((4, 4)), "probe": np.ones((4, 4))}
    given = params["probe"]
    opt = fl.Optimizer(params, fl.Adam(0.1), constraint={"object": None, "probe": fl.Support(mask)})
    grads = {"object": np.ones((4, 4)), "probe": np.ones((4, 4))}
    opt.step(grads)
    before = pickle.dumps((params, {k: dict(v) for k, v in opt.state.items()}))
    with pytest.raises(ValueError, match=r"constraint\['probe'\]"):
        opt.transform(lambda x: np.pad(x, 1), "probe")
    assert pickle.dumps((params, {k: dict(v) for k, v in opt.state.items()})) == before
    assert params["probe"] is given
    opt.step(grads)
    larger = {"object": None, "probe": fl.Support(np.pad(mask, 1))}
    opt.transform(lambda x: np.pad(x, 1), "probe", constraint=larger)
    assert params["probe"].shape == opt.state["probe"]["m"].shape == (6, 6)
    assert opt.constraint is larger
    opt.step({"object": np.ones((4, 4)), "probe": np.ones((6, 6))})
    assert np.all(params["probe"][0] == 0)
    opt.constraint = None
    opt.step({"object": np.ones((4, 4)), "probe": np.ones((6, 6))})
    assert np.all(params["probe"][0] != 0)
    small = {"object": params["object"], "probe": np.ones((4, 4))}
    opt.rebind(small, state="pad", constraint={"object": None, "probe": fl.Support(mask)})
    opt.step(grads)


def test_rows_and_columns_move_with_their_parameter():
    g = np.outer([1.0, 10.0, 100.0, 1000.0], np.linspace(1, 2, 6))

    def make():
        params = {"w": np.zeros((4, 6))}
        opt = fl.Optimizer(params, fl.Adafactor(0.1))
        opt.step({"w": g})
        return params, opt

    params, opt = make()
    opt.step({"w": g})
    rolled, moved = make()
    moved.transform(lambda x: np.roll(x, (1, 2), axis=(0, 1)))
    moved.step({"w": np.roll(g, (1, 2), axis=(0, 1))})
    np.testing.assert_allclose(np.roll(rolled["w"], (-1, -2), axis=(0, 1)), params["w"], rtol=1e-12)
    cropped, part = make()
    part.transform(lambda x: x[1:3].copy())
    np.testing.assert_allclose(part.state["w"]["row"], opt_row(make)[1:3], rtol=1e-12)
    part.step({"w": g[1:3].copy()})
    assert cropped["w"].shape == (2, 6)


def opt_row(make):
    return make()[1].state["w"]["row"]


def test_a_slot_of_another_kind_of_shape_is_refused_by_name():
    class Sums(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(0.1)

        @property
        def slots(self):
            return (fl.rules.Slot("total", shape=lambda shape: (3,)),)

        @property
        def elementwise(self):
            return False

        def scalars(self, t):
            return {"rate": self.learning_rate}

        def formula(self, xp, s, p, g, total):
            return p - s.rate * g, total

    params = {"w": np.zeros((4, 6))}
    opt = fl.Optimizer(params, Sums())
    with pytest.raises(ValueError, match=r"state\['w'\]\['total'\]: has shape \(3,\)"):
        opt.transform(lambda x: x[:2].copy())
    assert params["w"].shape == (4, 6)
    opt.step({"w": np.ones((4, 6))})


def test_a_parameter_whose_shape_was_changed_in_place_is_noticed():
    params = {"w": np.zeros(6)}
    opt = fl.Optimizer(params, fl.SGD(0.1))
    opt.step({"w": np.ones(6)})
    params["w"].resize((3, 2), refcheck=False)
    with pytest.raises(ValueError, match=r"params\['w'\]: its shape or dtype was changed in place"):
        opt.step({"w": np.ones((3, 2))})


@pytest.mark.parametrize("engine", ["eager", "blocked", "auto"])
def test_a_gradient_whose_shape_was_changed_in_place_is_noticed(engine):
    opt = fl.Optimizer({"w": np.zeros(6)}, fl.SGD(0.1), engine=engine)
    grads = {"w": np.ones(6)}
    opt.step(grads)
    grads["w"].resize((12,), refcheck=False)
    with pytest.raises(ValueError, match=r"grads\['w'\]: shape is \(12,\), expected \(6,\)"):
        opt.step(grads)


def test_loading_restores_the_array_that_the_container_holds_now(tmp_path):
    opt = stepped(fl.SGD(0.1, momentum=0.9), 1, size=3)
    params = opt.params
    opt.save(tmp_path / "run.npz")
    saved, value = opt.state_dict(), params["w"].copy()
    for restore in (
        lambda: opt.load(tmp_path / "run.npz"),
        lambda: opt.load_state_dict(saved),
    ):
        params["w"] = params["w"] * 100 + 1
        restore()
        np.testing.assert_array_equal(params["w"], value)


def test_a_refused_adoption_leaves_the_master_copies_alone():
    params = {"a": np.ones(2, "float16"), "b": np.full(2, 2.0, "float16")}
    opt = fl.Optimizer(params, fl.SGD(1.0), master_weights=True)
    old, shared = dict(params), np.full(2, 9.0, "float16")
    params["a"] = params["b"] = shared
    grads = {key: np.zeros(2, "float16") for key in "ab"}
    with pytest.raises(ValueError, match="shares memory"):
        opt.step(grads)
    params.update(old)
    opt.step(grads)
    assert params["a"][0] == 1
    assert params["b"][0] == 2


def test_an_interrupt_while_something_is_taken_over_leaves_what_was(monkeypatch):
    from fallline._arrays import _memory

    params = {"w": np.zeros(3)}
    opt = fl.Optimizer(params, fl.SGD(1.0, momentum=0.5))
    opt.step({"w": np.ones(3)})

    class Interrupted(_memory.Memory):
        def __init__(self, leaves):
            raise KeyboardInterrupt

    def interrupt(change):
        with monkeypatch.context() as patch:
            patch.setattr(_memory, "Memory", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                change()

    interrupt(lambda: opt.state["w"].update(b=np.full(3, 50.0)))
    np.testing.assert_array_equal(opt.state["w"]["b"], 1.0)
    params["w"] = np.full(3, 100.0)
    interrupt(lambda: opt.step({"w": np.ones(3)}))
    interrupt(lambda: setattr(opt, "rule", fl.Adam(0.1)))
    interrupt(lambda: setattr(opt, "penalty", fl.L1(0.1)))
    interrupt(lambda: opt.transform(lambda x: x * 2))
    interrupt(lambda: opt.rebind({"w": np.zeros(3)}))
    np.testing.assert_array_equal(params["w"], 100.0)
    opt.step({"w": np.ones(3)})
    np.testing.assert_array_equal(params["w"], 98.5)  # 100 - (0.5 + 1)
    assert opt.step_count == 2


def test_state_beyond_the_range_of_a_new_dtype_is_moved_without_a_warning():
    opt = fl.Optimizer({"w": np.ones(2)}, fl.Adam(0.1))
    opt.step({"w": np.full(2, 1e100)})
    opt.rebind({"w": np.ones(2, "float32")})
    assert np.all(np.isinf(opt.state["w"]["v"]))


# -- copies of the parameter ----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_master_copy_follows_what_others_write_into_the_parameter(engine, dtype):
    dtype = np.dtype(dtype if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    w = np.zeros(4, dtype)
    opt = fl.Optimizer(w, fl.SGD(2.0**-12), master_weights=True, engine=engine)
    for _ in range(3):
        opt.step(np.ones(4, dtype))
    np.testing.assert_array_equal(opt.state["master"], np.full(4, -3 * 2.0**-12, "float32"))
    w[:2] = 3.0
    opt.step(np.ones(4, dtype))
    expected = np.float32([3 - 2.0**-12, 3 - 2.0**-12, -4 * 2.0**-12, -4 * 2.0**-12])
    np.testing.assert_array_equal(opt.state["master"], expected)


@pytest.mark.parametrize("end", [None, fl.L2Ball(100.0)], ids=repr)
def test_a_skipped_step_leaves_master_copies_as_they_are(end, backend):
    if backend.name in ("numpy-readonly", "array_api_strict"):
        pytest.skip("an Optimizer writes half precision")
    params = backend.tree({"x": np.ones(3, "float16")})
    options = {"nonfinite": "skip", "master_weights": True, "constraint": end}
    opt = fl.Optimizer(params, fl.SGD(2.0**-14), **options)
    bad = np.asarray([np.nan, 1.0, 1.0], "float16")
    for g in (np.ones(3, "float16"), bad):
        opt.step(backend.tree({"x": g}))
    expected = np.full(3, 1 - 2.0**-14, "float32")
    np.testing.assert_array_equal(backend.numpy(opt.state["x"]["master"]), expected)
    assert opt.skipped == 1
    if not backend.immutable:
        opt.params["x"][:2] = 3.0
        for g in (bad, bad):
            opt.step(backend.tree({"x": g}))
        np.testing.assert_array_equal(backend.numpy(opt.state["x"]["master"]), expected)
        np.testing.assert_array_equal(backend.numpy(opt.params["x"]), [3.0, 3.0, 1.0])


def test_lookahead_takes_what_others_wrote_before_its_k_steps_begin():
    for k in (1, 2):
        w = np.zeros(2)
        opt = fl.Optimizer(w, fl.Lookahead(fl.SGD(0.0), k=k))
        w[...] = 3.0
        for _ in range(2):
            opt.step(np.ones(2))
        np.testing.assert_array_equal(w, 3.0)


@pytest.mark.parametrize("state", ["keep", "pad"])
@pytest.mark.parametrize("shape", [(2,), (3,)])
def test_complex_state_does_not_lose_a_part_to_a_real_parameter(state, shape):
    opt = fl.Optimizer({"z": np.ones(2, complex)}, fl.SGD(0.1, momentum=0.9))
    opt.step({"z": np.full(2, 1 + 2j)})
    before = opt.state_dict()
    if shape == (2,) or state == "pad":
        with pytest.raises(TypeError, match=r"params\['z'\]: dtype is real, expected complex"):
            opt.rebind({"z": np.ones(shape)}, state=state)
        np.testing.assert_equal(opt.state_dict(), before)
    opt.rebind({"z": np.ones(shape)}, state="reset")
    assert opt.state["z"]["b"].dtype == "float64"
    # The other way around nothing is lost.
    opt.step({"z": np.ones(shape)})
    opt.rebind({"z": np.ones(shape, complex)}, state=state)
    np.testing.assert_array_equal(opt.state["z"]["b"], np.ones(shape, complex))


@pytest.mark.parametrize("shape", [(2,), (3,)])
def test_slots_that_are_new_start_at_the_new_array(shape):
    # Beside master weights, which are kept.
    params = {"x": np.ones(2, np.float16)}
    opt = fl.Optimizer(params, fl.SGD(0.1, momentum=0.9), master_weights=True)
    opt.step({"x": np.ones(2, np.float16)})
    new = {"x": np.full(shape, 7.0, np.float16)}
    opt.rebind(new, rule=fl.Lookahead(fl.Adam(0.1)), state="pad")
    np.testing.assert_array_equal(opt.state["x"]["slow"], np.full(shape, 7.0))


@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("change", ["dtype", "device", "shape"])
def test_state_of_a_frozen_leaf_follows_it_to_another_dtype_and_device(change, library):
    xp = pytest.importorskip(library)
    if library == "numpy" and change == "device":
        pytest.skip("NumPy has one device")
    params = {"w": xp.ones(3), "b": xp.ones(3)}
    options = {"gradients": [fl.gradients.Accumulate(2)]}
    opt = fl.Optimizer(params, fl.SGD(0.5, momentum=0.5), **options)
    for _ in range(3):  # a step, and half of another
        opt.step({"w": xp.ones(3), "b": xp.ones(3)})
    opt.rule = {"w": None, "b": fl.SGD(0.5, momentum=0.5)}
    if change == "device":
        new = xp.ones(3, device=xp.Device("device1"))
    else:
        new = xp.ones(3, dtype=xp.float32) if change == "dtype" else xp.ones(2)
    opt.rebind({"w": new, "b": params["b"]}, state="pad")
    if change == "shape":
        assert opt.state["w"] is None
    else:
        assert (opt.state["w"]["b"].dtype, opt.state["w"]["b"].device) == (new.dtype, new.device)
    opt.rule = fl.SGD(0.5, momentum=0.5)
    opt.step({"w": xp.ones_like(new), "b": xp.ones(3)})
    # Half of a first gradient, or a whole second one beside half of the momentum of the first.
    expected = 0.75 if change == "shape" else 0.25
    np.testing.assert_array_equal(_arrays.to_numpy(new), expected)


def test_a_frozen_leaf_that_becomes_real_starts_afresh():
    opt = fl.Optimizer({"w": np.ones(2, "c16")}, fl.SGD(0.5, momentum=0.5))
    opt.step({"w": np.ones(2, "c16")})
    opt.rule = {"w": None}
    opt.rebind({"w": np.ones(2)})
    assert opt.state["w"] is None
    opt.rule = fl.SGD(0.5, momentum=0.5)
    opt.step({"w": np.ones(2)})
    np.testing.assert_array_equal(opt.params["w"], 0.5)
