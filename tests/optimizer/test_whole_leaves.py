"""Penalties and constraints on whole leaves, and constraints that act on gradients."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from fallline.engine import numba_
from tests.helpers import same_bits

ENGINES = ["eager", "blocked", *(["numba"] if numba_.installed() else [])]

# -- the metric of a rule ------------------------------------------------------------------------


class Wandering(fl.rules.Rule):
    """A rule with a complex slot that its step lengths depend on."""

    learning_rate: float = fl.rules.hyper(0.1)

    @property
    def slots(self):
        return (fl.rules.Slot("a"),)

    def scalars(self, t):
        return {"rate": self.learning_rate, "learning_rate": self.learning_rate}

    def formula(self, xp, s, p, g, a):
        a = a + g
        return p - self.lengths(xp, s, a) * g, a

    def lengths(self, xp, s, a):
        return s.rate / xp.sqrt(1.0 + fl.rules.abs2(a))


CENTRED = fl.RMSprop(0.05, centered=True)


def drawn(rng, dtype):
    x = rng.standard_normal((4, 1))
    return (x + 1j * rng.standard_normal((4, 1)) if "complex" in dtype else x).astype(dtype)


@pytest.mark.parametrize(
    "rule", [CENTRED, fl.Lookahead(CENTRED, k=2), Wandering(), fl.RMSprop(0.05)], ids=str
)
@pytest.mark.parametrize("dtype", ["complex128", "complex64", "float64"])
def test_groups_of_one_element_are_single_elements(backend, rule, dtype):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(0)
    x, *grads = (drawn(rng, dtype) for _ in range(6))
    found = []
    for penalty in (fl.GroupL1(0.5), fl.L1(0.5)):
        p = backend.tree({"w": x})
        opt = fl.Optimizer(p, rule, penalty=penalty)
        for g in grads:
            opt.step({"w": backend.array(g)})
        found.append(backend.numpy(opt.params["w"]))
    assert np.max(np.abs(found[1] - x)) > 0.01
    np.testing.assert_allclose(*found, atol=2e-3)


def test_parameters_without_axes_have_a_metric_too():
    found = []
    for penalty in (fl.GroupL1(0.05, axis=()), fl.L1(0.05)):
        x = np.asarray(1.0)
        opt = fl.Optimizer(x, fl.Adam(0.1, eps=0.5), penalty=penalty)
        for _ in range(5):
            opt.step(np.asarray(0.3))
        found.append(float(x))
    assert found[1] > 0.1
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize("rule", [fl.Adam(0.1), fl.SGD(0.1)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"penalty": fl.GroupL1(0.1)}, {"penalty": fl.TotalVariation(0.1)},
        {"constraint": fl.L2Ball(0.5)}, {"constraint": fl.Simplex()}, {"constraint": fl.L1Ball()},
        {"penalty": lambda x, step: 0.5 * x}, {"constraint": lambda x: 0.5 * x},
    ],
    ids=str,
)  # fmt: skip
def test_leaves_of_no_elements_stay_as_they_are(backend, rule, options):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    leaves = {"a": np.ones((2, 2)), "b": np.zeros((0, 2)), "c": np.ones((2, 2))}
    params = backend.tree(leaves)
    opt = fl.Optimizer(params, rule, **options)
    for k in range(2):
        opt.step(backend.tree({name: np.ones_like(x) for name, x in leaves.items()}))
        assert opt.step_count == k + 1
    assert backend.numpy(params["b"]).shape == (0, 2)
    found = [backend.numpy(params[name]) for name in "ac"]
    assert np.all(found[0] < 1)
    np.testing.assert_array_equal(*found)


# -- gradients at a bound ------------------------------------------------------------------------

LOW, HIGH = np.asarray([0.0, -1.0, 0.5, 0.0]), np.asarray([1.0, 0.5, 0.5, 2.0])
RULES = [
    fl.SGD(0.1, momentum=0.9),
    fl.SGD(0.1, momentum=0.9, maximize=True),
    fl.Adam(0.1, weight_decay=0.1),
    fl.Lookahead(fl.Adam(0.1, maximize=True), k=2),
    fl.LARS(0.1, trust_coefficient=0.1),
    fl.LAMB(0.1),
    fl.Rprop(0.1),
    fl.Adafactor(0.1),
]
rules = pytest.mark.parametrize("rule", RULES, ids=str)
boxes = pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (LOW, HIGH), (None, HIGH), (0.25, None)],
    ids=["numbers", "arrays", "above", "below"],
)


def masked(x, g, low, high, up):
    """Return a gradient without what pushes an element out of its bound, by a loop."""
    g = np.array(g)
    for i in range(x.size):
        down = -g[i] if up else g[i]
        lowest = -np.inf if low is None else np.broadcast_to(low, x.shape)[i]
        highest = np.inf if high is None else np.broadcast_to(high, x.shape)[i]
        if (x[i] <= lowest and down > 0) or (x[i] >= highest and down < 0):
            g[i] = 0
    return g


def ascends(rule):
    return getattr(getattr(rule, "rule", rule), "maximize", False)


@rules
@boxes
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_that_push_out_of_a_bound_are_not_seen(engine, rule, low, high):
    start = np.asarray([0.0, 1.0, 0.5, 0.3])
    rng = np.random.default_rng(0)
    inside = fl.Box(low, high)
    x = inside.project(start)
    twin = x.copy()
    opt = fl.Optimizer(x, rule, constraint=fl.Box(low, high, mask_gradient=True), engine=engine)
    other = fl.Optimizer(twin, rule, constraint=inside, engine="eager")
    hidden = 0
    for _ in range(12):
        g = rng.standard_normal(4)
        seen = masked(twin, g, low, high, ascends(rule))
        hidden += np.sum(seen != g)
        opt.step(g)
        other.step(seen)
        same_bits(x, twin)
        for name, value in other.state.items():
            if name != "step":
                np.testing.assert_array_equal(opt.state[name], value)
    assert hidden


@rules
def test_every_library_masks_gradients_at_a_bound(backend, rule):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(1)
    start = np.asarray([[0.0, 0.25, 0.5, 0.3]] * 3)
    mine, theirs = {"w": start.copy()}, backend.tree({"w": start})
    options = {"nonfinite": "skip", "gradients": [gradients.ClipByGlobalNorm(1.0)]}
    opts = [
        fl.Optimizer(mine, rule, constraint=fl.Box(LOW, HIGH, mask_gradient=True), **options),
        fl.Optimizer(
            theirs, rule,
            constraint=fl.Box(backend.array(LOW), backend.array(HIGH), mask_gradient=True),
            **options,
        ),
    ]  # fmt: skip
    for _ in range(6):
        g = rng.standard_normal((3, 4))
        opts[0].step({"w": g})
        opts[1].step({"w": backend.array(g)})
        np.testing.assert_allclose(backend.numpy(theirs["w"]), mine["w"], rtol=1e-9, atol=1e-12)


def test_no_momentum_gathers_at_a_bound():
    x = {"plain": np.zeros(1), "masked": np.zeros(1)}
    constraint = {"plain": fl.NonNegative(), "masked": fl.NonNegative(mask_gradient=True)}
    opt = fl.Optimizer(x, fl.SGD(0.1, momentum=0.9), constraint=constraint)
    for _ in range(20):
        opt.step({k: np.ones(1) for k in x})
    assert opt.state["masked"]["b"] == 0
    for _ in range(3):
        opt.step({k: -np.ones(1) for k in x})
    assert x["plain"] == 0
    assert x["masked"] > 0.2


def test_gradients_at_a_bound_are_masked_though_the_projection_comes_later():
    x = np.asarray([[0.0, 1.0, 0.5]])
    box = fl.Box(0.0, 1.0, mask_gradient=True)
    opt = fl.Optimizer(x, fl.SGD(0.1, momentum=0.9), penalty=fl.GroupL1(0.1), constraint=box)
    opt.step(np.asarray([[1.0, -1.0, -9.0]]))
    np.testing.assert_array_equal(opt.state["b"], [[0.0, 0.0, -9.0]])
    assert x[0, 2] == 1.0


@pytest.mark.parametrize("master", [False, True])
def test_gradients_at_a_bound_are_masked_in_half_precision_and_summed(master):
    x = np.asarray([0.0, 1.0, 0.5], "float16")
    opt = fl.Optimizer(
        x, fl.SGD(0.1, momentum=0.9), constraint=fl.Box(0.0, 1.0, mask_gradient=True),
        gradients=[gradients.Accumulate(2)], master_weights=master,
    )  # fmt: skip
    for _ in range(4):
        opt.step(np.asarray([1.0, -1.0, 1.0], "float16"))
    np.testing.assert_allclose(opt.state["b"], [0.0, 0.0, 1.9], rtol=1e-6)
    np.testing.assert_array_equal(x[:2], [0.0, 1.0])


def test_a_box_is_what_a_solver_takes_whatever_it_does_to_gradients():
    def fun(x):
        return np.sum((x + 1) ** 2), 2 * (x + 1)

    for method in ("lbfgsb", "fista", fl.SGD(0.1, momentum=0.5)):
        for constraint in (fl.NonNegative(mask_gradient=True), fl.NonNegative(), fl.Box(0.0)):
            found = fl.minimize(fun, np.ones(3), method=method, constraint=constraint)
            np.testing.assert_array_equal(found.x, 0)
    assert isinstance(fl.NonNegative(), fl.Box)
    assert fl.NonNegative() == fl.NonNegative(mask_gradient=False)
    assert fl.NonNegative() != fl.NonNegative(mask_gradient=True)


# -- an end that acts on whole leaves ------------------------------------------------------------


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_nothing_is_written_if_a_constraint_of_a_user_fails(engine):
    def constraint(x):
        if armed:
            raise ZeroDivisionError
        return x

    armed = []
    params = {"a": np.ones(2), "b": np.ones(2)}
    opt = fl.Optimizer(params, fl.Adam(0.1), constraint={"a": None, "b": constraint}, engine=engine)
    grads = {"a": np.ones(2), "b": np.ones(2)}
    opt.step(grads)
    before = pickle.dumps((params, {k: dict(v) for k, v in opt.state.items()}))
    armed.append(True)
    with pytest.raises(ZeroDivisionError):
        opt.step(grads)
    assert pickle.dumps((params, {k: dict(v) for k, v in opt.state.items()})) == before
    armed.clear()
    opt.step(grads)
    assert opt.step_count == 2


def test_leaves_of_nothing_go_with_ends_that_act_on_whole_leaves():
    params = {"a": np.ones((2, 2)), "b": np.zeros((0, 2)), "c": np.ones((2, 2))}
    for end in ({"penalty": fl.GroupL1(0.1)}, {"constraint": fl.L2Ball(1.0)}):
        opt = fl.Optimizer(copy.deepcopy(params), fl.Adam(0.1), **end)
        opt.step({key: np.ones_like(x) for key, x in params.items()})
        assert opt.step_count == 1


def test_a_complex_slot_is_a_pair_for_a_penalty_on_groups_too():
    # For groups of one element the penalty on groups is the one on elements, which fuses.
    rng = np.random.default_rng(0)
    x0, *gs = (rng.standard_normal((4, 1)) + 1j * rng.standard_normal((4, 1)) for _ in range(6))
    found = []
    for penalty in (fl.L1(0.5), fl.GroupL1(0.5)):
        x = x0.copy()
        opt = fl.Optimizer(x, fl.RMSprop(0.05, centered=True), penalty=penalty)
        for g in gs:
            opt.step(g)
        found.append(x)
    # A projection in a metric ends after a fixed number of iterations.
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


@pytest.mark.parametrize("end", [{"penalty": fl.GroupL1(0.5)}, {"constraint": fl.L2Ball(2.0)}])
def test_a_leaf_without_axes_has_the_step_lengths_of_its_rule(end):
    found = []
    for shape in ((), (1,)):
        x = np.full(shape, 3.0)
        opt = fl.Optimizer(x, fl.Adam(0.1), **end)
        for _ in range(3):
            opt.step(np.full(shape, 0.1))
        found.append(x.reshape(()))
    assert found[0] == found[1]


def test_a_constraint_that_does_not_fit_is_named_on_every_library(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    params = backend.tree({"w": np.ones((3, 2))})
    mask = fl.Support(backend.array(np.ones((4, 2), bool)))
    with pytest.raises((TypeError, ValueError), match=r"^constraint\['w'\]: "):
        fl.Optimizer(params, fl.SGD(0.1), constraint={"w": mask})
