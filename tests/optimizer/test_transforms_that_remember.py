"""Transforms of a user that remember something, in steps that are not made."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, gradients

LIBRARIES = ["numpy", "torch", "array_api_strict"]


class Centred(gradients.Transform):
    """Subtracts a running mean of the gradients, which it keeps as arrays or changes in place."""

    elementwise = False

    def __init__(self, *, in_place):
        self.in_place = in_place
        self.calls, self.means = 0, None

    @np.errstate(invalid="ignore")
    def apply(self, grads):
        self.calls += 1
        if self.means is None:
            self.means = [None if g is None else _arrays.full(g, 0.0, g.dtype) for g in grads]
        for i, g in enumerate(grads):
            if g is not None and self.in_place:
                self.means[i][...] = 0.5 * self.means[i] + 0.5 * g
            elif g is not None:
                self.means[i] = 0.5 * self.means[i] + 0.5 * g
        return [None if g is None else g - m for g, m in zip(grads, self.means, strict=True)]

    def state_dict(self):
        return {"calls": self.calls, "means": self.means}

    def load_state_dict(self, state):
        self.calls, self.means = state["calls"], state["means"]


def centred_sgd(grads):
    """Return the parameter after steps of SGD with rate 1 on centred gradients, in a plain loop."""
    p, mean = np.ones(3), np.zeros(3)
    for g in grads:
        if np.all(np.isfinite(g)):
            mean = 0.5 * mean + 0.5 * g
            p = p - (g - mean)
    return p


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_skipped_step_leaves_what_a_transform_remembers(library, in_place, odd):
    xp = pytest.importorskip(library)
    transform = Centred(in_place=in_place)
    grads = [np.asarray(x) for x in ([1.0, 2, 3], [odd, 1, 1], [odd, 2, 1], [2.0, 0, 1])]
    params = {"w": xp.asarray(np.ones(3))}
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=[transform], nonfinite="skip")
    for g in grads:
        opt.step({"w": xp.asarray(g)})
    assert opt.skipped == 2
    assert transform.calls == 2
    np.testing.assert_allclose(_arrays.to_numpy(params["w"]), centred_sgd(grads), rtol=1e-15)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_snapshot_after_a_skipped_step_holds_what_was_there_before(library):
    xp = pytest.importorskip(library)
    transform = Centred(in_place=False)
    opt = fl.Optimizer(
        {"w": xp.asarray(np.ones(3))}, fl.SGD(1.0), gradients=[transform], nonfinite="skip"
    )
    opt.step({"w": xp.asarray(np.ones(3))})
    before = copy.deepcopy(opt.state_dict()["flow"])
    opt.step({"w": xp.asarray(np.full(3, np.nan))})
    after = opt.state_dict()["flow"]
    assert after == {**before, "skipped": 1}


class Refusing(fl.SGD):
    """A rule that fails in its formula where it is told to."""

    fails = False

    def formula(self, xp, s, p, g, *slots):
        if Refusing.fails:
            raise MemoryError("thrown in")
        return super().formula(xp, s, p, g, *slots)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_step_that_fails_leaves_what_a_transform_remembers(library, in_place, monkeypatch):
    xp = pytest.importorskip(library)
    transform = Centred(in_place=in_place)
    params = {"w": xp.asarray(np.ones(3))}
    opt = fl.Optimizer(params, Refusing(1.0), gradients=[transform], engine="eager")
    grads = [np.asarray([1.0, 2, 3]), np.asarray([2.0, 0, 1])]
    opt.step({"w": xp.asarray(grads[0])})
    monkeypatch.setattr(Refusing, "fails", True)
    with pytest.raises(MemoryError, match="thrown in"):
        opt.step({"w": xp.asarray(grads[1])})
    assert transform.calls == 1
    monkeypatch.setattr(Refusing, "fails", False)
    opt.step({"w": xp.asarray(grads[1])})
    np.testing.assert_allclose(_arrays.to_numpy(params["w"]), centred_sgd(grads), rtol=1e-15)
