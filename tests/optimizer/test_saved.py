"""What a file says of its rules and averages, and what is compared with it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import gradients, schedules
from tests.helpers import content, stepped, unchanged

# -- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "bound", "words"),
    [
        (fl.Adagrad(0.01), fl.RMSprop(0.01), r"rule\['w'\]: is RMSprop, but .* with Adagrad"),
        (fl.SGD(0.01, momentum=0.9), fl.LARS(0.01), "is LARS, but .* with SGD"),
        (fl.Adam(0.01), fl.Yogi(0.01), "is Yogi, but .* with Adam"),
        (fl.Adam(0.01), fl.AdamW(0.01), "is AdamW, but .* with Adam"),
        (
            fl.Lookahead(fl.Adam(0.01)),
            fl.Lookahead(fl.AdaBelief(0.01)),
            r"rule\['w'\]\.rule: is AdaBelief, but .* with Adam",
        ),
    ],
    ids=lambda x: repr(x)[:30],
)
def test_the_state_of_another_class_is_refused_by_name(saved, bound, words, tmp_path):
    path = tmp_path / "run.npz"
    opt = stepped(saved, 3)
    opt.save(path)
    new = stepped(bound, 2)
    before = content(new)
    for load in (lambda: new.load(path), lambda: new.load_state_dict(opt.state_dict())):
        with pytest.raises(ValueError, match=words):
            load()
        unchanged(new, before)
    new.step({"w": np.ones(2)})


def test_other_numbers_stay_as_they_are_bound_with_one_warning(tmp_path):
    path = tmp_path / "run.npz"
    opt = stepped(fl.AdamW(0.25, beta1=0.8), 3, gradients=[gradients.ClipByGlobalNorm(2.0)])
    opt.save(path)
    new = stepped(fl.AdamW(0.5), gradients=[gradients.ClipByGlobalNorm(1.0)])
    with pytest.warns(UserWarning, match="other numbers were saved") as caught:
        new.load(path)
    (warning,) = caught
    text = str(warning.message)
    assert "rule['w'].learning_rate is 0.5, saved 0.25" in text
    assert "rule['w'].beta1 is 0.9, saved 0.8" in text
    assert "gradients[0].limit is 1.0, saved 2.0" in text
    assert new.rule["w"] == fl.AdamW(0.5)
    new.step({"w": np.ones(2)})
    before = content(new)
    with pytest.raises(UserWarning):  # warnings are errors here, and come before the first write
        new.load(path)
    unchanged(new, before)
    new.step({"w": np.ones(2)})


def test_the_numbers_of_a_file_can_be_taken(tmp_path):
    path = tmp_path / "run.npz"
    rule = fl.Lookahead(fl.SGD(schedules.Cosine(0.5, steps=10), momentum=0.9), k=3)
    opt = stepped(rule, 4)
    opt.save(path)
    new = stepped(fl.Lookahead(fl.SGD(0.1, momentum=0.5)))
    new.load(path, rules="saved")
    assert new.rule["w"] == rule
    for _ in range(3):
        for o in (opt, new):
            o.step({"w": np.ones(2)})
    np.testing.assert_array_equal(new.params["w"], opt.params["w"])
    new.rebind({"w": np.zeros(2)})
    assert new.rule["w"] == rule
    with pytest.raises(ValueError, match="unknown rules 'file'"):
        new.load(path, rules="file")


def test_functions_and_what_remembers_are_kept_and_named(tmp_path):
    path = tmp_path / "run.npz"
    plateau = schedules.ReduceOnPlateau(1.0, patience=0)
    rules = {"w": fl.SGD(lambda step: 0.5), "b": fl.SGD(plateau)}
    params = {"w": np.zeros(2), "b": np.zeros(2)}
    opt = fl.Optimizer(params, rules)
    plateau.update(1.0)
    plateau.update(1.0)
    opt.save(path)
    ours = schedules.ReduceOnPlateau(1.0, patience=0)
    new = fl.Optimizer(params, {"w": fl.SGD(lambda step: 0.25), "b": fl.SGD(ours)})
    with pytest.warns(UserWarning, match=r"kept as they are bound: rule\['b'\]\."):
        new.load(path, rules="saved")
    assert new.rule["b"].learning_rate is ours
    assert ours.value == plateau.value == pytest.approx(0.1)
    assert new.hyperparameters()["w"]["learning_rate"] == 0.25


def test_nothing_is_imported_by_a_name_from_a_file():
    opt = stepped(fl.SGD(0.5))
    saved = opt.state_dict()
    saved["rule"]["w"]["fields"]["learning_rate"] = {"class": "system", "fields": {}}
    with pytest.raises(ValueError, match=r"learning_rate: is of class system in the file"):
        opt.load_state_dict(saved, rules="saved")
    saved["rule"]["w"]["class"] = "Popen"
    with pytest.raises(ValueError, match="neither of fallline nor bound"):
        opt.load_state_dict(saved, rules="saved")


def test_a_run_with_frozen_leaves_goes_on_with_the_same_rules(tmp_path):
    path = tmp_path / "run.npz"

    def make(rule):
        return fl.Optimizer({"w": np.ones(2), "b": np.ones(2)}, rule)

    grads = {"w": np.ones(2), "b": np.ones(2)}
    opt = make(fl.Adam(0.1))
    opt.step(grads)
    frozen = {"w": fl.Adam(0.1), "b": None}
    opt.rule = frozen
    opt.step(grads)
    opt.save(path)
    for load in ("file", "dict"):
        new = make(frozen)
        if load == "file":
            new.load(path)
        else:
            new.load_state_dict(opt.state_dict())
        for o in (opt, new):
            o.rule = fl.Adam(0.1)  # thawed: the state of the frozen leaf goes on
            o.step(grads)
            o.rule = frozen
        for key in "wb":
            np.testing.assert_array_equal(new.params[key], opt.params[key])
        assert new.state["b"]["step"] == opt.state["b"]["step"]


@pytest.mark.parametrize("dtype", ["float16", "complex128"])
def test_the_state_of_a_frozen_leaf_is_loaded_whatever_its_dtypes(dtype, tmp_path):
    # Some slots are wider than the leaf, or real beside a complex one.
    def make(rule, **options):
        params = {"w": np.ones(2, dtype), "b": np.ones(2, dtype)}
        return fl.Optimizer(params, rule, **options)

    opt = make(fl.Adam(0.1), gradients=[gradients.Accumulate(2)], master_weights=True)
    frozen = {"w": fl.Adam(0.1), "b": None}
    for _ in range(3):
        opt.step({"w": np.ones(2, dtype), "b": np.ones(2, dtype)})
    opt.rule = frozen
    opt.save(tmp_path / "run.npz")
    for load in ("load", "load_state_dict"):
        new = make(frozen, gradients=[gradients.Accumulate(2)], master_weights=True)
        getattr(new, load)(tmp_path / "run.npz" if load == "load" else opt.state_dict())
        for name, x in opt.state["b"].items():
            np.testing.assert_array_equal(new.state["b"][name], x)
            assert name == "step" or new.state["b"][name].dtype == x.dtype


def test_the_state_of_a_frozen_leaf_takes_another_dtype_along_and_is_loaded():
    opt = fl.Optimizer({"w": np.ones(2), "b": np.ones(2)}, fl.Adam(0.1))
    opt.step({"w": np.ones(2), "b": np.ones(2)})
    opt.rule = frozen = {"w": fl.Adam(0.1), "b": None}
    opt.rebind({"w": np.ones(2), "b": np.ones(2, "float32")})
    new = fl.Optimizer({"w": np.ones(2), "b": np.ones(2, "float32")}, frozen)
    new.load_state_dict(opt.state_dict())
    assert new.state["b"]["m"].dtype == np.float32
    assert new.state["b"]["m"][0] == np.float32(0.1)
    np.testing.assert_array_equal(new.state["b"]["m"], opt.state["b"]["m"])


# -- averages ------------------------------------------------------------------------------------


def test_an_average_means_what_it_was_saved_with(tmp_path):
    path = tmp_path / "ema.npz"

    def average(**settings):
        return fl.EMA({"w": np.ones(1)}, **settings)

    for settings in ({"decay": 0.5}, {"decay": 0.999, "debias": False}, {"decay": 0.99}):
        saved = average(**settings)
        for _ in range(2):
            saved.update()
        saved.save(path)
        for other in ({"decay": 0.9}, {"decay": 0.999}, {"decay": 0.9, "debias": False}):
            loaded = average(**other)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded.load(path)
            assert loaded.params["w"][0] == pytest.approx(1.0, rel=1e-12)
            loaded.update()
            assert loaded.params["w"][0] == pytest.approx(1.0, rel=1e-12)
            assert loaded.step_count == 3
            loaded.load_state_dict(loaded.state_dict())
            assert loaded.params["w"][0] == pytest.approx(1.0, rel=1e-12)


def test_an_average_takes_no_file_of_an_optimizer_nor_the_other_way_round(tmp_path):
    opt, average = stepped(fl.SGD(0.1), 1), fl.EMA({"w": np.ones(2)})
    average.update()
    opt.save(tmp_path / "run.npz")
    average.save(tmp_path / "ema.npz")
    with pytest.raises(ValueError, match="was saved with SGD"):
        average.load(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="was saved with _Average"):
        opt.load(tmp_path / "ema.npz")
