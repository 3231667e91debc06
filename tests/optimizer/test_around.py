"""What surrounds a rule in a step: gradient transforms, penalties, constraints."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from fallline.engine import numba_
from tests.cases import AROUND, COMPLEX, LOW, MASK
from tests.helpers import draw, same_bits

RULES = [
    fl.GradientDescent(0.1),
    fl.SGD(0.1, momentum=0.9),
    fl.Adam(0.1),
    fl.RMSprop(0.1, centered=True, momentum=0.5),
    fl.Adagrad(0.1),
    fl.Adadelta(),
]
rows = [(name, dtype) for name in AROUND for dtype in ("float64", "complex128")
        if dtype == "float64" or name in COMPLEX]  # fmt: skip
around = pytest.mark.parametrize(("name", "dtype"), rows)
rules = pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)


def lengths(rule, t, state):
    """Return how far a unit of gradient moves each element, written apart from the package."""
    if isinstance(rule, fl.Adam):
        root = np.sqrt(state["v"]) / np.sqrt(1 - rule.beta2**t)
        return rule.learning_rate / (1 - rule.beta1**t) / (root + rule.eps)
    if isinstance(rule, fl.RMSprop):
        root = np.sqrt(state["v"] - np.abs(state["a"]) ** 2)
        return rule.learning_rate / (root + rule.eps)
    if isinstance(rule, fl.Adagrad):
        return rule.learning_rate / (np.sqrt(state["v"]) + rule.eps)
    if isinstance(rule, fl.Adadelta):
        return np.sqrt((state["u"] + rule.eps) / (state["v"] + rule.eps))
    return rule.learning_rate


def gain(rule):
    """Return how far a unit of gradient moves an element in the long run, in units of `lengths`."""
    return 1 / (1 - getattr(rule, "momentum", 0.0))


def transformed(g, transforms):
    """Return gradients after transforms, in NumPy."""
    for t in transforms:
        if isinstance(t, gradients.ClipByValue):
            size = np.abs(g)
            g = g * np.minimum(1, t.limit / np.where(size == 0, 1, size))
        elif isinstance(t, gradients.ClipByNorm):
            g = g * min(1.0, t.limit / np.linalg.norm(g))
        else:
            g = g - g.mean(axis=1, keepdims=True)
    return g


def shrunk(x, by):
    size = np.abs(x)
    return x * np.maximum(0, 1 - by / np.where(size == 0, 1, size))


def by_hand(rule, options, x, g, state):
    """Return parameter and state after one step, the parts one after another."""
    penalty, constraint = options.get("penalty"), options.get("constraint")
    g = transformed(g, options.get("gradients", ()))
    if isinstance(penalty, fl.TotalVariation):
        g = g + penalty.gradient(x)
    x, state = rule.update(params=x, grads=g, state=state)
    length = lengths(rule, state.leaves["step"], state.leaves) * gain(rule)
    if isinstance(penalty, fl.L1):
        x = shrunk(x, penalty.alpha * length)
    elif isinstance(penalty, fl.ElasticNet):
        x = shrunk(x, penalty.alpha * penalty.l1_ratio * length)
        x = x / (1 + penalty.alpha * (1 - penalty.l1_ratio) * length)
    elif isinstance(penalty, fl.L2):
        x = x / (1 + penalty.alpha * length)
    if constraint is not None and not isinstance(penalty, fl.GroupL1):
        x = constraint(x)
    return x, state


@around
@rules
def test_a_step_is_its_parts_in_order(rule, name, dtype):
    options = AROUND[name]
    if name in ("simplex", "groups") and np.ndim(lengths_of(rule)):
        pytest.skip("a projection in a metric: tested below")
    rng = np.random.default_rng(0)
    x = draw(rng, (3, 4), dtype, False)
    opt = fl.Optimizer(x, rule, **options)
    expected, state = x.copy(), rule.init(x)
    for _ in range(10):
        g = draw(rng, (3, 4), dtype, False)
        expected, state = by_hand(rule, options, expected, g, state)
        if name == "groups":
            expected = AROUND[name]["penalty"].prox(expected, 0.1 * gain(rule)) * 0.5
        opt.step(g)
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-12)
    assert opt.step_count == 10


def lengths_of(rule):
    g = np.arange(2.0)
    _, state = rule.update(params=g, grads=g, state=rule.init(g))
    return lengths(rule, 1, state.leaves)


ENGINES = ["blocked", *(["numba"] if numba_.installed() else [])]


@pytest.mark.parametrize(
    ("engine", "rule"),
    [("blocked", rule) for rule in RULES[1:4]] + [(engine, RULES[2]) for engine in ENGINES[1:]],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
@pytest.mark.parametrize("name", AROUND)
def test_compiled_engines_give_eager_bits_around_every_rule(engine, rule, name):
    for dtype in ("float32", "complex64") if name in COMPLEX else ("float32",):
        rng = np.random.default_rng(1)
        first = {f"{i}": draw(rng, (3, 4), dtype, False) for i in range(6)}
        first["large"] = np.concatenate([draw(rng, (3, 4), dtype, False)] * 9000, axis=1)
        first["strided"] = draw(rng, (3, 8), dtype, False)[:, ::2]
        options = AROUND[name]
        if name not in ("l1", "global norm"):
            del first["large"]
        fast, slow = (copy.deepcopy(first) for _ in range(2))
        opts = [
            fl.Optimizer(x, rule, engine=e, **options) for x, e in ((fast, engine), (slow, "eager"))
        ]
        assert opts[0].engine == engine
        for t in range(4):
            grads = {k: draw(rng, x.shape, dtype, t == 2) for k, x in first.items()}
            grads["0"] = None if t == 1 else grads["0"]
            for opt in opts:
                opt.step(grads)
        for key in first:
            same_bits(fast[key], slow[key])


@pytest.mark.parametrize("name", AROUND)
def test_every_library_agrees_on_what_surrounds_a_rule(backend, name):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(2)
    dtype = "complex128" if name in COMPLEX else "float64"
    x = draw(rng, (3, 4), dtype, False)
    options = dict(AROUND[name], nonfinite="skip")
    theirs = dict(options)
    if name in ("box of arrays", "support", "all"):
        part = options["constraint"]
        theirs["constraint"] = (
            fl.Box(backend.array(LOW))
            if isinstance(part, fl.Box)
            else fl.Support(backend.array(MASK))
        )
    mine, other = {"a": x.copy()}, backend.tree({"a": x})
    opts = fl.Optimizer(mine, fl.Adam(0.1), **options), fl.Optimizer(other, fl.Adam(0.1), **theirs)
    before = x
    for t in range(4):
        g = draw(rng, (3, 4), dtype, False)
        g[0, 0] = np.nan if t == 2 else g[0, 0]
        opts[0].step({"a": g})
        opts[1].step({"a": backend.array(g)})
        if t < 2:
            np.testing.assert_allclose(backend.numpy(other["a"]), mine["a"], rtol=1e-9, atol=1e-12)
        if t == 2:
            np.testing.assert_array_equal(backend.numpy(other["a"]), before)
        before = backend.numpy(other["a"]).copy()
    assert opts[0].skipped == opts[1].skipped == 1
    assert opts[0].state["a"]["step"] == 3


# -- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", [fl.L2Ball(0.5), fl.Simplex(), lambda x: np.clip(x, 0, 0.3)])
def test_projections_are_the_nearest_points_in_the_metric_of_the_rule(constraint):
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(3)
    x = np.asarray([0.4, 0.1, 0.3, -0.1])
    rule = fl.Adam(0.1, eps=0.5)
    opt = fl.Optimizer(x, rule, constraint=constraint)
    for _ in range(3):
        before, state = x.copy(), opt.state
        g = rng.standard_normal(4)
        leaves = {k: v if k == "step" else v.copy() for k, v in state.items()}
        free, after = rule.update(params=before, grads=g, state=fl.rules.State(0, leaves))
        opt.step(g)
        weight = 1 / lengths(rule, after.leaves["step"], after.leaves)

        def distance(z, weight=weight, free=free):
            return float(np.sum(weight * (z - free) ** 2))

        assert np.allclose(constraint(x), x, atol=1e-9)
        best = optimize.minimize(
            lambda z: distance(constraint(z)), x, method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
        )  # fmt: skip
        assert distance(x) <= best.fun + 1e-5


@pytest.mark.slow
def test_the_minimum_is_that_of_the_penalised_problem():
    rng = np.random.default_rng(4)
    A, b = rng.standard_normal((30, 6)), rng.standard_normal(30)

    def fun(x):
        r = A @ x - b
        return 0.5 * r @ r / 30, A.T @ r / 30

    for penalty, constraint in (
        (fl.L1(0.1), None), (fl.GroupL1(0.1, axis=0), None), (None, fl.NonNegative()),
        (None, fl.L2Ball(0.1)), (fl.L1(0.02), fl.NonNegative()),
    ):  # fmt: skip
        expected = fl.minimize(
            fun, np.zeros(6), method="fista", penalty=penalty, constraint=constraint,
            stop=fl.stop.GradientNorm(1e-10),
        )  # fmt: skip
        for rule in (fl.GradientDescent(0.3), fl.RMSprop(0.003, rho=0.9, eps=0.1), fl.Adagrad(0.1)):
            found = fl.minimize(
                fun, np.zeros(6), method=rule, penalty=penalty, constraint=constraint,
                max_iterations=2500,
            )  # fmt: skip
            np.testing.assert_allclose(found.x, expected.x, atol=2e-6)
            assert found.fun == pytest.approx(expected.fun, abs=1e-9)
            assert np.all(found.x[expected.x == 0] == 0)


class Capped(fl.penalties.Penalty):
    """An absolute value that stops to grow: its proximal point needs more numbers than a weight."""

    elementwise = True

    def scalars(self):
        return {"weight": 0.3, "cap": 0.5}

    def prox_scalars(self, s, t):
        return {"shift": s.weight * t, "cap": s.cap}

    def formula(self, xp, s, x):
        return xp.where(x > s.cap, x, x - s.shift)

    def _value(self, xp, x):
        return 0.3 * xp.sum(xp.where(x > 0.5, 0.5, x))


@pytest.mark.parametrize("engine", ["eager", "blocked", "auto"])
@pytest.mark.parametrize("wrap", [lambda rule: rule, lambda rule: fl.Lookahead(rule, k=5)])
@pytest.mark.parametrize("inner", [fl.SGD(0.1, momentum=0.75), fl.RMSprop(0.1, momentum=0.75)])
def test_momentum_makes_the_step_of_a_penalty_longer_and_nothing_else(inner, wrap, engine):
    rule = wrap(inner)
    x = np.asarray([0.2, 0.45, 0.55, 3.0])
    g = np.asarray([0.1, -0.2, 0.1, 0.3])
    alone, state = rule.update(params=x, grads=g, state=rule.init(x))
    length = 4 * lengths(inner, 1, {**state.leaves, "a": 0.0})
    expected = np.where(alone > 0.5, alone, alone - 0.3 * length)
    opt = fl.Optimizer({"x": x.copy()}, rule, penalty=Capped(), engine=engine)
    opt.step({"x": g})
    np.testing.assert_allclose(opt.params["x"], expected, rtol=1e-12)
