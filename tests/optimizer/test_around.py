"""What surrounds a rule in a step: gradient transforms, penalties, constraints, skipped steps."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, gradients, penalties
from fallline.engine import numba_
from tests.cases import AROUND, COMPLEX, LOW, MASK
from tests.helpers import bits, draw, patch_arrays, same_bits

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
    length = lengths(rule, state.leaves["step"], state.leaves)
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
            expected = AROUND[name]["penalty"].prox(expected, 0.1) * 0.5
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
def test_same_bits_around(engine, rule, name):
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
def test_around_on_every_library(backend, name):
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
def test_projection_in_the_metric_of_the_rule(constraint):
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


# -- steps that are left out, sums, copies in single precision ------------------------------


def test_skipped_steps_change_nothing_and_are_counted():
    x = {"a": np.ones(3), "b": np.ones(2)}
    opt = fl.Optimizer(x, fl.Adam(0.1), nonfinite="skip")
    opt.step({"a": np.ones(3), "b": np.ones(2)})
    before = pickle.dumps((x, [dict(opt.state[k]) for k in "ab"]))
    for bad in (np.nan, np.inf, -np.inf):
        opt.step({"a": np.ones(3), "b": np.asarray([1.0, bad])})
    assert pickle.dumps((x, [dict(opt.state[k]) for k in "ab"])) == before
    assert (opt.skipped, opt.step_count, opt.state["a"]["step"]) == (3, 1, 1)
    opt.step({"a": np.full(3, 1e200), "b": np.ones(2)})  # its square is not finite, it is
    assert (opt.skipped, opt.state["a"]["step"]) == (3, 2)
    strict = fl.Optimizer(x, fl.Adam(0.1), nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"grads\['b'\]: is not finite"):
        strict.step({"a": np.ones(3), "b": np.asarray([1.0, np.nan])})
    assert strict.step_count == 0


def test_accumulated_gradients_are_one_step_with_their_mean():
    rng = np.random.default_rng(5)
    x = {"a": rng.standard_normal(4), "b": rng.standard_normal((2, 3)), "c": np.ones(1)}
    y = copy.deepcopy(x)
    parts = [gradients.Accumulate(3), gradients.ClipByGlobalNorm(0.5)]
    opt = fl.Optimizer(x, fl.Adam(0.1), gradients=parts)
    plain = fl.Optimizer(y, fl.Adam(0.1), gradients=parts[1:])
    for step in range(3):
        some = [{k: rng.standard_normal(v.shape) for k, v in x.items()} for _ in range(3)]
        for grads in some:
            grads["c"] = None
        some[1]["a"] = None
        for grads in some if step == 1 else ():
            grads["b"] = None  # it had some the last time
        for i, grads in enumerate(some):
            if i == 1:  # a copy goes on in the middle
                opt.load_state_dict(opt.state_dict())
                again = pickle.loads(pickle.dumps(opt))
                assert again._memory.calls == 1
            opt.step(grads)
            assert opt.step_count == step + (i == 2)
        mean = {k: sum(g[k] for g in some if g[k] is not None) / 3 for k in "ab"}
        plain.step({**mean, "c": None, **({"b": None} if step == 1 else {})})
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12)
        assert np.all(opt.state["a"]["sum"] == 0)
    assert (opt.state["b"]["step"], opt.state["c"]["step"]) == (2, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_master_weights(dtype):
    dtype = np.dtype(dtype if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    x, y = np.ones(5, dtype), np.ones(5, "float32")
    opt = fl.Optimizer(x, fl.Adam(1e-5), master_weights=True)
    single = fl.Optimizer(y, fl.Adam(1e-5))
    for _ in range(40):
        opt.step(np.full(5, 0.5, dtype))
        single.step(np.full(5, 0.5, "float32"))
        same_bits(opt.state["master"], y)
        assert np.all(x.astype("float32") == y.astype(dtype).astype("float32"))
    assert "master" not in fl.Optimizer(y, fl.Adam(), master_weights=True).state
    params = {"x": x}
    opt = fl.Optimizer(params, fl.SGD(0.0), master_weights=True)
    params["x"] = x * 2  # adopted: the copy follows
    opt.step({"x": x})
    assert np.all(params["x"] == x * 2)


def test_wide_gradients_are_not_rounded():
    x = np.zeros(2, "float16")
    opt = fl.Optimizer(x, fl.SGD(1.0), gradients=[gradients.Accumulate(3)], master_weights=True)
    for value in (1.0, 1.0, 2.0):
        opt.step(np.full(2, value, "float16"))
    assert np.all(opt.state["master"] == -np.float32(4) / np.float32(3))


def test_scale_of_the_loss(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    scale = gradients.LossScale(8.0, interval=2)
    p = backend.tree({"x": np.zeros(2, "float32")})
    opt = fl.Optimizer(p, fl.SGD(1.0), gradients=[scale], nonfinite="skip")
    seen = []
    for value in (8.0, 8.0, np.inf, 8.0, np.nan, 4.0):
        opt.step({"x": backend.array(np.full(2, value, "float32"))})
        seen.append(float(scale))
    assert seen == [8.0, 16.0, 8.0, 8.0, 4.0, 4.0]
    assert opt.skipped == 2
    np.testing.assert_array_equal(
        backend.numpy(p["x"]), np.full(2, -1.0 - 1.0 - 1.0 - 1.0, "float32")
    )
    saved = opt.state_dict()
    other = gradients.LossScale()
    twin = fl.Optimizer(p, fl.SGD(1.0), gradients=[other], nonfinite="skip")
    twin.load_state_dict(saved)
    assert float(other) == 4.0
    assert twin.skipped == 2


def test_a_global_norm_is_that_of_all_leaves(backend):
    grads = backend.tree({"a": np.asarray([3.0, 0.0]), "b": [np.asarray([[4.0]]), None]})
    leaves = [grads["a"], grads["b"][0], None]
    scales = gradients.ClipByGlobalNorm(1.0).measure(leaves)
    assert scales[2] is None
    for scale in scales[:2]:
        np.testing.assert_allclose(backend.numpy(scale), 0.2, rtol=1e-12)
    scales = gradients.ClipByGlobalNorm(10.0).measure(leaves)
    assert backend.numpy(scales[0]) == 1.0
    long = backend.array(np.ones((2, 400_000), "complex64"))
    (scale,) = gradients.ClipByNorm(1.0).measure([long])
    np.testing.assert_allclose(backend.numpy(scale), 800_000**-0.5, rtol=1e-4)


@pytest.mark.parametrize("nonfinite", ["skip", "propagate"])
def test_reads_from_the_device(nonfinite, backend, monkeypatch):
    if backend.name.startswith("numpy"):
        pytest.skip("arrays on the host need no reads")
    reads, original = [], _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(1) or original(x))
    p = backend.tree({"x": np.ones((3, 4)), "y": np.ones(2)})
    opt = fl.Optimizer(
        p, fl.Adam(0.1), penalty={"x": fl.GroupL1(0.1), "y": fl.L1(0.1)}, nonfinite=nonfinite,
        constraint={"x": fl.L2Ball(1.0), "y": fl.Simplex()},
        gradients=[gradients.LossScale(2.0), gradients.ClipByGlobalNorm(1.0)],
    )  # fmt: skip
    for step in range(3):
        opt.step(backend.tree({"x": np.ones((3, 4)), "y": np.ones(2)}))
        assert len(reads) == (step if nonfinite == "skip" else 0)  # how the step before ended


def test_a_transform_of_a_user_meets_leaves_without_axes(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")

    class Half(gradients.Transform):
        elementwise = False

        def apply(self, grads):
            return [None if g is None else g * 0.5 for g in grads]  # NumPy makes scalars here

    params = backend.tree({"a": np.asarray(0.0), "b": np.zeros(1)})
    chain = [Half(), gradients.ClipByGlobalNorm(1.0)]
    opt = fl.Optimizer(params, fl.SGD(1.0), gradients=chain)
    opt.step(backend.tree({"a": np.asarray(6.0), "b": np.full(1, 8.0)}))
    assert float(backend.numpy(opt.params["a"])) == pytest.approx(-0.6)
    assert float(backend.numpy(opt.gradient_norm)) == pytest.approx(5.0)


def test_the_norm_of_leaves_without_axes_has_its_penalty_too():
    params = {"a": np.asarray(1.0), "b": np.ones(2)}
    plain = fl.Optimizer(
        params, fl.SGD(1.0), penalty=penalties.TotalVariation(0.1),
        gradients=[gradients.ClipByGlobalNorm(1.0)],
    )  # fmt: skip
    plain.step({"a": np.asarray(6.0), "b": np.full(2, 8.0 / np.sqrt(2))})
    assert plain.gradient_norm == pytest.approx(10.0)
    assert plain.params["a"] == pytest.approx(0.4)


# -- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"nonfinite": "ignore"}, ValueError, "unknown nonfinite 'ignore'"),
        ({"master_weights": 1}, TypeError, "master_weights: is 1, expected a bool"),
        ({"gradients": [3]}, TypeError, r"gradients\[0\]: is 3, expected a transform"),
        (
            {"gradients": [gradients.ClipByNorm(1.0), gradients.Accumulate(2)]},
            ValueError,
            r"gradients\[1\]: Accumulate must come first",
        ),
        ({"penalty": {"w": 0.1}}, TypeError, r"penalty\['w'\]: is 0.1, expected a penalty"),
        ({"constraint": {"w": 0.1}}, TypeError, r"constraint\['w'\]: is 0.1"),
        (
            {"constraint": {"v": None}},
            ValueError,
            r"constraint: missing constraint\[.*; unexpected constraint\[\'v\'\]",
        ),
        ({"constraint": lambda x: x[:1]}, ValueError, r"constraint\['w'\]: shape is \(1,\)"),
        ({"constraint": {"w": fl.Support(np.ones(3, bool))}}, ValueError, r"constraint\['w'\]"),
    ],
)
def test_mistakes(options, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer({"w": np.ones(2)}, fl.Adam(), **options)


def test_mistakes_with_complex_numbers():
    z = np.ones(2, complex)
    with pytest.raises(ValueError, match="use complex_moment='modulus'"):
        fl.Optimizer(z, fl.Adam(complex_moment="components"), penalty=fl.L1(1.0))
    with pytest.raises(TypeError, match=r"constraint: .*is complex128, .*real arrays"):
        fl.Optimizer(z, fl.Adam(), constraint=fl.NonNegative())
    for bad in (lambda: gradients.ClipByNorm(0.0), lambda: gradients.Accumulate(0)):
        with pytest.raises(ValueError, match=r"limit|k"):
            bad()


def test_what_is_run_can_be_read():
    opt = fl.Optimizer(
        np.ones(2), fl.SGD(0.1), penalty=fl.L1(0.5), constraint=fl.Box(0.0, 1.0),
        gradients=[gradients.ClipByGlobalNorm(1.0)],
    )  # fmt: skip
    assert opt.program.splitlines() == [
        "ClipByGlobalNorm, SGD, L1, Box, computed in float64",
        "  t1 = g * scale",
        "  t2 = learning_rate * t1",
        "  t3 = p - t2",
        "  t4 = sign(t3)",
        "  t5 = abs(t3)",
        "  t6 = t5 - penalty.threshold",
        "  t7 = maximum(t6, 0.0)",
        "  t8 = t4 * t7",
        "  t9 = t8 < constraint.low",
        "  t10 = where(t9, constraint.low, t8)",
        "  t11 = constraint.high < t10",
        "  t12 = where(t11, constraint.high, t10)",
        "  p <- t12",
    ]
    assert bits(opt.step(np.asarray([10.0, 0.0]))).size == 2
