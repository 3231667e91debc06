"""What a file says of itself, what is compared with it, and what remembers beside the arrays."""

from __future__ import annotations

import functools
import json
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import gradients, schedules


def one(rule, steps=0, gradient=2.0, **options):
    opt = fl.Optimizer({"w": np.zeros(2)}, rule, **options)
    for _ in range(steps):
        opt.step({"w": np.full(2, gradient)})
    return opt


def content(opt):
    """Return all arrays and counts of an Optimizer."""
    return {"w": opt.params["w"].copy(), **{k: np.array(v) for k, v in opt.state["w"].items()}}


def unchanged(opt, before):
    for name, x in content(opt).items():
        np.testing.assert_array_equal(x, before[name])


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
    opt = one(saved, 3)
    opt.save(path)
    new = one(bound, 2)
    before = content(new)
    for load in (lambda: new.load(path), lambda: new.load_state_dict(opt.state_dict())):
        with pytest.raises(ValueError, match=words):
            load()
        unchanged(new, before)
    new.step({"w": np.ones(2)})


def test_other_numbers_stay_as_they_are_bound_with_one_warning(tmp_path):
    path = tmp_path / "run.npz"
    opt = one(fl.AdamW(0.25, beta1=0.8), 3, gradients=[gradients.ClipByGlobalNorm(2.0)])
    opt.save(path)
    new = one(fl.AdamW(0.5), gradients=[gradients.ClipByGlobalNorm(1.0)])
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
    opt = one(rule, 4)
    opt.save(path)
    new = one(fl.Lookahead(fl.SGD(0.1, momentum=0.5)))
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
    opt = one(fl.SGD(0.5))
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
    opt, average = one(fl.SGD(0.1), 1), fl.EMA({"w": np.ones(2)})
    average.update()
    opt.save(tmp_path / "run.npz")
    average.save(tmp_path / "ema.npz")
    with pytest.raises(ValueError, match="was saved with SGD"):
        average.load(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="was saved with _Average"):
        opt.load(tmp_path / "ema.npz")


# -- what remembers --------------------------------------------------------------------------------


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
    opt = one(WRAPPED[wrap](schedule), 2)
    for _ in range(3):
        schedule.update(1.0)
    opt.save(tmp_path / "run.npz")
    for load in ("file", "dict"):
        again = make()
        resumed = one(WRAPPED[wrap](again))
        if load == "file":
            resumed.load(tmp_path / "run.npz")
        else:
            resumed.load_state_dict(opt.state_dict())
        assert again.value == schedule.value != 1.0
    json.dumps(opt.state_dict()["flow"])
    other = one(WRAPPED[wrap](schedules.ReduceOnPlateau(1.0) if make is Follows else Follows()))
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
    opt = one(fl.SGD(1.0), 2, gradients=[damp])
    resumed = one(fl.SGD(1.0), gradients=[again])
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
    old, new = one(fl.Adam(0.1), 3, gradients=saved), one(fl.Adam(0.1), 1, gradients=bound)
    before = content(new)
    with pytest.raises(ValueError, match=words):
        new.load_state_dict(old.state_dict())
    unchanged(new, before)
    new.step({"w": np.ones(2)})


def test_calls_of_a_longer_window_do_not_fit_a_shorter_one():
    old = one(fl.SGD(0.1), 4, gradients=[gradients.Accumulate(5)])
    new = one(fl.SGD(0.1), gradients=[gradients.Accumulate(2)])
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
    opt = one(fl.Adam(plateau), 2, gradients=[scale], nonfinite="skip")
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

    opt = one(fl.SGD(Odd()))
    with pytest.raises(TypeError, match=r"params\['w'\].learning_rate.state_dict\(\)\['value'\]"):
        opt.save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


# -- reading a file ------------------------------------------------------------------------------


def test_a_file_can_be_read_without_an_optimizer(tmp_path):
    path = tmp_path / "run.npz"
    params = {
        "layers": [{"w": np.arange(6.0).reshape(2, 3)}, None],
        "a/b": np.ones(1),
        "..": np.full(1, 2.0),
        "ä": np.full(1, 3.0),
        "": np.full(1, 4.0),
        "0": np.full(1, 5.0),
        "a%2Fb": np.full(1, 6.0),
    }
    opt = fl.Optimizer(params, fl.Adam(0.25))
    opt.save(path)
    found = fl.read_checkpoint(path)
    assert found.params["layers", 0, "w"].shape == (2, 3)
    for key in ("a/b", "..", "ä", "", "0", "a%2Fb"):
        np.testing.assert_array_equal(found.params[key,], params[key])
        assert found.state[key,]["step"] == 0
        assert found.state[key,]["m"].shape == (1,)
    assert found.rules["ä",]["fields"]["learning_rate"] == 0.25
    assert ("layers", 1) not in found.params
    with np.load(path, allow_pickle=False) as file:
        names = set(file.files)
        assert {"params/layers/[0]/w", "state/layers/[0]/w/m", "params/0", "params/%"} <= names
        assert {"params/a%2Fb", "params/a%252Fb", "params/%2E%2E", "params/%C3%A4"} <= names
        assert not any(".." in name.split("/") or "\\" in name for name in names)
        np.testing.assert_array_equal(file["params/layers/[0]/w"], params["layers"][0]["w"])
    bare = fl.Optimizer(np.ones(2), fl.SGD(0.1, momentum=0.9))
    bare.save(path)
    with np.load(path) as file:
        assert {"params", "state/b"} <= set(file.files)
    assert fl.read_checkpoint(path).state[()]["b"].shape == (2,)


def test_a_tree_of_tuples_and_odd_keys(tmp_path):
    path = tmp_path / "run.npz"
    make = lambda v: {(1, 2): np.full(1, v), "(1, 2)": np.full(1, 2 * v), 3: (np.full(1, 3 * v),)}  # noqa: E731
    try:
        opt = fl.Optimizer(make(1.0), fl.SGD(0.1))
    except (TypeError, ValueError):
        pytest.skip("keys of several kinds cannot be sorted")
    opt.save(path)
    new = fl.Optimizer(make(0.0), fl.SGD(0.1))
    new.load(path)
    assert [x[0] for x in (new.params[1, 2], new.params["(1, 2)"], new.params[3][0])] == [1, 2, 3]
