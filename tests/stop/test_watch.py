"""Conditions in a loop of one's own: the same verdicts as in a run, few reads, and a memory."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import stop
from fallline.stop._seen import Seen
from tests.helpers import patch_arrays

VALUES = [5.0, 4.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0]
CONDITIONS = [
    stop.GradientNorm(0.3),
    stop.RelativeDecrease(),
    stop.RelativeDecrease(0.4),
    stop.RelativeDecrease(0.4, times=2, floor=0.0),
    stop.RelativeGradient(),
    stop.RelativeGradient(0.4),
    stop.ParameterChange(0.05),
    stop.MaxTime(0.0),
    stop.MaxTime(1e9),
    stop.MaxEvaluations(4),
    stop.NotImproved(3),
    stop.NotImproved(1, by=1.5),
    stop.Target(2.5),
    stop.NonFinite(),
    stop.GradientNorm(0.3) | stop.MaxEvaluations(3),
    stop.Target(3.0) & stop.GradientNorm(0.5),
    (stop.NotImproved(2) & stop.ParameterChange(0.2)) | stop.MaxEvaluations(8),
]


class Record(Seen):
    """What a solver shows of an iteration."""

    def __init__(self, i):
        self.iteration, self.evaluations, self.value = i, i + 1, VALUES[i]
        self.gradient_norm, self.broken = 1 / (i + 1), False

    def scaled_gradient(self):
        return self.gradient_norm

    def change(self):
        return (2.0**-self.iteration if self.iteration else math.inf), 2 - 2.0**-self.iteration


def loop(backend, i):
    """Return what a loop has in the same iteration."""
    value = backend.array(np.asarray(VALUES[i]))
    gradient = {"a": backend.array(np.asarray([0.1, -1.0]) / (i + 1)), "b": None}
    params = {"a": backend.array(np.asarray([2 - 2.0**-i, 0.0])), "b": None}
    return value, gradient, params


def test_every_condition_is_here():
    here = {type(part) for condition in CONDITIONS for part in condition._parts()}
    others = {"Condition", "Verdict", "Watch", "FitTolerance"}  # the last is for fits only
    assert {kind.__name__ for kind in here} == set(stop.__all__) - others
    with pytest.raises(TypeError, match="FitTolerance is for least_squares and curve_fit"):
        stop.FitTolerance().start()(1.0)


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
def test_a_watch_judges_as_a_run(condition, backend):
    judged, watch = condition.watch(2.0**-52), condition.start()
    for i in range(len(VALUES)):
        expected = judged(Record(i))
        value, gradient, params = loop(backend, i)
        found = watch(value, gradient=gradient, params=params)
        assert found is (expected is not None)
        assert watch.verdict == expected
        assert watch.calls == i + 1
        if found:
            assert watch.verdict.message in repr(watch)
            assert watch(value, gradient=gradient, params=params)  # it stays so
            assert watch.calls == i + 1
            break


def test_a_loop_of_one_s_own():
    x = np.asarray([4.0, -2.0])
    opt = fl.Optimizer(x, fl.GradientDescent(0.25))
    watch = (stop.GradientNorm(1e-3) | stop.MaxEvaluations(500)).start()
    while True:
        gradient = 2 * x
        if watch(float(x @ x), gradient=gradient):
            break
        opt.step(gradient)
    assert watch.verdict.success
    assert watch.verdict.status == 0
    assert watch.verdict.message == "the gradient is at most 0.001"
    assert abs(2 * x).max() <= 1e-3
    assert watch.calls == opt.step_count + 1 == 14


@pytest.mark.parametrize("every", [1, 3, 5])
def test_reads_are_as_rare_as_looks(every, backend, monkeypatch):
    reads = []
    from fallline import _arrays

    read = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x) or read(x))
    for condition, number in (
        (stop.Target(-1.0), 1),
        (stop.GradientNorm(0.0) | stop.Target(-1.0) | stop.NotImproved(99), 2),
        (stop.MaxTime(1e9) | stop.MaxEvaluations(99), 0),
    ):
        reads.clear()
        watch = condition.start(every)
        for i in range(10):
            value, gradient, params = loop(backend, i % 3)
            before = len(reads)
            assert not watch(value, gradient=gradient, params=params)
            assert len(reads) - before == (number if (i + 1) % every == 0 else 0)
    # Counts are those of calls, not of looks.
    watch = stop.NotImproved(6).start(every)
    while not watch(1.0):
        pass
    assert watch.calls == -(-(every + 6) // every) * every


def test_the_last_step_counts_and_not_that_since_the_last_look():
    watch, x = stop.ParameterChange(1e-6).start(every=4), np.ones(2)
    for i in range(8):
        x += 1.0 if i % 4 != 3 else 0.0
        assert watch(params=x) is (i == 3)
        if watch.verdict:
            break


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        (stop.GradientNorm(), "gradient"),
        (stop.MaxTime(1) | stop.GradientNorm(), "gradient"),
        (stop.ParameterChange(1e-3), "params"),
        (stop.Target(1.0), "value"),
        (stop.NotImproved(3) & stop.MaxTime(1), "value"),
        (stop.RelativeDecrease(), "value"),
        (stop.RelativeGradient(), "value"),
        (stop.NonFinite(), "value"),
    ],
)
def test_what_is_missing_is_named_at_the_first_call(condition, name):
    one = next(part for part in condition._parts() if name in part._needs)
    given = {"value": 1.0, "gradient": np.ones(2), "params": np.ones(2)} | {name: None}
    watch = condition.start(every=10)
    with pytest.raises(TypeError) as caught:
        watch(**given)
    assert str(caught.value) == f"{name}: is None, expected what {one!r} looks at"
    assert watch.calls == 0


def test_what_is_not_finite():
    for value, gradient, words in (
        (np.float32("nan"), None, "the value is not finite in iteration 0"),
        (math.inf, np.ones(2), "the value is not finite in iteration 0"),
        (1.0, {"a": np.asarray([1.0, np.nan])}, "the gradient is not finite in iteration 0"),
        (1.0, np.asarray([complex(0, np.inf)]), "the gradient is not finite in iteration 0"),
    ):
        watch = stop.NonFinite().start()
        assert watch(value, gradient=gradient)
        assert (watch.verdict.message, watch.verdict.success, watch.verdict.status) == (
            words,
            False,
            3,
        )
    assert not stop.NonFinite().start()(1.0, gradient=np.ones(2))
    assert not stop.GradientNorm(1.0).start()(gradient=np.asarray([np.nan, 0.0]))


def test_what_was_never_a_number_has_not_improved():
    watch = stop.NotImproved(3).start()
    while not watch(math.nan):
        pass
    assert watch.calls == 4


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"value": "1"}, TypeError, "value: is '1', expected a number"),
        ({"value": True}, TypeError, "value: is True, expected a number"),
        ({"value": 1j}, TypeError, "value: is 1j, expected a number"),
        ({"value": np.asarray(1j)}, TypeError, "value: dtype is complex128, expected real"),
        ({"value": np.ones(2)}, ValueError, r"value: shape is \(2,\), expected \(\)"),
        ({"value": 1.0, "gradient": {"w": [1]}}, TypeError, r"gradient\['w'\]\[0\]: is an int"),
        ({"value": 1.0, "params": np.ones(2, int)}, TypeError, "params: dtype is int64"),
    ],
)
def test_mistakes(given, error, words):
    condition = stop.Target(0.0) | stop.NonFinite()
    with pytest.raises(error, match=f"^{words}"):
        condition.start()(**given)


def test_the_precision_is_that_of_the_arrays():
    least = np.float32(1) - np.float32(2.0**-22)
    for value, gradient, expected in (
        (np.asarray(least), None, True), (float(least), None, False),
        (float(least), np.ones(2, "float32"), True), (np.asarray(least, float), None, False),
    ):  # fmt: skip
        watch = stop.RelativeDecrease().start()
        watch(1.0, gradient=gradient)
        assert watch(value, gradient=gradient) is expected


def test_torch_s_tape_is_left_alone():
    torch = pytest.importorskip("torch")
    x = torch.ones(2, requires_grad=True)
    value = (x * x).sum()
    watch = (stop.Target(5.0) & stop.ParameterChange(1.0)).start()
    assert not watch(value, params=x)
    assert watch(value, params=x)


# -- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_watch_goes_on_from_its_state(condition, cut, backend):
    whole, first = condition.start(), condition.start()
    for i in range(cut):
        value, gradient, params = loop(backend, i)
        for watch in (whole, first):
            watch(value, gradient=gradient, params=params)
    state = json.loads(json.dumps(first.state_dict()))
    other = condition.start()
    other.load_state_dict(state)
    assert other.calls == first.calls
    assert other.verdict is None
    if whole.verdict is None and "ParameterChange" not in repr(condition):
        for i in range(cut, len(VALUES)):
            value, gradient, params = loop(backend, i)
            given = {"gradient": gradient, "params": params}
            assert other(value, **given) is whole(value, **given)
            assert other.verdict == whole.verdict


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_has_a_memory_of_its_own(copied):
    watch = (stop.NotImproved(3) | stop.Target(0.5)).start(every=2)
    assert not any(watch(value) for value in (2.0, 1.0, 1.0))
    twin = copied(watch)
    assert (repr(twin), twin.state_dict()) == (repr(watch), watch.state_dict())
    assert twin(0.0)
    assert copied(twin).verdict == twin.verdict
    assert not watch(1.0)
    assert watch.state_dict()["memory"]["one"]["best"] == 1.0


def test_time_goes_on(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = stop.MaxTime(10.0).start()
    now[0] += 6.0
    assert not watch()
    state = watch.state_dict()
    assert state["memory"] == {"seconds": 6.0}
    now[0] = 5.0  # another computer, another clock
    other = stop.MaxTime(10.0).start()
    other.load_state_dict(state)
    now[0] += 3.0
    assert not other()
    now[0] += 1.0
    assert other()
    assert other.verdict.message == "10 seconds have passed"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({}, ValueError, r"state_dict: entries is \[\], expected \['calls', 'memory'\]"),
        ({"calls": -1}, ValueError, r"state_dict\['calls'\]: is -1, expected an integer >= 0"),
        ({"memory": {}}, ValueError, r"\['memory'\]: entries is \[\], expected \['one', 'other'\]"),
        ({"memory": {"one": 3, "other": {}}}, TypeError, r"\['one'\]: is an int, expected a dict"),
        (
            {"memory": {"one": {"best": "x", "since": 0}, "other": {"seconds": 0}}}, TypeError,
            r"\['memory'\]\['one'\]\['best'\]: is 'x', expected a number",
        ),
    ],
)  # fmt: skip
def test_another_state_is_refused(state, error, words):
    watch = (stop.NotImproved(3) | stop.MaxTime(100.0)).start()
    for value in (3.0, 2.0, 2.0):
        watch(value)
    before = watch.state_dict()
    with pytest.raises(error, match=words):
        watch.load_state_dict(before | state if state else state)
    after = watch.state_dict()
    assert after == before


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
def test_fit_takes_every_condition(condition):
    data = np.ones((4, 2)), np.ones(4)
    model = fl.LinearModel(fl.losses.SquaredError())
    needs = {name for part in condition._parts() for name in part._needs}
    for method in (fl.SGD(1e-3), fl.LBFGS()):
        options = {"method": method, "epochs": 3, "stop": condition, "rng": 0}
        if isinstance(method, fl.SGD) and needs - {"value"}:
            with pytest.raises(ValueError, match="looks at"):
                fl.fit(model, data, **options)
        else:
            assert fl.fit(model, data, **options).message


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_a_relative_gradient_knows_no_units_of_the_objective(dtype):
    counts = []
    for unit in (1e-25, 1.0, 1e25):
        watch, x = stop.RelativeGradient().start(), np.asarray([3.0, -200.0]).astype(dtype)
        for _ in range(200):
            value = unit * float(1 + 0.5 * np.sum(abs(x) ** 2))
            if watch(value, gradient=np.asarray(unit, x.real.dtype) * x, params=x):
                break
            x = x - np.asarray(0.75, dtype) * x
        counts.append(watch.calls)
        least = 1e-8 if dtype != "float32" else 2.0**-23 * 2e4
        assert watch.verdict.success
        assert np.max(abs(x.real)) <= 2 * least
    assert counts[0] == counts[1] == counts[2] < 40


def test_a_flat_slope_far_away_is_no_minimum():
    # The gradient has become small beside what the objective fell, but the steps are long.
    watch = stop.RelativeGradient(1e-3).start()
    assert not watch(1e30, gradient=np.asarray([1e30]), params=np.asarray([1e3]))
    assert not watch(1.0, gradient=np.asarray([1e-4]), params=np.asarray([1e2]))
    assert watch(1.0, gradient=np.asarray([1e-9]), params=np.asarray([1e2]))


def test_a_gradient_counts_in_units_of_its_parameter():
    watch = stop.RelativeGradient(1e-6).start()
    for size, ends in ((1e6, False), (1e3, False), (0.1, True)):
        for _ in range(2):
            found = watch(1.0, gradient=np.asarray([1e-8]), params=np.asarray([size]))
        assert found == ends


def test_gradient_and_params_of_other_structures():
    watch = stop.RelativeGradient(1.0).start()
    with pytest.raises(ValueError, match="gradient"):
        watch(1.0, gradient={"a": np.zeros(2)}, params=[np.zeros(2)])


def test_small_decreases_in_a_row():
    watch = stop.RelativeDecrease(0.1, times=2).start()
    assert [watch(x) for x in (10.0, 9.9, 8.0, 7.9, 7.8)] == [False, False, False, False, True]
    alone = stop.RelativeDecrease(0.1, floor=0.0).start()
    assert [alone(x) for x in (1e-20, 0.5e-20, 0.49e-20)] == [False, False, True]
