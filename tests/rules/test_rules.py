"""Rules on every backend: the pure form, the Optimizer, complex numbers, half precision."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import fallline as fl
from tests.cases import EAGER, RULES, WHOLE

rules = pytest.mark.parametrize("rule", RULES + WHOLE + EAGER, ids=str)


def problem(dtype, seed=3):
    rng = np.random.default_rng(seed)

    def draw(shape):
        x = rng.standard_normal(shape)
        if np.dtype(dtype).kind == "c":
            x = x + 1j * rng.standard_normal(shape)
        return np.asarray(x).astype(dtype)

    params = {"a": draw((2, 3)), "b": [draw(()), None, draw(0)]}
    grads = [{"a": draw((2, 3)), "b": [draw(()), None, draw(0)]} for _ in range(5)]
    grads[2]["a"] = None
    return params, grads


def test_the_table_covers_every_public_rule():
    public = {
        name
        for name in fl.__all__
        if inspect.isclass(getattr(fl, name)) and issubclass(getattr(fl, name), fl.rules.Rule)
    }
    assert public == {type(rule).__name__ for rule in RULES + WHOLE}


@rules
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_pure_form_on_every_backend_equals_numpy_optimizer(backend, rule, dtype):
    params, grads = problem(dtype)
    x = backend.tree(params)
    state = rule.init(x)
    opt = fl.Optimizer(params, rule)
    for g in grads:
        old = x
        step, _ = rule.direction(params=x, grads=backend.tree(g), state=state)
        x, state = rule.update(params=x, grads=backend.tree(g), state=state)
        opt.step(g)
        assert x["b"][1] is None
        for theirs, ours, before, d in (
            (x["a"], params["a"], old["a"], step["a"]),
            (x["b"][0], params["b"][0], old["b"][0], step["b"][0]),
            (x["b"][2], params["b"][2], old["b"][2], step["b"][2]),
        ):
            found = backend.numpy(theirs)
            assert found.dtype == ours.dtype
            assert found.shape == ours.shape
            tolerance = 1e-4 if dtype in ("float32", "complex64") else 1e-10
            np.testing.assert_allclose(found, ours, rtol=tolerance, atol=tolerance)
            if theirs is not before:
                np.testing.assert_allclose(
                    backend.numpy(before) + backend.numpy(d), found, rtol=1e-5, atol=1e-5
                )
    assert state.step == 5
    assert state.leaves["a"]["step"] == 4
    assert opt.state["b"][0]["step"] == 5


@rules
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_optimizer_on_every_backend_equals_numpy(backend, rule, dtype):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes; read-only arrays are for the pure form")
    params, grads = problem(dtype)
    x = backend.tree(params)
    held = x["a"]
    ours = fl.Optimizer(params, rule)
    theirs = fl.Optimizer(x, rule)
    for g in grads:
        ours.step(g)
        assert theirs.step(backend.tree(g)) is x
    np.testing.assert_allclose(backend.numpy(x["a"]), params["a"], rtol=1e-4, atol=1e-4)
    if not backend.immutable:
        assert x["a"] is held
    for name, value in theirs.state["a"].items():
        expected = ours.state["a"][name]
        if name != "step":
            value = backend.numpy(value)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


SIGNS = (fl.Lion, fl.SignSGD)  # z / |z| is no pair of signs
LINEAR = [r for r in RULES if not hasattr(r, "complex_moment") and not isinstance(r, SIGNS)]


@pytest.mark.parametrize("rule", LINEAR, ids=str)
def test_linear_complex_rules_equal_their_two_reals_twin(rule):
    rng = np.random.default_rng(0)
    z = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    x = z.view(float).copy()
    complex_, real = fl.Optimizer(z, rule), fl.Optimizer(x, rule)
    for _ in range(6):
        g = rng.standard_normal(12)
        complex_.step(g.view(complex))
        real.step(g)
    np.testing.assert_array_equal(z.view(float), x)


@pytest.mark.parametrize("rule", [r for r in RULES if isinstance(r, SIGNS)], ids=str)
def test_signs_of_complex_numbers_turn_with_the_problem(rule):
    rng = np.random.default_rng(1)
    z = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    turn = np.exp(0.7j)
    turned = z * turn
    opts = fl.Optimizer(z, rule), fl.Optimizer(turned, rule)
    before = z.copy()
    for t in range(6):
        g = rng.standard_normal(6) + 1j * rng.standard_normal(6)
        opts[0].step(g)
        opts[1].step(g * turn)
        if t == 0 and not getattr(rule, "weight_decay", 0):
            np.testing.assert_allclose(np.abs(z - before), rule.learning_rate, rtol=1e-12)
    np.testing.assert_allclose(turned, z * turn, rtol=1e-9)


MOMENTS = [r for r in RULES + EAGER if hasattr(r, "complex_moment")]


@pytest.mark.parametrize("rule", MOMENTS, ids=str)
def test_complex_moments_are_of_components_or_of_the_modulus(rule):
    rng = np.random.default_rng(1)
    z = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    twin = z.view(float).copy()
    turned, turn = z * np.exp(0.7j), np.exp(0.7j)
    plain = z.copy()
    components = dataclasses.replace(rule, complex_moment="components")
    opts = [fl.Optimizer(z, components), fl.Optimizer(twin, rule)]
    modulus = [fl.Optimizer(plain, rule), fl.Optimizer(turned, rule)]
    for _ in range(6):
        g = rng.standard_normal(6) + 1j * rng.standard_normal(6)
        opts[0].step(g)
        opts[1].step(g.view(float))
        modulus[0].step(g)
        modulus[1].step(g * turn)
    np.testing.assert_array_equal(z.view(float), twin)
    # |g|^2 does not see the phase, so the whole trajectory turns with the problem.
    np.testing.assert_allclose(turned, plain * turn, rtol=1e-9)
    names = [slot.name for slot in rule.slots if slot.real]
    assert names
    assert all(modulus[0].state[name].dtype == np.float64 for name in names)


@rules
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_computes_in_single(rule, name):
    dtype = np.dtype(name if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    rng = np.random.default_rng(5)
    half = rng.standard_normal(9).astype(dtype)
    g = rng.standard_normal(9).astype(dtype)
    single = half.astype(np.float32)
    a, b = fl.Optimizer(half, rule), fl.Optimizer(single, rule)
    a.step(g)
    b.step(g.astype(np.float32))
    np.testing.assert_array_equal(half, single.astype(dtype))
    assert all(x.dtype == np.float32 for key, x in a.state.items() if key != "step")


def test_a_schedule_may_drive_any_number():
    fields = [f.name for f in dataclasses.fields(fl.Adam) if isinstance(f.default, float)]
    for name in fields:
        value = 0.3
        a, b = np.ones(2), np.ones(2)
        fl.Optimizer(a, fl.Adam(**{name: value})).step(np.full(2, 0.5))
        fl.Optimizer(b, fl.Adam(**{name: lambda step: np.float64(0.3) + step})).step(
            np.full(2, 0.5)
        )
        np.testing.assert_array_equal(a, b)


def test_signatures_show_the_fields():
    parameters = inspect.signature(fl.Adam).parameters
    assert list(parameters)[:3] == ["learning_rate", "beta1", "beta2"]
    assert parameters["beta2"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["beta2"].default == 0.999


def test_only_the_learning_rate_of_an_own_rule_has_a_position():
    class Plain(fl.rules.Rule):
        shift: float = fl.rules.hyper(0.0)
        learning_rate: float = fl.rules.hyper(0.1)
        decay: float = fl.rules.hyper(0.2)

    rule = Plain(0.5, decay=0.3)
    assert (rule.learning_rate, rule.shift, rule.decay) == (0.5, 0.0, 0.3)
    with pytest.raises(TypeError, match=r"learning_rate without a name; .*: shift=, decay="):
        Plain(0.5, 0.3)

    class Other(Plain):
        decay: float = fl.rules.hyper(0.4)

    assert Other(0.5).decay == 0.4
    with pytest.raises(TypeError, match="without a name"):
        Other(0.5, 0.3)


def test_an_own_rule_may_mark_its_fields_itself():
    class Marked(fl.rules.Rule):
        shift: float = fl.rules.hyper(0.0)
        learning_rate: float = fl.rules.hyper(0.1)
        _: dataclasses.KW_ONLY
        decay: float = fl.rules.hyper(0.2)

    rule = Marked(0.5, 0.6, decay=0.3)
    assert (rule.shift, rule.learning_rate, rule.decay) == (0.5, 0.6, 0.3)
    with pytest.raises(TypeError, match=r"shift, learning_rate without a name; .*: decay="):
        Marked(0.5, 0.6, 0.3)


def test_a_wrapping_rule_takes_all_by_position():
    assert fl.Lookahead(fl.SGD(0.1), 3, 0.25) == fl.Lookahead(rule=fl.SGD(0.1), k=3, alpha=0.25)


def test_rules_are_values():
    rule = fl.Adam(1e-2, beta1=0.8)
    assert rule == fl.Adam(0.01, beta1=0.8)
    assert hash(rule) == hash(fl.Adam(0.01, beta1=0.8))
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert dataclasses.replace(rule, eps=0.1).eps == 0.1
    assert repr(rule) == "Adam(learning_rate=0.01, beta1=0.8)"
    assert fl.rules.get("adam", learning_rate=0.01) == fl.Adam(0.01)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fl.Adam(lr=1), TypeError, "did you mean learning_rate="),
        (lambda: fl.Adam(betas=(0.9, 0.9)), TypeError, "beta1= and beta2="),
        (lambda: fl.RMSprop(alpha=0.9), TypeError, "rho="),
        (lambda: fl.SGD(momentun=0.9), TypeError, "momentum="),
        (lambda: fl.Adam(-1.0), ValueError, r"Adam\(learning_rate=\): is -1.0"),
        (lambda: fl.Adam(float("nan")), ValueError, "learning_rate"),
        (lambda: fl.Adam(beta2=1.0), ValueError, r"beta2=\): is 1.0, .* \[0, 1\)"),
        (lambda: fl.Adam(beta1="x"), TypeError, "expected a number or a schedule"),
        (lambda: fl.Adam(amsgrad=1), TypeError, "expected a bool"),
        (lambda: fl.Adam(complex_moment="no"), ValueError, "components"),
        (lambda: fl.SGD(nesterov=True), ValueError, "momentum > 0"),
        (lambda: fl.rules.get("adamm"), ValueError, "did you mean 'Adam'"),
    ],
)
def test_hyperparameters_out_of_range_are_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()


@rules
def test_a_rule_is_compiled_once_under_jit(rule):
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    count = 0

    @jax.jit
    def step(params, grads, state):
        nonlocal count
        count += 1
        return rule.update(params=params, grads=grads, state=state)

    x = {"w": jnp.linspace(0.5, 1.5, 7, dtype="float32")}
    y = np.linspace(0.5, 1.5, 7, dtype="float32")
    opt, state = fl.Optimizer(y, rule), rule.init(x)
    sign = -1 if getattr(rule, "maximize", False) else 1
    for t in range(100):
        g = (sign * np.cos(t + np.arange(7)) + sign * 0.1).astype("float32")
        x, state = step(x, {"w": jnp.asarray(g)}, state)
        opt.step(g)
    assert count == 1
    np.testing.assert_array_less(np.abs(np.asarray(x["w"]) - y), 1e-6 * np.maximum(1, np.abs(y)))


def test_a_traced_rate_goes_with_a_schedule_under_jit():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @jax.jit
    def step(x, state, rate):
        rule = fl.Adam(rate, weight_decay=lambda step: 0.1 / (1 + step))
        return rule.update(params=x, grads=x, state=state)

    x = jnp.ones(3)
    state = fl.Adam().init(x)
    y = np.ones(3, "float32")
    opt = fl.Optimizer(y, fl.Adam(0.1, weight_decay=lambda step: 0.1 / (1 + step)))
    for _ in range(3):
        x, state = step(x, state, 0.1)
        opt.step(y.copy())
    np.testing.assert_allclose(np.asarray(x), y, atol=1e-6)
