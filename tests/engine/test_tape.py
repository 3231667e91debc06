"""Recordings and the loops of NumPy that they are made of."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from fallline.engine.tape import _nodes, _numpy_loops, _recorder, _writer
from tests.helpers import made_loop


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


def test_writer_and_reader_of_a_tape_agree_on_the_layout_of_lines():
    # The reader is compiled from its own text, so that it cannot import the layout.
    text = Path(_writer.__file__).with_name("_replay.py").read_text()
    shared = [x for x in ast.parse(text).body if isinstance(x, ast.Assign) and "SLOPE" in names(x)]
    shared += [x for x in ast.parse(text).body if isinstance(x, ast.Assign) and "WIDTH" in names(x)]
    found = {}
    exec(compile(ast.Module(shared, []), "_replay", "exec"), found)
    found.pop("__builtins__")
    assert len(found) == 13
    assert found == {name: getattr(_writer, name) for name in found}


def names(assignment):
    return {x.id for x in ast.walk(assignment) if isinstance(x, ast.Name)}
