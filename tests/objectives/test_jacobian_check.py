"""`check_jacobian` finds what is wrong, and says where."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

T = np.linspace(0, 2, 7)
START = {"a": np.array([1.0, 2.0, 3.0]), "k": np.array([1.0, 0.4, 0.8]), "none": None}


def decays(x, change=None):
    e = np.exp(-x["k"][:, None] * T)
    j = {"a": e, "k": -x["a"][:, None] * T * e, "none": None}
    if change is not None:
        change(j)
    return x["a"][:, None] * e, j


def test_a_right_jacobian():
    check = fl.check_jacobian(decays, START, batched=True)
    assert check
    assert "the Jacobian agrees with differences within" in str(check)
    assert set(check.leaves) == {"x0['a']", "x0['k']"}
    single = {k: None if v is None else v.astype(np.float32) for k, v in START.items()}
    assert fl.check_jacobian(decays, single, batched=True)


@pytest.mark.parametrize("element", [(1, 3), (2, 6), (0, 1)])
def test_a_wrong_element(element):
    def change(j):
        j["k"][element] *= 1.01

    check = fl.check_jacobian(decays, START, args=(change,), batched=True)
    assert not check
    assert check.leaf == "x0['k']"
    assert check.element == element[:1]
    words = f"J['k']: is wrong for element [{element[0]}] of x0['k'], most for residual "
    assert str(check).startswith(words + str(list(element)))


def test_known_mistakes():
    def sign(j):
        j["a"] *= -1

    check = fl.check_jacobian(decays, START, args=(sign,), batched=True)
    assert "(it is -1 times what it should be)" in str(check)

    def wide(x):
        return np.outer(x, x), np.zeros((2, 2, 2))

    check = fl.check_jacobian(wide, np.array([1.0, 2.0]))
    assert not check
    assert "the difference is" in str(check)


def test_complex_jacobians():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 2)) + 1j * rng.standard_normal((6, 2))
    z, x = np.array([1 + 2j, 0.3 - 1j]), np.array([1.0, 2.0])
    assert fl.check_jacobian(lambda z: (a @ z, a), z)
    assert fl.check_jacobian(lambda x: (a @ x, a), x)
    assert fl.check_jacobian(lambda z: (a.real @ z, a.real), z)
    assert not fl.check_jacobian(lambda z: (a @ z, a.conj()), z)
    magnitudes = fl.check_jacobian(
        lambda z: (np.abs(a @ z) ** 2, 2 * (a @ z)[:, None] * a.conj()), z
    )
    assert magnitudes
    wrong = fl.check_jacobian(lambda z: (np.abs(a @ z) ** 2, 2 * (a @ z)[:, None] * a), z)
    assert not wrong


def test_shapes_are_checked():
    with pytest.raises(TypeError, match=r"fun: returned an ndarray, expected \(residuals, J\)"):
        fl.check_jacobian(lambda x: x, np.ones(2))
    with pytest.raises(ValueError, match=r"J: shape is \(2, 3\), expected \(3, 2\)"):
        fl.check_jacobian(lambda x: (np.ones(3), np.ones((2, 3))), np.ones(2))
    nan = fl.check_jacobian(lambda x: (x * np.nan, np.eye(2)), np.ones(2))
    assert not nan
    assert "not finite" in str(nan)


def test_every_library(backend):
    x = backend.array(np.array([1.0, 2.0]))
    t = backend.array(T)
    xp = backend.xp

    def line(x):
        return x[0] * t + x[1], xp.stack([t, t * 0 + 1], axis=1)

    assert fl.check_jacobian(line, x)
    assert not fl.check_jacobian(lambda x: (line(x)[0], -line(x)[1]), x)
