"""The pure form inside JAX's transformations: what is traced, counts that end, devices."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from tests import cases

jax = pytest.importorskip("jax")
jnp = jax.numpy
rules = pytest.mark.parametrize("rule", cases.RULES + cases.WHOLE, ids=lambda r: repr(r)[:60])
SOME = (fl.SGD(0.1, momentum=0.9), fl.Adam(0.1), fl.LAMB(0.1), fl.Adafactor(0.1), fl.Rprop(0.1))
LAST = 2**31 - 1


@pytest.mark.parametrize("rule", SOME, ids=lambda r: r.name)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_gradients_alone_may_be_traced(rule, dtype):
    p = {"w": jnp.asarray([[1.0, 2.0], [3.0, 4.0]], dtype)}
    state = rule.init(p)
    step = lambda g: rule.update(params=p, grads={"w": g}, state=state)[0]["w"]  # noqa: E731
    gradients = jnp.stack([p["w"], -0.5 * p["w"]])
    expected = jnp.stack([step(g) for g in gradients])
    for found in (
        jnp.stack([jax.jit(step)(g) for g in gradients]), jax.vmap(step)(gradients),
        jax.jit(jax.vmap(step))(gradients),
    ):  # fmt: skip
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found.astype("complex64"), expected.astype("complex64"), rtol=1e-2
        )


def test_a_loss_is_differentiated_through_a_step():
    rule, p = fl.SGD(0.1), jnp.asarray([1.0, 2.0])
    state = rule.init(p)

    def after(a):
        return rule.update(params=p, grads=a * p, state=state)[0].sum()

    np.testing.assert_allclose(jax.grad(after)(1.0), -0.3, rtol=1e-6)
    step, _ = jax.jit(lambda g: rule.direction(params=p, grads=g, state=state))(p)
    np.testing.assert_allclose(step, [-0.1, -0.2], rtol=1e-6)


def test_other_mistakes_are_found_while_gradients_are_traced():
    rule, p = fl.SGD(0.1), jnp.ones(2)
    state = rule.init(p)
    with pytest.raises(ValueError, match=r"grads: shape is \(3,\), expected \(2,\)"):
        jax.jit(lambda g: rule.update(params=p, grads=g, state=state))(jnp.ones(3))


def test_an_optimizer_keeps_no_symbols():
    params = {"w": jnp.ones(2)}
    opt = fl.Optimizer(params, fl.Adam(0.1))
    with pytest.raises(TypeError, match=r"grads\['w'\]: is a symbol .* pure form, Rule.update"):
        jax.jit(lambda g: opt.step({"w": g}))(jnp.ones(2))
    with pytest.raises(TypeError, match=r"state\['w'\]\['m'\]: is a symbol"):
        jax.jit(lambda m: opt.state["w"].update(m=m))(jnp.ones(2))
    assert opt.step_count == 0
    opt.step({"w": jnp.ones(2)})
    assert np.isfinite(params["w"]).all()


# -- counts -----------------------------------------------------------------------------------


def at_count(rule, p, n):
    state = rule.init(p)
    return state._replace(step=n, leaves={**state.leaves, "step": n})


@rules
def test_counts_stay_at_the_largest(rule):
    p, g = (jnp.linspace(low, 1.5, 8).reshape(2, 4) for low in (0.5, -1.0))
    step = jax.jit(lambda p, s: rule.update(params=p, grads=g, state=s))
    for start in (LAST - 2, LAST):
        state, x = at_count(rule, p, jnp.int32(start)), p
        own, y = at_count(rule, p, start), p  # on the host, where integers have no end
        for t in range(1, 4):
            x, state = step(x, state)
            assert int(state.step) == int(state.leaves["step"]) == min(start + t, LAST)
            y, own = rule.update(params=y, grads=g, state=own)
            assert own.step == own.leaves["step"] == start + t
            if start + t <= LAST:
                np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)
        assert np.isfinite(x).all()


def test_a_long_average_is_still_rectified_late():
    # Twice the count is more than 32 bits hold, and the average is not full yet.
    rule, p, g = fl.RAdam(0.1, beta2=1 - 1e-9), jnp.ones(2), jnp.ones(2)
    step = jax.jit(lambda p, s: rule.update(params=p, grads=g, state=s)[0])
    found = step(p, at_count(rule, p, jnp.int32(2**30)))
    expected, _ = rule.update(params=p, grads=g, state=at_count(rule, p, 2**30))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_counts_of_64_bits_go_on():
    with jax.enable_x64(True):
        n = jnp.asarray(LAST)
        assert int(_arrays.counted(n)) == LAST + 1
        assert int(_arrays.counted(jnp.asarray(2**63 - 1))) == 2**63 - 1
    assert _arrays.counted(2**63 - 1) == 2**63
    assert int(_arrays.counted(np.asarray(127, np.int8))) == 127


@pytest.mark.parametrize("k", [3, 2**31, 10**12])
def test_lookahead_counts_with_any_k(k):
    rule, p = fl.Lookahead(fl.SGD(0.5), k=k), jnp.ones(1)
    state, x, y = rule.init(p), p, np.ones(1, "float32")
    opt = fl.Optimizer(y, rule)
    step = jax.jit(lambda p, s: rule.update(params=p, grads=jnp.ones(1), state=s))
    for _ in range(4):
        x, state = step(x, state)
        opt.step(np.ones(1, "float32"))
    np.testing.assert_allclose(x, y, rtol=1e-6)


# -- devices and compilations -------------------------------------------------------------------


@pytest.fixture
def compilations():
    """Return a list that grows with every compilation of XLA."""
    found = []

    def listen(name, _, **__):
        if name.endswith("backend_compile_duration"):
            found.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("rule", [*SOME, fl.Lookahead(fl.Adam())], ids=lambda r: r.name)
def test_a_jitted_step_is_compiled_once(rule, compilations):
    p = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    g, state = p, rule.init(p)
    step = jax.jit(lambda p, g, s: rule.update(params=p, grads=g, state=s))
    counts = []
    for _ in range(3):
        compilations.clear()
        p, state = step(p, g, state)
        counts.append(len(compilations))
    assert counts == [1, 0, 0]


def test_state_is_as_free_as_its_parameter():
    free = jnp.ones((3, 2))
    bound = jax.device_put(free, jax.devices()[0])
    for x in (free, bound):
        for rule in (fl.Adam(), fl.Adafactor(), fl.Lookahead(fl.SGD())):
            slots = rule._init_leaf(x)
            assert slots.pop("step") == 0
            assert {slot.committed for slot in slots.values()} == {x.committed}
        opt = fl.Optimizer({"w": x}, fl.Adam())
        opt.step({"w": x})
        copy = opt.state_dict()
        assert opt.params["w"].committed == opt.state["w"]["m"].committed == x.committed
        assert copy["state"]["w"]["m"].committed == x.committed


def test_state_follows_its_parameters_to_another_device():
    code = """
        import jax, jax.numpy as jnp
        import fallline as fl

        here, there = jax.devices()
        for rule in (fl.Adam(0.1), fl.Adafactor(0.1), fl.Lookahead(fl.SGD(0.1, momentum=0.9))):
            p = {"w": jnp.ones((3, 2))}
            state = rule.init(p)
            p = g = jax.device_put(p, there)
            step = jax.jit(lambda p, g, s: rule.update(params=p, grads=g, state=s))
            new, after = step(p, g, state)
            arrays = [new["w"], *(x for n, x in after.leaves["w"].items() if n != "step")]
            assert {x.device for x in arrays} == {there}, arrays
            new, _ = rule.update(params=p, grads=g, state=state)
            assert new["w"].device == there
            # What belongs to an array that is bound to a device is made there, and stays.
            made = [x for n, x in rule.init(p).leaves["w"].items() if n != "step"]
            assert all(x.device == there and x.committed for x in made)
            opt = fl.Optimizer(dict(p), rule)
            opt.step(g)
            assert opt.params["w"].device == there
            slots = [x for n, x in opt.state["w"].items() if n != "step"]
            assert {x.device for x in slots} == {there}
        print("followed")
    """
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "followed"
