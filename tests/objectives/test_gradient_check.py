"""check_gradient: right gradients pass, the common mistakes are named."""

from __future__ import annotations

import copy
import re

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
        (lambda g: g + 1, ", most in element ["),
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
    assert "the gradient is" in str(check)
    assert "zero, as the differences are" in str(
        fl.check_gradient(lambda x: (np.sum((x - 1) ** 2), 0 * x), np.ones(5))
    )


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


# -- what it can know ------------------------------------------------------------------------------


def squares(dtype, n=200, off=0.0):
    rng = np.random.default_rng(2)
    a = rng.standard_normal((n, 6)).astype(dtype)
    b = rng.standard_normal(n).astype(dtype)

    def fun(x):
        r = a @ x - b
        return r @ r + np.asarray(off, dtype), 2 * a.T @ r

    return fun, rng.standard_normal(6).astype(dtype)


def test_a_verdict_says_how_small_an_error_may_hide():
    fun, x = squares("float32", off=1e4)
    check = fl.check_gradient(fun, x)
    assert check
    assert 1e-3 < check.resolution < 1
    words = r"^x0: the gradient agrees within what float32 can show, \de-\d\d; repeat in double"
    assert re.search(words, str(check))
    # An error as large as that is seen, one of a tenth of it is not.
    for size, seen in ((3 * check.resolution + 0.02, True), (check.resolution / 10, False)):
        wrong = fl.check_gradient(lambda x, c=1 + size: (fun(x)[0], c * fun(x)[1]), x)
        assert wrong.ok is not seen
    fun, x = squares("float64")
    check = fl.check_gradient(fun, x)
    assert re.search(r"^x0: the gradient agrees with differences within \de-\d\d$", str(check))
    assert check.resolution < 1e-6


def test_values_in_single_precision_decide_what_can_be_shown():
    fun, x = squares("float64", off=1e4)
    check = fl.check_gradient(lambda x: (np.float32(fun(x)[0]), fun(x)[1]), x)
    assert check
    assert "within what float32 can show" in str(check)
    assert check.resolution > 1e-3


def meyer(x):
    t = 45 + 5 * np.arange(1, 17)
    e = np.exp(x[1] / (t + x[2]))
    r = x[0] * e - 1e4
    slope = [e @ r, (x[0] * e / (t + x[2])) @ r, (-x[0] * e * x[1] / (t + x[2]) ** 2) @ r]
    return float(r @ r), 2 * np.asarray(slope, x.dtype)


def each(f, slope):
    """Return the sum of a function of each element, and its gradient."""
    return lambda x: (np.sum(f(x)), slope(x).astype(x.dtype))


MIXED = 10.0 ** np.arange(-6, 6)
RIGHT = {
    "Meyer's function": (meyer, np.asarray([0.02, 4000.0, 250.0])),
    "logarithms near 0": (each(np.log, lambda x: 1 / x), np.asarray([1e-12, 3e-9, 1.0, 1e5])),
    "poles near 0": (each(lambda x: 1 / x, lambda x: -1 / x**2), np.asarray([1e-9, -2e-10, 1.0])),
    "roots": (each(np.sqrt, lambda x: 0.5 / np.sqrt(x)), np.asarray([1e-13, 1e-3, 7.0])),
    "steep exponentials": (each(np.exp, np.exp), np.asarray([-40.0, 0.0, 3.0, 30.0])),
    "waves": (each(np.sin, np.cos), np.linspace(-300, 300, 20)),
    "quartics of all sizes": (each(lambda x: x**4, lambda x: 4 * x**3), MIXED),
    "a large offset": (each(lambda x: x**2 + 1e7, lambda x: 2 * x), np.asarray([0.1, 1.0])),
    "numbers whose powers vanish": (
        each(lambda x: x**4, lambda x: 4 * x**3),
        np.asarray([3e-12, 1e-11, -2e-12]),
    ),
    "zeros": (each(lambda x: x**2 + 3 * x, lambda x: 2 * x + 3), np.zeros(4)),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_false_alarm_by_truncation_or_scales(name, dtype):
    fun, x = RIGHT[name]
    with np.errstate(all="ignore"):
        for seed in range(5):
            check = fl.check_gradient(fun, x.astype(dtype), rng=seed)
            assert check, str(check)


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_leaves_with_a_mistake(name):
    fun, x = RIGHT[name]

    def wrong(x):
        value, slope = fun(x)
        slope = slope.copy()
        slope[1] *= 1.5
        return value, slope

    if name == "a large offset":
        wrong_too = fl.check_gradient(lambda x: (fun(x)[0], 2 * fun(x)[1]), x)
        assert "2 times" in str(wrong_too)
    if name in ("quartics of all sizes", "steep exponentials", "numbers whose powers vanish"):
        return  # that element changes the value by less than rounding does
    with np.errstate(all="ignore"):
        check = fl.check_gradient(wrong, x)
    assert not check
    assert check.element == (1,)
    assert "most in element [1]" in str(check)


def test_a_wrong_element_among_much_larger_ones():
    check = fl.check_gradient(
        lambda x: (1e6 * x[0] ** 2 + x[1] ** 2, np.asarray([2e6 * x[0], 3 * x[1]])), np.ones(2)
    )
    assert not check
    assert check.element == (1,)
    assert str(check).endswith("its relative error is 3.3e-01, most in element [1]")


@pytest.mark.parametrize("shape", [(3, 4), (30, 40)])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_one_wrong_element_of_many_is_named(backend, shape, dtype):
    rng = np.random.default_rng(4)
    x = rng.standard_normal(shape).astype(dtype)
    place = (2, 1)
    mark = np.zeros(shape, dtype)
    x[place], mark[place] = 1.0, 0.5
    if dtype == "complex128":
        x, mark = x + 1j * rng.standard_normal(shape), 1j * mark
    mark = backend.array(mark)

    def fun(t):
        value = backend.xp.sum(abs(t["a"]) ** 2) + backend.xp.sum(abs(t["b"]) ** 2)
        return value, {"a": 2 * t["a"], "b": 2 * t["b"] + mark}

    check = fl.check_gradient(fun, {"a": backend.array(x[0]), "b": backend.array(x)})
    assert not check
    assert (check.leaf, check.element) == ("x0['b']", place)
    part = r" \(imaginary part\)" if dtype == "complex128" else ""
    assert re.search(rf"x0\['b'\]: .*, most in element \[2, 1\]{part}$", str(check))
    assert check.leaves["x0['b']"].element == place
    assert check.leaves["x0['a']"].ok
    assert check.leaves["x0['a']"].element is not None


def test_a_value_that_does_not_change():
    check = fl.check_gradient(lambda x: (3.0, np.ones(3)), np.ones(3))
    assert not check
    assert str(check).endswith("; the value did not change at all")
    # Of counts differences tell nothing, as long as they are whole numbers.
    check = fl.check_gradient(lambda x: (int(np.sum(x)), np.ones(3)), np.full(3, 7.5))
    assert check
    assert check.resolution > 1
    assert "too small beside rounding to be checked" in str(check)
    assert not fl.check_gradient(lambda x: (int(np.sum(x)), np.full(3, 1e9)), np.full(3, 7.5))


def test_a_gradient_is_judged_next_to_a_domain():
    # Half of the steps leave it.
    x = np.asarray([1.0, 1e-7])
    with np.errstate(all="ignore"):
        f = each(lambda x: np.log(x) + x, lambda x: 1 / x + 1)
        assert fl.check_gradient(f, x)
        check = fl.check_gradient(each(np.log, lambda x: 2 / x), x)
        assert "it is 2 times what it should be" in str(check)
        check = fl.check_gradient(lambda x: (np.log(x - 1).sum(), x), np.ones(2))
    assert not check
    assert "not finite" in str(check)


def test_findings_can_be_copied_and_compared():
    fun, x = squares("float64")
    one, two = (fl.check_gradient(fun, {"a": x}.get("a")) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert copy.deepcopy(one) == one
    assert set(one.leaves) == {"x0"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_agreement_is_no_better_than_what_was_measured(dtype, share):
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((50, 5)).astype(dtype), rng.standard_normal(50).astype(dtype)
    allowed = 2 * np.finfo(dtype).eps ** (1 / 3)
    factor = np.asarray(2 * (1 + share * allowed), dtype)
    x = np.ones(5, dtype)
    check = fl.check_gradient(lambda x: (np.sum((A @ x - b) ** 2), factor * (A.T @ (A @ x - b))), x)
    assert check.ok
    (within,) = map(float, re.findall(r"\d\.?\d*e-\d\d", str(check)))
    assert within >= 0.9 * check.error
    assert (check.error > 0.3 * allowed) == bool(share)
