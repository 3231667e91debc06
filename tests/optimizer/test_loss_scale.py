"""The scale of a loss: as torch's own, within its limits, on every library."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import gradients


def run(backend, scale, values, *, rule=None, nonfinite="skip", dtype="float32"):
    """Step one number, by gradients of a scaled loss or as they are; return the scales seen."""
    params = backend.tree({"x": np.zeros(1, dtype)})
    opt = fl.Optimizer(params, rule or fl.SGD(1.0), gradients=[scale], nonfinite=nonfinite)
    seen = []
    for value in values:
        found = value() if callable(value) else value * float(scale)
        with np.errstate(over="ignore", invalid="ignore"):
            g = np.full(1, found).astype(dtype)
        opt.step({"x": backend.array(g)})
        seen.append(float(scale))
    return opt, seen


def skip_read_only(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")


@pytest.mark.parametrize("rule", [fl.Adam(0.1), fl.SGD(0.1, momentum=0.9), fl.RAdam(0.1)], ids=repr)
def test_it_agrees_with_torch_s(backend, rule):
    skip_read_only(backend)
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bad = [True, True, *(rng.random(40) < 0.25)]  # an overflow in the very first step
    name = type(rule).__name__
    options = {"momentum": 0.9} if name == "SGD" else {}
    t = torch.zeros(2, requires_grad=True)
    theirs = getattr(torch.optim, name)([t], lr=0.1, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    scale = gradients.LossScale(1024.0, interval=3)
    params = backend.tree({"x": np.zeros(2, "float32")})
    opt = fl.Optimizer(params, rule, gradients=[scale], nonfinite="skip")
    for i, overflow in enumerate(bad):
        s = scaler.get_scale()
        assert float(scale) == s
        g = np.asarray([0.5, -0.25], "float32") * np.float32((1 + i % 3) * s)
        if overflow:
            g[i % 2] = np.inf
        t.grad = torch.tensor(g)
        scaler.scale(torch.tensor(1.0))
        scaler.step(theirs)
        scaler.update()
        opt.step({"x": backend.array(g)})
    expected = t.detach().numpy()
    np.testing.assert_allclose(backend.numpy(opt.params["x"]), expected, rtol=1e-6)
    assert opt.skipped == sum(bad)
    assert opt.step_count == opt.state["x"]["step"] == len(bad) - sum(bad)


def test_it_does_not_leave_its_range(backend):
    skip_read_only(backend)
    scale = gradients.LossScale(interval=1)
    opt, seen = run(backend, scale, [0.0] * 150)
    assert max(seen) == 2.0**127
    assert opt.skipped == 0
    scale = gradients.LossScale()
    opt, seen = run(backend, scale, [np.nan] * 160)
    assert seen[-1] == 2.0**-126
    opt.step(backend.tree({"x": np.full(1, 2.0**-126, "float32")}))
    assert np.isfinite(backend.numpy(opt.params["x"])).all()
    narrow = gradients.LossScale(4.0, interval=1, minimum=2.0, maximum=8.0)
    _, seen = run(backend, narrow, [1.0, 1.0, 1.0, np.inf, np.inf, np.inf])
    assert seen == [8.0, 8.0, 8.0, 4.0, 2.0, 2.0]


def test_a_gradient_that_is_finite_only_before_the_scale_is_undone_is_skipped(backend):
    skip_read_only(backend)
    opt, seen = run(backend, gradients.LossScale(2.0**-100), [lambda: 1e10])
    assert np.all(backend.numpy(opt.params["x"]) == 0)
    assert opt.skipped == 1
    assert seen == [2.0**-101]


def test_without_skip_the_scale_falls_too(backend):
    skip_read_only(backend)
    _, seen = run(
        backend, gradients.LossScale(8.0, interval=2), [np.nan] * 3, nonfinite="propagate"
    )
    assert seen == [4.0, 2.0, 1.0]
    scale = gradients.LossScale(8.0)
    params = backend.tree({"x": np.zeros(1, "float32")})
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=[scale], nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"grads\['x'\]: is not finite"):
        opt.step(backend.tree({"x": np.full(1, np.inf, "float32")}))
    assert float(scale) == 4.0
    opt.step(backend.tree({"x": np.full(1, 4.0, "float32")}))
    assert backend.numpy(opt.params["x"])[0] == -1


@pytest.mark.parametrize("engine", ["eager", "blocked", "auto"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    "more", [[], [gradients.ClipByGlobalNorm(1.0)], [gradients.ClipByValue(1.0)]], ids=str
)
def test_an_overflow_is_seen_in_the_first_step_and_after_a_load(engine, dtype, more):
    def make():
        scale = gradients.LossScale()
        opt = fl.Optimizer(
            np.ones(2, dtype), fl.SGD(0.1), gradients=[scale, *more], nonfinite="skip",
            engine=engine, master_weights=True,
        )  # fmt: skip
        return scale, opt

    scale, opt = make()
    opt.step(np.asarray([np.inf, 1.0], dtype))
    assert (float(scale), opt.skipped, opt.step_count) == (32768.0, 1, 0)
    again, loaded = make()
    loaded.load_state_dict(opt.state_dict())
    loaded.step(np.asarray([np.inf, 1.0], dtype))
    assert (float(again), loaded.skipped) == (16384.0, 2)
    loaded.step(np.asarray([16384.0, 0.0], dtype))
    np.testing.assert_allclose(loaded.params.astype(float), [0.9, 1.0], rtol=1e-3)


def test_accumulation_with_an_overflow_starts_the_window_again(backend):
    skip_read_only(backend)
    scale = gradients.LossScale(4.0)
    params = backend.tree({"x": np.zeros(1, "float32")})
    chain = [gradients.Accumulate(2), scale]
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=chain, nonfinite="skip")
    for value in (4.0, np.inf, 2.0, 6.0):
        opt.step(backend.tree({"x": np.full(1, value, "float32")}))
    assert float(scale) == 2.0
    np.testing.assert_allclose(backend.numpy(opt.params["x"]), -2.0)
    assert (opt.step_count, opt.skipped) == (1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"initial": 0.0}, "initial"),
        ({"minimum": 0.0}, "minimum"),
        ({"minimum": 8.0, "maximum": 4.0}, "maximum"),
        ({"backoff": 0.0}, "backoff"),
        ({"growth": 0.5}, "growth"),
        ({"interval": 0}, "interval"),
    ],
)
def test_settings_without_a_meaning_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        gradients.LossScale(**options)
