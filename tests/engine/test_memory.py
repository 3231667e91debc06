"""Memory in the engines: gradients that are their parameters, arrays that are let go."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import fallline as fl
from fallline import engine as engines
from fallline.engine.trace import trace
from tests.cases import RULES, WHOLE
from tests.cuda_host import host_device, on_cupy, on_numpy  # noqa: F401
from tests.helpers import COMPILED, same_bits

engine_names = pytest.mark.parametrize("engine", ["eager", *COMPILED])
SELVES = {"itself": lambda p: p, "a view": lambda p: p[...]}


def putter(engine, request):
    """Return what makes an array of an engine's library over the memory of NumPy's."""
    if engine == "cuda":
        request.getfixturevalue("host_device")
        return on_cupy
    return lambda x: x


def held(x):
    return x if isinstance(x, np.ndarray) else on_numpy(x)


def arrays(opt):
    return [opt.params, *(x for name, x in opt.state.items() if name != "step")]


def own_steps(rule, engine, n, own, dtype="float64", **surroundings):
    """Step an array twice with itself as its gradient."""
    p = np.linspace(-1, 1, n).astype(dtype)
    opt = fl.Optimizer(p, rule, engine=engine, **surroundings)
    for _ in range(2):
        opt.step(own(p))
    return arrays(opt)


@engine_names
@pytest.mark.parametrize("own", SELVES)
def test_the_gradient_may_be_the_parameter(engine, own):
    for rule in RULES:
        for n, dtype in ((10, "float64"), (10, "complex64"), (100_000, "float32")):
            found = own_steps(rule, engine, n, SELVES[own], dtype)
            expected = own_steps(rule, "eager", n, np.copy, dtype)
            for x, y in zip(found, expected, strict=True):
                same_bits(x, y)


@pytest.mark.parametrize("own", SELVES)
def test_the_gradient_may_be_the_parameter_of_rules_for_whole_leaves(own):
    for rule in WHOLE:
        found = own_steps(rule, "eager", 12, lambda p: SELVES[own](p))
        for x, y in zip(found, own_steps(rule, "eager", 12, np.copy), strict=True):
            same_bits(x, y)


SURROUNDINGS = [
    {"constraint": fl.NonNegative()},
    {"penalty": fl.L1(0.1)},
    {"nonfinite": "skip"},
    {"master_weights": True},
    {"gradients": [fl.gradients.ClipByGlobalNorm(0.5)]},
]


@engine_names
@pytest.mark.parametrize("own", SELVES)
def test_the_gradient_may_be_the_parameter_whatever_surrounds_the_rule(engine, own):
    rule = fl.Adan(0.1)  # which keeps its gradient as it is
    for keywords in SURROUNDINGS:
        found = own_steps(rule, engine, 10, SELVES[own], **keywords)
        expected = own_steps(rule, "eager", 10, np.copy, **keywords)
        for x, y in zip(found, expected, strict=True):
            same_bits(x, y)


def test_the_gradient_may_be_the_parameter_in_every_library(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes its arrays")
    p = backend.array(np.asarray([2.0, -1.0]))
    opt = fl.Optimizer(p, fl.Adan(0.1))
    opt.step(p)
    np.testing.assert_array_equal(backend.numpy(opt.state["last"]), [2.0, -1.0])


def moving(body):
    """Return a rule with a slot, of which a body makes the new parameter and the new slot."""

    class Moving(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(0.5)

        @property
        def slots(self):
            return (fl.rules.Slot("b"),)

        def scalars(self, t):
            return {"rate": self.learning_rate}

        def formula(self, xp, s, p, g, b):
            return body(xp, s, p, g, b)

    return Moving()


MOVES = {
    "kept": lambda xp, s, p, g, b: (p - s.rate * g, g),
    "chosen": lambda xp, s, p, g, b: (xp.where(p > s.rate, g, s.rate * p), s.rate * b),
    "chosen else": lambda xp, s, p, g, b: (xp.where(p > s.rate, s.rate * p, g), g),
    "chosen and kept": lambda xp, s, p, g, b: (xp.where(g > b, p, g), p),
    "passed on": lambda xp, s, p, g, b: (b, g),
    "exchanged": lambda xp, s, p, g, b: (b, p),
    "taken": lambda xp, s, p, g, b: (g, p),
    "summed and passed on": lambda xp, s, p, g, b: (b, p + s.rate * g),
}


@pytest.mark.parametrize("engine", ["eager", *COMPILED, "cuda"])
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("how", [*SELVES, "apart"])
def test_numbers_that_move_between_arrays(engine, move, how, request):
    put = putter(engine, request)
    rule = moving(MOVES[move])
    for n in (7, 100_000) if engine != "cuda" else (7,):
        p, q = np.linspace(-1, 2, n), np.linspace(-1, 2, n)
        ours = put(p)
        fast, slow = fl.Optimizer(ours, rule, engine=engine), fl.Optimizer(q, rule, engine="eager")
        for t in range(3):
            g = np.cos(np.arange(n) + t)
            if how in SELVES:
                fast.step(SELVES[how](ours))
                slow.step(q.copy())
            else:
                fast.step(put(g))
                slow.step(g)
            same_bits(p, q)
            same_bits(held(fast.state["b"]), slow.state["b"])


# -- arrays are let go -----------------------------------------------------------------------------


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("engine", ["eager", *COMPILED, "cuda"])
def test_a_runner_gives_its_arrays_back_at_once(engine, request, no_collector):
    put = putter(engine, request)
    rule = fl.Adam(0.1)
    program = None if engine == "eager" else trace(rule, "float64")
    leaves = [[np.ones(5) for _ in range(3)] for _ in range(6)]
    grads = [np.ones(5) for _ in leaves]
    watched = [weakref.ref(x) for leaf in leaves for x in leaf]
    watched += [weakref.ref(g) for g in grads]
    runner = engines.make(engine, rule, program, [[put(x) for x in leaf] for leaf in leaves])
    runner_watched = weakref.ref(runner)
    taken = [put(g) for g in grads]
    for which in ([*range(6)], [*range(6)], [1, 2]):
        runner.run(rule.scalars(1), which, [taken[i] for i in which], lambda: None)
    del runner, leaves, grads, taken
    assert runner_watched() is None
    assert not [ref() for ref in watched if ref() is not None]


@engine_names
@pytest.mark.parametrize("options", [{}, *SURROUNDINGS], ids=lambda x: "".join(x) or "plain")
def test_an_optimizer_gives_its_state_back_at_once(engine, options, no_collector):
    params = {f"{i}": np.ones((3, 3)) for i in range(6)}
    opt = fl.Optimizer(params, fl.Adam(0.1), engine=engine, **options)
    for _ in range(3):
        opt.step({key: np.ones((3, 3)) for key in params})
    entries = [opt.state[key] for key in params]
    watched = [weakref.ref(x) for state in entries for name, x in state.items() if name != "step"]
    watched.append(weakref.ref(opt))
    del opt, params, entries
    assert not [ref() for ref in watched if ref() is not None]
