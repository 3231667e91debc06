"""What the rules read in compiled epochs: once where it stays, in each step where it changes."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.rules import Rule

pytest.importorskip("numba", reason="numba is not installed")


class Late(Rule):
    """Looks at its count as Python does, which tells nothing of an array of counts."""

    learning_rate: float

    def scalars(self, t):
        return {"rate": self.learning_rate if t < 6 else 0.5 * self.learning_rate}

    def formula(self, xp, s, p, g):
        return (p - s.rate * g,)


def fitted(method, engine="auto", **options):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    y = (X @ [1.0, -2.0, 0.5] > 0).astype(float)
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(0.01))
    options = {"batch_size": 5, "epochs": 3, "rng": 0, **options}
    return fl.fit(model, (X, y), method=method, engine=engine, **options)


@pytest.fixture
def counts(monkeypatch):
    """The counts that SGD's scalars were asked for, by compiled epochs and by others."""
    found, scalars = [], fl.SGD.scalars

    def watched(self, t):
        found.append(t)
        return scalars(self, t)

    monkeypatch.setattr(fl.SGD, "scalars", watched)
    return found


def same(one, other):
    for name, x in one.params.items():
        assert x.tobytes() == other.params[name].tobytes()
    assert one.history["step_loss"].tobytes() == other.history["step_loss"].tobytes()


def test_numbers_that_stay_are_asked_for_once_in_each_call(counts):
    fitted(fl.SGD(0.1))
    assert {t for t in counts if isinstance(t, int)} == {1, 11, 21}
    counts.clear()
    fitted(fl.SGD(0.1, momentum=0.9))  # begins with another step
    assert {*range(1, 31)} == {t for t in counts if isinstance(t, int)}


@pytest.mark.parametrize(
    "method",
    [
        Late(0.1), fl.SGD(0.1), fl.SGD(0.1, momentum=0.9), fl.SGD(0.1, weight_decay=0.1),
        fl.SGD(fl.schedules.Exponential(0.1, decay=0.9)), fl.Adam(0.1),
        fl.SGD(0.1, weight_decay=fl.schedules.Step(0.1, every=4)),
    ],
    ids=lambda x: repr(x).split(" at ")[0],
)  # fmt: skip
@pytest.mark.parametrize("batch_size", [1, 7])
def test_bits_are_those_of_single_steps(method, batch_size):
    same(*(fitted(method, engine, batch_size=batch_size) for engine in ("auto", "eager")))


def test_a_rate_that_a_callback_sets_counts_from_then_on(counts):
    def halve(run):
        run.optimizer.rule = fl.SGD(0.1 / (1 + run.epoch))

    one, other = (fitted(fl.SGD(0.1), engine, callbacks=[halve]) for engine in ("auto", "eager"))
    same(one, other)
