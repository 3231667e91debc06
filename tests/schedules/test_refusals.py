"""Schedules without a meaning are refused by name."""

from __future__ import annotations

import math

import pytest

from fallline.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Join,
    LinearWarmup,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Step,
)
from tests.cases import halved


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Constant(-1.0), ValueError, r"Constant\(value=\): is -1.0"),
        (lambda: Constant("x"), TypeError, r"Constant\(value=\): is 'x', expected a number"),
        (lambda: Step(math.nan, every=1), ValueError, r"Step\(initial=\)"),
        (lambda: Step(0.1, every=0), ValueError, r"Step\(every=\): is 0, .* >= 1"),
        (lambda: Step(0.1, every=1.5), TypeError, r"Step\(every=\): is 1.5, .* integer >= 1"),
        (lambda: Step(0.1, every=True), TypeError, r"Step\(every=\)"),
        (lambda: Step(0.1, every=1, factor=0), ValueError, r"Step\(factor=\)"),
        (lambda: Step(0.1, 30), TypeError, "positional"),
        (lambda: MultiStep(0.1, milestones=3), TypeError, r"MultiStep\(milestones=\).* sequence"),
        (lambda: MultiStep(0.1, milestones=(3, 3)), ValueError, r"\(milestones=\).* increasing"),
        (lambda: MultiStep(0.1, milestones=(0, 3)), ValueError, r"\(milestones=\).* above 0"),
        (lambda: MultiStep(0.1, milestones=(1.0,)), TypeError, r"\(milestones=\).* integer"),
        (lambda: MultiStep(0.1, milestones=(1,), factor=-1), ValueError, r"MultiStep\(factor=\)"),
        (lambda: Exponential(0.1, decay=0.0), ValueError, r"Exponential\(decay=\)"),
        (lambda: Exponential(0.1, decay=1, every=0), ValueError, r"Exponential\(every=\)"),
        (lambda: InverseTime(0.1, decay=-1), ValueError, r"InverseTime\(decay=\)"),
        (lambda: InverseTime(0.1, power=math.inf), ValueError, r"InverseTime\(power=\)"),
        (lambda: InverseSqrt(-0.1, warmup=1), ValueError, r"InverseSqrt\(maximum=\)"),
        (lambda: InverseSqrt(0.1, warmup=0), ValueError, r"InverseSqrt\(warmup=\)"),
        (lambda: Polynomial(0.1, steps=0), ValueError, r"Polynomial\(steps=\)"),
        (lambda: Polynomial(0.1, steps=1, power=0), ValueError, r"Polynomial\(power=\)"),
        (lambda: Polynomial(0.1, steps=1, final=-1), ValueError, r"Polynomial\(final=\)"),
        (lambda: Cosine(0.1, steps=-1), ValueError, r"Cosine\(steps=\)"),
        (lambda: Cosine(0.1, steps=1, final=None), TypeError, r"Cosine\(final=\)"),
        (lambda: CosineRestarts(0.1, steps=0), ValueError, r"CosineRestarts\(steps=\)"),
        (lambda: CosineRestarts(0.1, steps=1, multiplier=1.5), TypeError, r"\(multiplier=\)"),
        (lambda: CosineRestarts(0.1, steps=1, minimum=0.2), ValueError, r"minimum=.*\[0, 0.1\]"),
        (lambda: OneCycle(0.1, steps=100, ascent=1.0), ValueError, r"OneCycle\(ascent=\)"),
        (
            lambda: OneCycle(0.1, steps=3),
            ValueError,
            r"OneCycle\(ascent=\): is 0.3, .* one of 3 steps",
        ),
        (lambda: OneCycle(0.1, steps=9, div_factor=0), ValueError, r"OneCycle\(div_factor=\)"),
        (lambda: OneCycle(0.1, steps=9, shape="cos"), ValueError, r"OneCycle\(shape=\).*'cosine'"),
        (lambda: Cyclic(0.1, maximum=0.05), ValueError, r"Cyclic\(maximum=\).*\[0.1, inf\)"),
        (lambda: Cyclic(0.1, maximum=1, down=0), ValueError, r"Cyclic\(down=\)"),
        (lambda: Cyclic(0.1, maximum=1, decay=1.1), ValueError, r"Cyclic\(decay=\)"),
        (lambda: Cyclic(0.1, maximum=1, shape="x"), ValueError, r"Cyclic\(shape=\) 'x'"),
        (lambda: LinearWarmup("x", steps=1), TypeError, r"LinearWarmup\(schedule=\).* schedule"),
        (lambda: LinearWarmup(0.1, steps=0), ValueError, r"LinearWarmup\(steps=\)"),
        (lambda: LinearWarmup(0.1, steps=1, start_factor=2), ValueError, r"\(start_factor=\)"),
        (lambda: Piecewise((1, halved), boundaries=(1,)), TypeError, r"Piecewise\(values=\)"),
        (
            lambda: Piecewise((1, 2), boundaries=()),
            ValueError,
            r"values=\): length is 2, .* 1",
        ),
        (lambda: Piecewise("12", boundaries=(1,)), TypeError, r"Piecewise\(values=\).* sequence"),
        (lambda: Piecewise((1,), boundaries=(), interpolate=1), TypeError, r"\(interpolate=\)"),
        (lambda: Join((1, -1), boundaries=(1,)), ValueError, r"Join\(schedules=\): is -1.0"),
        (lambda: Join((1, 1), boundaries=(1, 2)), ValueError, r"Join\(schedules=\): length"),
        (lambda: Join((1, 1, 1), boundaries=(2, 1)), ValueError, r"Join\(boundaries=\)"),
        (lambda: Product(()), ValueError, r"Product\(factors=\)"),
        (lambda: Product(halved), TypeError, r"Product\(factors=\)"),
        (lambda: ReduceOnPlateau(-1), ValueError, r"ReduceOnPlateau\(initial=\)"),
        (lambda: ReduceOnPlateau(1, mode="low"), ValueError, r"ReduceOnPlateau\(mode=\)"),
        (lambda: ReduceOnPlateau(1, threshold_mode=""), ValueError, r"\(threshold_mode=\)"),
        (lambda: ReduceOnPlateau(1, factor=1.0), ValueError, r"ReduceOnPlateau\(factor=\)"),
        (lambda: ReduceOnPlateau(1, patience=-1), ValueError, r"ReduceOnPlateau\(patience=\)"),
        (lambda: ReduceOnPlateau(1, cooldown=0.5), TypeError, r"ReduceOnPlateau\(cooldown=\)"),
        (lambda: ReduceOnPlateau(1, minimum=-1), ValueError, r"ReduceOnPlateau\(minimum=\)"),
        (lambda: ReduceOnPlateau(1, eps=-1), ValueError, r"ReduceOnPlateau\(eps=\)"),
        (lambda: ReduceOnPlateau(1, threshold=-1), ValueError, r"ReduceOnPlateau\(threshold=\)"),
    ],
)
def test_schedules_without_a_meaning_are_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()
