"""An Optimizer goes on where torch's stands."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.helpers import TORCH_NAMES, close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("torch_in_double")
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3}),
    ("Adadelta", {"rho": 0.8}),
    ("RMSprop", {"alpha": 0.8, "centered": True, "momentum": 0.9}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "maximize": True}),
    ("Adamax", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1, "momentum_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (1e-5, 10.0)}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.6, "t0": 3}),
    ("Adafactor", {"lr": 0.05, "beta2_decay": -0.7, "eps": (None, 1e-2), "d": 1.5}),
]


def test_every_rule_of_torch_s_is_here():
    assert {name for name, _ in CASES} >= set(TORCH_NAMES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=str)
def test_the_next_ten_steps_agree(name, kwargs, dtype):
    if name == "Adafactor" and dtype.is_complex:
        pytest.skip("torch's is for real numbers")
    torch.manual_seed(0)
    theirs = [torch.randn(s, dtype=dtype, requires_grad=True) for s in ((3, 4), (5,))]
    never = torch.randn(2, dtype=dtype, requires_grad=True)
    oracle = getattr(torch.optim, name)([*theirs, never], **kwargs)

    def step():
        grads = [torch.randn_like(p.detach()) for p in theirs]
        for p, g in zip(theirs, grads, strict=True):
            p.grad = g.clone()
        oracle.step()
        return grads

    for _ in range(5):
        step()
    params = {"w": theirs[0], "b": [theirs[1], None], "never": never}
    params = {
        "w": theirs[0].detach().numpy().copy(),
        "b": [theirs[1].detach().numpy().copy(), None, never.detach().numpy().copy()],
    }
    opt = fl.from_torch(oracle, {"a": params["w"], "b": params["b"]})
    own = fl.from_torch(oracle)
    assert own.params[0] is theirs[0]
    assert opt.state["b"][2]["step"] == 0
    for _ in range(10):
        grads = step()
        opt.step({"a": grads[0].numpy(), "b": [grads[1].numpy(), None, None]})
        close(opt.params["a"], theirs[0].detach().numpy())
        close(opt.params["b"][0], theirs[1].detach().numpy())


def test_groups_have_rules_of_their_own():
    a, b = (torch.zeros(2, requires_grad=True) for _ in range(2))
    oracle = torch.optim.AdamW([{"params": [a], "lr": 0.5}, {"params": [b], "weight_decay": 0.0}])
    opt = fl.from_torch(oracle)
    assert [rule.learning_rate for rule in opt.rule] == [0.5, 1e-3]
    assert [rule.weight_decay for rule in opt.rule] == [1e-2, 0.0]


def test_muon_is_taken_over_with_its_coefficients():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    oracle = torch.optim.Muon([x], lr=0.1)
    x.grad = torch.randn_like(x)
    oracle.step()
    opt = fl.from_torch(oracle, x.detach().numpy().copy())
    close(opt.state["b"], oracle.state[x]["momentum_buffer"].numpy())
    for given in ((1.875, -1.25, 0.375), torch.tensor([1.875, -1.25, 0.375])):
        other = torch.optim.Muon([x], ns_coefficients=given, ns_steps=np.int64(9))
        rule = fl.from_torch(other).rule[0]
        assert rule == fl.Muon(coefficients=(1.875, -1.25, 0.375), iterations=9)


def test_what_cannot_be_carried_over_is_refused_by_name():
    x = torch.zeros(2, requires_grad=True)
    oracle = torch.optim.SGD([x], lr=0.1)
    with pytest.raises(ValueError, match="params: number of arrays is 2, expected 1"):
        fl.from_torch(oracle, [np.zeros(2), np.zeros(2)])
    with pytest.raises(ValueError, match=r"params\['w'\]: shape is \(3,\), expected \(2,\)"):
        fl.from_torch(oracle, {"w": np.zeros(3)})
    with pytest.raises(TypeError, match="no rule for torch's LBFGS"):
        fl.from_torch(torch.optim.LBFGS([x]))


def test_parameters_are_matched_in_the_order_of_their_containers():
    names = [f"layer{i}" for i in range(11)]  # sorted, layer10 comes before layer2
    tensors = {name: torch.zeros(2, requires_grad=True) for name in names}
    groups = [
        {"params": [tensors[name] for name in names[:4]]},
        {"params": [tensors[name] for name in names[4:]], "lr": 0.5},
    ]
    theirs = torch.optim.Adam(groups, lr=0.1)
    for i, name in enumerate(names):
        tensors[name].grad = torch.full((2,), float(i))
    theirs.step()
    for params in (
        {name: np.zeros(2) for name in names},
        [{"b": np.zeros(2), "a": np.zeros(2)}, *(np.zeros(2) for _ in names[2:])],
    ):
        opt = fl.from_torch(theirs, params)
        leaves = [opt._bound.leaves[i] for i in opt._bound.structure.own_order(params)]
        for i, leaf in enumerate(leaves):
            np.testing.assert_allclose(leaf.state.slots["m"], 0.1 * i, rtol=1e-6)
            assert leaf.rule.learning_rate == (0.1 if i < 4 else 0.5)


def test_a_module_is_matched_by_the_names_of_its_parameters():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    theirs = torch.optim.AdamW(module.named_parameters(), lr=0.1)
    module(torch.ones(1, 3)).sum().backward()
    theirs.step()
    flat = {name: p.detach().numpy().copy() for name, p in module.named_parameters()}
    turned = dict(reversed(flat.items()))  # another order, the same names
    nested = {"0": {"bias": flat["0.bias"], "weight": flat["0.weight"]}}
    nested["1"] = {"bias": flat["1.bias"], "weight": flat["1.weight"]}
    for params in (flat, turned, nested):
        opt = fl.from_torch(theirs, params)
        for name, p in module.named_parameters():
            state = opt.state
            for key in [name] if params is not nested else name.split("."):
                state = state[key]
            np.testing.assert_array_equal(state["m"], theirs.state[p]["exp_avg"].numpy())
