"""Skipped steps, sums, master copies, the scale of a loss, and options that do not fit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, gradients, penalties
from tests.helpers import bits, patch_arrays, same_bits


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
def test_master_copies_step_as_single_precision_does(dtype):
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


def test_the_scale_of_a_loss_is_undone_and_falls_with_overflows(backend):
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
def test_only_the_end_of_the_step_before_is_read_from_the_device(nonfinite, backend, monkeypatch):
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
def test_options_that_do_not_fit_are_refused_by_name(options, error, words):
    with pytest.raises(error, match=words):
        fl.Optimizer({"w": np.ones(2)}, fl.Adam(), **options)


def test_options_that_do_not_fit_complex_numbers_are_refused_by_name():
    z = np.ones(2, complex)
    with pytest.raises(ValueError, match="use complex_moment='modulus'"):
        fl.Optimizer(z, fl.Adam(complex_moment="components"), penalty=fl.L1(1.0))
    with pytest.raises(TypeError, match=r"constraint: .*complex128, expected a real one"):
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
