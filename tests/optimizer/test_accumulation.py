"""Windows of accumulation, the norm before clipping, and schedules beside skipped steps."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import gradients, schedules


def test_a_window_of_accumulation_survives_changes_of_what_is_bound():
    def make():
        params = {"b": np.zeros(1), "c": np.zeros(1)}
        return params, fl.Optimizer(params, fl.SGD(1.0), gradients=[gradients.Accumulate(2)])

    params, opt = make()
    opt.step({"b": None, "c": np.asarray([2.0])})
    more = {"a": np.zeros(1), **params}
    opt.rebind(more)
    opt.step({"a": None, "b": None, "c": None})
    assert more["c"][0] == -1
    assert {k: s["step"] for k, s in opt.state.items()} == {"a": 0, "b": 0, "c": 1}
    params, opt = make()
    opt.step({"b": None, "c": np.asarray([2.0])})
    opt.rule = fl.Adam(1.0)
    opt.step({"b": None, "c": np.asarray([0.0])})
    assert opt.state["c"]["m"][0] == pytest.approx(0.1)
    params, opt = make()
    opt.step({"b": None, "c": np.asarray([2.0])})
    opt.rule = {"b": fl.SGD(1.0), "c": None}
    opt.step({"b": None, "c": np.asarray([2.0])})
    opt.rule = fl.SGD(1.0)
    for _ in range(2):
        opt.step({"b": None, "c": np.zeros(1)})
    assert params["c"][0] == 0


def test_what_was_accumulated_can_be_stepped_or_dropped(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    params = backend.tree({"a": np.zeros(2), "b": np.zeros(2)})
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=[gradients.Accumulate(3)])
    opt.flush()
    assert opt.step_count == 0
    for value in (1.0, 2.0):
        opt.step({"a": backend.array(np.full(2, value)), "b": None})
    opt.flush()
    np.testing.assert_allclose(backend.numpy(opt.params["a"]), -1.5)
    assert (opt.step_count, opt.state["b"]["step"]) == (1, 0)
    opt.step({"a": backend.array(np.full(2, 7.0)), "b": None})
    opt.discard()
    for _ in range(3):
        opt.step({"a": backend.array(np.zeros(2)), "b": None})
    np.testing.assert_allclose(backend.numpy(opt.params["a"]), -1.5)
    assert opt.step_count == 2


def test_the_norm_before_clipping_can_be_read(backend, monkeypatch):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    params = backend.tree({"a": np.zeros(1), "b": np.zeros(1)})
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=[gradients.ClipByGlobalNorm(1.0)])
    assert opt.gradient_norm is None
    opt.step(backend.tree({"a": np.asarray([3.0]), "b": np.asarray([4.0])}))
    assert float(backend.numpy(opt.gradient_norm)) == pytest.approx(5.0)
    before = [gradients.ClipByGlobalNorm(1.0), gradients.Centralize()]
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=before)
    opt.step(backend.tree({"a": np.asarray([6.0]), "b": np.asarray([8.0])}))
    assert float(backend.numpy(opt.gradient_norm)) == pytest.approx(10.0)


def test_a_schedule_waits_while_steps_are_skipped(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    warm = schedules.LinearWarmup(1.0, steps=5, start_factor=0.0)
    params = backend.tree({"x": np.zeros(1)})
    opt = fl.Optimizer(params, fl.SGD(warm), nonfinite="skip")
    for _ in range(5):
        opt.step(backend.tree({"x": np.asarray([np.nan])}))
    opt.step(backend.tree({"x": np.ones(1)}))
    assert float(backend.numpy(opt.params["x"])[0]) == 0
    opt.step(backend.tree({"x": np.ones(1)}))
    assert float(backend.numpy(opt.params["x"])[0]) == pytest.approx(-0.2)
    assert (opt.step_count, opt.skipped, opt.state["x"]["step"]) == (2, 5, 2)


def test_a_sum_that_somebody_wrote_is_forgotten_with_its_step(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    params = backend.tree({"x": np.ones(2)})
    opt = fl.Optimizer(params, fl.SGD(0.5), gradients=[gradients.Accumulate(2)], nonfinite="skip")
    opt.step({"x": None})
    opt.state["x"]["sum"] = backend.array(np.ones(2))
    opt.step({"x": backend.array(np.asarray([np.nan, 0.0]))})
    np.testing.assert_array_equal(backend.numpy(opt.state["x"]["sum"]), np.zeros(2))
    assert opt.skipped == 1
    for _ in range(2):
        opt.step({"x": backend.array(np.ones(2))})
    np.testing.assert_array_equal(backend.numpy(opt.params["x"]), np.full(2, 0.5))
