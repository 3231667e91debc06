"""Magnitudes and norms of numbers whose squares are outside of the range of their dtype."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from fallline._arrays import _reductions
from tests.helpers import COMPILED, misaligned, same_bits, strided

NUMBERS = [3e20 + 4e20j, 3e-23 + 4e-23j, 3e-30, -2e-30j, 5 - 12j, 0, 1e-37 + 1e-37j, 2e38 + 2e38j]
WIDE = [3e200 + 4e200j, 1e-200 - 1e-200j, 1e-320j, 1e300]


def numbers(dtype):
    """Return small and large numbers of a dtype, and their magnitudes in more than double."""
    z = np.asarray(NUMBERS if dtype == "complex64" else NUMBERS + WIDE).astype(dtype)
    exact = z.astype(np.clongdouble)
    return z, np.sqrt(exact.real**2 + exact.imag**2), exact


complex_dtypes = pytest.mark.parametrize("dtype", ["complex64", "complex128"])


# -- magnitudes ----------------------------------------------------------------------------------


@complex_dtypes
def test_magnitudes_stay_in_range(backend, dtype):
    z, size, exact = numbers(dtype)
    if backend.name == "jax":  # XLA takes subnormal numbers for zero
        normal = (size == 0) | (size >= np.finfo(dtype).tiny)
        z, size, exact = z[normal], size[normal], exact[normal]
    eps = np.finfo(dtype).eps
    some = size > 0
    phase = np.where(some, exact / np.where(some, size, 1), 0)
    x = backend.array(z)
    for limit in (1e-25, 1.0, 1e25):
        expected = np.where(size > limit, limit * phase, exact)
        fixed = np.where(some, limit * phase, limit)
        for new, right in (
            (fl.MaxModulus(limit).project(x), expected),
            (fl.Modulus(limit).project(x), fixed),
            (gradients.ClipByValue(limit).apply([x])[0], expected),
        ):
            np.testing.assert_allclose(backend.numpy(new), right, rtol=8 * eps)
        shrunk = np.where(size > limit, exact - limit * phase, 0)
        error = np.abs(backend.numpy(fl.L1(1.0).prox(x, limit)) - shrunk)
        assert np.all(error <= 8 * eps * np.maximum(np.abs(shrunk), limit))


def test_the_magnitude_of_what_is_not_finite():
    z = np.asarray([complex(np.inf, 1), complex(-np.inf, np.inf), complex(1, np.nan)])
    found = fl.MaxModulus(1.0).project(z)
    assert np.all(~np.isfinite(found))
    assert fl.L1(1.0).prox(np.asarray([complex(np.inf, 1)]), 0.5)[0] == complex(np.inf, 1)


RULES = [
    (fl.Adamax(0.1, eps=0.0), {}),
    (fl.FTRL(0.1, l1=1e-28), {}),
    (fl.SGD(0.1), {"gradients": [gradients.ClipByValue(1.0)]}),
    (fl.SGD(0.1), {"penalty": fl.L1(1e-27)}),
]


@pytest.mark.parametrize(("rule", "options"), RULES, ids=str)
@pytest.mark.parametrize("size", [1e-25, 1e-20, 1.0, 1e18, 1e20, 1e37])
def test_complex_numbers_on_the_real_axis_are_stepped_as_reals(rule, options, size):
    if isinstance(rule, fl.FTRL) and not 1e-18 < size < 1e18:
        size = min(max(size, 1e-18), 1e18)  # its second moment is a square
    found = []
    for dtype in ("float32", "complex64"):
        x = np.zeros(2, dtype)
        opt = fl.Optimizer(x, rule, **options)
        for _ in range(3):
            opt.step(np.asarray([size, -size], dtype))
        found.append(x)
    assert np.all(found[1].imag == 0)
    assert np.all(found[0] != 0)
    np.testing.assert_allclose(found[1].real, found[0], rtol=1e-6)


@pytest.mark.parametrize("engine", COMPILED)
@complex_dtypes
def test_same_bits_at_the_ends_of_the_range(engine, dtype):
    z, _, _ = numbers(dtype)
    z = np.repeat(z, 5)
    options = {
        "gradients": [gradients.ClipByValue(1e3)], "penalty": fl.L1(0.1),
        "constraint": fl.MaxModulus(0.5),
    }  # fmt: skip
    for rule in (fl.SGD(0.1, momentum=0.9), fl.Adamax(0.1), fl.Lion(0.1), fl.FTRL(0.1, l1=0.1)):
        for around in (options, {"constraint": fl.Modulus(0.5)}, {}):
            arrays = [np.ones_like(z) for _ in range(2)]
            for x, name in zip(arrays, (engine, "eager"), strict=True):
                opt = fl.Optimizer(x, rule, engine=name, **around)
                for shift in range(3):
                    opt.step(np.roll(z, shift))
            same_bits(*arrays)


# -- norms ---------------------------------------------------------------------------------------

SCALES = {
    "float16": [1e-5, 1.0, 1e4],
    "float32": [1e-44, 1e-30, 1e-20, 1.0, 1e19, 1e25, 1e35],
    "float64": [1e-320, 1e-200, 1.0, 1e160, 1e250, 1e305],
}
SCALES["complex64"], SCALES["complex128"] = SCALES["float32"], SCALES["float64"]
rows = [(dtype, scale) for dtype, scales in SCALES.items() for scale in scales]
scaled = pytest.mark.parametrize(("dtype", "scale"), rows)


def drawn(dtype, scale, shape=(60, 71)):
    """Return numbers of a size, and their norm in more than double."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.uniform(-1, 1, shape)
    x = (x * scale).astype(dtype)
    exact = x.astype(np.clongdouble)
    return x, float(np.sqrt(np.sum(exact.real**2 + exact.imag**2)))


@scaled
def test_norms_are_exact_on_every_library(backend, dtype, scale):
    if backend.name == "array_api_strict" and dtype == "float16":
        pytest.skip("the standard has no half precision")
    if backend.name == "jax" and scale < np.finfo(dtype).tiny:
        pytest.skip("XLA takes these for zero")
    x, expected = drawn(dtype, scale)
    found = _reductions.norm(backend.array(x))
    if not backend.name.startswith("numpy"):
        assert backend.is_ours(found)
        assert found.shape == ()
        found = backend.numpy(found)
        assert found.dtype == "float64"
    by_numpy = backend.name.startswith(("numpy", "torch"))  # whose dot product is in the dtype
    rtol = 1e-7 if by_numpy and dtype != "float64" else 1e-13
    np.testing.assert_allclose(float(found), expected, rtol=rtol)


@pytest.mark.parametrize("scale", SCALES["float32"][1:-1])
def test_norms_where_there_is_no_double_precision(scale):
    jax = pytest.importorskip("jax")
    strict = pytest.importorskip("array_api_strict")
    x, expected = drawn("float32", scale)
    found = _reductions.norm(jax.numpy.asarray(x))
    assert found.dtype == "float32"
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)
    compiled = jax.jit(lambda g: gradients.ClipByGlobalNorm(1.0).apply([g, 2 * g]))
    for k, clipped in enumerate(compiled(jax.numpy.asarray(x))):
        factor = min(1.0, 1 / (5**0.5 * expected)) * (k + 1)
        np.testing.assert_allclose(np.asarray(clipped), factor * x.astype(float), rtol=1e-5)
    device = strict.Device("no_float64")
    found = _reductions.norm(strict.asarray(x, device=device))
    assert found.dtype == strict.float32
    assert found.device == device
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)


@scaled
@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, misaligned, strided, lambda x: x.astype(x.dtype.newbyteorder("S"))],
)
def test_norms_of_any_layout(layout, dtype, scale):
    x, expected = drawn(dtype, scale)
    np.testing.assert_allclose(_reductions.norm(layout(x)), expected, rtol=1e-7)


def test_norms_of_little_and_of_what_is_not_finite(backend):
    for shape in ((0,), (3, 0), ()):
        for dtype in ("float32", "complex128"):
            found = float(_float(backend, _reductions.norm(backend.array(np.ones(shape, dtype)))))
            assert found == (1.0 if shape == () else 0.0)
    for dtype in ("float32", "float64"):
        for value in (np.inf, -np.inf, np.nan):
            x = np.asarray([1.0, value, 2.0], dtype)
            found = _float(backend, _reductions.norm(backend.array(x)))
            np.testing.assert_equal(found, abs(value))
        assert _float(backend, _reductions.norm(backend.array(np.zeros(5, dtype)))) == 0


def _float(backend, x):
    return float(x if isinstance(x, float) else backend.numpy(x))


def test_the_norm_of_infinity_beside_nan_is_nan(backend):
    x, y = (backend.array(np.asarray([1.0, bad])) for bad in (np.inf, np.nan))
    found = _reductions.norm(x, y)
    assert np.isnan(found if isinstance(found, float) else backend.numpy(found))
    grads = gradients.ClipByGlobalNorm(1.0).apply([x, y])
    assert all(np.isnan(backend.numpy(g)).all() for g in grads)


def test_a_norm_allocates_little():
    tracemalloc.start()
    for x in (np.ones(2_000_000, "float32"), np.ones((2000, 1000), "complex64")[:, ::2]):
        for value in (1.0, 1e25):
            x *= value
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            _reductions.norm(x)
            assert tracemalloc.get_traced_memory()[1] - before < 2e6
    tracemalloc.stop()


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_global_norm_is_as_wide_as_the_widest_leaf(backend, names):
    single, double = names
    grads = {single: np.ones(1, "float32"), double: np.asarray([1e25])}
    grads = dict(sorted(grads.items()))
    clip = gradients.ClipByGlobalNorm(1.0)
    new = clip.apply([backend.array(g) for g in grads.values()])
    found = {k: backend.numpy(g) for k, g in zip(grads, new, strict=True)}
    assert found[single].dtype == "float32"
    np.testing.assert_allclose(found[single], 1e-25, rtol=1e-6)
    np.testing.assert_allclose(found[double], 1.0, rtol=1e-12)


def test_clipping_of_gradients_with_squares_out_of_range(backend):
    for dtype, scale in (("float32", 1e30), ("complex64", 1e-30), ("float64", 1e200)):
        g, size = drawn(dtype, scale)
        for clip in (gradients.ClipByNorm(scale), gradients.ClipByGlobalNorm(scale)):
            (new,) = clip.apply([backend.array(g)])
            rtol = 1e-12 if dtype == "float64" else 1e-5
            np.testing.assert_allclose(backend.numpy(new), g * (scale / size), rtol=rtol)


# -- rules that look at norms --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "g", "p"),
    [
        (rule, g, p)
        for rule in (fl.LARS(0.1), fl.LAMB(0.1))
        for g, p in ((1e20, 1.0), (1e-25, 1.0), (1.0, 1e20), (1e-20, 1e-20))
        if not (isinstance(rule, fl.LAMB) and g > 1)  # its second moment is a square
    ],
    ids=str,
)
def test_steps_in_single_precision_are_those_in_double(rule, g, p):
    steps = []
    for dtype in ("float32", "float64"):
        x = np.full(4, p, dtype)
        fl.Optimizer(x, rule).step(np.full(4, g, dtype))
        steps.append(x.astype(float) - p)
    assert np.all(steps[1] != 0)
    np.testing.assert_allclose(*steps, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e20, 1e36])
def test_muon_makes_matrices_of_any_size_orthogonal(scale):
    g = np.random.default_rng(0).standard_normal((6, 4))
    found = []
    for x, size in ((np.zeros((6, 4), "float32"), scale), (np.zeros((6, 4)), 1.0)):
        fl.Optimizer(x, fl.Muon(1.0, eps=0.0)).step((size * g).astype(x.dtype))
        found.append(x)
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (5,)])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_adafactor_with_a_floor_whose_square_is_nothing(shape, dtype):
    rule = fl.Adafactor(0.1, eps1=1e-30)
    twin = np.ones(shape, "complex128" if dtype == "complex64" else "float64")
    x = twin.astype(dtype)
    opts = fl.Optimizer(x, rule), fl.Optimizer(twin, rule)
    for k in range(3):
        g = np.zeros(shape)
        g[0] = k
        for opt, p in zip(opts, (x, twin), strict=True):
            opt.step(g.astype(p.dtype))
    assert np.all(np.isfinite(x))
    np.testing.assert_allclose(x, twin, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adafactor_of_large_parameters(dtype):
    x = np.full((3, 4), 1e25, dtype)
    before = x.copy()
    fl.Optimizer(x, fl.Adafactor(0.1)).step(np.ones((3, 4), dtype))
    np.testing.assert_allclose(x, 0.9 * before, rtol=1e-5)
