"""Rules that look at whole leaves, and Lookahead: against torch, optax and plain loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fallline as fl
from tests.helpers import close


def gradients(rng, shapes, steps=25):
    for t in range(steps):
        yield [rng.standard_normal(s) * 10.0 ** (t % 5 - 2) for s in shapes]


ADAFACTOR = [
    {}, {"lr": 0.05}, {"beta2_decay": -0.5}, {"eps": (None, 0.5)}, {"eps": (0.3, 1e-3)},
    {"d": 1.5}, {"weight_decay": 0.2}, {"maximize": True},
]  # fmt: skip
FIELDS = {"lr": "learning_rate", "d": "threshold"}


@pytest.mark.parametrize("kwargs", ADAFACTOR, ids=str)
def test_adafactor_is_torch_s(kwargs):
    torch = pytest.importorskip("torch")
    fields = {FIELDS.get(key, key): value for key, value in kwargs.items()}
    if "eps" in fields:
        eps1, fields["eps2"] = fields.pop("eps")
        fields["eps1"] = eps1 or 0.0
    if "beta2_decay" in fields:
        fields["beta2_decay"] = -fields["beta2_decay"]
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (2, 4, 3), (7,)]
    params = [rng.standard_normal(s) for s in shapes]
    theirs = [torch.tensor(x, requires_grad=True) for x in params]
    oracle = torch.optim.Adafactor(theirs, **kwargs)
    opt = fl.Optimizer(params, fl.Adafactor(**fields))
    for grads in gradients(rng, shapes):
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        oracle.step()
        opt.step(grads)
        for x, y, state in zip(params, theirs, opt.state, strict=True):
            close(x, y.detach().numpy())
            for name, key in (("row", "row_var"), ("col", "col_var"), ("v", "variance")):
                if name in state:
                    close(state[name], oracle.state[y][key].numpy())


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"nesterov": False}, {"weight_decay": 0.0}, {"momentum": 0.5}, {"ns_steps": 3},
     {"adjust_lr_fn": "match_rms_adamw"}, {"ns_coefficients": (1.5, -0.5, 0.0)}],
    ids=str,
)  # fmt: skip
def test_muon_is_torch_s_but_for_bfloat16(shape, kwargs):
    torch = pytest.importorskip("torch")
    names = {"ns_steps": "iterations", "adjust_lr_fn": "scale", "ns_coefficients": "coefficients"}
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    y = torch.tensor(x, requires_grad=True)
    oracle = torch.optim.Muon([y], lr=0.1, **kwargs)
    opt = fl.Optimizer(x, fl.Muon(0.1, **{names.get(k, k): v for k, v in kwargs.items()}))
    before = x.copy()
    for (g,) in gradients(rng, [shape], 10):
        y.grad = torch.tensor(g)
        oracle.step()
        opt.step(g)
        close(opt.state["b"], oracle.state[y]["momentum_buffer"].numpy())
        np.testing.assert_allclose(x, y.detach().numpy(), rtol=0, atol=1e-2)
    assert np.max(np.abs(x - before)) > 0.2


def test_muon_makes_steps_nearly_orthogonal():
    rng = np.random.default_rng(2)
    x = np.zeros((5, 8))
    fl.Optimizer(x, fl.Muon(1.0, weight_decay=0.0, iterations=12)).step(rng.standard_normal((5, 8)))
    values = np.linalg.svd(x, compute_uv=False)
    assert np.all((values > 0.6) & (values < 1.3))


def test_muon_with_the_coefficients_that_converge_makes_steps_orthogonal():
    rng = np.random.default_rng(2)
    x = np.zeros((5, 8))
    rule = fl.Muon(1.0, weight_decay=0.0, iterations=25, coefficients=(1.875, -1.25, 0.375))
    fl.Optimizer(x, rule).step(rng.standard_normal((5, 8)))
    np.testing.assert_allclose(x @ x.T, np.eye(5), atol=1e-12)


def test_muon_s_coefficients_and_iterations_are_plain_numbers():
    rule = fl.Muon(iterations=np.int64(7), coefficients=np.asarray([2, -1.5, 0.5], "float32"))
    assert rule == fl.Muon(iterations=7, coefficients=[2.0, -1.5, 0.5])
    assert type(rule.iterations) is int
    assert hash(rule) == hash(fl.Muon(iterations=7, coefficients=(2, -1.5, 0.5)))
    assert repr(rule) == ("Muon(learning_rate=0.001, iterations=7, coefficients=(2.0, -1.5, 0.5))")
    assert repr(fl.Muon(coefficients=[3.4445, -4.775, 2.0315])) == "Muon(learning_rate=0.001)"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (0, ValueError), (np.int64(100), ValueError), (2.5, TypeError), (True, TypeError),
        (np.True_, TypeError), ("5", TypeError), (None, TypeError), (np.arange(2), TypeError),
    ],
    ids=repr,
)  # fmt: skip
def test_muon_refuses_other_iterations(bad, error):
    with pytest.raises(
        error, match=r"Muon\(iterations=\): is .*, expected an integer in \[1, 99\]"
    ):
        fl.Muon(iterations=bad)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (3.0, TypeError, "is 3.0, expected a sequence of three numbers"),
        (None, TypeError, "is None, expected a sequence"),
        ("abc", TypeError, "is 'abc', expected a sequence"),
        (np.asarray(1.0), TypeError, "expected a sequence"),
        ((1.0, 2.0, True), TypeError, "True"),
        (np.ones(3, bool), TypeError, "True"),
        ((1.0, None, 2.0), TypeError, "None"),
        ((), ValueError, "number of entries is 0, expected 3"),
        (np.ones(4), ValueError, "number of entries is 4, expected 3"),
        ((1.0, 2.0, np.nan), ValueError, r"\[2\].* nan"),
    ],
    ids=repr,
)
def test_muon_refuses_what_is_not_three_numbers(bad, error, words):
    with pytest.raises(error, match=r"Muon\(coefficients=\).*" + words):
        fl.Muon(coefficients=bad)


def test_muon_s_companion_takes_the_other_leaves():
    params = {"w": np.ones((2, 3)), "b": np.ones(3), "z": np.ones((2, 2), complex)}
    rule = fl.Muon(0.1, companion=fl.SGD(0.1, momentum=0.9))
    opt = fl.Optimizer(params, rule)
    assert opt.engine != "eager"
    assert isinstance(opt.rule["w"], fl.Muon)
    assert opt.rule["b"] == opt.rule["z"] == rule.companion
    opt.step({key: np.ones_like(x) for key, x in params.items()})
    state = rule.init(params)
    new, _ = rule.update(params=params, grads=params, state=state)
    assert set(state.leaves["b"]) == {"b", "step"}
    assert new["w"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"params\['b'\]: has 1 axes, expected a real matrix"):
        fl.Optimizer(params, fl.Muon())
    with pytest.raises(TypeError, match="runs eagerly only"):
        fl.Optimizer(np.ones((2, 2)), fl.Muon(), engine="blocked")
    for bad, error in (({"iterations": 0}, ValueError), ({"companion": 3}, TypeError)):
        with pytest.raises(error, match=r"Muon\("):
            fl.Muon(**bad)
    with pytest.raises(ValueError, match="unknown scale 'no'"):
        fl.Muon(scale="no")


LAMB = [{}, {"weight_decay": 0.1}, {"b1": 0.0}, {"eps": 0.3}, {"eps_root": 0.3}]
LARS = [
    {}, {"weight_decay": 0.1}, {"momentum": 0.0}, {"nesterov": True}, {"eps": 0.3},
    {"trust_coefficient": 0.1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kwargs"), [("LAMB", k) for k in LAMB] + [("LARS", k) for k in LARS], ids=str
)
def test_lamb_and_lars_are_optax_s(name, kwargs):
    optax = pytest.importorskip("optax")
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(3)
    shapes = [(3, 5), (7,), (), (4,)]
    fields = {{"b1": "beta1"}.get(key, key): value for key, value in kwargs.items()}
    params = [np.asarray(rng.standard_normal(s)) for s in shapes]
    params[3][:] = 0  # a parameter of norm zero
    opt = fl.Optimizer(params, getattr(fl, name)(0.1, **fields))
    with jax.enable_x64(True):
        theirs = [jax.numpy.array(x, copy=True) for x in params]
        solver = getattr(optax, name.lower())(0.1, **kwargs)
        state = solver.init(theirs)
        for t, grads in enumerate(gradients(rng, shapes)):
            if t < 2:
                grads[0] = np.zeros(shapes[0])  # a gradient of norm zero
            grads = [np.asarray(g) for g in grads]
            opt.step(grads)
            updates, state = solver.update([jax.numpy.asarray(g) for g in grads], state, theirs)
            theirs = optax.apply_updates(theirs, updates)
            for x, y in zip(params, theirs, strict=True):
                np.testing.assert_allclose(x, np.asarray(y), rtol=1e-11, atol=1e-13)


INNER = [fl.SGD(0.1, momentum=0.9), fl.Adam(0.1), fl.LAMB(0.1)]


@pytest.mark.parametrize("inner", INNER, ids=str)
def test_lookahead_is_the_paper_s(inner):
    rng = np.random.default_rng(4)
    x = rng.standard_normal(5)
    opt = fl.Optimizer(x, fl.Lookahead(inner, k=3, alpha=0.4))
    fast, slow, state = x.copy(), x.copy(), inner.init(x)
    for t in range(1, 11):
        g = rng.standard_normal(5)
        opt.step(g)
        fast, state = inner.update(params=fast, grads=g, state=state)
        if t % 3 == 0:
            slow = slow + 0.4 * (fast - slow)
            fast = slow.copy()
        np.testing.assert_allclose(x, fast, rtol=1e-12)
        np.testing.assert_allclose(opt.state["slow"], slow, rtol=1e-12)


def test_lookahead_shows_and_schedules_both_rules():
    rule = fl.Lookahead(fl.SGD(lambda step: 0.1 / (1 + step)), k=2)
    x = np.zeros(1)
    opt = fl.Optimizer(x, rule)
    for _ in range(3):
        opt.step(np.ones(1))
    assert opt.hyperparameters()["learning_rate"] == pytest.approx(0.1 / 3)
    np.testing.assert_allclose(x, -0.075 - 0.1 / 3)
    for bad in ({"rule": 3}, {"rule": fl.SGD(), "k": 0}, {"rule": fl.SGD(), "alpha": 2.0}):
        with pytest.raises((TypeError, ValueError), match=r"Lookahead\("):
            fl.Lookahead(**bad)


@pytest.mark.parametrize("rule", [fl.LAMB(0.1), fl.LARS(0.1), fl.Adafactor()], ids=str)
@pytest.mark.parametrize("dtype", ["complex128", "float16"])
def test_half_precision_and_complex_leaves_of_any_shape_step(rule, dtype):
    rng = np.random.default_rng(5)
    draw = lambda s: np.asarray(rng.standard_normal(s) + 1j).astype(dtype)  # noqa: E731
    if dtype == "float16":
        draw = lambda s: rng.standard_normal(s).astype(dtype)  # noqa: E731
    x = {"m": draw((3, 4)), "v": draw(5), "none": draw((0, 2)), "s": draw(())}
    turn = np.exp(0.7j) if dtype == "complex128" else 1
    y = {key: np.asarray(value * turn) for key, value in x.items()}
    opts = fl.Optimizer(x, rule), fl.Optimizer(y, rule)
    for _ in range(4):
        g = {key: draw(value.shape) for key, value in x.items()}
        opts[0].step(g)
        opts[1].step({key: np.asarray(value * turn) for key, value in g.items()})
    for key, value in x.items():
        assert value.dtype == dtype
        assert np.all(np.isfinite(value))
        np.testing.assert_allclose(value * turn, y[key], rtol=1e-9)
    if dtype == "complex128" and hasattr(rule, "complex_moment"):
        z = draw(6)
        twin = z.view(float).copy()
        parts = dataclasses.replace(rule, complex_moment="components")
        opts = fl.Optimizer(z, parts), fl.Optimizer(twin, rule)
        for _ in range(3):
            g = draw(6)
            opts[0].step(g)
            opts[1].step(g.view(float))
        np.testing.assert_allclose(z.view(float), twin, rtol=1e-12)


@pytest.mark.parametrize("rule", [fl.LAMB(0.1), fl.LARS(0.1)], ids=str)
def test_what_is_elementwise_runs_through_the_engines(rule):
    opt = fl.Optimizer([np.ones(3), np.ones(2)], rule)
    assert opt.engine in ("numba", "blocked")
    assert "ratio" in opt.program
    assert fl.Optimizer(np.ones((2, 2)), fl.Adafactor()).engine == "eager"
    assert fl.Optimizer(np.ones(2), fl.Adafactor()).engine in ("numba", "blocked")


def test_lookahead_starts_where_the_parameter_is_whatever_surrounds_it():
    x = np.asarray([3.0])
    opt = fl.Optimizer(x, fl.Lookahead(fl.Yogi(0.1), k=1), penalty=fl.L1(0.0))
    assert opt.state["slow"] == 3
    assert opt.state["v"] == fl.Yogi().initial_accumulator
    opt.step(np.zeros(1))
    assert x[0] == 3
