"""The weights of schedule-free rules are made of the rates as they were, whatever happens between.

A rate that follows a metric, or that a function reads elsewhere, cannot be asked what it was.
"""

import copy
import math
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import schedules

START, RATES, FACES = (
    0.7,
    (0.4, 0.4, 0.8, 0.2, 0.2, 0.1, 0.1),
    (0.3, -1.0, 0.5, 0.8, 1.1, -0.2, 1.0),
)


class Dial:
    """A rate that somebody turns."""

    def __init__(self, value=RATES[0]):
        self.value = value

    def __call__(self, step):
        return self.value


def expected(rates=RATES, grads=FACES, beta=0.8):
    """Return the points y of the paper's recurrence."""
    x = z = y = START
    weights = []
    for rate, g in zip(rates, grads, strict=True):
        weights.append(max([rate, *weights]))
        share = weights[-1] ** 2 / sum(w * w for w in weights)
        z -= rate * g
        x = (1 - share) * x + share * z
        y = beta * x + (1 - beta) * z
        yield y


def sgd(rate, **kwargs):
    return fl.ScheduleFreeSGD(rate, beta1=0.8, **kwargs)


def leaf():
    return np.asarray([START])


def reloaded(opt, dial, tmp_path):
    opt.save(tmp_path / "run.npz")
    new = fl.Optimizer(leaf(), sgd(dial))
    new.load(tmp_path / "run.npz")
    return new


def in_memory(opt, dial, tmp_path):
    new = fl.Optimizer(leaf(), sgd(dial))
    new.load_state_dict(opt.state_dict())
    return new


def on_one_that_went_another_way(opt, dial, tmp_path):
    opt.save(tmp_path / "run.npz")
    new = fl.Optimizer(leaf(), sgd(dial))
    dial.value, kept = 3.0, dial.value
    for _ in range(opt.step_count):
        new.step(np.ones(1))
    dial.value = kept
    new.load(tmp_path / "run.npz")
    return new


def loaded_beside_factors(opt, dial, tmp_path):
    opt.rate_factors = 1.0
    opt.save(tmp_path / "run.npz")
    new = fl.Optimizer(leaf(), sgd(dial), rate_factors=0.5)
    new.load(tmp_path / "run.npz")
    return new


def with_the_rules_of_the_file(opt, dial, tmp_path):
    opt.save(tmp_path / "run.npz")
    new = fl.Optimizer(leaf(), fl.ScheduleFreeSGD(dial))
    with pytest.warns(UserWarning, match="kept as they are bound"):
        new.load(tmp_path / "run.npz", rules="saved")
    return new


def with_an_equal_rule(opt, dial, tmp_path):
    opt.rule = sgd(dial)
    return opt


def with_other_options(opt, dial, tmp_path):
    opt.constraint = fl.constraints.Box(-100.0, 100.0)
    return opt


def rebound(opt, dial, tmp_path):
    opt.rebind(opt.params.copy())
    return opt


def transformed(opt, dial, tmp_path):
    opt.transform(lambda x: x[::-1])
    return opt


def on_top(opt, dial, tmp_path):
    opt.save(tmp_path / "run.npz")
    dial.value, kept = 100.0, dial.value
    opt.step(np.ones(1))
    dial.value = kept
    opt.load(tmp_path / "run.npz")
    return opt


def after_a_look(opt, dial, tmp_path):
    for step in (0, 1, 100):
        opt.rule.hyperparameters(step)
    assert opt.program
    return opt


CHANGES = [
    reloaded, in_memory, on_one_that_went_another_way, loaded_beside_factors,
    with_the_rules_of_the_file, with_an_equal_rule, with_other_options, rebound,
    transformed, on_top, after_a_look,
    lambda opt, *_: copy.deepcopy(opt),
    lambda opt, *_: copy.copy(opt),
    lambda opt, *_: pickle.loads(pickle.dumps(opt)),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("after", [1, 3, 5])
def test_weights_outlive_every_change(change, after, tmp_path):
    dial = Dial()
    opt = fl.Optimizer(leaf(), sgd(dial))
    for k, (rate, g, y) in enumerate(zip(RATES, FACES, expected(), strict=True)):
        if k == after:
            opt = change(opt, dial, tmp_path)
            dial = opt.rule.learning_rate
        dial.value = rate
        opt.step(np.asarray([g]))
        np.testing.assert_allclose(opt.params, y, rtol=1e-12)


def test_a_plateau_in_a_warmup_within_lookahead_is_saved(tmp_path):
    def made():
        rate = schedules.ReduceOnPlateau(1.0, factor=0.5, patience=0)
        warm = schedules.LinearWarmup(rate, steps=3)
        return fl.Optimizer(np.ones(2), fl.Lookahead(fl.ScheduleFreeAdamW(warm), k=2)), rate

    opt, rate = made()
    opt.step(np.ones(2))
    opt.step(np.ones(2))
    for metric in (1.0, 2.0):
        rate.update(metric)
    opt.save(tmp_path / "run.npz")
    other, _ = made()
    other.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(other.step(np.ones(2)), opt.step(np.ones(2)))


def test_equal_rules_share_what_they_summed_when_one_of_them_goes():
    dial = Dial()
    params = {"a": leaf(), "b": leaf()}
    opt = fl.Optimizer(params, {"a": sgd(dial), "b": sgd(dial)})
    for k, (rate, g, y) in enumerate(zip(RATES, FACES, expected(), strict=True)):
        if k == 3:
            opt.rule = {"a": None, "b": sgd(dial)}
        dial.value = rate
        opt.step({"a": None if k >= 3 else np.asarray([g]), "b": np.asarray([g])})
        np.testing.assert_allclose(params["b"], y, rtol=1e-12)


def test_leaves_that_come_to_have_equal_rules_go_on_with_the_sum_of_the_first():
    dial = Dial()
    params = {"a": leaf(), "b": leaf()}
    opt = fl.Optimizer(params, {"a": sgd(dial), "b": fl.SGD(0.1)})
    for k, (rate, g, y) in enumerate(zip(RATES, FACES, expected(), strict=True)):
        if k in (3, 5):
            opt.rule = {"a": sgd(dial), "b": sgd(dial, weight_decay=0.1 * (k == 3))}
        dial.value = rate
        opt.step({"a": np.asarray([g]), "b": np.asarray([g])})
        np.testing.assert_allclose(params["a"], y, rtol=1e-12)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: fl.Lookahead(x, k=100)], ids=["", "in"])
def test_a_rule_given_to_two_optimizers_has_a_sum_in_each(wrap):
    dial = Dial()
    rule = wrap(sgd(dial))
    first, second = fl.Optimizer(leaf(), rule), fl.Optimizer(leaf(), rule)
    for k, (rate, g, y) in enumerate(zip(RATES, FACES, expected(), strict=True)):
        dial.value = rate
        first.step(np.asarray([g]))
        if k % 2 == 0:  # at half the pace
            second.step(np.asarray([FACES[k // 2]]))
        np.testing.assert_allclose(first.params, y, rtol=1e-12)
    half = list(expected(RATES[::2], FACES[:4]))[-1]
    np.testing.assert_allclose(second.params, half, rtol=1e-12)


def test_a_step_that_was_left_out_has_no_weight(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    dial = Dial()
    params = backend.tree({"x": leaf()})
    opt = fl.Optimizer(params, sgd(dial), nonfinite="skip")
    for rate, g, y in zip(RATES, FACES, expected(), strict=True):
        for dial.value, number in ((100.0, math.nan), (rate, g)):
            opt.step({"x": backend.array(np.asarray([float(number)]))})
        np.testing.assert_allclose(backend.numpy(opt.params["x"]), [y], rtol=1e-12)


def test_files_without_sums_are_read_and_sums_are_left_where_none_is_needed(tmp_path):
    # A file of before sums were kept, or of a rule with a number, and the other way around.
    opt = fl.Optimizer(leaf(), sgd(Dial()))
    opt.step(np.ones(1))
    saved = opt.state_dict()
    del saved["flow"]["schedules"]["params.memory"]
    opt.load_state_dict(saved)
    assert opt.rule.memory.state_dict() == {"steps": 0, "largest": 0.0, "total": 0.0}
    opt.step(np.ones(1))
    now = opt.rule.memory.state_dict()
    assert now == pytest.approx({"steps": 2, "largest": 0.4, "total": 0.32})
    number = fl.Optimizer(leaf(), sgd(0.4))
    with pytest.warns(UserWarning, match="learning_rate"):
        number.load_state_dict(opt.state_dict())
    with pytest.warns(UserWarning, match="learning_rate"):
        opt.load_state_dict(number.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [({"more": 1}, "entries"), ({"steps": -1}, "steps"), ({"largest": -1.0}, "largest")],
)
def test_damaged_sums_change_nothing(change, words):
    opt = fl.Optimizer(leaf(), sgd(Dial()))
    opt.step(np.ones(1))
    before = opt.state_dict()
    saved = copy.deepcopy(before)
    saved["params"] = leaf() + 5
    saved["flow"]["schedules"]["params.memory"] |= change
    with pytest.raises((TypeError, ValueError), match=words):
        opt.load_state_dict(saved)
    np.testing.assert_equal(opt.state_dict(), before)


def test_a_step_that_fails_leaves_the_sum():
    dial = Dial(0.2)
    broken = []

    def projected(x):
        if broken:
            raise MemoryError
        return x

    opt = fl.Optimizer(leaf(), sgd(dial), constraint=projected)
    opt.step(np.ones(1))
    before = opt.state_dict()
    broken, dial.value = [1], 100.0
    with pytest.raises(MemoryError):
        opt.step(np.ones(1))
    np.testing.assert_equal(opt.state_dict(), before)
    broken, dial.value = [], 0.4
    opt.step(np.ones(1))
    assert opt.rule.memory.state_dict() == pytest.approx({"steps": 2, "largest": 0.4, "total": 0.2})


def test_two_rules_keep_sums_of_their_own(tmp_path):
    def made():
        dials = Dial(0.4), Dial(0.1)
        rules = {"a": sgd(dials[0]), "b": fl.ScheduleFreeAdamW(dials[1])}
        return fl.Optimizer({"a": leaf(), "b": leaf()}, rules), dials

    opt, (one, two) = made()
    opt.step({"a": np.ones(1), "b": np.ones(1)})
    one.value, two.value = 0.2, 0.3
    opt.save(tmp_path / "run.npz")
    new, (three, four) = made()
    three.value, four.value = 0.2, 0.3
    new.load(tmp_path / "run.npz")
    for x in (opt, new):
        x.step({"a": np.ones(1), "b": np.ones(1)})
    np.testing.assert_equal(new.state_dict(), opt.state_dict())
    sums = [opt.rule[name].memory.state_dict()["total"] for name in "ab"]
    assert sums == pytest.approx([0.32, 0.1])


def test_the_pure_form_asks_a_schedule_a_few_times_a_step():
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1

    rule, x = sgd(rate), leaf()
    state = rule.init(x)
    for _ in range(50):
        x, state = rule.update(params=x, grads=np.ones(1), state=state)
    assert len(asked) <= 150


def test_only_steps_that_were_made_are_summed():
    # Of those that were asked for ahead, as a compiled epoch does.
    opt = fl.Optimizer(leaf(), sgd(schedules.Exponential(0.5, decay=0.5)))
    memory = opt.rule.memory
    spans = [opt.rule.at(step)._span for step in range(6)]
    memory.commit(3)
    assert memory.state_dict() == {"steps": 3, "largest": 0.5, "total": 0.75}
    assert spans == pytest.approx([1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("change", [0, 1, 2])
def test_a_rate_that_is_turned_after_a_rule_was_bound_is_read_at_its_first_step(change):
    # Whatever looks at the rule when it is bound, its first step reads the rate.
    dial = Dial()
    opt = fl.Optimizer(leaf(), fl.SGD(0.0), rate_factors=1.0)
    for _ in range(change):
        opt.step(np.ones(1))
    dial.value = 5.0
    opt.rule = sgd(dial)
    opt.rate_factors = np.ones(1)
    assert opt.program
    dial.value = 0.4
    opt.step(np.ones(1))
    now = opt.rule.memory.state_dict()
    assert now == pytest.approx({"steps": change + 1, "largest": 0.4, "total": 0.16 * (change + 1)})
