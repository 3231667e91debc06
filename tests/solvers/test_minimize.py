"""minimize and its solvers against SciPy and formulas; records, and when a run ends."""

from __future__ import annotations

import math
import pickle
import re
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import solvers, stop
from tests.problems import rosenbrock
from tests.solvers.methods import CONVERGES, SMOOTH, problems


def test_lbfgs_finds_what_scipy_finds_with_no_more_evaluations():
    ratios = []
    for name, (fun, start) in problems().items():
        from scipy.optimize import minimize

        start = np.array(start)
        theirs = minimize(
            fun, start, jac=True, method="L-BFGS-B", options={"maxiter": 15000, "maxfun": 10**6}
        )
        ours = fl.minimize(fun, start, record=("fun", "nfev"))
        assert ours.success, name
        assert ours.fun <= theirs.fun + 1e-8 * max(abs(theirs.fun), 1), name
        # Until the value is as low as theirs; ours goes on where theirs is not a minimum.
        low = theirs.fun + 1e-8 * max(abs(theirs.fun), 1)
        pairs = zip(ours.history["fun"], ours.history["nfev"], strict=True)
        ratios.append(next(n for value, n in pairs if value <= low) / theirs.nfev)
    assert math.prod(ratios) ** (1 / len(ratios)) <= 1.0


def test_lbfgs_in_single_precision():
    for name, (fun, start) in problems().items():
        start = np.array(start)
        scale = max(1.0, fun(start)[0])
        least = fl.minimize(fun, start).fun

        def single(x, fun=fun):
            value, gradient = fun(x)
            return np.float32(value), gradient.astype(np.float32)

        result = fl.minimize(single, start.astype(np.float32))
        assert result.success, name
        assert result.x.dtype == np.float32
        if name == "wood":
            least = 7.88  # single precision does not see that its saddle slopes
        assert result.fun <= least + 100 * 2.0**-23 * scale, name


@pytest.mark.parametrize("solver", SMOOTH[:8], ids=repr)
def test_every_line_search_solves_rosenbrock(solver):
    found = fl.minimize(rosenbrock, np.array([-1.2, 1.0]), method=solver, stop=CONVERGES)
    assert found.success
    assert np.allclose(found.x, 1, atol=1e-4)


def test_inside_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    x0 = np.array([-1.2, 1.0])
    ours = fl.minimize(rosenbrock, x0)
    for jac in (True, lambda x: rosenbrock(x)[1]):
        fun = rosenbrock if jac is True else lambda x: rosenbrock(x)[0]
        found = optimize.minimize(fun, x0, jac=jac, method=fl.scipy_method("lbfgs"))
        assert np.all(found.x == ours.x)
        assert (found.nit, found.success) == (ours.nit, True)
    seen = []
    found = optimize.minimize(
        rosenbrock, x0, jac=True, tol=1e-2, callback=seen.append, options={"maxiter": 100},
        method=fl.scipy_method("cg"),
    )  # fmt: skip
    assert 1e-5 < np.max(np.abs(found.jac)) <= 1e-2
    assert len(seen) == found.nit
    assert np.all(seen[-1] == found.x)
    found = optimize.minimize(
        rosenbrock, x0, jac=True, options={"maxiter": 3}, method=fl.scipy_method(fl.Adam(0.1))
    )
    assert (found.nit, found.status) == (3, 1)
    with pytest.raises(ValueError, match="jac: is missing"):
        optimize.minimize(lambda x: x @ x, x0, method=fl.scipy_method())
    found = optimize.minimize(
        rosenbrock, x0, jac=True, bounds=[(0, 0.5)] * 2, method=fl.scipy_method()
    )
    assert np.allclose(found.x, [0.5, 0.25], atol=1e-6)
    with pytest.raises(ValueError, match="hess: is not supported"):
        optimize.minimize(rosenbrock, x0, jac=True, hess=lambda x: x, method=fl.scipy_method())


def test_records_belong_to_their_points():
    for solver in SMOOTH[:8]:
        run = solver.start(rosenbrock, np.array([-1.2, 1.0]))
        kept = list(run.steps(10))
        assert [r.iteration for r in kept] == list(range(1, 11))
        for record in kept:
            value, gradient = rosenbrock(record.x)
            assert record.value == value
            assert np.all(record.gradient == gradient)
            assert record.gradient_norm == np.max(np.abs(gradient))


BETAS = {
    "polak-ribiere": lambda g, h, d, y: max(0.0, h @ y / (g @ g)),
    "dai-yuan": lambda g, h, d, y: h @ h / (d @ y),
    "hager-zhang": lambda g, h, d, y: max(
        (y - 2 * d * (y @ y) / (d @ y)) @ h / (d @ y),
        -1 / (np.linalg.norm(d) * min(0.01, np.linalg.norm(g))),
    ),
}


def kept(solver, steps):
    """Return points, gradients and directions of a run, from its records."""
    x0 = np.array([-1.2, 1.0, 0.5, 2.0])
    records = list(solver.start(rosenbrock, x0).steps(steps))
    x = np.stack([x0, *(r.x for r in records)])
    g = np.stack([rosenbrock(x0)[1], *(r.gradient for r in records)])
    return x, g, np.array([r.step_length for r in records])


@pytest.mark.parametrize("beta", BETAS)
def test_conjugate_gradients_follow_their_formula(beta):
    x, g, t = kept(fl.ConjugateGradient(beta), 15)
    d = np.diff(x, axis=0) / t[:, None]
    assert np.allclose(d[0], -g[0], rtol=1e-9)
    for k in range(14):
        expected = BETAS[beta](g[k], g[k + 1], d[k], g[k + 1] - g[k]) * d[k] - g[k + 1]
        assert np.allclose(d[k + 1], expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_barzilai_borwein_steps_follow_their_formula():
    x, g, t = kept(fl.SteepestDescent(), 30)
    s, y = np.diff(x, axis=0), np.diff(g, axis=0)
    assert np.allclose(s, -t[:, None] * g[:-1], atol=1e-12)
    curvature = np.sum(s * y, axis=1)[:-1]
    long = np.sum(s * s, axis=1)[:-1] / curvature
    taken = t[1:][curvature > 0] / long[curvature > 0]
    assert np.all(taken <= 1 + 1e-9)  # the safeguard only shortens
    assert np.mean(np.abs(taken - 1) < 1e-9) > 0.8


@pytest.mark.parametrize("solver", SMOOTH[:6], ids=repr)
def test_assigning_x_starts_afresh(solver):
    run = solver.start(rosenbrock, np.array([-1.2, 1.0]))
    for _ in run.steps(5):
        pass
    run.x = np.array([2.0, 2.0])
    fresh = solver.start(rosenbrock, np.array([2.0, 2.0]))
    for a, b in zip(run.steps(5), fresh.steps(5), strict=True):
        assert np.all(a.x == b.x)


def test_history_is_recorded():
    found = fl.minimize(rosenbrock, np.array([-1.2, 1.0]), record=("fun", "x", "nfev"))
    assert list(found.history) == ["fun", "x", "nfev"]
    assert len(found.history["x"]) == found.nit + 1
    assert [rosenbrock(x)[0] for x in found.history["x"]] == found.history["fun"]
    assert found.history["nfev"][-1] == found.nfev
    assert "success: True" in repr(found)


def ended(condition, **options):
    return fl.minimize(rosenbrock, np.array([-1.2, 1.0]), stop=condition, **options)


def test_stopping():
    assert ended(stop.Target(1.0)).fun <= 1.0 < ended(stop.Target(1.0)).history["fun"][-2]
    found = ended(stop.MaxEvaluations(10))
    assert (found.status, found.success) == (1, False)
    assert 10 <= found.nfev < 15
    assert ended(stop.MaxTime(0)).nit == 0
    found = ended(stop.GradientNorm(1e-3) & stop.Target(1e-12))
    assert np.max(np.abs(found.jac)) <= 1e-3
    assert found.fun <= 1e-12
    either = ended(stop.GradientNorm(1e-3) | stop.Target(1.0))
    assert either.fun > 1e-3
    assert ended(stop.ParameterChange(1e-3)).success
    assert ended(stop.RelativeDecrease(0.5)).nit < ended(stop.RelativeDecrease(1e-3)).nit
    found = ended(stop.NotImproved(3), method=fl.SGD(1e-6), max_iterations=50)
    assert found.status == 1
    found = ended(stop.NotImproved(3, by=10.0))
    assert found.nit < 10
    assert ended(None, max_iterations=3).nit == 3


@pytest.mark.parametrize("how", ["return", "raise"])
def test_a_callback_stops(how):
    seen = []

    def callback(record):
        seen.append(record.value)
        if len(seen) == 4 and how == "raise":
            raise StopIteration
        return len(seen) == 4

    found = ended(None, callback=callback)
    assert (found.nit, found.status, found.success) == (4, 99, False)
    assert seen[-1] == found.fun


@pytest.mark.parametrize("batched", [False, True])
def test_a_callback_that_returns_a_number_is_told_that_this_stops_nothing(batched):
    def fun(x):
        return np.sum((x - 3) ** 4, axis=-1), 4 * (x - 3) ** 3

    x0 = np.zeros((2, 2)) if batched else np.zeros(2)
    plain = fl.minimize(fun, x0, batched=batched)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = fl.minimize(
            fun, x0, callback=lambda record: 1.5, callbacks=[lambda run: "go"], batched=batched
        )
    first, second = (str(warning.message) for warning in caught)  # each once
    assert first.startswith("callback: returned float, which stops nothing")
    assert re.match(r"callbacks: .* returned str, which stops nothing", second)
    np.testing.assert_array_equal(found.x, plain.x)
    found = fl.minimize(fun, x0, callback=lambda record: np.bool_(True), batched=batched)
    assert np.all(found.status == 99)


@pytest.mark.parametrize("batched", [False, True])
def test_a_rule_that_only_got_worse_has_no_success(batched):
    def fun(x):
        return np.sum(x * x, axis=-1), 2 * x

    x0 = np.ones((2, 2)) if batched else np.ones(2)
    for rate, success in ((2.0, False), (0.25, True), (1.0, True)):  # the last goes to and fro
        found = fl.minimize(
            fun, x0, method=fl.SGD(rate), stop=stop.NotImproved(5), batched=batched,
            max_iterations=3000,
        )  # fmt: skip
        assert np.all(found.success == success), rate
        assert np.all(found.status == (0 if success else 2))
        assert ("risen" in found.message) == (not success)


def test_what_is_not_finite_ends_at_the_best_point():
    def fun(x):
        g = {"w": 2 * x["w"], "b": np.sqrt(x["b"]) if x["b"] > 0.5 else np.array(np.nan)}
        return float(x["w"] @ x["w"] + x["b"]), g

    x0 = {"w": np.ones(2), "b": np.array(1.0)}
    found = fl.minimize(fun, x0, method=fl.GradientDescent(0.1), check_every=1)
    assert (found.success, found.status) == (False, 3)
    assert "['b']" in found.message
    assert np.isfinite(found.fun)
    assert found.x["b"] > 0.5
    found = fl.minimize(fun, {"w": np.ones(2), "b": np.array(0.0)})
    assert (found.success, found.status, found.nit) == (False, 3, 0)


def test_line_searches_come_back_from_infinity():
    def fun(x):
        with np.errstate(all="ignore"):
            return float(np.sum(x - np.log(x))), 1 - 1 / x

    for method in SMOOTH[:8]:
        found = fl.minimize(fun, np.full(3, 1e-3), method=method, stop=CONVERGES)
        assert np.allclose(found.x, 1, atol=1e-6), method


def test_a_gradient_of_the_wrong_sign_ends_without_success():
    found = fl.minimize(lambda x: (x @ x, -2 * x), np.ones(3))
    assert (found.success, found.status) == (False, 2)
    assert np.all(found.x == 1)


def test_separate_gradient_and_arguments():
    found = fl.minimize(
        lambda x, a: np.sum((x - a) ** 2), np.zeros(2), gradient=lambda x, a: 2 * (x - a), args=(3,)
    )
    assert np.allclose(found.x, 3)


def test_names_and_settings():
    assert solvers.get("L-BFGS") == fl.LBFGS()
    assert solvers.get("fista") == fl.ProximalGradient(accelerated=True)
    assert solvers.get("gradient_descent") == fl.GradientDescent()
    for solver in [*SMOOTH[:9], *SMOOTH[10:]]:
        assert pickle.loads(pickle.dumps(solver)) == solver
        assert eval(repr(solver), vars(fl)) == solver


def test_clear_errors(backend):
    xp = backend.xp
    x0 = {"w": backend.array(np.ones(3)), "b": backend.array(np.ones(()))}

    def gives(value, gradient):
        return lambda x: (value(x), gradient(x))

    def number(x):
        return xp.sum(x["w"])

    def same(x):
        return x

    cases = [
        (number, {}, TypeError, r"fun: returned a .*expected \(value, gradient\)"),
        (gives(lambda x: x["w"], same), {}, ValueError, r"fun: its value: shape is \(3,\)"),
        (gives(lambda x: "no", same), {}, TypeError, "fun: its value is a"),
        (
            gives(number, lambda x: x["w"]),
            {},
            ValueError,
            r"gradient: is an? [\w.]+, expected a dict",
        ),
        (
            gives(number, lambda x: {**x, "b": x["w"]}),
            {},
            ValueError,
            r"gradient\['b'\]: shape is \(3,\), expected \(\)",
        ),
        (gives(number, lambda x: {**x, "b": None}), {}, TypeError, r"gradient\['b'\]: is None"),
        (gives(number, same), {"method": "lbfsg"}, ValueError, "unknown method 'lbfsg'"),
        (gives(number, same), {"penalty": fl.L1(1.0)}, ValueError, "penalty: LBFGS .*use OWLQN"),
        (gives(number, same), {"constraint": fl.NonNegative()}, ValueError, "constraint: LBFGS"),
        (gives(number, same), {"stop": 1e-3}, TypeError, "stop: is a float"),
        (gives(number, same), {"record": ("loss",)}, ValueError, "unknown record 'loss'"),
        (gives(number, same), {"check_every": 0}, ValueError, "check_every: is 0"),
        (gives(number, same), {"max_iterations": -1}, ValueError, "max_iterations"),
    ]
    for fun, options, error, words in cases:
        with pytest.raises(error, match=words):
            fl.minimize(fun, x0, **options)
    if not backend.name.startswith("numpy"):
        fun = gives(number, lambda x: {**x, "b": np.ones(())})
        with pytest.raises(TypeError, match=r"gradient\['b'\]: array library is numpy"):
            fl.minimize(fun, x0)
    with pytest.raises(TypeError, match=r"x0\['w'\]: is a list|x0\['w'\]\[0\]: is a"):
        fl.minimize(gives(number, same), {"w": [1.0]})


def test_rules_stop_when_the_point_rests():
    found = fl.minimize(
        lambda x: (float(x @ x), 2 * x), np.ones(3), method=fl.SGD(0.4),
        stop=stop.ParameterChange(1e-6),
    )  # fmt: skip
    assert found.success
    assert 5 < found.nit < 30
