"""Engines: the same bits everywhere, any layout, clear refusals, threads and processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import fallline as fl
from fallline import engine as engines
from fallline.engine import numba_
from fallline.engine.trace import trace
from tests.cases import RULES
from tests.helpers import (
    COMPILED,
    FUNCTIONS,
    draw,
    misaligned,
    pairs,
    rule_of,
    same_bits,
    strided,
)

engine_names = pytest.mark.parametrize("engine", COMPILED)
rules = pytest.mark.parametrize("rule", RULES, ids=str)


def compare(engine, rule, params, gradients):
    """Step copies of params by an engine and eagerly, and compare all arrays."""
    ours = {key: make(x.copy()) for key, (make, x) in params.items()}
    theirs = {key: x.copy() for key, (_, x) in params.items()}
    fast, slow = fl.Optimizer(ours, rule, engine=engine), fl.Optimizer(theirs, rule, engine="eager")
    assert fast.engine == engine
    for grads in gradients:
        fast.step({k: None if g is None else params[k][0](g.copy()) for k, g in grads.items()})
        slow.step(grads)
    for key, x in theirs.items():
        same_bits(ours[key], x)
        for name, value in slow.state[key].items():
            if name == "step":
                assert fast.state[key]["step"] == value
            else:
                same_bits(fast.state[key][name], value)


def plain(x):
    return x


LAYOUTS = {"plain": plain, "misaligned": misaligned, "strided": strided, "f": np.asfortranarray}
LAYOUTS["swapped"] = lambda x: x.astype(x.dtype.newbyteorder("S"))


@engine_names
@rules
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_same_bits(engine, rule, dtype):
    rng = np.random.default_rng(0)
    shapes = {"a": (1003,), "b": (7, 11), "c": (), "d": (0, 3)}
    params = {key: (plain, draw(rng, shape, dtype, False)) for key, shape in shapes.items()}
    gradients = [{key: draw(rng, shape, dtype) for key, shape in shapes.items()} for _ in range(20)]
    gradients[3]["a"] = gradients[5]["b"] = None
    compare(engine, rule, params, gradients)


@rules
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_same_bits_in_half_precision(rule, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(1)
    params = {"a": (plain, draw(rng, 1003, dtype, False)), "b": (strided, draw(rng, (5, 4), dtype))}
    gradients = [{k: draw(rng, x.shape, dtype) for k, (_, x) in params.items()} for _ in range(20)]
    compare("blocked", rule, params, gradients)


@engine_names
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_same_bits_in_any_layout(engine, layout, dtype):
    rng = np.random.default_rng(2)
    make = LAYOUTS[layout]
    params = {"a": (make, draw(rng, (33, 41), dtype)), "b": (plain, draw(rng, (5, 4), dtype))}
    gradients = [{k: draw(rng, x.shape, dtype) for k, (_, x) in params.items()} for _ in range(5)]
    rule = fl.Adam(0.1, amsgrad=True, weight_decay=0.1)
    compare(engine, rule, params, gradients)
    # A gradient laid out unlike its parameter.
    x = draw(rng, (33, 41), dtype, False)
    y = x.copy()
    fast, slow = fl.Optimizer(x, rule, engine=engine), fl.Optimizer(y, rule, engine="eager")
    for _ in range(2):
        g = draw(rng, x.shape, dtype)
        g = g if layout == "swapped" else make(g)
        fast.step(g)
        slow.step(g)
    same_bits(x, y)


@engine_names
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_many_leaves(engine, dtype):
    rng = np.random.default_rng(3)
    sizes = [0, 1, 5, 1000, 1001, 17_000, 60_000, *range(1, 60)]
    params = {f"{i}": (plain, draw(rng, n, dtype, False)) for i, n in enumerate(sizes)}
    params["f"] = (np.asfortranarray, draw(rng, (6, 7), dtype))
    params["s"] = (strided, draw(rng, (6, 7), dtype))
    gradients = [{k: draw(rng, x.shape, dtype) for k, (_, x) in params.items()} for _ in range(4)]
    gradients[1]["4"] = None
    compare(engine, fl.Adam(0.1), params, gradients)


@engine_names
def test_a_gradient_may_be_shared(engine):
    leaves = [[np.ones(9) for _ in range(8)] for _ in range(2)]
    g = np.linspace(-1, 1, 9)
    for arrays, how in zip(leaves, (engine, "eager"), strict=True):
        fl.Optimizer(arrays, fl.Adam(0.1), engine=how).step([g] * 8)
    same_bits(np.asarray(leaves[0]), np.asarray(leaves[1]))


@engine_names
def test_replaced_state_and_parameters_are_used(engine):
    params = {"a": np.ones(5), "b": np.ones(3)}
    opt = fl.Optimizer(params, fl.SGD(0.5, momentum=0.5), engine=engine)
    grads = {"a": np.ones(5), "b": np.ones(3)}
    opt.step(grads)
    b = np.zeros(5)
    opt.state["a"]["b"] = b
    params["b"] = params["b"] + 1
    opt.step(grads)
    np.testing.assert_array_equal(b, np.ones(5))
    np.testing.assert_array_equal(params["a"], np.zeros(5))
    np.testing.assert_array_equal(params["b"], np.full(3, 0.75))
    opt.rule = fl.SGD(1.0, momentum=0.5)
    opt.step(grads)
    np.testing.assert_array_equal(params["a"], np.full(5, -1.5))
    opt.load_state_dict(opt.state_dict())
    opt.transform(lambda x: x[:2], "a")
    opt.step({"a": np.ones(2), "b": np.ones(3)})
    assert opt.engine == engine


@engine_names
def test_a_step_allocates_little(engine):
    n = 3_000_000
    x, g = np.ones(n, "float32"), np.ones(n, "float32")
    opt = fl.Optimizer(x, fl.Adam(0.1, amsgrad=True), engine=engine)
    opt.step(g)
    tracemalloc.start()
    opt.step(g)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6


@engine_names
def test_a_schedule_does_not_compile_anew(engine, monkeypatch):
    x = np.ones(5)
    opt = fl.Optimizer(x, fl.Adam(lambda step: 0.1 / (1 + step)), engine=engine)
    opt.step(np.ones(5))
    for name in ("compile", "exec"):
        monkeypatch.setattr(f"builtins.{name}", lambda *_: pytest.fail("compiled again"))
    for _ in range(3):
        opt.step(np.ones(5))
    monkeypatch.undo()


def test_a_program_prints():
    rule = fl.SGD(0.1, momentum=0.9, weight_decay=0.1)
    assert str(trace(rule, "float16")) == (
        "SGD, computed in float32\n"
        "  t1 = weight_decay * p\n"
        "  t2 = g + t1\n"
        "  t3 = keep * b\n"
        "  t4 = take * t2\n"
        "  t5 = t3 + t4\n"
        "  t6 = learning_rate * t5\n"
        "  t7 = p - t6\n"
        "  p <- t7\n"
        "  b <- t5"
    )
    x = {"a": np.ones(2), "b": np.ones(2, complex)}
    text = str(fl.Optimizer(x, fl.Adam(0.1)).program)
    assert "v <- " in text
    assert "m.im <- " in text


@engine_names
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(engine, function, dtype):
    x, g = pairs(dtype, function)
    compare(engine, rule_of(FUNCTIONS[function]), {"x": (plain, x)}, [{"x": g}])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda xp, s, p, g: p - float(g) * s.rate, "xp.where"),
        (lambda xp, s, p, g: p if g else g, "xp.where"),
        (lambda xp, s, p, g: p if g > s.rate else g, "xp.where"),
        (lambda xp, s, p, g: p - g[0], "xp.where"),
        (lambda xp, s, p, g: p - g * (s.rate * s.rate), r"belongs in scalars\(t\)"),
        (lambda xp, s, p, g: p - g.shape, "must not ask for .shape"),
        (lambda xp, s, p, g: xp.where(g, p, g), "where of a array|where of an array"),
        (lambda xp, s, p, g: p - "g", "not an operand"),
        (lambda xp, s, p, g: np.asarray(p), "xp.where"),
    ],
)
def test_formulas_that_are_refused_with_their_line(body, words):
    with pytest.raises(TypeError, match=f"test_engines.py:.*{words}"):
        fl.Optimizer(np.ones(3), rule_of(body))


def test_inexact_functions_are_left_to_the_eager_engine():
    for body in (lambda xp, s, p, g: p - s.rate * xp.exp(g), lambda xp, s, p, g: p - g**2):
        x = np.ones(3)
        opt = fl.Optimizer(x, rule_of(body))
        assert opt.engine == "eager"
        opt.step(np.ones(3))
        with pytest.raises(TypeError, match=r"test_engines.py:\d+"):
            fl.Optimizer(x, rule_of(body), engine="blocked")


def test_engines_that_cannot(monkeypatch):
    x = np.ones(3)
    with pytest.raises(ValueError, match="unknown engine 'nmba'; did you mean 'numba'"):
        fl.Optimizer(x, fl.Adam(), engine="nmba")
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match=r"params\['a'\]: engine 'blocked' runs NumPy arrays"):
        fl.Optimizer({"a": strict.ones(3)}, fl.Adam(), engine="blocked")
    with pytest.raises(TypeError, match=r"engine 'numba' runs float32, .* got float16"):
        fl.Optimizer(x.astype("float16"), fl.Adam(), engine="numba")
    monkeypatch.setattr(numba_, "installed", lambda: False)
    with pytest.raises(ImportError, match=r"fallline\[numba\]"):
        fl.Optimizer(x, fl.Adam(), engine="numba")
    assert fl.Optimizer(x, fl.Adam()).engine == "blocked"


def test_every_rule_can_be_traced():
    for rule in RULES:
        for dtype in ("float16", "float32", "complex128"):
            assert engines.choose("blocked", "p", np.ones(2, dtype), rule)[0] == "blocked"


# -- threads and processes ----------------------------------------------------------------------

needs_numba = pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")


def steps(n=200_000, count=10):
    x = np.linspace(-1, 1, n)
    opt = fl.Optimizer(x, fl.Adam(0.1))
    for t in range(count):
        opt.step(np.cos(x + t))
    return x


def test_two_threads():
    expected, found = steps(), [None, None]

    def work(i):
        found[i] = steps()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x in found:
        same_bits(x, expected)


ONE_THREAD = """
import numba
import numpy as np

import fallline as fl

few = [np.ones(n, dtype) for n in (100_000, 700_000) for dtype in ("float32", "complex128")]
many = [np.ones(16_000) for _ in range(20)]
for params in (few, many):
    opt = fl.Optimizer(params, fl.Adam(0.1), engine="numba")
    opt.step([x.copy() for x in params])
try:
    print(numba.threading_layer())
except ValueError:
    print("no threads")
assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
"""


@needs_numba
def test_numba_s_own_threads_are_never_started():
    # They would spin while they wait, and stall between the matrix products of a training loop.
    run = subprocess.run(
        [sys.executable, "-c", ONE_THREAD], check=True, capture_output=True, text=True
    )
    assert run.stdout == "no threads\n"


PROCESSES = """
import multiprocessing
import sys

import numpy as np

import fallline as fl


def child(opt, queue):
    for t in range(5):
        opt.step(np.cos(opt.params + t))
    queue.put(opt.params)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    x = np.linspace(-1, 1, 200_000)
    opt = fl.Optimizer(x, fl.Adam(0.1))
    opt.step(np.cos(x))
    queue = context.Queue()
    process = context.Process(target=child, args=(opt, queue))
    process.start()
    found = queue.get(timeout=60)
    process.join(timeout=60)
    assert process.exitcode == 0
    for t in range(5):
        opt.step(np.cos(x + t))
    assert (found == x).all()
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_with_a_live_optimizer(how, tmp_path):
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    path = tmp_path / "processes.py"
    path.write_text(PROCESSES)
    subprocess.run([sys.executable, path, how], check=True, timeout=120)


def test_an_old_array_may_go_into_a_slot(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes its arrays")

    class Before(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(default=0.1)

        @property
        def slots(self):
            return (fl.rules.Slot("before"),)

        def scalars(self, t):
            return {"learning_rate": self.learning_rate}

        def formula(self, xp, s, p, g, before):
            return p - s.learning_rate * g, p

    for engine in ("eager", "auto"):
        opt = fl.Optimizer(backend.array(np.ones(3)), Before(), engine=engine)
        opt.step(backend.array(np.ones(3)))
        opt.step(backend.array(np.ones(3)))
        np.testing.assert_allclose(backend.numpy(opt.params), 0.8)
        np.testing.assert_allclose(backend.numpy(opt.state["before"]), 0.9)
