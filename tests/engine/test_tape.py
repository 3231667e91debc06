"""Recordings and the loops of NumPy that they are made of."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from fallline.engine import numba_
from fallline.engine.tape import _nodes, _numpy_loops, _recorder, _tape, _walks, _writer
from tests.helpers import made_loop, same_bits

needs_numba = pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")


def test_the_loops_are_those_of_numpy():
    assert _numpy_loops.find("exp", "d").result == "d"
    assert _numpy_loops.find("less", "dd").result == "?"
    for name, dtypes, why in (
        ("exp", "?", "other dtypes"),
        ("add", "fd", "other dtypes"),
        ("add", "DD", "other dtypes"),
        ("bitwise_and", "dd", "gives no loop"),
        ("divmod", "dd", "to one result"),
        ("nothing", "d", "numpy.nothing is not a ufunc"),
    ):
        with pytest.raises(_nodes.UnrecordableError, match=why):
            _numpy_loops.find(name, dtypes)


@pytest.fixture
def searched():
    """Loops are looked for anew, before the test and after it."""
    _numpy_loops.find.cache_clear()
    yield
    _numpy_loops.find.cache_clear()


@pytest.mark.parametrize("name", ["exp", "add", "matmul"])
def test_a_loop_that_gives_other_numbers_is_refused(name, searched, monkeypatch):
    find = _numpy_loops._found
    other = {"exp": np.expm1, "add": np.subtract, "matmul": np.add}[name]
    monkeypatch.setattr(_numpy_loops, "_found", lambda _, dtypes: find(other, dtypes))
    with pytest.raises(_nodes.UnrecordableError, match=f"numpy.{name} .*the ufunc's results"):
        _numpy_loops.find(name, "d" if name == "exp" else "dd")


def test_a_loop_that_fails_is_refused(searched, monkeypatch):
    monkeypatch.setattr(_numpy_loops, "_found", made_loop(lambda *_: -1))
    with pytest.raises(_nodes.UnrecordableError, match="the ufunc's results"):
        _numpy_loops.find("exp", "d")


@pytest.mark.parametrize(
    "formula",
    [
        lambda xp, x: xp.sort(x),
        lambda xp, x: x[0],
        lambda xp, x: x[..., 1],
        lambda xp, x: xp.sum(x[..., None] * x, axis=0) @ x[..., None].T,
        lambda xp, x: xp.sum((x[..., None] + x).T),
        lambda xp, x: xp.arange(3) + 0.5,
        lambda xp, x: (x > 0) + 1,
        lambda xp, x: xp.where(x > 0, xp.arange(3), x),
        lambda xp, x: x + _recorder.Recorder("float64").memory(np.zeros(3)),
        lambda xp, x: x.T,
        lambda xp, x: (x[..., None] + x).T + x,
        lambda xp, x: float(x),
        lambda xp, x: xp.sum(x) if x > 0 else x,
        lambda xp, x: x @ x,
        lambda xp, x: x + np.ones(3),
        lambda xp, x: np.exp(x),
        lambda xp, x: xp.astype(x, np.dtype("int64")),
        lambda xp, x: xp.reshape(x, (1, 3)),
        lambda xp, x: x + "1",
    ],
)
def test_what_is_not_recorded_is_refused(formula):
    recorder = _recorder.Recorder("float64")
    x = recorder.memory(np.zeros(3))
    with pytest.raises(TypeError):
        formula(recorder.xp, x)


VALUES = {
    "rows": lambda xp, x, y, c, v: x - c[..., None],
    "columns": lambda xp, x, y, c, v: v * x / (v + 10),
    "outer": lambda xp, x, y, c, v: c[..., None] + v,
    "maximum": lambda xp, x, y, c, v: x - xp.max(x, axis=-1, keepdims=True),
    "first": lambda xp, x, y, c, v: x / xp.sum(xp.exp(x), axis=1)[..., None] + x[..., 0][..., None],
    "sums": lambda xp, x, y, c, v: xp.sum(x, axis=0) + 1 / xp.max(y, axis=0),
    "of rows": lambda xp, x, y, c, v: xp.sum(x, axis=-1) * xp.max(y, axis=1) - c,
    "all": lambda xp, x, y, c, v: xp.max(x) + xp.sum(y * x, keepdims=True),
    "where": lambda xp, x, y, c, v: xp.where((v > 0) & (x < c[..., None]), x, v),
    "equal": lambda xp, x, y, c, v: xp.astype(xp.arange(v.shape[0]) == 2, x.dtype) - x,
    "product": lambda xp, x, y, c, v: x.T @ (y - x) + v,
    "transpose": lambda xp, x, y, c, v: (x * y).T @ y.T.T,
    "in place": lambda xp, x, y, c, v: (x * 2 + y) - (x * 2).T.T + (x * y)[..., 0][..., None],
}


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (5, 1), (2, 3), (40, 9), (9, 40), (3, 999), (30, 300), (9000, 3)]
)
@pytest.mark.parametrize("name", VALUES)
def test_operations_on_arrays_of_two_axes_have_the_bits_of_numpy(name, shape, dtype):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(n).astype(dtype) for n in (shape, shape, shape[:1], shape[1:])]
    formula = VALUES[name]
    expected = np.asarray(formula(np, *arrays))
    got = np.zeros(expected.shape, dtype)
    recorder = _recorder.Recorder(dtype)
    pieces = not _walks._at_once("add", np.dtype(dtype).char)  # as in NumPy 2.0
    if pieces and name in ("first", "sums", "of rows", "all") and np.prod(shape) > np.getbufsize():
        with pytest.raises(_nodes.UnrecordableError, match="more than 8192 numbers in pieces"):
            formula(recorder.xp, *map(recorder.memory, arrays))
        return
    recorded = formula(recorder.xp, *map(recorder.memory, arrays))
    assert (recorded.shape, recorded.dtype) == (expected.shape, expected.dtype)
    recorder.write(recorder.memory(got), recorded)
    tape = _tape.Tape(recorder, recorder.xp.sum(recorder.memory(arrays[3])))
    before = [x.tobytes() for x in arrays]
    tape.run(np.zeros(1, np.int64), 0, 0, np.zeros((2, 0)), _tape.Outcome(2, dtype))
    assert [x.tobytes() for x in arrays] == before
    same_bits(got, expected)


@needs_numba
def test_results_that_are_written_in_place_are_read_before():
    # Where the old values are still needed, or needed in another order, they are not overwritten.
    for formula in (
        lambda x, y: (x + y, x * y),
        lambda x, y: (y - x, x - y),
        lambda x, y: (x[..., 0][..., None] + x, y),
        lambda x, y: (x[..., 0][..., None] + 0 * y, x + 0 * y),
        lambda x, y: (x @ y, y @ x),
    ):
        x, y = np.arange(9.0).reshape(3, 3), np.arange(9.0).reshape(3, 3) ** 2 - 7
        expected = formula(x.copy(), y.copy())
        recorder = _recorder.Recorder("float64")
        places = recorder.memory(x), recorder.memory(y)
        total = recorder.xp.sum(places[0])
        for place, value in zip(places, formula(*places), strict=True):
            recorder.write(place, value)
        tape = _tape.Tape(recorder, total)
        tape.run(np.zeros(1, np.int64), 0, 0, np.zeros((1, 0)), _tape.Outcome(1, "float64"))
        np.testing.assert_array_equal(x, expected[0])
        np.testing.assert_array_equal(y, expected[1])


@pytest.mark.parametrize("n", [1, 8, 63, 64])
def test_results_do_not_touch(n):
    # NumPy 2.0 takes arrays that touch for ones that overlap, and then has other exponentials.
    recorder = _recorder.Recorder("float64")
    x = recorder.memory(np.zeros(n))
    found = [x > 0, recorder.xp.exp(x), recorder.xp.exp(x + 1), recorder.xp.sum(x)]
    total = recorder.xp.sum(recorder.xp.where(found[0], found[1] * found[2], found[3]))
    writer = _writer.TapeWriter(recorder, total.node)
    ends = {
        writer.offsets[i] + recorder.nodes[i].size * recorder.nodes[i].dtype.itemsize
        for i in writer.offsets
    }
    assert len(writer.offsets) > 5
    assert not ends & set(writer.offsets.values())


def test_more_than_two_axes_of_memory_are_refused():
    recorder = _recorder.Recorder("float64")
    x = recorder.memory(np.zeros((2, 3, 4)))
    assert (x + 1).shape == (2, 3, 4)
    assert recorder.xp.sum(x, axis=2).shape == (2, 3)
    with pytest.raises(_nodes.UnrecordableError, match="more than two axes"):
        recorder.xp.sum(x, axis=1)
    with pytest.raises(ValueError, match="broadcast"):
        x + recorder.memory(np.zeros(3))


def test_writer_and_reader_of_a_tape_agree_on_the_layout_of_lines():
    # The reader is compiled from its own text, so that it cannot import the layout.
    text = Path(_writer.__file__).with_name("_replay.py").read_text()
    shared = [x for x in ast.parse(text).body if isinstance(x, ast.Assign) and "SLOPE" in names(x)]
    shared += [x for x in ast.parse(text).body if isinstance(x, ast.Assign) and "WIDTH" in names(x)]
    found = {}
    exec(compile(ast.Module(shared, []), "_replay", "exec"), found)
    found.pop("__builtins__")
    assert len(found) == 15
    assert found == {name: getattr(_writer, name) for name in found}


def names(assignment):
    return {x.id for x in ast.walk(assignment) if isinstance(x, ast.Name)}
