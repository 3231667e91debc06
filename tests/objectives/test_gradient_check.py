"""check_gradient: right gradients pass, the common mistakes are named."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl


def problem(backend, dtype="float64"):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return backend.array(rng.standard_normal(shape).astype(dtype))

    return {"w": draw(4, 3), "b": [draw(3), None, draw()]}


def quadratic(xp, wrong=1.0):
    def fun(x):
        w, b, s = x["w"], x["b"][0], x["b"][2]
        value = xp.sum(w * w * w) + xp.sum(b * b) * s
        return value, {"w": 3 * w * w, "b": [wrong * 2 * b * s, None, xp.sum(b * b)]}

    return fun


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_pass_on_every_backend(backend, dtype):
    check = fl.check_gradient(quadratic(backend.xp), problem(backend, dtype))
    assert check
    assert check.ok
    assert check.error < (1e-2 if dtype == "float32" else 1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(0.5, "0.5 times what"), (-1, "-1 times what"), (2, "2 times what"), (0.31, "0.31 times")],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_are_recognised_and_the_leaf_is_named(backend, wrong, words, dtype):
    check = fl.check_gradient(quadratic(backend.xp, wrong), problem(backend, dtype))
    assert not check
    assert check.leaf == "x0['b'][0]"
    assert words in str(check)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda g: g, None),
        (np.conj, "it is the conjugate of what it should be"),
        (lambda g: 0.5 * np.conj(g), "it is 0.5 times the conjugate of what"),
        (lambda g: g / 2, "it is 0.5 times what it should be"),
        (lambda g: g + 1, "its relative error is"),
        (lambda g: g * np.nan, "not finite"),
        (lambda g: None, "its relative error is 1.0e"),
    ],
)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_gradients(mistake, words, dtype):
    rng = np.random.default_rng(1)
    a = (rng.standard_normal((5, 4)) + 1j * rng.standard_normal((5, 4))).astype(dtype)
    z = (rng.standard_normal(4) + 1j * rng.standard_normal(4)).astype(dtype)

    def fun(z):
        r = a @ z - 1
        return np.sum(np.abs(r) ** 2), mistake((2 * a.conj().T @ r).astype(dtype))

    check = fl.check_gradient(fun, z)
    assert check.ok == (words is None)
    assert words is None or words in check.message


def test_a_right_gradient_at_a_minimum_passes():
    check = fl.check_gradient(lambda x: (np.sum((x - 1) ** 2), 2 * (x - 1)), np.ones(5))
    assert check
    assert "the gradient is right" in str(check)


def test_x0_is_not_written_and_args_are_passed():
    x0 = np.arange(3.0)
    x0.flags.writeable = False
    assert fl.check_gradient(lambda x, a: (a * np.sum(x**2), 2 * a * x), x0, args=(3.0,))


def test_half_precision():
    x0 = np.linspace(0.5, 1, 5, dtype="float16")
    assert fl.check_gradient(lambda x: (np.sum(x.astype(float) ** 2), 2 * x), x0)
    assert not fl.check_gradient(lambda x: (np.sum(x.astype(float) ** 2), x), x0)


@pytest.mark.parametrize(
    ("fun", "x0", "error", "words"),
    [
        (lambda x: (0.0, x), np.arange(3), TypeError, "x0: dtype is int64"),
        (lambda x: (0.0, x[:2]), np.ones(3), ValueError, r"gradient: shape is \(2,\)"),
        (lambda x: (0.0, {}), {"a": np.ones(3)}, ValueError, r"missing gradient\['a'\]"),
        (lambda x: (1j * np.sum(x), x), np.ones(3), TypeError, "fun: its value is complex"),
        (lambda x: (x, x), np.ones(3), ValueError, r"fun: its value: shape is \(3,\)"),
    ],
)
def test_bad_input(fun, x0, error, words):
    with pytest.raises(error, match=words):
        fl.check_gradient(fun, x0)


def test_nothing_to_check():
    check = fl.check_gradient(lambda x: (0.0, x), {"a": None, "b": np.ones(0)})
    assert check
    assert "nothing to check" in check.message
    with pytest.raises(ValueError, match="directions"):
        fl.check_gradient(lambda x: (0.0, x), np.ones(1), directions=0)
