"""A function of (array, step length) is a penalty."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.penalties import L1, GroupL1, ProximalOperator


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
        (GroupL1(1.0, axis=2), r"penalty\['w'\]: GroupL1\(axis=\): is 2, expected integers"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fl.Optimizer({"w": x}, fl.Adam(), penalty={"w": f})
    assert np.all(x == 1)
