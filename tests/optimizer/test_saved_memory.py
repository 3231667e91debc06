"""What remembers beside the arrays is saved: schedules, transforms, sums."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

import fallline as fl
from fallline import gradients, schedules
from tests.helpers import content, stepped, unchanged


class Warm:
    """A schedule of a user around another one."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, step):
        return self.inner(step) * min(1.0, (step + 1) / 5)


class Follows:
    """A schedule of a user that remembers, in numbers of NumPy."""

    def __init__(self):
        self.value = np.float32(1.0)

    def __call__(self, step):
        return float(self.value)

    def update(self, metric):
        self.value = np.float32(self.value / 2)

    def state_dict(self):
        return {"value": self.value, "seen": [np.int64(3)], "table": np.arange(2)}

    def load_state_dict(self, state):
        self.value = np.float32(state["value"])


WRAPPED = {
    "itself": lambda s: fl.SGD(s),
    "warm-up": lambda s: fl.SGD(schedules.LinearWarmup(s, steps=2)),
    "join": lambda s: fl.SGD(schedules.Join((0.1, s), boundaries=(1,))),
    "product of a join": lambda s: fl.SGD(
        schedules.Product((1.0, schedules.Join((s, 0.1), boundaries=(9,))))
    ),
    "lookahead": lambda s: fl.Lookahead(fl.SGD(s)),
    "of a user": lambda s: fl.SGD(Warm(s)),
    "partial": lambda s: fl.SGD(functools.partial(lambda inner, step: inner(step), s)),
    "companion": lambda s: fl.Muon(0.1, companion=fl.SGD(s)),
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("make", [lambda: schedules.ReduceOnPlateau(1.0, patience=0), Follows])
def test_what_remembers_is_found_wherever_it_is(make, wrap, tmp_path):
    schedule = make()
    opt = stepped(WRAPPED[wrap](schedule), 2)
    for _ in range(3):
        schedule.update(1.0)
    opt.save(tmp_path / "run.npz")
    for load in ("file", "dict"):
        again = make()
        resumed = stepped(WRAPPED[wrap](again))
        if load == "file":
            resumed.load(tmp_path / "run.npz")
        else:
            resumed.load_state_dict(opt.state_dict())
        assert again.value == schedule.value != 1.0
    json.dumps(opt.state_dict()["flow"])
    other = stepped(WRAPPED[wrap](schedules.ReduceOnPlateau(1.0) if make is Follows else Follows()))
    with pytest.raises(ValueError, match=r"is a (Follows|ReduceOnPlateau) in .*, expected a "):
        other.load(tmp_path / "run.npz")


def test_a_transform_of_a_user_is_saved():
    class Damp(gradients.Transform):
        elementwise = False

        def __init__(self):
            self.factor = 1.0

        def apply(self, grads):
            self.factor /= 2
            return [None if g is None else g * self.factor for g in grads]

        def state_dict(self):
            return {"factor": self.factor}

        def load_state_dict(self, state):
            self.factor = state["factor"]

    damp, again = Damp(), Damp()
    opt = stepped(fl.SGD(1.0), 2, gradients=[damp])
    resumed = stepped(fl.SGD(1.0), gradients=[again])
    resumed.load_state_dict(opt.state_dict())
    assert again.factor == 0.25


@pytest.mark.parametrize(
    ("saved", "bound", "words"),
    [
        ([gradients.ClipByNorm(1.0)], [gradients.LossScale()], r"gradients\[0\]: is LossScale"),
        ([gradients.LossScale()], [gradients.ClipByNorm(1.0)], r"gradients\[0\]: is ClipByNorm"),
        (
            [gradients.LossScale(), gradients.ClipByNorm(1.0)],
            [gradients.ClipByNorm(1.0), gradients.LossScale()],
            r"gradients\[0\]",
        ),
        ([], [gradients.LossScale()], "length is 0, expected 1"),
    ],
)
def test_other_transforms_are_refused_before_anything_is_written(saved, bound, words):
    old, new = stepped(fl.Adam(0.1), 3, gradients=saved), stepped(fl.Adam(0.1), 1, gradients=bound)
    before = content(new)
    with pytest.raises(ValueError, match=words):
        new.load_state_dict(old.state_dict())
    unchanged(new, before)
    new.step({"w": np.ones(2)})


def test_calls_of_a_longer_window_do_not_fit_a_shorter_one():
    old = stepped(fl.SGD(0.1), 4, gradients=[gradients.Accumulate(5)])
    new = stepped(fl.SGD(0.1), gradients=[gradients.Accumulate(2)])
    with pytest.raises(ValueError, match=r"\['calls'\]: value is 4, expected less than .* k = 2"):
        new.load_state_dict(old.state_dict())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda flow: flow["gradients"][0].update(value=float("nan")),
        lambda flow: flow["gradients"][0].pop("good"),
        lambda flow: flow["schedules"]["params['w'].learning_rate"].pop("best"),
        lambda flow: flow.update(given=[0.5]),
        lambda flow: flow.update(given=None),
        lambda flow: flow.update(calls=-1),
        lambda flow: flow.update(schedules=None),
        lambda flow: flow.pop("skipped"),
    ],
)
def test_a_spoilt_snapshot_changes_nothing(spoil):
    scale, plateau = gradients.LossScale(8.0), schedules.ReduceOnPlateau(0.1)
    opt = stepped(fl.Adam(plateau), 2, gradients=[scale], nonfinite="skip")
    saved = opt.state_dict()
    opt.step({"w": np.ones(2)})
    before, state = content(opt), (scale.state_dict(), plateau.state_dict())
    spoil(saved["flow"])
    with pytest.raises((TypeError, ValueError)):
        opt.load_state_dict(saved)
    unchanged(opt, before)
    assert (scale.state_dict(), plateau.state_dict()) == state
    opt.step({"w": np.ones(2)})


def test_a_state_that_no_file_can_hold_is_named(tmp_path):
    class Odd(Follows):
        def state_dict(self):
            return {"value": object()}

    opt = stepped(fl.SGD(Odd()))
    with pytest.raises(TypeError, match=r"params\['w'\].learning_rate.state_dict\(\)\['value'\]"):
        opt.save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())
