"""Tensors of torch on a GPU, which the CUDA engine steps by their addresses: run by the host."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import fallline as fl
from fallline.engine import cuda
from tests.cases import RULES
from tests.cuda_host import host_device, host_tensors  # noqa: F401
from tests.engine.test_torch_through_numpy import LAYOUTS, both, drawn, steps, tensor
from tests.helpers import same_bits

torch = pytest.importorskip("torch")

SHAPES = {"a": (1003,), "b": (7, 11), "c": (), "d": (0, 3), "e": (5, 4)}


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_tensors_get_the_bits_of_arrays_in_one_launch(host_tensors, rule, dtype):  # noqa: F811
    rng = np.random.default_rng(0)
    opts = both(drawn(rng, dtype, SHAPES, special=False), rule, engine="auto")
    ours = fl.Optimizer(opts[0].params, rule, engine="cuda")
    for t in range(4):
        grads = drawn(rng, dtype, SHAPES)
        if t == 2:
            grads["a"] = None
        host_tensors.clear()
        steps((ours, opts[1]), grads)
        assert len(host_tensors) == (2 if t == 3 else 1)  # counts differ then


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("given", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_tensors_may_lie_in_any_way(host_tensors, layout, given, dtype):  # noqa: F811
    if dtype == "float32" and "conjugated" in (layout, given):
        pytest.skip("for complex numbers")
    rng = np.random.default_rng(1)
    start = drawn(rng, dtype, SHAPES, special=False)
    opts = both(start, fl.Adam(0.1), LAYOUTS[layout], engine="auto")
    opts = fl.Optimizer(opts[0].params, fl.Adam(0.1), engine="cuda"), opts[1]
    for _ in range(3):
        steps(opts, drawn(rng, dtype, SHAPES), LAYOUTS[given])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_bits_of_the_formula_itself(host_tensors, dtype):  # noqa: F811
    torch.manual_seed(0)
    start = torch.randn(301).to(dtype)
    opts = [
        fl.Optimizer(start.clone(), fl.AdamW(0.1), engine=engine, master_weights=master)
        for engine in ("cuda", "eager")
        for master in (False, True)
    ]
    for _ in range(4):
        g = torch.randn(301).to(dtype)
        for opt in opts:
            opt.step(g)
    for ours, other in zip(opts[:2], opts[2:], strict=True):
        same_bits(ours.params.float().numpy(), other.params.float().numpy())


def test_a_tensor_that_got_other_memory_is_found(host_tensors):  # noqa: F811
    p, g = tensor(np.ones(5, "f4")), tensor(np.full(5, 2.0, "f4"))
    opt = fl.Optimizer(p, fl.SGD(0.5), engine="cuda")
    old = p.data
    opt.step(g)
    p.data = torch.full((5,), 10.0)
    opt.step(g)
    g.data = torch.full((5,), 4.0)
    opt.step(g)
    np.testing.assert_array_equal(p, np.full(5, 7.0))
    np.testing.assert_array_equal(old, np.zeros(5))


def test_a_backward_pass_that_needs_the_old_values_raises(host_tensors):  # noqa: F811
    p = torch.ones(3, requires_grad=True)
    opt = fl.Optimizer(p, fl.SGD(0.5), engine="cuda")
    loss = (p**2).sum()
    opt.step(torch.ones(3))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_that_share_memory_with_a_parameter_are_refused(host_tensors):  # noqa: F811
    p = torch.ones(6)
    opt = fl.Optimizer(p[:3], fl.SGD(0.5), engine="cuda")
    with pytest.raises(ValueError, match="shares memory"):
        opt.step(p[1:4])


def test_without_cupy_nothing_can_launch(host_tensors, monkeypatch):  # noqa: F811
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "cupy" else found(n))
    with pytest.raises(ImportError, match="launches its kernels by CuPy, which is not installed"):
        fl.Optimizer(torch.ones(3), fl.SGD(0.1), engine="cuda")


def test_tensors_on_the_host_are_refused():
    with pytest.raises(TypeError, match="engine 'cuda' runs CuPy arrays and tensors on a GPU, got"):
        fl.Optimizer(torch.ones(3), fl.SGD(0.1), engine="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_is_queued_on_torch_s_stream():
    pytest.importorskip("cupy")
    p = torch.zeros(1 << 20, device="cuda")
    opt = fl.Optimizer(p, fl.SGD(1.0), engine="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        g = torch.ones_like(p)
        for _ in range(50):
            opt.step(g * 1.0)
    stream.synchronize()
    assert bool((p == -50).all())


def test_memories_know_the_device_of_an_array():
    assert cuda.MEMORIES["torch"].device(torch.ones(1)) == 0
