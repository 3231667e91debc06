"""The check for people's own rules passes good ones and finds what is wrong with others."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.cases import RULES, WHOLE


@pytest.mark.parametrize("rule", RULES + WHOLE, ids=str)
def test_every_rule_of_ours_passes(rule):
    done = fl.testing.check_rule(rule)
    assert any("round trip" in line for line in done)


def rule_of(formula, *, slots=(), measured=None):
    """Return a rule with a formula."""

    class Own(fl.rules.Rule):
        learning_rate: float = fl.rules.hyper(0.1)

        @property
        def slots(self):
            return slots

        def scalars(self, t):
            return {"learning_rate": self.learning_rate}

        def formula(self, xp, s, p, g, *slots):
            return formula(xp, s, p, g, *slots)

    Own.__qualname__, Own.__module__ = "Own", __name__
    globals()["Own"] = Own
    return Own()


def writes(xp, s, p, g):
    p -= s.learning_rate * g
    return (p,)


def branches(xp, s, p, g):
    if g[0] > 0:
        g = -g
    return (p - s.learning_rate * g,)


def native_square(xp, s, p, g, v):
    return p - s.learning_rate * (g / xp.sqrt(v + g * g)), v + g * g


def to_the_host(xp, s, p, g):
    return (p - s.learning_rate * float(xp.sum(g)) * g,)


memory = []


def remembers(xp, s, p, g):
    memory.append(0.0)
    return (p - s.learning_rate * g * (1.0 + len(memory)),)


def blows_up(xp, s, p, g):
    return (p / (0.0 * fl.rules.abs2(g)),)


@pytest.mark.parametrize(
    ("formula", "slots", "words"),
    [
        (writes, (), "float64: the formula writes into an array it was handed"),
        (branches, (), "float32: the formula cannot be traced: .*test_testing.py:.*xp.where"),
        (native_square, (fl.rules.Slot("v", real=True),), "products and quotients of complex"),
        (to_the_host, (), "xp.sum cannot be traced"),
        (remembers, (), "two equal calls of the formula differ"),
        (blows_up, (), "not finite"),
    ],
)
def test_wrong_rules_are_found(formula, slots, words):
    rule = rule_of(formula, slots=slots)
    with (
        np.errstate(all="ignore"),
        pytest.raises((AssertionError, TypeError, ValueError), match=words),
    ):
        fl.testing.check_rule(rule)


def test_a_class_is_no_rule():
    with pytest.raises(AssertionError, match="no instance"):
        fl.testing.check_rule(fl.Adam)
