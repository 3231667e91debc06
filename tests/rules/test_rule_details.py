"""What trajectories at a constant rate do not show of the rules."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import fallline as fl
from fallline.rules import _nadam, _radam


def jitted(function, *counts):
    """Return what a function of a count gives under ``jax.jit``."""
    jax = pytest.importorskip("jax")
    compiled = jax.jit(function)
    return [float(compiled(t)) for t in counts]


# -- numbers of the step -------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("decay", [0.0, 1e-6, 4e-3, 1.0, 1e9])
def test_nadam_s_product_is_the_product(beta, decay):
    rule = fl.NAdam(1.0, beta1=beta, momentum_decay=decay)
    mu = lambda t: beta * (1 - 0.5 * 0.96 ** (t * decay))  # noqa: E731
    product = 1.0
    for t in range(1, 3001):
        product *= mu(t)
        if t < 30 or t % 97 == 0:
            found = rule.scalars(t)
            assert found["new"] == pytest.approx((1 - mu(t)) / (1 - product), rel=1e-12)
            assert found["old"] == pytest.approx(mu(t + 1) / (1 - product * mu(t + 1)), rel=1e-12)
    counts = (1, 2, 30, 1000)
    for t, traced in zip(counts, jitted(lambda t: rule.scalars(t)["new"], *counts), strict=True):
        assert traced == pytest.approx(rule.scalars(t)["new"], rel=1e-6)
    assert math.isfinite(rule.scalars(10**9)["old"])


def test_nadam_s_numbers_may_be_schedules_under_jit():
    rule = fl.NAdam(1.0, beta1=lambda t: 0.9 - 0.1 / (1 + t), momentum_decay=lambda t: 1 / (9 + t))
    for t in (1, 5, 100):
        (traced,) = jitted(lambda t: rule.at(t - 1).scalars(t)["old"], t)
        assert traced == pytest.approx(rule.at(t - 1).scalars(t)["old"], rel=1e-5)


def test_the_terms_of_nadam_are_kept():
    rule = fl.NAdam(momentum_decay=0.0123)
    rule.scalars(1)
    before = _nadam._terms.cache_info().misses
    rule.scalars(10**6)
    assert _nadam._terms.cache_info().misses == before


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_radam_s_length_under_jit(beta):
    counts = [1, 2, 4, 5, 6, 7, 10, 31, 1000, 1001, 12345, 10**6]
    found = jitted(lambda t: _radam._length(beta, t), *counts)
    for t, length in zip(counts, found, strict=True):
        b = Fraction(beta)
        exact = 2 / (1 - b) - 1 - (2 * t * b**t / (1 - b**t) if t <= 1001 else 0)
        if t > 1001:
            exact -= Fraction(2 * t * beta**t / (1 - beta**t))
        assert length == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.6, 2 / 3])
def test_radam_that_never_divides(beta):
    x = np.ones(2)
    opt = fl.Optimizer(x, fl.RAdam(0.1, beta2=beta))
    for _ in range(20):
        opt.step(np.asarray([1.0, 5.0]))
    np.testing.assert_allclose(x, [-1.0, -9.0], rtol=1e-12)


def test_asgd_follows_a_schedule_at_once():
    x = np.zeros(1)
    opt = fl.Optimizer(x, fl.ASGD(lambda step: 1.0 / (1 + step), decay=0.0))
    for _ in range(3):
        opt.step(np.ones(1))
    np.testing.assert_allclose(x, -(1 + 1 / 2 + 1 / 3), rtol=1e-12)


# -- schedule-free -------------------------------------------------------------------------------

WARM = fl.schedules.LinearWarmup(fl.schedules.Constant(0.5), steps=4, start_factor=0.0)
FALLING = fl.schedules.Exponential(0.5, decay=0.8)


def points(schedule, gradients, beta, start=0.7):
    """Return x and y after each step, by the definition, all weights of all steps summed."""
    x = z = y = start
    weights = []
    for k, g in enumerate(gradients):
        rate = schedule(k) if callable(schedule) else schedule
        weights.append(max([rate, *weights]))
        total = sum(w * w for w in weights)
        share = weights[-1] ** 2 / total if total else 0.0
        z -= rate * g
        x = (1 - share) * x + share * z
        y = beta * x + (1 - beta) * z
        yield x, y


@pytest.mark.parametrize("schedule", [0.3, WARM, FALLING, lambda step: 0.3], ids=str)
def test_weights_of_a_schedule(schedule):
    rng = np.random.default_rng(0)
    y = np.asarray([0.7])
    gradients = rng.standard_normal(12)
    rule = fl.ScheduleFreeSGD(schedule, beta1=0.8)
    opt = fl.Optimizer(y, rule)
    for k, (average, expected) in enumerate(points(schedule, gradients, 0.8)):
        if k % 5 == 3:
            rule.hyperparameters(0)  # a look at another step
            rule.hyperparameters(100)
        opt.step(gradients[k : k + 1])
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        np.testing.assert_allclose(rule.evaluation(y, opt.state), average, rtol=1e-12)


@pytest.mark.parametrize("schedule", [0.3, WARM, FALLING], ids=str)
@pytest.mark.parametrize("cls", [fl.ScheduleFreeSGD, fl.ScheduleFreeAdamW])
def test_weights_of_a_schedule_under_jit(schedule, cls):
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(1)
    gradients = rng.standard_normal((12, 3)).astype("float32")
    rule = cls(schedule, beta1=0.8)
    step = jax.jit(lambda p, g, s: rule.update(params=p, grads=g, state=s))
    x = jax.numpy.ones(3)
    y = np.ones(3, "float32")
    state, opt = rule.init(x), fl.Optimizer(y, rule)
    for g in gradients:
        x, state = step(x, jax.numpy.asarray(g), state)
        opt.step(g)
    np.testing.assert_allclose(np.asarray(x), y, rtol=1e-5, atol=1e-6)
    average = np.asarray(rule.evaluation(x, state.leaves))
    np.testing.assert_allclose(average, rule.evaluation(y, opt.state), rtol=1e-5, atol=1e-6)
    # Eagerly again, with counts that are arrays of jax.
    x, state = rule.update(params=x, grads=jax.numpy.asarray(gradients[0]), state=state)
    opt.step(gradients[0])
    np.testing.assert_allclose(np.asarray(x), y, rtol=1e-5, atol=1e-6)


def test_a_schedule_under_jit_beyond_the_table():
    jax = pytest.importorskip("jax")
    rule = fl.ScheduleFreeSGD(fl.schedules.LinearWarmup(fl.schedules.Constant(1.0), steps=100))
    share = lambda step: rule.at(step).scalars(10**6)["share"]  # noqa: E731
    for step in (50, 16_000, 17_000, 100_000):
        assert float(jax.jit(share)(step)) == pytest.approx(share(step), rel=1e-6)


def test_a_leaf_that_joins_late_starts_its_own_average():
    params = {"a": np.ones(1), "b": np.ones(1)}
    rule = fl.ScheduleFreeSGD(WARM, beta1=0.8)
    opt = fl.Optimizer(params, rule)
    for _ in range(20):
        opt.step({"a": np.ones(1), "b": None})
    for average, y in points(0.5, [1.0, -2.0, 1.0], 0.8, 1.0):
        opt.step({"a": None, "b": np.asarray([1.0, -2.0, 1.0])[[opt.step_count - 20]]})
        np.testing.assert_allclose(params["b"], y, rtol=1e-12)
        found = rule.evaluation(opt.params, opt.state)["b"]
        np.testing.assert_allclose(found, average, rtol=1e-12)


def test_rows_and_elements_that_join_late_start_at_the_parameter():
    rng = np.random.default_rng(6)
    table = rng.standard_normal((6, 2))
    start = table.copy()
    opt = fl.Optimizer(table, fl.ScheduleFreeSGD(0.1, beta1=0.8))
    for rows in ([0, 1], [0, 1], [0, 4]):
        opt.step(fl.RowSparse(np.asarray(rows), np.ones((2, 2))))
    share = 1 / 3  # of the first gradient of row 4, in the third step
    np.testing.assert_allclose(table[4], start[4] - 0.1 * (1 - 0.8 * (1 - share)), rtol=1e-12)
    np.testing.assert_array_equal(opt.rule.evaluation(table, opt.state)[2], start[2])
    opt.rebind(np.concatenate([table, np.ones((1, 2))]), state="pad")
    opt.step(np.zeros((7, 2)))
    np.testing.assert_array_equal(opt.params[6], 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
@pytest.mark.parametrize("cls", [fl.ScheduleFreeSGD, fl.ScheduleFreeAdamW])
def test_evaluation_of_trees(dtype, cls):
    rng = np.random.default_rng(2)
    draw = lambda shape: np.asarray(rng.standard_normal(shape) + 1).astype(dtype)  # noqa: E731
    params = {"w": [draw((2, 3)), draw(())], "fixed": draw(2), "none": None, "adam": draw(3)}
    rule = cls(0.1)
    rules = {"w": rule, "fixed": None, "none": None, "adam": fl.FTRL(0.1, l1=0.1)}
    opt = fl.Optimizer(params, rules, master_weights=dtype == "float16")
    start = rule.evaluation(opt.params, opt.state)
    np.testing.assert_allclose(start["w"][0], params["w"][0], rtol=1e-3)
    for _ in range(5):
        grads = {"w": [draw((2, 3)), draw(())], "fixed": None, "none": None, "adam": draw(3)}
        opt.step(grads)
    found = rule.evaluation(opt.params, opt.state)
    for x, y, state in zip(found["w"], params["w"], opt.state["w"], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        wide = np.asarray(state.get("master", y))
        z = wide + state["ahead"]
        np.testing.assert_allclose(x, (wide - (1 - 0.9) * z) / 0.9, rtol=2e-3)
    assert found["none"] is None
    for name in ("fixed", "adam"):
        assert found[name] is params[name]


def test_a_schedule_of_beta1_is_read_at_the_last_step():
    y = np.asarray([1.0])
    rule = fl.ScheduleFreeSGD(0.1, beta1=lambda step: 0.5 + 0.1 * step)
    opt = fl.Optimizer(y, rule)
    for _ in range(3):
        opt.step(np.ones(1))
    expected = (y - (1 - 0.7) * (y + opt.state["ahead"])) / 0.7
    np.testing.assert_allclose(rule.evaluation(y, opt.state), expected, rtol=1e-12)


# -- FTRL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("l2", [0.0, 0.4])
@pytest.mark.parametrize("start", [0.0, 1.5, -0.2])
@pytest.mark.parametrize(("initial", "shrinkage"), [(0.0, 0.0), (0.5, 0.2)])
def test_ftrl_is_the_paper_s_with_proximal_terms_around_the_start(
    l1, l2, start, initial, shrinkage
):
    # Algorithm 1 of McMahan et al. with its sum z as state; the first terms, which the paper
    # centres at 0, are centred at the start.
    alpha, beta = 0.3, 0.7
    grad = lambda x: x**3 - x + 0.2  # noqa: E731
    w, z, n = start, -(beta + math.sqrt(initial)) / alpha * start, initial
    x = np.asarray([start])
    rule = fl.FTRL(
        alpha, beta=beta, l1=l1, l2=l2, l2_shrinkage=shrinkage, initial_accumulator=initial
    )
    opt = fl.Optimizer(x, rule)
    for _ in range(40):
        g = grad(w)
        z += shrinkage * w + g - (math.sqrt(n + g * g) - math.sqrt(n)) / alpha * w
        n += g * g
        shrunk = 0.0 if abs(z) <= l1 else z - math.copysign(l1, z)
        w = -shrunk / ((beta + math.sqrt(n)) / alpha + l2)
        opt.step(grad(x))
        np.testing.assert_allclose(x, w, rtol=1e-10, atol=1e-13)
        assert (x[0] == 0) == (w == 0)


def test_ftrl_keeps_exact_zeros_under_noise():
    rng = np.random.default_rng(0)
    x = np.zeros(50)
    target = np.where(np.arange(50) < 5, 2.0, 0.0)
    opt = fl.Optimizer(x, fl.FTRL(0.5, l1=30.0))
    for _ in range(300):
        opt.step(x - target + 0.3 * rng.standard_normal(50))
    assert np.all(x[5:] == 0)
    assert np.all(x[:5] > 1)


def test_ftrl_under_a_rate_that_falls_to_zero_keeps_the_parameter():
    rate = fl.schedules.Cosine(0.5, steps=10)
    x = np.asarray([1.0, 0.0])
    opt = fl.Optimizer(x, fl.FTRL(rate, l1=0.2, l2=0.1))
    for _ in range(10):
        opt.step(np.asarray([-1.0, 0.01]))
    before = x.copy()
    assert before[0] > 1
    for _ in range(5):
        opt.step(np.asarray([-1.0, 0.01]))
    np.testing.assert_allclose(x, before, rtol=1e-12)
    assert x[1] == 0


def test_ftrl_goes_on_from_where_the_parameter_is_put():
    x = np.asarray([0.3])
    opt = fl.Optimizer(x, fl.FTRL(0.1, l1=0.1))
    opt.step(np.ones(1))
    x[...] = 5.0
    opt.step(np.ones(1))
    assert 4.5 < x[0] < 5.0


def test_ftrl_leaves_alone_what_has_no_gradient():
    rng = np.random.default_rng(3)
    x = rng.standard_normal(100).astype("float32")
    opt = fl.Optimizer(x, fl.FTRL(0.1, l1=0.5, l2=0.1))
    for _ in range(3):
        opt.step(rng.standard_normal(100).astype("float32"))
    opt.step(np.zeros(100, "float32"))
    before, z = x.copy(), opt.state["z"].copy()
    for _ in range(50):
        opt.step(np.zeros(100, "float32"))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(opt.state["z"], z)


def test_ftrl_makes_zeros_of_complex_numbers():
    rng = np.random.default_rng(4)
    z = np.zeros(200, complex)
    opt = fl.Optimizer(z, fl.FTRL(0.5, l1=1.0))
    g = rng.standard_normal(200) + 1j * rng.standard_normal(200)
    opt.step(g)
    np.testing.assert_array_equal(z == 0, np.abs(g) <= 1)
    n = np.abs(g) ** 2
    expected = -g * np.maximum(0, 1 - 1 / np.abs(g)) / ((1 + np.sqrt(n)) / 0.5)
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-15)


# -- signs ---------------------------------------------------------------------------------------


def test_signs_of_complex_numbers_of_any_size():
    size = np.asarray([1e-44, 1e-30, 1.0, 1e30, 3e38, 0.0])
    g = (size * np.exp(2j)).astype("complex64")
    x = np.zeros(6, "complex64")
    fl.Optimizer(x, fl.SignSGD(1.0)).step(g)
    np.testing.assert_allclose(np.abs(x), [1, 1, 1, 1, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(x[1:5], -np.exp(2j), rtol=1e-6)
    real = np.zeros(3)
    fl.Optimizer(real, fl.SignSGD(1.0)).step(np.asarray([1e-300, -1e300, 0.0]))
    np.testing.assert_array_equal(real, [-1, 1, 0])


def test_the_norm_of_adamax_is_the_modulus():
    z = np.zeros(1, complex)
    opt = fl.Optimizer(z, fl.Adamax(0.1, eps=0.0))
    opt.step(np.asarray([3 - 4j]))
    np.testing.assert_array_equal(opt.state["u"], 5.0)
    np.testing.assert_allclose(z, -0.1 * (0.6 - 0.8j), rtol=1e-12)


# -- how far a unit of gradient moves each element -------------------------------------------------


def root(state, rule, t, beta="beta2"):
    return np.sqrt(state["v"] / (1 - getattr(rule, beta) ** t)) + rule.eps


def radam(rule, state, t):
    longest = 2 / (1 - rule.beta2) - 1
    length = longest - 2 * t * rule.beta2**t / (1 - rule.beta2**t)
    size = rule.learning_rate / (1 - rule.beta1**t)
    if length <= 5:
        return np.full(4, size)
    r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return size * np.sqrt(r * (1 - rule.beta2**t)) / (np.sqrt(state["v"]) + rule.eps)


def nadam(rule, state, t):
    mu = [rule.beta1 * (1 - 0.5 * 0.96 ** (i * rule.momentum_decay)) for i in range(1, t + 2)]
    size = (1 - mu[-2]) / (1 - math.prod(mu[:-1])) + mu[-1] / (1 - math.prod(mu))
    return rule.learning_rate * size / root(state, rule, t)


def schedule_free(rule, t):
    return rule.learning_rate * (1 - rule.beta1 * (1 - 1 / t))


LENGTHS = [
    (fl.Adamax(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / s["u"]),
    (fl.NAdam(0.1), nadam),
    (fl.RAdam(0.1, beta2=0.8), radam),
    (fl.AdaBelief(0.1, eps=0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t)),
    (fl.Yogi(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t)),
    (fl.Lion(0.1), lambda r, s, t: 0.1),
    (fl.SignSGD(0.1), lambda r, s, t: 0.1),
    (fl.Adan(0.1), lambda r, s, t: 0.1 / (1 - r.beta1**t) / root(s, r, t, "beta3")),
    (fl.Rprop(0.1), lambda r, s, t: s["size"]),
    (fl.ASGD(0.1, decay=0.5), lambda r, s, t: 0.1 / (1 + 0.05 * (t - 1)) ** 0.75),
    (fl.FTRL(0.1, l2=0.3), lambda r, s, t: 1 / ((1 + np.sqrt(s["n"])) / 0.1 + 0.3)),
    (fl.ScheduleFreeSGD(0.1), lambda r, s, t: schedule_free(r, t)),
    (fl.ScheduleFreeAdamW(0.1), lambda r, s, t: schedule_free(r, t) / root(s, r, t)),
]


@pytest.mark.parametrize(("rule", "length"), LENGTHS, ids=[str(rule) for rule, _ in LENGTHS])
def test_penalties_act_in_the_metric_of_the_rule(rule, length):
    rng = np.random.default_rng(5)
    x = rng.standard_normal(4)
    opt = fl.Optimizer(x, rule, penalty=fl.L1(0.3))
    for t in range(1, 9):
        twin, g = x.copy(), rng.standard_normal(4)
        alone = fl.Optimizer(twin, rule)
        for name, value in opt.state.items():
            alone.state[name] = value if name == "step" else value.copy()
        alone.step(g)
        opt.step(g)
        width = 0.3 * length(rule, opt.state, t)
        expected = np.sign(twin) * np.maximum(np.abs(twin) - width, 0)
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)


# -- mistakes --------------------------------------------------------------------------------------


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
def test_bad_hyperparameters(make, error, words):
    with pytest.raises(error, match=words):
        make()
