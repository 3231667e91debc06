"""Rates and decays of single elements: as many Optimizers with a rate each."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import fallline as fl
from fallline.engine import numba_
from tests.cases import RULES
from tests.helpers import same_bits

ENGINES = ["eager", "blocked", *(["numba"] if numba_.installed() else [])]
RATES = np.asarray([0.0, 0.5, 1.0, 3.0])
DECAYS = np.asarray([2.0, 0.0, 1.0, 0.25])
REFUSED = (fl.Rprop, fl.ASGD, fl.FTRL)
RATED = [rule for rule in RULES if not isinstance(rule, REFUSED)]
DECAYED = [rule for rule in RATED if getattr(rule, "weight_decay", 0)]


def scaled(rule, rate=1.0, decay=1.0):
    """Return a rule with another rate and decay, without a check of the decay's structure."""
    twin = copy.copy(rule)
    twin.__dict__["learning_rate"] = rule.learning_rate * rate
    if "weight_decay" in rule.__dataclass_fields__:
        twin.__dict__["weight_decay"] = rule.weight_decay * decay
    return twin


def run(rule, x, grads, engine="eager", **options):
    opt = fl.Optimizer(x, rule, engine=engine, **options)
    for g in grads:
        opt.step(g)
    return opt


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("rule", RATED, ids=repr)
def test_a_factor_is_a_rate_of_its_own(rule, dtype):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype(dtype)
    grads = [rng.standard_normal((3, 4)).astype(dtype) for _ in range(6)]
    found = start.copy()
    run(rule, found, grads, rate_factors=RATES)
    for j, f in enumerate(RATES):
        column = start[:, j].copy()
        run(scaled(rule, f), column, [g[:, j].copy() for g in grads])
        np.testing.assert_allclose(found[:, j], column, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", DECAYED, ids=repr)
def test_a_factor_is_a_decay_of_its_own(rule):
    rng = np.random.default_rng(1)
    start = rng.standard_normal((3, 4))
    grads = [rng.standard_normal((3, 4)) for _ in range(6)]
    found = start.copy()
    run(rule, found, grads, rate_factors=RATES, decay_factors=DECAYS)
    for j, (f, d) in enumerate(zip(RATES, DECAYS, strict=True)):
        column = start[:, j].copy()
        run(scaled(rule, f, d), column, [g[:, j].copy() for g in grads])
        np.testing.assert_allclose(found[:, j], column, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_factors_have_the_same_bits_everywhere(dtype):
    rng = np.random.default_rng(2)
    start = rng.standard_normal((50, 4)).astype(dtype)
    grads = [rng.standard_normal((50, 4)).astype(dtype) for _ in range(4)]
    options = {"rate_factors": RATES, "decay_factors": DECAYS, "penalty": fl.L1(0.01)}
    for rule in (fl.AdamW(0.1), fl.SGD(0.1, momentum=0.9, weight_decay=0.1)):
        runs = [(start.copy(), engine) for engine in ENGINES]
        for x, engine in runs:
            assert run(rule, x, grads, engine, **options).engine == engine
        for x, _ in runs[1:]:
            same_bits(x, runs[0][0])


def test_a_number_is_a_rate_of_the_leaf():
    params = {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}
    opt = fl.Optimizer(params, fl.SGD(0.5), rate_factors={"a": 2, "b": None, "c": 0.0})
    opt.step({key: np.ones(2) for key in params})
    assert [params[key][0] for key in "abc"] == [0.0, 0.5, 1.0]
    opt.rate_factors = None
    opt.step({key: np.ones(2) for key in params})
    assert params["c"][0] == 0.5


def test_factors_agree_on_every_library(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(3)
    start, grads = rng.standard_normal((3, 4)), [rng.standard_normal((3, 4)) for _ in range(3)]
    expected = start.copy()
    run(fl.AdamW(0.1), expected, grads, rate_factors=RATES, decay_factors=0.5)
    params = backend.tree({"x": start})
    opt = fl.Optimizer(
        params, fl.AdamW(0.1), rate_factors={"x": backend.array(RATES)}, decay_factors=0.5
    )
    for g in grads:
        opt.step(backend.tree({"x": g}))
    np.testing.assert_allclose(backend.numpy(opt.params["x"]), expected, rtol=1e-12)


def test_factors_move_and_are_saved_with_their_leaf(tmp_path):
    rng = np.random.default_rng(4)
    start, g = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))

    def make():
        params = {"x": start.copy()}
        return params, fl.Optimizer(params, fl.Adam(0.1), rate_factors={"x": RATES})

    straight, plain = make()
    rolled, moved = make()
    plain.step({"x": g})
    moved.transform(lambda x: np.roll(x, 1, axis=1))
    moved.step({"x": np.roll(g, 1, axis=1)})
    np.testing.assert_array_equal(np.roll(rolled["x"], -1, axis=1), straight["x"])
    moved.save(tmp_path / "run.npz")
    for restore in ("file", "dict"):
        again, resumed = make()
        if restore == "file":
            resumed.load(tmp_path / "run.npz")
        else:
            resumed.load_state_dict(moved.state_dict())
        twin = copy.deepcopy(moved)
        for opt in (resumed, twin):
            opt.step({"x": np.roll(g, 1, axis=1)})
        np.testing.assert_array_equal(again["x"], twin.params["x"])
    without = fl.Optimizer({"x": start.copy()}, fl.Adam(0.1))
    with pytest.raises(ValueError, match=r"rate_factors\['x'\]: is there in .*run.npz"):
        without.load(tmp_path / "run.npz")
    moved.rebind({"x": np.zeros((2, 4))}, state="reset", rate_factors={"x": RATES})
    assert moved.rate_factors["x"] is RATES


def test_one_number_for_all_leaves_stays_one_for_leaves_to_come():
    def make(rate):
        return fl.Optimizer({"a": np.ones(2)}, fl.AdamW(0.1), rate_factors=rate)

    opt = make(0.5)
    opt.load_state_dict(opt.state_dict())
    opt.transform(lambda x: x[::-1].copy())
    assert opt.rate_factors == 0.5
    assert opt.decay_factors is None
    opt.rebind({"a": np.ones(2), "b": np.ones(2)})
    other = make(0.25)
    other.load_state_dict(make(0.5).state_dict())
    assert other.rate_factors == {"a": 0.5}
    factors = np.asarray([0.5, 2.0])
    other.load_state_dict(make({"a": factors}).state_dict())
    np.testing.assert_array_equal(other.rate_factors["a"], factors)


def test_loaded_factors_keep_their_dtype_and_are_copies():
    def make():
        factors = {"a": np.asarray([0.1, 0.7])}
        return fl.Optimizer({"a": np.ones(2, "float16")}, fl.SGD(0.1), rate_factors=factors)

    saved = make().state_dict()
    opt = make()
    opt.load_state_dict(saved)
    saved["factors"]["a"]["rate"][...] = 9.0
    np.testing.assert_array_equal(opt.rate_factors["a"], [0.1, 0.7])
    assert opt.rate_factors["a"].dtype == np.float64


def test_factors_reach_the_step_lengths_of_penalties_and_constraints():
    # Zero is the solution of a large penalty, and a rate of zero keeps an element where it is.
    x = np.ones((3, 4))
    for penalty in (fl.L1(100.0), fl.GroupL1(100.0)):
        found = x.copy()
        opt = fl.Optimizer(found, fl.Adam(0.1), penalty=penalty, rate_factors=RATES)
        for _ in range(3):
            opt.step(np.zeros((3, 4)))
        assert np.all(found[:, 0] == 1)
        assert np.all(np.abs(found[:, 1:]) < 0.5)


@pytest.mark.parametrize(
    ("rule", "options", "error", "words"),
    [
        (fl.LARS(0.1), {"rate_factors": 2.0}, ValueError, r"rate_factors\['x'\]: .* LARS measures"),
        (fl.Muon(0.1), {"rate_factors": 2.0}, ValueError, "Muon measures whole leaves"),
        (fl.Rprop(0.1), {"rate_factors": 2.0}, ValueError, "starts at its learning rate"),
        (fl.ASGD(0.1), {"rate_factors": 2.0}, ValueError, "is not proportional"),
        (fl.FTRL(0.1), {"rate_factors": 2.0}, ValueError, "is not proportional"),
        (fl.Adadelta(), {"rate_factors": np.ones(3)}, ValueError, r"broadcasts to \(2, 2\)"),
        (fl.SGD(), {"rate_factors": "fast"}, TypeError, r"rate_factors\['x'\]"),
        (fl.SGD(), {"rate_factors": -1.0}, ValueError, r"rate_factors\['x'\]"),
        (fl.GradientDescent(), {"decay_factors": 2.0}, ValueError, "has no weight_decay"),
        (fl.SGD(), {"rate_factors": np.ones(2, complex)}, TypeError, "expected real numbers"),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_factors_without_a_meaning_are_refused_by_name(rule, options, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer({"x": np.ones((2, 2))}, rule, **options)


def test_schedules_drive_rates_with_factors():
    x, y = np.ones((2, 4)), np.ones((2, 4))
    schedule = fl.schedules.Exponential(0.1, decay=0.5)
    opt = fl.Optimizer(x, fl.SGD(schedule, momentum=0.9, weight_decay=0.1), rate_factors=RATES)
    columns = [
        fl.Optimizer(
            y[:, j : j + 1], fl.SGD(lambda t, f=f: f * schedule(t), momentum=0.9, weight_decay=0.1)
        )
        for j, f in enumerate(RATES)
    ]
    for t, _ in itertools.product(range(4), range(1)):
        g = np.full((2, 4), 1.0 + t)
        opt.step(g)
        for j, column in enumerate(columns):
            column.step(g[:, j : j + 1].copy())
    np.testing.assert_allclose(x, y, rtol=1e-12)
