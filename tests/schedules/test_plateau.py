"""The schedule that follows a metric."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import schedules
from fallline.schedules import ReduceOnPlateau
from tests.cases import SCHEDULES

PLATEAUS = [schedule for schedule in SCHEDULES if isinstance(schedule, ReduceOnPlateau)]


@pytest.mark.parametrize("plateau", PLATEAUS, ids=str)
def test_plateaus_are_objects(plateau):
    plateau = copy.deepcopy(plateau)
    plateau.update(1.0)
    plateau.update(1.0)
    for twin in (pickle.loads(pickle.dumps(plateau)), copy.deepcopy(plateau)):
        assert twin != plateau
        assert hash(twin) != hash(plateau)
        assert vars(twin) == vars(plateau)
        assert repr(twin) == repr(plateau)
    again = eval(repr(plateau), vars(schedules))
    assert repr(again) == repr(plateau)
    assert again.value == plateau.initial
    again.load_state_dict(plateau.state_dict())
    assert vars(again) == vars(plateau)


def test_a_plateau_drives_a_rule():
    x = np.zeros(1)
    plateau = ReduceOnPlateau(1.0, factor=0.5, patience=0)
    opt = fl.Optimizer(x, fl.GradientDescent(plateau))
    for metric in (3.0, 3.0, 2.0):
        opt.step(-np.ones(1))
        plateau.update(metric)
    assert x[0] == 2.5
    assert fl.GradientDescent(plateau) == fl.GradientDescent(plateau)


def test_a_plateau_refuses_another_state():
    with pytest.raises(ValueError, match=r"state_dict: entries is \['best'\], expected"):
        ReduceOnPlateau(1.0).load_state_dict({"best": 1.0})


SETTINGS = [
    {},
    {"patience": 3, "cooldown": 4, "factor": 0.5},
    {"patience": 0, "threshold": 0.05, "minimum": 1e-3},
    {"patience": 2, "threshold": 0.02, "threshold_mode": "abs", "eps": 1e-3},
    {"mode": "max", "patience": 1, "cooldown": 1, "factor": 0.7},
    {"mode": "max", "patience": 2, "threshold": 0.02, "threshold_mode": "abs"},
    {"mode": "max", "patience": 2, "threshold": 0.1, "minimum": 0.05, "factor": 0.6},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_plateau_falls_when_torch_s_does(settings, sign):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    t = np.arange(200)
    up = -1 if settings.get("mode") == "max" else 1
    metrics = up * sign * (up * sign + np.exp(-t / 30) + 0.05 * rng.standard_normal(200))
    metrics[50:53] = math.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    kwargs = {"min_lr" if key == "minimum" else key: x for key, x in settings.items()}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **kwargs)
    ours = ReduceOnPlateau(0.3, **settings)
    theirs = []
    for i, metric in enumerate(metrics):
        if i == 77:  # half way, into another object
            saved = json.loads(json.dumps(ours.state_dict()))
            ours = ReduceOnPlateau(0.3, **settings)
            ours.load_state_dict(saved)
        optimizer.step()
        scheduler.step(metric)
        theirs.append(optimizer.param_groups[0]["lr"])
        value = ours.update(np.asarray(metric))
        assert value == ours(i) == ours.value
        assert value == pytest.approx(theirs[-1], rel=1e-12)
        assert ours.best == scheduler.best
        assert ours.bad == scheduler.num_bad_epochs
        assert ours.waiting == scheduler.cooldown_counter
    assert len(set(theirs)) > 2
