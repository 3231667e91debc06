"""How far a rule moves each element: penalties act in that metric."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl


def root(state, rule, t, beta="beta2"):
    return np.sqrt(state["v"] / (1 - getattr(rule, beta) ** t)) + rule.eps


def radam(rule, state, t):
    longest = 2 / (1 - rule.beta2) - 1
    length = longest - 2 * t * rule.beta2**t / (1 - rule.beta2**t)
    size = rule.learning_rate / (1 - rule.beta1**t)
    if length <= 5:
        return np.full(4, size)
    r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return size * np.sqrt(r * (1 - rule.beta2**t)) / (np.sqrt(state["v"]) + rule.eps)


def nadam(rule, state, t):
    mu = [rule.beta1 * (1 - 0.5 * 0.96 ** (i * rule.momentum_decay)) for i in range(1, t + 2)]
    size = (1 - mu[-2]) / (1 - math.prod(mu[:-1])) + mu[-1] / (1 - math.prod(mu))
    return rule.learning_rate * size / root(state, rule, t)


def schedule_free(rule, t):
    return rule.learning_rate * (1 - rule.beta1 * (1 - 1 / t))


LENGTHS = [
    (fl.Adamax(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / s["u"]),
    (fl.NAdam(0.1), nadam),
    (fl.RAdam(0.1, beta2=0.8), radam),
    (fl.AdaBelief(0.1, eps=0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t)),
    (fl.Yogi(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t)),
    (fl.Lion(0.1), lambda r, s, t: 0.1),
    (fl.SignSGD(0.1), lambda r, s, t: 0.1),
    (fl.Adan(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t, "beta3")),
    (fl.Rprop(0.1), lambda r, s, t: s["size"]),
    (fl.ASGD(0.1, decay=0.5), lambda r, s, t: 0.1 / (1 + 0.05 * (t - 1)) ** 0.75),
    (fl.FTRL(0.1, l2=0.3), lambda r, s, t: 1 / ((1 + np.sqrt(s["n"])) / 0.1 + 0.3)),
    (fl.ScheduleFreeSGD(0.1), lambda r, s, t: schedule_free(r, t)),
    (fl.ScheduleFreeAdamW(0.1), lambda r, s, t: schedule_free(r, t) / root(s, r, t)),
]


@pytest.mark.parametrize(("rule", "length"), LENGTHS, ids=[str(rule) for rule, _ in LENGTHS])
def test_penalties_act_in_the_metric_of_the_rule(rule, length):
    rng = np.random.default_rng(5)
    x = rng.standard_normal(4)
    opt = fl.Optimizer(x, rule, penalty=fl.L1(0.3))
    for t in range(1, 9):
        twin, g = x.copy(), rng.standard_normal(4)
        alone = fl.Optimizer(twin, rule)
        for name, value in opt.state.items():
            alone.state[name] = value if name == "step" else value.copy()
        alone.step(g)
        opt.step(g)
        width = 0.3 * length(rule, opt.state, t)
        expected = np.sign(twin) * np.maximum(np.abs(twin) - width, 0)
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)
