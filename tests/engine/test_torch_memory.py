"""Tensors of torch: which engine steps them, what autograd knows of it, memory that is replaced."""

from __future__ import annotations

import pytest

import fallline as fl
from fallline.engine import numba_
from tests.helpers import COMPILED

torch = pytest.importorskip("torch")

engines = pytest.mark.parametrize("engine", COMPILED)


def test_the_engine_chosen(monkeypatch):
    fastest = "numba" if numba_.installed() else "blocked"
    for x in (torch.ones(3), torch.nn.Parameter(torch.ones(3)), torch.ones(3, dtype=torch.cfloat)):
        assert fl.Optimizer(x, fl.Adam()).engine == fastest
        assert fl.Optimizer(x, fl.Adam(), engine="eager").engine == "eager"
        assert fl.Optimizer(x, fl.Adam(), engine="blocked").engine == "blocked"
    with pytest.raises(TypeError, match=r"engine 'blocked' runs .* got torch of bfloat16 on cpu"):
        fl.Optimizer(torch.ones(3, dtype=torch.bfloat16), fl.Adam(), engine="blocked")
    with pytest.raises(TypeError, match="engine 'cuda' runs CuPy arrays and tensors on a GPU, got"):
        fl.Optimizer(torch.ones(3), fl.Adam(), engine="cuda")
    with pytest.raises(TypeError, match=r"engine 'numba' runs float32, .* got float16"):
        fl.Optimizer(torch.ones(3, dtype=torch.float16), fl.Adam(), engine="numba")
    monkeypatch.setattr(numba_, "installed", lambda: False)
    opt = fl.Optimizer(torch.ones(3), fl.Adam())
    assert opt.engine == "blocked"
    assert "blocked" in repr(opt)


class Counted(torch.Tensor):
    """A tensor that defines what operations do, as DTensor does."""

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        with torch._C._DisableTorchDispatch():
            return function(*args, **(kwargs or {}))


def test_tensors_of_other_classes_run_as_before():
    x = torch.ones(3).as_subclass(Counted)
    params = {"a": torch.ones(3), "b": torch.nn.Parameter(torch.ones(3)), "c": x}
    opt = fl.Optimizer(params, fl.SGD(0.5))
    assert set(opt.engine.split(", ")) == {"eager", fl.Optimizer(params["a"], fl.SGD()).engine}
    opt.step({"a": torch.ones(3), "b": torch.ones(3), "c": torch.ones(3).as_subclass(Counted)})
    for p in params.values():
        assert (p == 0.5).all()


# -- what torch keeps account of ----------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 6])
@engines
def test_a_backward_pass_that_needs_old_values_is_refused(engine, count):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(count + 1)]
    opt = fl.Optimizer(params, fl.Adam(0.1), engine=engine)
    losses = [(p * p).sum() for p in params]
    opt.step([torch.ones(3)] * count + [None])
    for loss in losses[:count]:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    losses[-1].backward()  # its parameter was not stepped
    assert params[-1].grad.tolist() == [2.0] * 3
    loss = (opt.state[0]["m"] * params[-1]).sum()
    opt.step([torch.ones(3)] * count + [None])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@engines
def test_training_with_autograd(engine):
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = fl.Optimizer(dict(models[0].named_parameters()), fl.Adam(0.1), engine=engine)
    theirs = torch.optim.Adam(models[1].parameters(), lr=0.1)
    for _ in range(5):
        x = torch.randn(8, 3)
        for model in models:
            model.zero_grad()
            model(x).square().mean().backward()
        ours.step({name: p.grad for name, p in models[0].named_parameters()})
        theirs.step()
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert p.is_leaf
        assert p.requires_grad
        torch.testing.assert_close(p, q)


@engines
def test_inference_mode(engine):
    x = torch.ones(3)
    with torch.inference_mode():
        y = torch.ones(3)
        for p in (x, y):
            opt = fl.Optimizer(p, fl.SGD(0.5, momentum=0.9), engine=engine)
            opt.step(torch.ones(3))
            assert p.tolist() == [0.5] * 3
    version = x._version
    opt = fl.Optimizer(x, fl.SGD(0.5, momentum=0.9), engine=engine)
    opt.step(y)
    assert x.tolist() == [0.25] * 3
    assert x._version > version


# -- memory that is replaced under a tensor ------------------------------------------------------


@pytest.mark.parametrize("count", [1, 6])
@engines
def test_memory_that_is_replaced_is_noticed(engine, count):
    params = [torch.nn.Parameter(torch.eye(2)) for _ in range(count)]
    opt = fl.Optimizer(params, fl.SGD(1.0, momentum=0.5), engine=engine)
    ones = [torch.ones(2, 2) for _ in params]
    opt.step(ones)
    for p in params:
        p.data = torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    opt.step(ones)
    assert params[-1].tolist() == [[-1.5, 3.5], [-1.5, -1.5]]
    for p in params:
        p.data = p.data.T  # the same memory
    opt.step([torch.zeros(2, 2) for _ in params])
    assert params[-1].tolist() == [[-2.25, -2.25], [2.75, -2.25]]
    for p, state in zip(params, opt.state, strict=True):
        p.data.share_memory_()
        state["b"].share_memory_()
        state["b"].fill_(0.0)
    opt.step([torch.zeros(2, 2) for _ in params])
    assert params[-1].tolist() == [[-2.25, -2.25], [2.75, -2.25]]


@engines
def test_a_conjugate_in_the_place_of_a_parameter_is_noticed(engine):
    x = torch.full((3,), 1 + 2j)
    opt = fl.Optimizer(x, fl.GradientDescent(1.0), engine=engine)
    opt.step(torch.full((3,), 1j))
    x.data = x.data.conj()
    opt.step(torch.full((3,), 1j))
    assert x.tolist() == [1 - 2j] * 3


def test_other_shapes_and_dtypes_are_refused():
    for change in (lambda x: x[:2], torch.Tensor.double):
        params = {"a": torch.ones(3), "b": torch.ones(3)}
        opt = fl.Optimizer(params, fl.Adam(0.1))
        opt.step({"a": torch.ones(3), "b": torch.ones(3)})
        params["b"].data = change(params["b"].data)
        with pytest.raises(ValueError, match=r"params\['b'\]: its shape or dtype .*; call rebind"):
            opt.step({"a": torch.ones(3), "b": change(torch.ones(3))})
        assert params["b"].tolist() != [1.0] * len(params["b"])
        opt.rebind(params, state="reset")
        opt.step({"a": torch.ones(3), "b": change(torch.ones(3))})
