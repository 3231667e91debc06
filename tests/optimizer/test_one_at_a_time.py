"""One step at a time; an Optimizer that is dropped goes at once."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import fallline as fl


def test_a_step_within_a_step_is_refused():
    def constraint(x):
        if nested:
            nested[0].step(np.ones(2))
        return x

    nested = []
    x = np.ones(2)
    opt = fl.Optimizer(x, fl.SGD(0.1), constraint=constraint)
    nested.append(opt)
    with pytest.raises(RuntimeError, match="within a step of the same Optimizer"):
        opt.step(np.ones(2))
    assert np.all(x == 1)
    nested.clear()
    opt.step(np.ones(2))
    assert opt.step_count == 1


def test_a_step_beside_another_one_is_refused():
    inside, leave, errors = threading.Event(), threading.Event(), []

    def constraint(x):
        if armed:
            inside.set()
            leave.wait(10)
        return x

    armed = []
    opt = fl.Optimizer(np.ones(2), fl.SGD(0.1), constraint=constraint)
    armed.append(True)
    thread = threading.Thread(target=lambda: opt.step(np.ones(2)))
    thread.start()
    assert inside.wait(10)
    try:
        opt.step(np.ones(2))
    except RuntimeError as error:
        errors.append(str(error))
    leave.set()
    thread.join()
    assert "is running in another thread" in errors[0]
    armed.clear()
    opt.step(np.ones(2))
    assert opt.step_count == 2


@pytest.mark.parametrize("engine", ["eager", "blocked", "auto"])
def test_a_dropped_optimizer_lets_go_of_its_state(engine):
    gc.collect()
    gc.disable()
    try:
        opt = fl.Optimizer([np.ones(8) for _ in range(6)], fl.Adam(0.1), engine=engine)
        opt.step([np.ones(8) for _ in range(6)])
        held = weakref.ref(opt.state[0]["m"])
        assert held() is not None
        del opt
        assert held() is None
    finally:
        gc.enable()


def test_an_optimizer_has_no_other_attributes():
    opt = fl.Optimizer(np.ones(2), fl.SGD(0.25))
    with pytest.raises(AttributeError, match="lr"):
        opt.lr = 0.1
    with pytest.raises(AttributeError, match=r"learning_rate: is read-only, .* assign opt\.rule"):
        opt.learning_rate = 0.1
    assert opt.learning_rate == 0.25
    rates = {"a": fl.SGD(0.1), "b": fl.SGD(0.2), "c": None}
    assert fl.Optimizer({k: np.ones(1) for k in rates}, rates).learning_rate == {
        "a": 0.1, "b": 0.2, "c": None,
    }  # fmt: skip
