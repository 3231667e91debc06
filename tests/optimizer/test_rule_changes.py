"""Another rule, mid-run: whether it goes on from the state or starts afresh."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fallline as fl
from tests.helpers import stepped


def moved_by(opt, gradient=2.0):
    """Return how far one step moves the first element."""
    before = opt.params["w"][0]
    opt.step({"w": np.full(2, gradient)})
    return opt.params["w"][0] - before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (fl.Lookahead(fl.Lion(0.01), k=100), fl.Lookahead(fl.Adam(0.01), k=100)),
        (fl.Lookahead(fl.Adagrad(0.01), k=100), fl.Lookahead(fl.RMSprop(0.01), k=100)),
        (fl.Lookahead(fl.SGD(0.01, momentum=0.9), k=100), fl.Lookahead(fl.Adam(0.01), k=100)),
        (fl.Lion(0.01), fl.Adam(0.01)),
        (fl.SGD(0.01), fl.SGD(0.01, momentum=0.9, dampening=0.9)),
        (fl.FTRL(0.01), fl.FTRL(0.01, l1=0.1)),
    ],
    ids=repr,
)
def test_a_rule_that_cannot_go_on_starts_as_if_it_were_the_first(old, new):
    opt = stepped(old, 50)
    opt.rule = new
    alone = stepped(new, start=opt.params["w"][0])
    assert moved_by(opt) == pytest.approx(moved_by(alone), rel=1e-12)


def test_an_average_whose_bias_is_corrected_does_not_start_beside_an_old_count():
    opt = stepped(fl.ScheduleFreeSGD(0.01), 1000)
    params = opt.params
    ahead = params["w"] + opt.state["w"]["ahead"]
    opt.rule = fl.ScheduleFreeAdamW(0.01)
    opt.step({"w": np.full(2, 2.0)})
    moved = params["w"] + opt.state["w"]["ahead"] - ahead
    np.testing.assert_allclose(moved, -0.01, rtol=1e-6)


def test_slots_that_may_start_at_any_time_leave_the_count_alone():
    for old, new in (
        (fl.Adam(0.01), fl.Adam(0.01, amsgrad=True)),
        (fl.Adam(0.01), fl.AdamW(0.01)),
        (fl.RMSprop(0.01), fl.RMSprop(0.01, centered=True, momentum=0.5)),
    ):
        opt = stepped(old, 50)
        v = opt.state["w"]["v"].copy()
        opt.rule = new
        assert opt.state["w"]["step"] == 50
        np.testing.assert_array_equal(opt.state["w"]["v"], v)


def test_the_rule_given_back_leaf_by_leaf_is_still_the_rule_of_new_leaves():
    def by_shape(path, leaf):
        return fl.AdamW(0.1, weight_decay=0.1 if leaf.ndim > 1 else 0.0)

    for spec, rule in ((fl.Adam(0.1), fl.Adam(0.1)), (by_shape, fl.AdamW(0.1, weight_decay=0.1))):
        opt = fl.Optimizer({"w": np.zeros(2)}, spec)
        opt.rule = opt.rule
        for twin in (opt, copy.deepcopy(opt), copy.copy(opt)):
            twin.rebind({"w": np.zeros(2), "b": np.zeros((2, 2))})
            assert twin.rule["b"] == rule
    opt = pickle.loads(pickle.dumps(fl.Optimizer({"w": np.zeros(2)}, rule_of_a_module)))
    opt.rebind({"w": np.zeros(2), "b": np.zeros(2)})
    assert opt.rule["b"] == fl.SGD(0.5)


def test_one_rule_for_all_is_the_rule_of_new_leaves_though_nothing_else_changes():
    opt = fl.Optimizer({"w": np.zeros((2, 2))}, lambda path, x: fl.SGD(0.5 if x.ndim > 1 else 9.0))
    opt.rule = fl.SGD(0.5)
    opt.rebind({"w": np.zeros((2, 2)), "b": np.zeros(2)})
    assert opt.rule["b"] == fl.SGD(0.5)


def rule_of_a_module(path, leaf):
    return fl.SGD(0.5)
