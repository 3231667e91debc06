"""Hyperparameters out of range, and of the wrong kind, are refused by name."""

from __future__ import annotations

import pytest

import fallline as fl


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fl.Rprop(etas=(0.5, 1.2)), TypeError, "did you mean shrink= and grow="),
        (lambda: fl.Rprop(step_sizes=(0, 1)), TypeError, "minimum= and maximum="),
        (lambda: fl.ASGD(lambd=0.1), TypeError, "did you mean decay="),
        (lambda: fl.ASGD(alpha=0.1), TypeError, "did you mean power="),
        (lambda: fl.ASGD(t0=1), TypeError, "did you mean start="),
        (lambda: fl.FTRL(alpha=0.1), TypeError, "did you mean learning_rate="),
        (lambda: fl.NAdam(decoupled_weight_decay=True), TypeError, "did you mean decoupled="),
        (lambda: fl.Rprop(shrink=1.0), ValueError, r"\[0, 1\)"),
        (lambda: fl.Rprop(grow=0.9), ValueError, r"\[1, inf\)"),
        (
            lambda: fl.Rprop(minimum=2.0, maximum=1.0),
            ValueError,
            r"minimum=\): is 2.0, .* maximum=1",
        ),
        (lambda: fl.ScheduleFreeSGD(beta1=0.0), ValueError, "beta1"),
        (lambda: fl.Lion(beta2=1.0), ValueError, r"\[0, 1\)"),
    ],
)
def test_hyperparameters_of_single_rules_are_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()
