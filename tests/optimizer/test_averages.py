"""Averages of parameters against torch and a plain loop."""

from __future__ import annotations

import numpy as np
import optree
import pytest

import fallline as fl
from fallline import _arrays
from tests.helpers import patch_arrays


@pytest.mark.parametrize("debias", [True, False])
def test_an_average_is_its_recurrence(backend, debias):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(0)
    start = {"w": rng.standard_normal((2, 3)), "z": [rng.standard_normal(3) * (1 + 1j), None]}
    params = backend.tree(start)
    opt = fl.Optimizer(params, fl.SGD(0.1))
    average = fl.EMA(params, 0.8, debias=debias)
    np.testing.assert_array_equal(backend.numpy(average.params["w"]), start["w"])
    w, total = start["w"].copy(), np.zeros((2, 3)) if debias else start["w"].copy()
    for t in range(1, 5):
        g = rng.standard_normal((2, 3))
        opt.step({"w": backend.array(g), "z": [backend.array(np.ones(3, complex)), None]})
        average.update(opt.params)
        w = w - 0.1 * g
        total = 0.8 * total + 0.2 * w
        expected = total / (1 - 0.8**t) if debias else total
        np.testing.assert_allclose(backend.numpy(average.params["w"]), expected, rtol=1e-12)
    assert average.params["z"][1] is None
    before = backend.numpy(opt.params["w"]).copy()
    with average.applied() as inside:
        np.testing.assert_allclose(backend.numpy(inside["w"]), expected, rtol=1e-12)
        if not backend.immutable:
            np.testing.assert_allclose(backend.numpy(params["w"]), expected, rtol=1e-12)
    np.testing.assert_array_equal(backend.numpy(opt.params["w"]), before)


def test_averages_are_those_of_torch_s_averaged_model():
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = torch.nn.Linear(3, 2).double()
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(model)  # the first call copies
    params = [p.detach() for p in model.parameters()]
    ours = fl.EMA(params, 0.9, debias=False)
    for _ in range(5):
        for p in params:
            p += torch.randn_like(p)
        theirs.update_parameters(model)
        ours.update()
        for x, y in zip(ours.params, theirs.module.parameters(), strict=True):
            np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=1e-12)


def test_half_precision_is_averaged_in_single_and_everything_is_restored(tmp_path):
    x = np.ones(3, "float16")
    average = fl.EMA(x, 0.999)
    for _ in range(10):
        x += np.float16(0.001)
        average.update()
    assert average._opt.params.dtype == np.float32
    assert average.params.dtype == np.float16
    saved, expected = average.state_dict(), average.params
    average.save(tmp_path / "average.npz")
    other = fl.EMA(x, 0.999)
    other.load_state_dict(saved)
    np.testing.assert_array_equal(other.params, expected)
    other = fl.EMA(x, 0.999)
    other.load(tmp_path / "average.npz")
    np.testing.assert_array_equal(other.params, expected)
    kept = x.copy()
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    np.testing.assert_array_equal(x, kept)


def test_what_cannot_be_averaged_is_refused_by_name():
    with pytest.raises(TypeError, match=r"params\['w'\]: is a list|params\['w'\]\[0\]: is a float"):
        fl.EMA({"w": [1.0]})
    with pytest.raises(ValueError, match=r"decay: is 1.0, expected a finite number in"):
        fl.EMA(np.ones(2), 1.0)


# -- while the average stands in for the parameters ---------------------------------------------


def trained(backend, shape="dict"):
    w, z = np.asarray([1.0, 2.0]), np.asarray([1j, 2.0])
    start = {"w": w, "z": [(z,), None]} if shape == "dict" else [w, {"z": z}]
    params, grads = backend.tree(start), backend.tree(start)
    opt, average = fl.Optimizer(params, fl.SGD(0.25)), fl.EMA(params, 0.5)
    for _ in range(2):
        opt.step(grads)
        average.update()
    return params, grads, opt, average


def leaves(backend, tree):
    return [
        backend.numpy(x).copy()
        for x in optree.tree_leaves(tree, none_is_leaf=True)
        if x is not None
    ]


def same(found, expected):
    return all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.fixture
def writing(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    return backend


@pytest.mark.parametrize("shape", ["dict", "list"])
def test_code_that_reads_the_container_sees_the_average(writing, shape):
    params, grads, opt, average = trained(writing, shape)
    before, expected = leaves(writing, params), leaves(writing, average.params)
    arrays = optree.tree_leaves(params, none_is_leaf=True)
    with average.applied() as inside:
        assert inside is params
        assert same(leaves(writing, params), expected)
        assert not same(leaves(writing, params), before)
    assert same(leaves(writing, params), before)
    after = optree.tree_leaves(params, none_is_leaf=True)
    assert all(x is y for x, y in zip(after, arrays, strict=True))
    opt.step(grads)
    assert not same(leaves(writing, params), before)


@pytest.mark.parametrize("shape", ["dict", "list"])
def test_a_step_on_the_average_is_not_lost_without_a_word(writing, shape):
    params, grads, opt, average = trained(writing, shape)
    before = leaves(writing, params)
    place = r"params\['w'\]|params\['z'\]\[0\]\[0\]" if shape == "dict" else r"params\[0\]"
    words = rf"^({place}): was changed while the average was applied; it has its value of before$"
    with pytest.raises(RuntimeError, match=words), average.applied():
        opt.step(grads)
    assert same(leaves(writing, params), before)
    opt.step(grads)  # goes on from what was trained
    expected = [x - 0.25 * g for x, g in zip(before, leaves(writing, grads), strict=True)]
    assert same(leaves(writing, params), expected)


def replace_and_fail(params):
    params["w"] = params["w"] + 1
    raise ZeroDivisionError


def test_another_array_in_the_container_is_a_change_too(writing):
    params, _, _, average = trained(writing)
    kept, before = params["w"], leaves(writing, params)
    with pytest.raises(RuntimeError, match=r"params\['w'\]: was changed"), average.applied():
        params["w"] = params["w"] + 1
    assert params["w"] is kept
    assert same(leaves(writing, params), before)
    # The block's own error is the one that is raised.
    with pytest.raises(ZeroDivisionError) as caught, average.applied():
        replace_and_fail(params)
    assert "params['w']: was changed" in caught.value.__notes__[0]
    assert params["w"] is kept
    with pytest.raises(ValueError, match=r"params: missing params\['w'\]"), average.applied():
        del params["w"]
    params["w"] = kept
    assert same(leaves(writing, params), before)


def test_the_end_of_the_block_is_one_read(writing, monkeypatch):
    params, _, _, average = trained(writing)
    reads = []
    read = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x) or read(x))
    with average.applied():
        assert not reads
    assert len(reads) == (0 if writing.name in ("jax", "numpy") else 1)
    assert same(leaves(writing, params), leaves(writing, average.source))


def test_numbers_that_are_none_are_no_change():
    x = {"w": np.asarray([np.nan, np.inf, -0.0, 1.0])}
    average = fl.EMA(x, 0.5)
    average.update()
    with average.applied():
        pass
    np.testing.assert_array_equal(x["w"], [np.nan, np.inf, -0.0, 1.0])


def test_arrays_that_cannot_be_replaced_are_refused_before_the_block():
    jnp = pytest.importorskip("jax").numpy
    x = jnp.asarray([1.0])
    for params, place in ((x, "params"), ((x, [x]), r"params\[0\]")):
        average = fl.EMA(params, 0.5)
        average.update(params)
        words = rf"^{place}: can be neither written nor replaced; read EMA.params instead$"
        with pytest.raises(TypeError, match=words), average.applied():
            pytest.fail("the block ran")
    # In a list below a tuple it can.
    params = ({"w": x}, {"v": x})
    average = fl.EMA(params, 0.5)
    average.update()
    params[0]["w"] = x + 1
    average.update()
    with average.applied() as inside:
        assert inside is params
        assert round(float(params[0]["w"][0]), 3) == 1.667
    assert float(params[0]["w"][0]) == 2.0


def test_a_bare_array_that_is_replaced_is_told_to_update():
    jnp = pytest.importorskip("jax").numpy
    opt = fl.Optimizer(jnp.asarray([1.0]), fl.SGD(0.5))
    average = fl.EMA(opt.params, 0.5)
    for _ in range(2):
        average.update(params=opt.step(jnp.asarray([1.0])))
        assert average.source is opt.params
    np.testing.assert_allclose(average.params, [0.25 * 0.5 / 0.75], rtol=1e-6)


def test_messages_speak_of_params():
    x = {"w": np.ones(2), "n": None}
    average = fl.EMA(x)
    other = np.ones(2)
    for params, error, words in (
        (
            {"w": np.ones(3), "n": None},
            ValueError,
            r"params\['w'\]: shape is \(3,\), expected \(2,\)",
        ),
        ({"w": np.ones(2, "f4"), "n": None}, TypeError, r"params\['w'\]: dtype is float32"),
        ({"w": [1.0, 2.0], "n": None}, TypeError, r"params\['w'\]: is a list, expected an array"),
        (
            {"v": other, "n": None},
            ValueError,
            r"params: missing params\['w'\]; unexpected params\['v'\]",
        ),
        (
            {"w": None, "n": None},
            ValueError,
            r"params\['w'\]: is None, expected an array as at the",
        ),
        (
            {"w": other, "n": other},
            ValueError,
            r"params\['n'\]: is an ndarray, expected None as at",
        ),
    ):
        with pytest.raises(error, match=f"^{words}"):
            average.update(params)
        assert average.source is x
        assert average.step_count == 0
