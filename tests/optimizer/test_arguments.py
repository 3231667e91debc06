"""What an Optimizer is given beside arrays, and what is said when it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl


def test_transforms_come_in_a_sequence():
    clip = fl.gradients.ClipByGlobalNorm(1.0)
    for one, shown in (
        (clip, r"ClipByGlobalNorm\(limit=1.0\)"),
        ("clip", "'clip'"),
        (None, "None"),
    ):
        with pytest.raises(TypeError, match=f"^gradients: is {shown}, expected a sequence of tran"):
            fl.Optimizer(np.ones(2), fl.SGD(1.0), gradients=one)
    for given in ((clip,), [clip], (x for x in [clip])):
        x = np.zeros(2)
        fl.Optimizer(x, fl.SGD(1.0), gradients=given).step(np.asarray([3.0, 4.0]))
        np.testing.assert_allclose(x, [-0.6, -0.8])


@pytest.mark.parametrize("order", [">f8", "<f8", ">c8"])
def test_transform_takes_either_order_of_bytes(order):
    x = np.asarray([1.0, 2.0], order)
    opt = fl.Optimizer(x, fl.SGD(0.5, momentum=0.9))
    opt.step(np.asarray([2.0, 2.0], order))
    opt.transform(lambda x: 2 * x)  # NumPy gives the processor's order
    np.testing.assert_array_equal(x, [0.0, 2.0])
    np.testing.assert_array_equal(opt.state["b"], [4.0, 4.0])
    assert x.dtype == order
    with pytest.raises(TypeError, match="params: dtype after f is float16, expected "):
        opt.transform(lambda x: abs(x).astype("f2"))


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        (fl.Rprop(), ""),
        (fl.Lookahead(fl.Rprop()), ""),
        (fl.Adam(complex_moment="components"), "; use complex_moment='modulus'"),
        (fl.Lookahead(fl.Adam(complex_moment="components")), "; use complex_moment='modulus'"),
    ],
    ids=repr,
)
def test_a_remedy_is_one_that_the_rule_has(rule, remedy):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fl.Optimizer(np.ones(2, complex), rule, penalty=fl.L1(0.1))
    assert str(caught.value).endswith(f"differ between real and imaginary parts{remedy}")


def test_counts_of_numpy_become_counts(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    found = []
    for step in (np.int64(7), 7):
        x = {"w": backend.array(np.ones(2))}
        opt = fl.Optimizer(x, fl.Adam(0.1))
        opt.state["w"]["step"] = step
        assert type(opt.state["w"]["step"]) is int
        opt.step({"w": backend.array(np.ones(2))})
        saved = opt.state_dict()
        saved["state"]["w"]["step"] = step
        opt.load_state_dict(saved)
        assert type(opt.state["w"]["step"]) is int
        opt.step({"w": backend.array(np.ones(2))})
        found.append(backend.numpy(x["w"]))
    np.testing.assert_array_equal(*found)
    for bad in (True, 1.5, -1):
        with pytest.raises((TypeError, ValueError), match=r"\['step'\]: is .* an integer >= 0"):
            opt.state["w"]["step"] = bad


def test_what_other_libraries_call_it_leads_to_what_it_is_here():
    x = np.ones(2)
    opt = fl.Optimizer({"w": x}, fl.SGD(0.5))
    for name, remedy in (
        ("zero_grad", r"step\(grads\) and not kept"),
        ("param_groups", "each leaf has its own rule"),
        ("add_param_group", r"rebind\(params, rule"),
        ("lr", "its rate is learning_rate"),
    ):
        words = f"^Optimizer has no attribute '{name}'; .*{remedy}"
        with pytest.raises(AttributeError, match=words):
            getattr(opt, name)
        assert not hasattr(opt, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'zero_grads'$"):
        opt.zero_grads()


def test_an_error_within_a_property_is_told_as_it_is(monkeypatch):
    def fails(self):
        raise AttributeError("of something else")

    monkeypatch.setattr(type(fl.Optimizer(np.ones(2), fl.SGD(1.0))), "engine", property(fails))
    with pytest.raises(AttributeError, match=r"^of something else$"):
        fl.Optimizer(np.ones(2), fl.SGD(1.0)).engine  # noqa: B018


def test_groups_of_torch_are_told_from_trees():
    w, b = np.ones(2), np.ones(3)
    groups = [{"params": w}, {"params": [b], "lr": 0.1, "momentum": 0.9, "betas": (0.9, 0.99)}]
    with pytest.raises(TypeError, match=r"^params\[1\]: is a group with 'lr', 'momentum', expe"):
        fl.Optimizer(groups, fl.SGD(0.5))
    opt = fl.Optimizer([{"params": w}, {"params": [b]}], [fl.SGD(0.5), fl.SGD(0.1)])
    opt.step([{"params": w.copy()}, {"params": [b.copy()]}])
    np.testing.assert_allclose(w, 0.5)
    np.testing.assert_allclose(b, 0.9)
