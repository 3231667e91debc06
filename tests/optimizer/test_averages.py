"""Averages of parameters against torch and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl


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


def test_as_torch_s_averaged_model():
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


def test_mistakes():
    with pytest.raises(TypeError, match=r"params\['w'\]: is a list|params\['w'\]\[0\]: is a float"):
        fl.EMA({"w": [1.0]})
    with pytest.raises(ValueError, match=r"decay=\) is 1.0"):
        fl.EMA(np.ones(2), 1.0)
