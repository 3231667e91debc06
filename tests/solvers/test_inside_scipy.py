"""Our methods behind ``scipy.optimize.minimize``: its protocols, and what it passes on."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import solvers
from tests.problems import rosenbrock

optimize = pytest.importorskip("scipy.optimize")
X0 = np.array([-1.2, 1.0])


def found(fun=rosenbrock, x0=X0, method="lbfgs", **options):
    return optimize.minimize(fun, x0, jac=True, method=fl.scipy_method(method), **options)


@pytest.mark.parametrize("wants", ["xk", "intermediate_result"])
def test_what_a_callback_returns_means_nothing_as_in_scipy(wants):
    def fun(x):
        return float(np.sum((x - 3) ** 4)), 4 * (x - 3) ** 3

    seen = []
    callback = {
        "xk": lambda xk: seen.append(xk) or True,
        "intermediate_result": lambda intermediate_result: seen.append(1) or 2.0,
    }[wants]
    found = optimize.minimize(
        fun, np.zeros(2), jac=True, method=fl.scipy_method("lbfgs"), callback=callback
    )
    assert found.success
    assert len(seen) == found.nit > 5


@pytest.mark.parametrize("method", ["lbfgs", "cg", fl.Adam(0.1)], ids=repr)
def test_a_callback_gets_the_intermediate_result_that_it_asks_for(method):
    points, results = [], []

    def old(xk):
        points.append(xk)

    def new(*, intermediate_result):
        results.append(intermediate_result)

    found(method=method, callback=old, options={"maxiter": 20})
    last = found(method=method, callback=new, options={"maxiter": 20})
    assert len(points) == len(results) == last.nit
    for x, result in zip(points, results, strict=True):
        assert np.all(result.x == x)
        assert result.fun == result["fun"] == rosenbrock(x)[0]
    assert results[-1].nit == last.nit
    assert results[-1].nfev == last.nfev


@pytest.mark.parametrize("method", ["lbfgs", fl.Adam(0.1)], ids=repr)
@pytest.mark.parametrize("new", [False, True])
def test_a_callback_may_keep_and_write_what_it_gets_and_stop(method, new):
    seen = []

    def act(x):
        seen.append(x.copy())
        x[...] = 7.0
        if len(seen) == 3:
            raise StopIteration

    def old(x):
        act(x)

    def asking(intermediate_result):
        act(intermediate_result.x)

    result = found(method=method, callback=asking if new else old)
    assert (result.status, result.success, result.nit) == (99, False, 3)
    assert np.all(result.x == seen[-1])
    assert result.fun == rosenbrock(seen[-1])[0]


@pytest.mark.parametrize("method", ["lbfgs", "cg", "lbfgsb", fl.Adam(0.1)], ids=repr)
def test_a_function_that_writes_into_x_is_harmless(method):
    def scribbling(x):
        value, gradient = rosenbrock(x)
        x[...] = np.nan
        return value, gradient

    def gradient(x):
        slope = rosenbrock(x)[1]
        x[...] = np.nan
        return slope

    plain = found(method=method, options={"maxiter": 50})
    once = found(scribbling, method=method, options={"maxiter": 50})
    apart = optimize.minimize(
        lambda x: scribbling(x)[0], X0, jac=gradient, method=fl.scipy_method(method),
        options={"maxiter": 50},
    )  # fmt: skip
    for result in (once, apart):
        assert np.all(result.x == plain.x)
        assert result.nit == plain.nit


def test_values_of_one_element_are_numbers_and_others_are_named():
    assert found(lambda x: (rosenbrock(x)[0] * np.ones(1), rosenbrock(x)[1])).success
    assert found(lambda x: (rosenbrock(x)[0] * np.ones((1, 1)), rosenbrock(x)[1])).success
    with pytest.raises(ValueError, match=r"fun: its value: shape is \(2,\), expected \(\)"):
        found(lambda x: (x, rosenbrock(x)[1]))
    with pytest.raises(ValueError, match=r"gradient: shape is \(3,\), expected \(2,\)"):
        found(lambda x: (x @ x, np.ones(3)))
    with pytest.raises(TypeError, match="fun: its value is a"):
        found(lambda x: (None, np.ones(2)))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (optimize.Bounds([0, 0, 0], [1, 1, 1]), r"bounds\.lb: shape is \(3,\), expected \(2,\)"),
        (optimize.Bounds(0, [1, 1, 1]), r"bounds\.(lb|ub): shape is \(3,\), expected \(2,\)"),
        ([(0, 1)] * 3, "bounds: length is 3, expected 2"),
        (optimize.Bounds([2, 0], [1, 1]), r"bounds\[0\]: \(2.0, 1.0\) has its lower bound above"),
    ],
)
def test_bounds_that_do_not_fit_are_named(bounds, message):
    with pytest.raises(ValueError, match=message):
        found(bounds=bounds)
    with pytest.raises(ValueError, match=message):
        fl.minimize(rosenbrock, X0, bounds=bounds)


def test_bounds_may_be_numbers_for_all():
    result = found(bounds=optimize.Bounds(0, 0.5))
    assert np.allclose(result.x, [0.5, 0.25], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"options": {"maxiter": 10.5}}, TypeError, "maxiter: is 10.5, expected an integer >= 0"),
        ({"options": {"maxiter": -1}}, ValueError, "maxiter: is -1, expected an integer >= 0"),
        ({"tol": -1.0}, ValueError, "tol: is -1.0, expected a finite number"),
        ({"tol": "small"}, TypeError, "tol: is 'small', expected a number"),
        ({"options": {"gtol": 1e-9}}, ValueError, r"options\['gtol'\]: .*stop=.*GradientNorm"),
        ({"options": {"ftol": 1e-9}}, ValueError, r"options\['ftol'\]: .*stop=.*RelativeDecrease"),
        ({"options": {"maxfun": 9}}, ValueError, r"options\['maxfun'\]: .*stop=.*MaxEvaluations"),
        ({"options": {"maxcor": 9}}, ValueError, r"options\['maxcor'\]: .*LBFGS\(history="),
        ({"options": {"eps": 1e-9}}, ValueError, r"options\['eps'\]: .*maxiter"),
        ({"hess": lambda x: x}, ValueError, "hess: is not supported"),
        ({"constraints": {"type": "eq", "fun": sum}}, ValueError, "constraints: is not supported"),
    ],
)
def test_options_are_refused_by_their_own_names(options, error, message):
    with pytest.raises(error, match=message):
        found(**options)


def test_options_that_say_nothing_are_taken():
    assert found(options={"disp": False, "maxiter": None}, constraints=[]).success


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("BFGS", "lbfgs"), ("Newton-CG", "lbfgs"), ("trust-ncg", "lbfgs"), ("dogleg", "lbfgs"),
        ("trust-exact", "lbfgs"), ("trust-krylov", "lbfgs"), ("TNC", "lbfgsb"),
        ("SLSQP", "lbfgsb"), ("trust-constr", "lbfgsb"), ("Nelder-Mead", "lbfgs"),
        ("Powell", "lbfgs"), ("COBYLA", "lbfgsb"), ("COBYQA", "lbfgsb"),
    ],
)  # fmt: skip
def test_the_names_of_scipy_s_methods_lead_to_ours(name, ours):
    for spelled in (name, name.lower()):
        for call in (
            lambda spelled=spelled: fl.minimize(rosenbrock, X0, method=spelled),
            lambda spelled=spelled: fl.scipy_method(spelled),
        ):
            with pytest.raises(ValueError, match=f"method: .*SciPy.*{ours!r}"):
                call()
    assert solvers.get(ours) is not None


def test_the_names_that_both_have_work():
    assert solvers.get("CG") == fl.ConjugateGradient()
    assert solvers.get("L-BFGS-B") == fl.LBFGSB()
    with pytest.raises(ValueError, match="unknown method 'bfgg'"):
        solvers.get("bfgg")
