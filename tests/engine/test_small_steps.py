"""What a step of few or of many small arrays takes for granted."""

from __future__ import annotations

import contextvars
import gc
import warnings
import weakref

import numpy as np
import pytest

import fallline as fl
from fallline.engine import blocked
from fallline.engine.program import Line, Operand, Program
from tests.helpers import COMPILED, same_bits

engine_names = pytest.mark.parametrize("engine", COMPILED)

LAYOUTS = {
    "in order": np.copy,
    "with gaps": lambda g: np.repeat(g, 2, axis=-1)[..., ::2],
    "transposed": lambda g: np.asfortranarray(g),
    "not aligned": lambda g: np.frombuffer(b"\0" + g.tobytes(), "u1")[1:].view(g.dtype).reshape(
        g.shape
    ),
    "read-only": lambda g: np.frombuffer(g.tobytes(), g.dtype).reshape(g.shape),
}  # fmt: skip


@engine_names
@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_small_gradients_may_lie_in_any_way_and_come_again(engine, layout):
    rng = np.random.default_rng(11)
    shapes = [(3, 4), (5,), (1,), (2, 3), (7,)]
    start = [rng.standard_normal(shape).astype("f4") for shape in shapes]
    opt = fl.Optimizer([x.copy() for x in start], fl.Adam(0.1), engine=engine)
    twin = fl.Optimizer([x.copy() for x in start], fl.Adam(0.1), engine="eager")
    g = [rng.standard_normal(shape).astype("f4") for shape in shapes]
    laid = [LAYOUTS[layout](x) for x in g]
    for _ in range(4):  # from the second time on, these gradients are known
        opt.step(laid)
        twin.step(g)
    for x, y in zip(opt.params, twin.params, strict=True):
        same_bits(x, y)


@engine_names
def test_numbers_out_of_range_neither_warn_nor_change_what_numpy_is_told(engine):
    huge = np.full(8, 3e38, "f4")
    opt = fl.Optimizer(np.ones(8, "f4"), fl.Adam(0.1, eps=0.0), engine=engine)
    with warnings.catch_warnings(), np.errstate(all="raise", under="warn"):
        warnings.simplefilter("error")
        before = np.geterr()
        for g in (huge, -huge, np.zeros(8, "f4")):
            opt.step(g)
        assert np.geterr() == before
    with pytest.raises(FloatingPointError), np.errstate(over="raise"):
        np.multiply(huge, huge)


def pick(rng, numbers, n):
    return tuple(int(k) for k in rng.choice(numbers, n))


def drawn(rng):
    """Return a program of random operations on four arrays, some of which are written."""
    lines = [Line("load", (i, 0)) for i in range(4)] + [Line("scalar", (0,))]
    truths = []
    for _ in range(rng.integers(3, 12)):
        i = len(lines)
        numbers = [k for k in range(i) if k not in truths]
        kind = rng.choice(["add", "multiply", "maximum", "negative", "abs", "less", "where"])
        if kind == "less":
            truths.append(i)
            lines.append(Line("less", pick(rng, numbers, 2)))
        elif kind == "where" and truths:
            lines.append(Line("where", (int(rng.choice(truths)), *pick(rng, numbers, 2))))
        else:
            kind = "subtract" if kind == "where" else str(kind)
            lines.append(Line(kind, pick(rng, numbers, 1 if kind in ("negative", "abs") else 2)))
    made = [k for k in range(len(lines)) if k not in truths and lines[k].op != "scalar"]
    outputs = tuple((int(k),) for k in rng.choice(made, 3))
    arrays = tuple(Operand(name, "float64", 1) for name in "pgmv")
    return Program("drawn", "float64", arrays, ("a",), tuple(lines), outputs)


def run_plainly(program, arrays, number):
    """Return the new arrays of a program, each operation by itself."""
    found = []
    for op, args in program.lines:
        taken = [found[k] for k in args] if op not in ("load", "scalar") else []
        if op == "load":
            found.append(arrays[args[0]])
        elif op == "scalar":
            found.append(np.full_like(arrays[0], number))
        else:
            found.append(getattr(np, {"abs": "absolute"}.get(op, op))(*taken))
    return [found[parts[0]].copy() for parts in program.outputs]


@pytest.mark.parametrize("own", [False, True], ids=["", "its own gradient"])
@pytest.mark.parametrize("seed", range(20))
def test_arrays_that_hold_intermediate_numbers_end_with_their_own(seed, own):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        program = drawn(rng)
        p, g, *slots = (rng.standard_normal(6) for _ in range(4))
        g = p if own else g
        expected = run_plainly(program, [p, g, *slots], 0.5)
        runner = blocked.BlockedRunner(program, [[p, *slots]])
        runner.run({"a": 0.5}, [0], [g], lambda: None)
        for x, y in zip((p, *slots), expected, strict=True):
            np.testing.assert_array_equal(x, y)


def test_numbers_of_a_program_stand_in_its_order_with_its_constants():
    arrays = (Operand("p", "float64", 1), Operand("g", "float64", 1))
    given = {"b": 2.0, "a": 1.0, "unused": 9.0}
    for scalars, expected in (
        ((), []), (("a",), [1.0]), ((0.5,), [0.5]), (("b", "a"), [2.0, 1.0]),
        (("a", 0.5, "b"), [1.0, 0.5, 2.0]),
    ):  # fmt: skip
        program = Program("p", "float64", arrays, scalars, (Line("load", (0, 0)),), ((0,),))
        assert list(program.numbers(given)) == expected


@pytest.mark.parametrize(
    ("levels", "size"),
    [((1 << 20, 0), 1 << 20), ((1 << 20, 32 << 20), 4 << 20), ((0, 0), 1 << 20),
     ((2 << 20, 8 << 20), 2 << 20), ((1 << 19, 6 << 20), 3 << 18), ((0, 256 << 20), 4 << 20)],
)  # fmt: skip
def test_blocks_fit_into_a_share_of_the_caches(monkeypatch, levels, size):
    blocked._cache_size.cache_clear()
    monkeypatch.setattr(blocked, "_level", dict(zip((2, 3), levels, strict=True)).get)
    try:
        assert blocked._cache_size() == size
    finally:
        blocked._cache_size.cache_clear()


def test_a_runner_does_not_keep_what_the_context_of_its_maker_held():
    variable = contextvars.ContextVar("variable")

    class Large:
        pass

    def make():
        large = Large()
        variable.set(large)
        opt = fl.Optimizer(np.ones(8), fl.SGD(0.1), engine="blocked")
        opt.step(np.ones(8))
        return opt, weakref.ref(large)

    opt, seen = contextvars.Context().run(make)
    gc.collect()
    assert seen() is None
    opt.step(np.ones(8))
