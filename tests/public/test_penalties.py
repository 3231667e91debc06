"""Penalties and constraints against their definitions, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import constraints, penalties
from fallline.constraints import (
    Box,
    L1Ball,
    L2Ball,
    MaxModulus,
    Modulus,
    NonNegative,
    Simplex,
    Support,
)
from fallline.penalties import L1, L2, ElasticNet, GroupL1, ProximalOperator, TotalVariation

MASK = np.arange(12).reshape(4, 3) % 3 > 0
PENALTIES = [L1(0.3), L2(0.3), ElasticNet(0.3, 0.25), GroupL1(0.5), GroupL1(0.5, axis=(0, 1))]
PENALTIES += [GroupL1(0.5, axis=0), TotalVariation(0.3, 0.1), TotalVariation(0.3, axes=(-1,))]
CONSTRAINTS = [
    NonNegative(), Box(-0.5, 0.5), Box(low=-0.1), Box(high=0.2), Simplex(), Simplex(0.1),
    Simplex(30.0), L1Ball(), L1Ball(100.0), L2Ball(), L2Ball(100.0), Modulus(0.5), MaxModulus(0.5),
    Support(MASK), NonNegative(mask_gradient=True), Box(-0.5, 0.5, mask_gradient=True),
]  # fmt: skip
KINDS = ("float64", "complex128")


def draw(dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 3))
    return (x + 1j * rng.standard_normal((4, 3)) if dtype == "complex128" else x).astype(dtype)


def on(backend, constraint):
    """Return a constraint with its arrays on a backend."""
    if isinstance(constraint, Support):
        return Support(backend.array(constraint.mask))
    return constraint


def test_every_public_one_has_its_row():
    for module, rows in ((penalties, PENALTIES), (constraints, CONSTRAINTS)):
        names = set(module.__all__) - {"ProximalOperator"}  # tested below
        assert {type(row).__name__ for row in rows} == names


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("dtype", KINDS)
def test_value_gradient_and_prox(backend, penalty, dtype):
    x = draw(dtype)
    device = backend.array(x)
    value = backend.numpy(penalty.value(device))
    assert value.shape == ()
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, definition(penalty, x), rtol=1e-12)
    np.testing.assert_array_equal(backend.numpy(device), x)
    if penalty.smooth:
        both = lambda x: (penalty.value(x), penalty.gradient(x))  # noqa: E731
        assert fl.check_gradient(both, device).ok
    else:
        with pytest.raises(TypeError, match="not smooth"):
            penalty.gradient(device)
    if isinstance(penalty, TotalVariation):
        with pytest.raises(TypeError, match="closed form"):
            penalty.prox(device, 0.7)
        return
    y = backend.numpy(penalty.prox(device, 0.7))
    assert y.dtype == x.dtype

    # The proximal point is the lowest point of its function: lower than any other near it.
    def objective(y):
        return 0.7 * definition(penalty, y) + 0.5 * np.sum(abs(y - x) ** 2)

    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-3, 1e-5):
        for _ in range(20):
            other = y + size * draw(dtype, rng)
            kept = np.where(y == 0, y, other)
            assert objective(y) <= objective(other) + 1e-14
            assert objective(y) <= objective(kept) + 1e-14


def definition(penalty, x):
    """Return a penalty's value by loops over its formula."""
    match penalty:
        case L1():
            return penalty.alpha * sum(abs(x).flat)
        case L2():
            return penalty.alpha / 2 * sum((abs(x) ** 2).flat)
        case ElasticNet():
            a, r = penalty.alpha, penalty.l1_ratio
            return a * r * sum(abs(x).flat) + a * (1 - r) / 2 * sum((abs(x) ** 2).flat)
        case GroupL1():
            groups = {-1: list(x), 0: list(x.T), (0, 1): [x.reshape(-1)]}[penalty.axis]
            return penalty.alpha * sum(np.linalg.norm(group) for group in groups)
    total = 0.0
    axes = (0, 1) if penalty.axes is None else (1,)
    for i, j in np.ndindex(x.shape):
        square = penalty.eps**2
        if 0 in axes and i + 1 < x.shape[0]:
            square += abs(x[i + 1, j] - x[i, j]) ** 2
        if 1 in axes and j + 1 < x.shape[1]:
            square += abs(x[i, j + 1] - x[i, j]) ** 2
        total += square**0.5 - penalty.eps
    return penalty.alpha * total


def holds(constraint, x):
    """Tell whether an array is in a set."""
    match constraint:
        case NonNegative():
            return (x >= 0).all()
        case Box(low, high):
            return (low is None or (x >= low).all()) and (high is None or (x <= high).all())
        case Simplex(radius):
            return (x >= 0).all() and abs(x.sum() - radius) < 1e-12 * radius
        case L1Ball(radius):
            return abs(x).sum() <= radius * (1 + 1e-12)
        case L2Ball(radius):
            return np.linalg.norm(x) <= radius * (1 + 1e-12)
        case Modulus(a):
            return np.allclose(abs(x), a, rtol=1e-12)
        case MaxModulus(a):
            return (abs(x) <= a * (1 + 1e-12)).all()
    return (x[~MASK] == 0).all()


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: str(c).partition("(")[0])
@pytest.mark.parametrize("dtype", KINDS)
def test_projection(backend, constraint, dtype):
    x = draw(dtype)
    device = backend.array(x)
    if constraint.real and dtype == "complex128":
        with pytest.raises(TypeError, match=r"x: .* real arrays, got complex128"):
            constraint.project(device)
        return
    y = backend.numpy(on(backend, constraint).project(device))
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert holds(constraint, y)
    np.testing.assert_array_equal(backend.numpy(device), x)
    again = backend.numpy(on(backend, constraint)(backend.array(y)))
    np.testing.assert_allclose(again, y, rtol=0, atol=1e-15)
    # No point of the set is nearer; other points of it are found by projecting.
    rng = np.random.default_rng(2)
    for size in (1.0, 1e-2, 1e-4):
        for _ in range(20):
            other = constraint.project(y + size * draw(dtype, rng))
            assert holds(constraint, other)
            assert np.linalg.norm(y - x) <= np.linalg.norm(other - x) + 1e-13


def test_modulus_of_zero_is_real_and_positive():
    z = np.zeros(3, complex)
    np.testing.assert_array_equal(Modulus(2.0).project(z), 2 + 0j)
    np.testing.assert_array_equal(MaxModulus(2.0).project(z), z)
    np.testing.assert_array_equal(L1(1.0).prox(z, 1.0), z)
    np.testing.assert_array_equal(L1Ball().project(z), z)


def test_bounds_may_be_arrays():
    low = np.asarray([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(Box(low, 3.0).project(np.zeros(3)), low)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: L1(-1.0), "alpha"),
        (lambda: L2(float("nan")), "alpha"),
        (lambda: ElasticNet(1.0, 1.5), "l1_ratio"),
        (lambda: TotalVariation(1.0, 0.0), "eps"),
        (lambda: Simplex(0.0), "radius"),
        (lambda: L2Ball(-1.0), "radius"),
        (lambda: Box(1.0, 0.0), "high"),
        (lambda: ProximalOperator(3), "f: is 3, expected a function"),
    ],
)
def test_mistakes(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


# -- numbers whose squares are out of range ------------------------------------------------------


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e20), ("float64", 1e200)])
@pytest.mark.parametrize("small", [False, True])
def test_points_of_any_size_are_projected_on_a_ball(backend, dtype, large, small):
    size = 1 / large if small else large
    kind = "complex64" if dtype == "float32" else "complex128"
    rtol = 8 * np.finfo(dtype).eps
    for x in (np.asarray([3.0, 4.0]), np.asarray([3.0 + 4.0j, 0.0])):
        point = (size * x).astype(kind if np.iscomplexobj(x) else dtype)
        for radius in (0.1 * size, 10.0 * size):
            found = backend.numpy(L2Ball(radius).project(backend.array(point)))
            factor = min(1.0, radius / size / 5)
            np.testing.assert_allclose(found, factor * size * x, rtol=rtol)
    found = backend.numpy(L2Ball(1.0).project(backend.array(np.full(2, np.finfo(dtype).max))))
    np.testing.assert_allclose(found, 0.5**0.5, rtol=rtol)


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e20), ("float64", 1e200)])
@pytest.mark.parametrize("small", [False, True])
def test_groups_of_any_size_are_shrunk(backend, dtype, large, small):
    size = 1 / large if small else large
    kind = "complex64" if dtype == "float32" else "complex128"
    for x in (np.asarray([[3.0, 4.0], [0.3, 0.4]]), np.asarray([[5.0j, 0.0], [0.0, 0.5]])):
        groups = backend.array((size * x).astype(kind if np.iscomplexobj(x) else dtype))
        value = backend.numpy(GroupL1(2.0).value(groups))
        np.testing.assert_allclose(value, 11 * size, rtol=1e-6)
        found = backend.numpy(GroupL1(size).prox(groups, 1.0))
        np.testing.assert_allclose(found, size * x * np.asarray([[0.8], [0.0]]), rtol=1e-6)


def test_variation_of_large_and_of_tiny_steps(backend):
    x = backend.array(np.asarray([0.0, 0.0, 1e25], "float32"))
    penalty = TotalVariation(2.0)
    np.testing.assert_allclose(backend.numpy(penalty.value(x)), 2e25, rtol=1e-6)
    np.testing.assert_allclose(backend.numpy(penalty.gradient(x)), [0.0, -2.0, 2.0], rtol=1e-6)
    x = backend.array(np.asarray([0.0, 3e-30, 3e-30], "float32"))
    slope = backend.numpy(TotalVariation(1.0, eps=4e-30).gradient(x))
    np.testing.assert_allclose(slope, [-0.6, 0.6, 0.0], rtol=1e-6)


@pytest.mark.parametrize("kind", [Simplex, L1Ball])
def test_a_radius_is_not_lost_beside_large_numbers(backend, kind):
    for x, expected in (
        ([1e20, 0.0], [1.0, 0.0]),
        ([3e38, 3e38, 1.0], [0.5, 0.5, 0.0]),
        ([1e10, 1e10 - 1024, 0.0], [1.0, 0.0, 0.0]),
    ):
        found = kind(1.0).project(backend.array(np.asarray(x, "float32")))
        np.testing.assert_allclose(backend.numpy(found), expected, rtol=1e-6)


# -- arrays of no elements, gradients through a projection, numbers that jax traces ---------------


@pytest.mark.parametrize("shape", [(0,), (0, 2), (3, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_arrays_of_no_elements(backend, shape, dtype):
    x = backend.array(np.zeros(shape, dtype))
    for constraint in CONSTRAINTS:
        if isinstance(constraint, Support) or (constraint.real and dtype == "complex64"):
            continue
        assert backend.numpy(constraint.project(x)).shape == shape
    for penalty in PENALTIES:
        if getattr(penalty, "axis", -1) != -1 and len(shape) == 1:
            continue
        assert backend.numpy(penalty.value(x)) == 0
        found = penalty.gradient(x) if penalty.smooth else penalty.prox(x, 1.0)
        assert backend.numpy(found).shape == shape


def test_gradients_through_projections_are_finite_at_zero():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    for f, at_ones in (
        (lambda x: L2Ball(1.0).project(x).sum(), np.zeros(4)),
        (GroupL1(1.0).value, np.full(4, 0.5)),
        (lambda x: GroupL1(1.0).prox(x, 1.0).sum(), np.ones(4)),
    ):
        assert np.all(np.isfinite(jax.grad(f)(jnp.zeros(4))))
        np.testing.assert_allclose(jax.grad(f)(jnp.ones(4)), at_ones, atol=1e-6)
    slope = jax.grad(lambda z: abs(MaxModulus(1.0).project(z)).sum())(jnp.zeros(2, "complex64"))
    assert np.all(np.isfinite(slope))
    torch = pytest.importorskip("torch")
    x = torch.zeros(4, requires_grad=True)
    L2Ball(1.0).project(x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones(4))


def test_numbers_may_be_traced():
    jax = pytest.importorskip("jax")
    x = np.asarray([0.3, 2.0, -1.0], "float32")
    given, target = jax.numpy.asarray(x), jax.numpy.zeros(3)
    sizes = np.asarray([0.25, 1.0, 4.0], "float32")
    for make in (
        lambda r: Simplex(r).project, lambda r: L2Ball(r).project, lambda r: L1Ball(r).project,
        lambda r: MaxModulus(r).project, lambda r: Box(-r, r).project,
        lambda r: lambda x: L1(r).prox(x, 1.0), lambda r: lambda x: GroupL1(r).prox(x, 1.0),
        lambda r: L2(r).value, lambda r: ElasticNet(r).value, lambda r: TotalVariation(r).value,
        lambda r: lambda x: fl.losses.Huber(r)(x, target),
    ):  # fmt: skip
        expected = [make(float(r))(given) for r in sizes]
        found = jax.jit(jax.vmap(lambda r, make=make: make(r)(given)))(sizes)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


# -- what is not an array of ours ----------------------------------------------------------------


class Unplaced:
    """An array with a namespace and without a device."""

    dtype, shape = np.dtype("float64"), (2,)

    def __array_namespace__(self, *, api_version=None):
        return np


FOREIGN = {
    "a list": lambda: [1.0, 2.0],
    "a MaskedArray": lambda: np.ma.masked_array([1.0, 2.0], [False, True]),
    "a csr_array": lambda: pytest.importorskip("scipy.sparse").csr_array(np.eye(2)),
    "a coo_matrix": lambda: pytest.importorskip("scipy.sparse").coo_matrix(np.eye(2)),
    "a DataFrame": lambda: pytest.importorskip("pandas").DataFrame(np.eye(2)),
    "a mlx.array": lambda: pytest.importorskip("mlx.core").array([1.0, 2.0]),
    "an? Unplaced": Unplaced,
    "sparse": lambda: pytest.importorskip("torch").eye(2).to_sparse(),
    "sparse, expected": lambda: pytest.importorskip("sparse").COO.from_numpy(np.eye(2)),
}


@pytest.mark.parametrize("words", FOREIGN)
def test_foreign_arrays_are_refused_by_name_everywhere(words):
    x = FOREIGN[words]()
    for f in (
        Simplex().project, Box(0.0, 1.0), MaxModulus(1.0), L1(1.0).value, TotalVariation(1.0).value,
        TotalVariation(1.0).gradient, lambda x: L2(1.0).prox(x, 1.0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"^x: is {words}"):
            f(x)
    if not isinstance(x, list):
        with pytest.raises(TypeError, match=rf"^params\['w'\]: is {words}"):
            fl.Optimizer({"w": x}, fl.SGD(0.1))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_and_integers_are_refused():
    with pytest.raises(TypeError, match="x: is a matrix, expected an array"):
        Simplex().project(np.matrix([[1.0, 2.0]]))
    for f in (L2Ball().project, L1(0.3).value):
        with pytest.raises(TypeError, match="x: dtype is int64, expected one of float16"):
            f(np.arange(3))
    assert L1(0.5).value(np.float64(-3.0)) == 1.5  # a number of NumPy is an array of no axes


# -- a proximal operator alone -------------------------------------------------------------------


def soft(x, step):
    """Return x less 0.3 times the step, towards zero."""
    low, high = x + 0.3 * step, x - 0.3 * step
    return (low - abs(low) + high + abs(high)) / 2


def test_a_function_is_a_penalty():
    rng = np.random.default_rng(0)
    matrix, y = rng.standard_normal((30, 5)), rng.standard_normal(30)

    def fun(x):
        r = matrix @ x - y
        return 0.5 * r @ r / 30, matrix.T @ r / 30

    for method in ("fista", "proximal_gradient", fl.GradientDescent(0.3), fl.Adam(0.05)):
        found, expected = (
            fl.minimize(fun, np.zeros(5), method=method, penalty=p, max_iterations=400)
            for p in (soft, L1(0.3))
        )
        np.testing.assert_allclose(found.x, expected.x, atol=1e-6)
        assert found.fun == pytest.approx(fun(found.x)[0])
    assert np.any(found.x == 0)
    of_tree = lambda x: (fun(x["w"])[0], {"w": fun(x["w"])[1]})  # noqa: E731
    run = fl.solvers.ProximalGradient().start(of_tree, {"w": np.ones(5)}, penalty={"w": soft})
    records = list(run.steps(3))
    assert records[-1].value < of_tree({"w": np.ones(5)})[0]


def test_a_function_is_a_penalty_of_an_optimizer(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    for rule in (fl.SGD(0.1, momentum=0.9), fl.Adam(0.1)):
        found = []
        for penalty in (soft, ProximalOperator(soft), L1(0.3)):
            p = {"w": backend.array(np.linspace(-1, 1, 6)), "b": backend.array(np.ones(2))}
            opt = fl.Optimizer(p, rule, penalty={"w": penalty, "b": None})
            assert opt.penalty["w"] is penalty if hasattr(opt, "penalty") else True
            for k in range(3):
                g = {"w": backend.array(np.cos(np.arange(6.0) + k)), "b": None}
                opt.step(g)
            found.append(backend.numpy(opt.params["w"]))
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_allclose(found[0], found[2], atol=1e-6)


def test_what_a_proximal_operator_has_not():
    penalty = ProximalOperator(soft)
    x = np.ones(3)
    with pytest.raises(TypeError, match=r"ProximalOperator\(f=.*soft.* has no value"):
        penalty.value(x)
    with pytest.raises(TypeError, match="not smooth"):
        penalty.gradient(x)
    with pytest.raises(ValueError, match=r"LBFGS needs a smooth penalty, .*use ProximalGradient"):
        fl.minimize(lambda x: (x @ x, 2 * x), x, penalty=soft)
    for f, words in (
        (lambda x, step: x[:2], r"penalty\['w'\]: f: shape is \(2,\), expected \(3,\)"),
        (lambda x, step: x.tolist(), r"penalty\['w'\]: f: is a list"),
        (L1, r"penalty\['w'\]: is <class .*L1'>, expected a penalty or a function"),
        (GroupL1(1.0, axis=2), r"penalty\['w'\]: axis: is 2, expected integers"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fl.Optimizer({"w": x}, fl.Adam(), penalty={"w": f})
    assert np.all(x == 1)
