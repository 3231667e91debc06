"""Steps of given lengths: one evaluation an iteration, and none of a value where nobody has one."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline import stop

rng = np.random.default_rng(7)
A, B = rng.standard_normal((30, 10)), rng.standard_normal(30)
STEP = 1 / np.linalg.norm(A, 2) ** 2


def gradient(x):
    return A.T @ (A @ x - B)


def squares(x):
    r = A @ x - B
    return 0.5 * float(r @ r), A.T @ r


def soft(x, t):
    return np.sign(x) * np.maximum(abs(x) - t, 0)


def fista(iterations, lengths, *, restart):
    """Return Beck and Teboulle's iterate, with O'Donoghue and Candès' restart, in a plain loop."""
    x, y, theta = np.zeros(10), np.zeros(10), 1.0
    for k in range(iterations):
        z = soft(y - lengths(k) * gradient(y), 0.5 * lengths(k))
        ratio = lengths(k) / lengths(k + 1)
        if restart and (y - z) @ (z - x) > 0:
            x, y, theta = z, z, 0.5 * (1 + math.sqrt(1 + 4 * ratio))
            continue
        after = 0.5 * (1 + math.sqrt(1 + 4 * theta**2 * ratio))
        x, y, theta = z, z + (theta - 1) / after * (z - x), after
    return x


def method(length=STEP, **options):
    return fl.ProximalGradient(length, accelerated=True, **options)


ENDLESS = {"penalty": fl.L1(0.5), "stop": stop.GradientNorm(0.0)}
LENGTHS = [lambda k: STEP, lambda k: STEP * (1.0 if k % 3 else 0.5)]


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("lengths", LENGTHS, ids=["number", "schedule"])
def test_the_iterates_are_those_of_the_paper(restart, lengths):
    length = STEP if lengths is LENGTHS[0] else lengths
    found = fl.minimize(
        squares, np.zeros(10), method=method(length, restart=restart), max_iterations=40, **ENDLESS
    )
    np.testing.assert_allclose(found.x, fista(40, lengths, restart=restart), rtol=1e-13)
    assert (found.nit, found.nfev) == (40, 41)


@pytest.mark.parametrize("accelerated", [True, False])
def test_no_value_is_needed(accelerated):
    asked = []

    def slope(x):
        asked.append(x)
        return gradient(x)

    solver = fl.ProximalGradient(STEP, accelerated=accelerated)
    options = {"penalty": fl.L1(0.5), "stop": stop.GradientNorm(1e-9), "method": solver}
    found = fl.minimize(None, np.zeros(10), gradient=slope, **options)
    assert found.success
    assert len(asked) == found.nfev == found.nit + 1
    assert math.isnan(found.fun)
    np.testing.assert_array_equal(found.x, fl.minimize(squares, np.zeros(10), **options).x)


def test_rules_need_no_value_either():
    options = {"method": fl.Adam(0.1), "max_iterations": 50}
    found = fl.minimize(None, np.zeros(10), gradient=gradient, **options)
    np.testing.assert_array_equal(found.x, fl.minimize(squares, np.zeros(10), **options).x)
    assert math.isnan(found.fun)
    broken = fl.minimize(
        None,
        np.zeros(2),
        gradient=lambda x: x * math.nan if x.any() else x + 1,
        method=fl.SGD(1.0),
        stop=stop.GradientNorm(1e-9),
    )
    assert (broken.success, broken.status) == (False, 3)


@pytest.mark.parametrize(
    "name", ["lbfgs", "cg", "fista", fl.ProximalGradient(), fl.SteepestDescent()]
)
def test_methods_that_compare_values_say_so(name):
    with pytest.raises(TypeError, match=r"^fun: is None, and .* compares values"):
        fl.minimize(None, np.zeros(10), gradient=gradient, method=name)


@pytest.mark.parametrize(
    ("fun", "options"),
    [(None, {}), (None, {"batched": True, "gradient": gradient}), (3, {"gradient": gradient})],
)
def test_what_is_no_function_is_refused(fun, options):
    with pytest.raises(TypeError, match=r"^fun: is (None|a int|an int), expected a function"):
        fl.minimize(fun, np.zeros(10), method=fl.SGD(0.1), **options)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_domain_is_not_left_ahead_of_the_point():
    # The logarithm of a point ahead would be that of a negative number.
    a = np.asarray([1e-3, 1.0])
    inside = []

    def fun(x):
        value = float(np.sum(x - a * np.log(x)))
        inside.append(math.isfinite(value))
        return value, 1 - a / x

    found = fl.minimize(
        fun, np.asarray([2.0, 3.0]), method=method(0.3), constraint=fl.Box(1e-3, 10.0),
        stop=stop.GradientNorm(1e-10), max_iterations=5000,
    )  # fmt: skip
    assert found.success
    assert not all(inside)  # else nothing is tested
    np.testing.assert_allclose(found.x, a, rtol=1e-8)


def test_momentum_begins_again_where_a_domain_ends():
    # The objective is not finite beyond the third point ahead, as if a domain ended there.
    asked = []

    def fun(x):
        asked.append(x.copy())
        value, slope = squares(x)
        return (math.nan if len(asked) == 5 else value), slope

    found = fl.minimize(fun, np.zeros(10), method=method(restart=False), max_iterations=12,
                        stop=stop.GradientNorm(0.0))  # fmt: skip
    x, y, theta = np.zeros(10), np.zeros(10), 1.0
    for k in range(12):
        z = y - STEP * gradient(y)
        after = 0.5 * (1 + math.sqrt(1 + 4 * theta**2))
        y, x = z + (theta - 1) / after * (z - x), z
        if k == 3:  # the fifth point that was asked for
            y, after = z, 0.5 * (1 + math.sqrt(5))
        theta = after
    np.testing.assert_allclose(found.x, x, rtol=1e-12)
    assert found.nfev == 14


def test_a_run_goes_on_from_a_file(tmp_path):
    path = tmp_path / "run.npz"
    options = {"method": method(), **ENDLESS}
    whole = fl.minimize(squares, np.zeros(10), max_iterations=30, **options)
    keep = fl.callbacks.Checkpoint(path, every=11)
    fl.minimize(squares, np.zeros(10), max_iterations=11, callbacks=[keep], **options)
    found = fl.minimize(squares, np.zeros(10), max_iterations=30, resume=path, **options)
    np.testing.assert_array_equal(found.x, whole.x)
    assert found.nfev == whole.nfev == 31


@pytest.mark.parametrize(
    "solver", [fl.ProximalGradient(), fl.ProximalGradient(accelerated=True), method(0.1)]
)
def test_a_start_without_a_slope(solver):
    def fun(x):
        return 0.5 * float(np.sum((x - 1) ** 2)), x - 1

    for around in ({}, {"constraint": fl.NonNegative()}, {"constraint": fl.Box(0.0, 1.0)}):
        found = fl.minimize(fun, np.ones(2), method=solver, **around)
        assert (found.success, found.nit, found.gradient_norm) == (True, 0, 0.0)
    found = fl.minimize(
        fun, np.ones(2), method=solver, penalty=fl.L1(0.25), stop=stop.GradientNorm(1e-9)
    )
    assert found.success
    np.testing.assert_allclose(found.x, 0.75, rtol=1e-8)
