"""Results as people see them: large trees by shapes, small numbers as they are."""

from __future__ import annotations

import inspect
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import fallline as fl
from fallline._arrays._results import Result, shown


class Pair(NamedTuple):
    one: object
    two: object


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1.0, 2.0]), "[1. 2.]"),
        (np.ones((64, 20), np.float32), "(64, 20) float32"),
        (np.ones(21, complex), "(21,) complex128"),
        (np.array(2.5), "2.5"),
        ({"w": np.ones((30, 2)), "b": np.array(0.5)}, "{'w': (30, 2) float64, 'b': array(0.5)}"),
        ({"a": [np.ones(40), None], "b": (np.ones(2),)},
         "{'a': [(40,) float64, None], 'b': (array([1., 1.]),)}"),
        (Pair(np.ones(40), np.zeros(1)), "Pair(one=(40,) float64, two=array([0.]))"),
        ([np.ones(30)] * 14, "[" + "(30,) float64, " * 12 + "...]"),
        ({"a": [np.ones(30)] * 12, "b": np.ones(30)},
         "{'a': [" + ", ".join(["(30,) float64"] * 12) + "], ...}"),
        ({}, "{}"), ([], "[]"), ((), "()"),
        ("a message", "a message"), (3, "3"), (True, "True"), (None, "None"),
    ],
)  # fmt: skip
def test_what_is_large_is_told_by_its_shape(value, words):
    assert shown(value) == words


def test_arrays_of_other_libraries_are_told_in_the_same_way(backend):
    assert shown(backend.array(np.ones((64, 20), np.float32))) == "(64, 20) float32"


def test_a_result_is_a_line_for_each_entry():
    found = Result(message="done", x={"w": np.ones((100, 3))}, fun=0.5)
    assert repr(found).splitlines() == [
        "message: done", "      x: {'w': (100, 3) float64}", "    fun: 0.5",
    ]  # fmt: skip
    assert (found.fun, found["fun"]) == (0.5, 0.5)
    assert dir(found) == ["fun", "message", "x"]
    with pytest.raises(AttributeError, match="loss"):
        _ = found.loss
    assert repr(Result()) == ""


def test_entries_are_set_and_removed_as_attributes_too():
    found = Result(fun=0.5)
    found.fun = 0.25
    found.x = np.ones(2)
    assert (found["fun"], list(found.keys())) == (0.25, ["fun", "x"])
    del found.x
    assert found == {"fun": 0.25}
    with pytest.raises(AttributeError, match="x"):
        del found.x


@pytest.mark.parametrize("kind", [fl.MinimizeResult, fl.FitResult])
def test_an_editor_knows_the_entries_of_a_result(kind):
    if kind is fl.MinimizeResult:
        found = fl.minimize(lambda x: (np.sum(x * x), 2 * x), np.ones(3))
    else:
        found = fl.fit(fl.LinearModel(fl.losses.SquaredError()), (np.eye(3), np.ones(3)))
    assert type(found) is kind
    assert set(inspect.get_annotations(kind)) == set(found.keys())
    assert [found[name] is getattr(found, name) for name in found] == [True] * len(found)
    copied = pickle.loads(pickle.dumps(found))
    assert type(copied) is kind
    assert list(copied) == list(found)


def test_results_of_large_problems_are_short():
    def fun(x):
        return sum(np.sum(p * p) for p in x["layers"]), {"layers": [2 * p for p in x["layers"]]}

    x0 = {"layers": [np.ones((200, 10)), np.ones(10)]}
    found = fl.minimize(fun, x0, record=("fun", "x"))
    lines = repr(found).splitlines()
    assert len(lines) == len(found)
    assert "      history: {fun, x}" in lines
    small = " ".join(repr(found.x["layers"][1]).split())
    assert f"            x: {{'layers': [(200, 10) float64, {small}]}}" in lines
    assert len(repr(found)) < 1500
    X, y = np.random.default_rng(0).standard_normal((50, 40)), np.arange(50.0)
    fit = fl.fit(fl.LinearModel(fl.losses.SquaredError()), (X, y))
    assert "params: {'weights': (40,) float64, 'intercept': array(" in repr(fit)
    assert "objective: " not in repr(fit)
    assert "predict" in dir(fit)
    many = fl.minimize(
        lambda x: (np.sum(x * x, axis=1), 2 * x), np.ones((300, 2)), batched=True
    )  # fmt: skip
    assert len(repr(many).splitlines()) == len(many)


def test_a_record_prints_its_numbers_only():
    run = fl.LBFGS().start(lambda x: (np.sum(x * x), 2 * x), np.ones(2))
    words = repr(run.record)
    assert words.startswith("Record(value=2.0, gradient_norm=2.0, iteration=0, evaluations=1")
    assert "_x" not in words
