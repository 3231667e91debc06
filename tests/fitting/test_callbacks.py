"""How callbacks end a run, and what they see of it."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline.callbacks import Callback

MODEL = fl.LinearModel(fl.losses.SquaredError())
X = np.random.default_rng(0).standard_normal((40, 2))
Y = X @ np.asarray([1.0, -2.0])
METHODS = [fl.SGD(0.01), "cg"]


def fitted(method, callback, **options):
    return fl.fit(MODEL, (X, Y), method=method, epochs=4, callbacks=[callback], **options)


class Says(Callback):
    def __init__(self, value):
        self.value = value

    def on_epoch(self, run):
        return self.value


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [True, np.True_, np.asarray(True)], ids=repr)
def test_a_truth_ends_a_run(value, method):
    for callback in (lambda run: value, Says(value)):
        found = fitted(method, callback)
        assert (found.epochs, found.status, found.success) == (1, 99, False)
        assert found.message == "a callback stopped the run"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [None, False, np.False_, np.asarray(False)], ids=repr)
def test_a_falsehood_does_not(value, method):
    expected = fitted(method, lambda run: None).epochs
    for callback in (lambda run: value, Says(value)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert fitted(method, callback).epochs == expected > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "value", [1, 0, 0.1, "stop", [1], np.float64(1), np.ones(2, bool), np.asarray([True])], ids=repr
)
def test_what_else_is_returned_is_told_once_and_ends_nothing(value, method):
    expected = fitted(method, lambda run: None).epochs
    for callback in (lambda run: value, Says(value)):
        with pytest.warns(
            UserWarning, match=r"callbacks: .* returned .*, which stops nothing"
        ) as told:
            assert fitted(method, callback).epochs == expected
        assert len(told) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_end_of_an_iteration_ends_a_run(method):
    def callback(run):
        raise StopIteration

    found = fitted(method, callback)
    assert (found.epochs, found.status) == (1, 99)

    class Steps(Callback):
        def on_step(self, run):
            if run.step == 3:
                raise StopIteration

    found = fitted(fl.SGD(0.01), Steps(), batch_size=10)
    assert (found.steps, found.status) == (3, 99)
    found = fitted(method, lambda run: run.stop("enough"))
    assert (found.epochs, found.message, found.status, found.success) == (1, "enough", 0, True)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_shown_and_not_handed_over(backend, method):
    if backend.name == "numpy-readonly":
        pytest.skip("the same arrays as NumPy's")
    seen = []

    def callback(run):
        shown = run.params["weights"]
        seen.append((run.copied()["weights"], shown))
        if isinstance(shown, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                shown[...] = 7.0
        elif backend.name != "jax":
            shown[...] = 7.0

    data = backend.array(X), backend.array(Y)
    found, expected = (
        fl.fit(MODEL, data, method=method, epochs=4, callbacks=hooks) for hooks in ([callback], [])
    )
    ours, theirs = (backend.numpy(x.params["weights"]) for x in (found, expected))
    np.testing.assert_array_equal(ours, theirs)
    copies = [backend.numpy(x) for x, _ in seen]
    assert all(np.any(a != b) for a, b in itertools.pairwise(copies))
    if isinstance(found.params["weights"], np.ndarray):
        assert found.params["weights"].flags.writeable
        assert seen[0][0].flags.writeable


def test_a_plateau_may_be_updated_by_a_function():
    rate = fl.schedules.ReduceOnPlateau(0.1, patience=0)
    with pytest.warns(UserWarning, match="which stops nothing"):
        found = fitted(fl.SGD(rate), lambda run: rate.update(run.history.last("loss")) or 0.1)
    assert found.epochs == 4
