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
from fallline.penalties import L1, L2, ElasticNet, GroupL1, TotalVariation

MASK = np.arange(12).reshape(4, 3) % 3 > 0
PENALTIES = [L1(0.3), L2(0.3), ElasticNet(0.3, 0.25), GroupL1(0.5), GroupL1(0.5, axis=(0, 1))]
PENALTIES += [GroupL1(0.5, axis=0), TotalVariation(0.3, 0.1), TotalVariation(0.3, axes=(-1,))]
CONSTRAINTS = [
    NonNegative(), Box(-0.5, 0.5), Box(low=-0.1), Box(high=0.2), Simplex(), Simplex(0.1),
    Simplex(30.0), L1Ball(), L1Ball(100.0), L2Ball(), L2Ball(100.0), Modulus(0.5), MaxModulus(0.5),
    Support(MASK),
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
        assert {type(row).__name__ for row in rows} == set(module.__all__)


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
    ],
)
def test_mistakes(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()
