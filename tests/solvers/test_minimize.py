"""minimize and its solvers against SciPy, scikit-learn, and each other."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays, solvers, stop
from fallline.solvers._space import Space
from tests.helpers import patch_arrays
from tests.problems import PROBLEMS, logistic, rosenbrock

SMOOTH = [
    fl.LBFGS(),
    fl.LBFGS(history=2),
    fl.ConjugateGradient(),
    fl.ConjugateGradient("dai-yuan"),
    fl.ConjugateGradient("hager-zhang"),
    fl.SteepestDescent(),
    fl.SteepestDescent("wolfe"),
    fl.SteepestDescent("armijo"),
    fl.SteepestDescent(0.2),
    fl.SteepestDescent(lambda k: 0.2),
    fl.ProximalGradient(),
    fl.ProximalGradient(0.2),
    fl.ProximalGradient(accelerated=True),
    fl.OWLQN(),
]
CONVERGES = stop.GradientNorm(1e-7)


def problems():
    pytest.importorskip("scipy.optimize")
    pytest.importorskip("sklearn")
    return {**PROBLEMS, "logistic": logistic()}


# -- against SciPy ------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="hess: is not known"):
        optimize.minimize(rosenbrock, x0, jac=True, hess=lambda x: x, method=fl.scipy_method())


# -- one problem, every method, every library ---------------------------------------------


def quadratic(backend, dtype="float64"):
    """Return a well-conditioned problem of two leaves and a None, its start and its solution."""
    xp = backend.xp
    scale = backend.array(np.linspace(0.5, 2.0, 6).reshape(2, 3).astype(dtype))
    aim = np.arange(6.0).reshape(2, 3).astype(dtype)
    target = backend.array(aim)

    def fun(x):
        d, e = x["a"] - target, x["b"][0] + 1
        value = 0.5 * xp.sum(scale * d * d) + xp.sum(e * e)
        return value, {"a": scale * d, "b": [2 * e, None]}

    x0 = {"a": np.zeros((2, 3), dtype), "b": [np.ones((), dtype), None]}
    return fun, x0, {"a": aim, "b": [np.asarray(-1.0)]}


@pytest.mark.parametrize("solver", SMOOTH, ids=lambda s: repr(s).partition(" at ")[0])
def test_methods_on_every_library(backend, solver):
    fun, x0, solution = quadratic(backend)
    start = backend.tree(x0)
    found = fl.minimize(fun, start, method=solver, stop=CONVERGES)
    assert found.success, found.message
    assert found.x["b"][1] is None
    assert np.allclose(backend.numpy(found.x["a"]), solution["a"], atol=1e-6)
    assert np.allclose(backend.numpy(found.x["b"][0]), -1, atol=1e-6)
    assert np.all(backend.numpy(start["a"]) == 0)  # never written


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rules_are_methods(backend, dtype):
    fun, x0, solution = quadratic(backend, dtype)
    start = backend.tree(x0)
    found = fl.minimize(fun, start, method=fl.Adam(0.1), max_iterations=250)
    assert (found.status, found.nit, found.nfev) == (1, 250, 251)
    assert np.allclose(backend.numpy(found.x["a"]), solution["a"], atol=1e-2)
    assert np.all(backend.numpy(start["a"]) == 0)
    if backend.name == "numpy-readonly":
        return  # minimize has a copy of its own; an Optimizer writes the caller's
    own = fl.Optimizer(backend.tree(x0), fl.Adam(0.1))
    for _ in range(250):
        own.step(fun(own.params)[1])
    assert np.all(backend.numpy(own.params["a"]) == backend.numpy(found.x["a"]))


def test_rules_project_after_each_step(backend):
    fun, x0, _ = quadratic(backend)
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.GradientDescent(0.3), max_iterations=300,
        constraint={"a": fl.Box(1.0, 3.5), "b": None},
    )  # fmt: skip
    expected = np.clip(np.arange(6.0).reshape(2, 3), 1, 3.5)
    assert np.allclose(backend.numpy(found.x["a"]), expected, atol=1e-6)
    assert np.allclose(backend.numpy(found.x["b"][0]), -1)


def test_reads_from_the_device(monkeypatch, backend):
    if backend.name.startswith("numpy"):
        pytest.skip("arrays on the host need no reads")
    fun, x0, _ = quadratic(backend)
    reads = []
    original = _arrays.to_numpy
    patch_arrays(monkeypatch, "to_numpy", lambda x: reads.append(x.shape) or original(x))
    for method in SMOOTH:
        start = backend.tree(x0)
        reads.clear()
        found = fl.minimize(fun, start, method=method, stop=CONVERGES, max_iterations=50)
        assert len(reads) <= found.nfev, method
    reads.clear()
    found = fl.minimize(fun, backend.tree(x0), method=fl.Adam(0.1), max_iterations=100)
    assert len(reads) == 2  # at the start and at the end
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.Adam(0.1), max_iterations=100, check_every=10,
        stop=stop.Target(-1.0),
    )  # fmt: skip
    assert len(reads) == 2 + 11


@pytest.mark.parametrize("solver", SMOOTH[:6], ids=repr)
def test_complex_is_its_twin_of_two_reals(backend, solver):
    rng = np.random.default_rng(0)
    m = rng.standard_normal((8, 5)) + 1j * rng.standard_normal((8, 5))
    b = rng.standard_normal(8) + 1j * rng.standard_normal(8)
    xp = backend.xp
    m_, b_, mh = (backend.array(x) for x in (m, b, m.conj().T.copy()))

    def fun(z):
        r = m_ @ z - b_
        return 0.5 * xp.sum(_arrays.abs2(r)), mh @ r

    def twin(x):
        z = x[:5] + 1j * x[5:]
        r = m @ z - b
        g = m.conj().T @ r
        return 0.5 * np.sum(np.abs(r) ** 2), np.concatenate([g.real, g.imag])

    ours = fl.minimize(fun, backend.array(np.zeros(5, complex)), method=solver, max_iterations=8)
    theirs = fl.minimize(twin, np.zeros(10), method=solver, max_iterations=8)
    z = backend.numpy(ours.x)
    assert np.allclose(np.concatenate([z.real, z.imag]), theirs.x, rtol=0, atol=1e-9)


def test_a_tree_is_its_flattened_vector():
    def tree(x):
        value, g = rosenbrock(np.concatenate([x["a"].ravel(), x["b"]]))
        return value, {"a": g[:4].reshape(2, 2), "b": g[4:]}

    x0 = np.array([-1.2, 1.0] * 4)
    for method in ("lbfgs", "cg"):
        one = fl.minimize(rosenbrock, x0, method=method)
        other = fl.minimize(tree, {"a": x0[:4].reshape(2, 2), "b": x0[4:]}, method=method)
        assert one.nfev == other.nfev
        assert np.all(one.x == np.concatenate([other.x["a"].ravel(), other.x["b"]]))


def test_mixed_and_half_precision_keep_their_dtypes():
    def fun(x):
        a, b = x["a"].astype(np.float64) - 1, x["b"] - 2
        return float(a @ a + b @ b), {"a": (2 * a).astype(np.float16), "b": 2 * b}

    x0 = {"a": np.zeros(3, np.float16), "b": np.zeros(2)}
    found = fl.minimize(fun, x0)
    assert (found.x["a"].dtype, found.x["b"].dtype) == (np.float16, np.float64)
    assert np.allclose(found.x["a"], 1)
    assert np.allclose(found.x["b"], 2)


def test_products_in_blocks():
    rows = np.random.default_rng(0).standard_normal((5, 20_001))
    space = Space(rows[0])
    assert np.allclose(space.products(rows, 2), rows[:2] @ rows.T, rtol=0, atol=1e-9)


def test_torch_s_tape_stays_outside():
    torch = pytest.importorskip("torch")

    def fun(x):
        x = x.detach().requires_grad_()
        value = torch.sum((x - 3) ** 4) + torch.sum(x**2)
        value.backward()
        return value, x.grad

    x0 = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    expected = fl.minimize(quartic, np.zeros(3), stop=CONVERGES).x
    for method in (*SMOOTH, fl.Adam(0.1)):
        if isinstance(method, fl.SteepestDescent) and not isinstance(method.step_size, str):
            continue  # these rates are too large for the fourth power
        if method == fl.ProximalGradient(0.2):
            continue
        found = fl.minimize(fun, x0, method=method, stop=CONVERGES, max_iterations=3000)
        assert not found.x.requires_grad
        assert np.allclose(found.x.numpy(), expected, atol=1e-5), method
    assert x0.requires_grad
    assert x0.grad is None


def quartic(x):
    return np.sum((x - 3) ** 4) + np.sum(x**2), 4 * (x - 3) ** 3 + 2 * x


# -- penalties and constraints ------------------------------------------------------------


@pytest.mark.parametrize("penalty", [fl.L1(1.0), fl.ElasticNet(0.5, l1_ratio=0.7)], ids=repr)
def test_lasso_and_elastic_net_agree_with_scikit_learn(penalty):
    linear = pytest.importorskip("sklearn.linear_model")
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = y - y.mean()
    n = len(y)
    ratio = getattr(penalty, "l1_ratio", 1.0)
    model = linear.ElasticNet(
        penalty.alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=10**6
    ).fit(X, y)

    def fun(w):
        r = X @ w - y
        return r @ r / (2 * n), X.T @ r / n

    for method in ("fista", "proximal-gradient", "owlqn"):
        found = fl.minimize(
            fun, np.zeros(X.shape[1]), method=method, penalty=penalty, stop=stop.GradientNorm(1e-9)
        )
        assert found.success
        assert np.max(np.abs(found.x - model.coef_)) <= 1e-6
        assert np.all((found.x == 0) == (model.coef_ == 0))
        r = X @ found.x - y
        assert np.isclose(found.fun, r @ r / (2 * n) + float(penalty.value(found.x)), rtol=1e-12)


def test_bounds_agree_with_scipy():
    for name, (fun, start) in problems().items():
        from scipy.optimize import minimize

        x0 = np.array(start)
        free, rng = minimize(fun, x0, jac=True, method="L-BFGS-B").x, np.random.default_rng(1)
        size = np.maximum(1, np.abs(free))
        low = free + rng.uniform(-1, 0.3, x0.size) * size
        high = low + rng.uniform(0.5, 2, x0.size) * size
        theirs = minimize(
            fun, np.clip(x0, low, high), jac=True, method="L-BFGS-B",
            bounds=np.stack([low, high], axis=1),
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10**4, "maxfun": 10**5},
        )  # fmt: skip
        ours = fl.minimize(
            fun, x0, method="L-BFGS-B", constraint=fl.Box(low, high), stop=stop.GradientNorm(1e-8)
        )
        assert abs(ours.fun - theirs.fun) <= 1e-8 * max(1, abs(theirs.fun)), name
        assert np.all((low <= ours.x) & (ours.x <= high))
        if name == "extended powell":
            continue  # flat at its minimum: neither finds x to more than 1e-2
        assert ours.success
        assert np.max(np.abs(ours.x - theirs.x) / size) <= 1e-6, name
        assert np.all((ours.x == low) == (theirs.x == low)), name
        assert np.all((ours.x == high) == (theirs.x == high)), name


def test_bounds_on_every_library(backend):
    fun, x0, _ = quadratic(backend)
    found = fl.minimize(
        fun, backend.tree(x0), method=fl.LBFGSB(), stop=CONVERGES,
        constraint={"a": fl.Box(backend.array(np.ones(3)), 3.5), "b": [fl.NonNegative(), None]},
    )  # fmt: skip
    assert found.success
    expected = np.clip(np.arange(6.0).reshape(2, 3), 1, 3.5)
    assert np.allclose(backend.numpy(found.x["a"]), expected, atol=1e-7)
    assert backend.numpy(found.x["b"][0]) == 0


def test_bounds_in_scipy_s_form(backend):
    optimize = pytest.importorskip("scipy.optimize")

    def fun(x):
        d = x - backend.array(np.arange(3.0))
        return backend.xp.sum(d * d), 2 * d

    x0 = backend.array(np.zeros(3))
    for bounds in (
        [(0.5, None), (None, 0.5), (-np.inf, np.inf)],
        optimize.Bounds([0.5, -np.inf, -np.inf], [np.inf, 0.5, np.inf]),
    ):
        for method in ("lbfgs", "L-BFGS-B", "fista", fl.GradientDescent(0.3)):
            found = fl.minimize(fun, x0, method=method, bounds=bounds, max_iterations=60)
            assert np.allclose(backend.numpy(found.x), [0.5, 0.5, 2.0], atol=1e-6)


def test_errors_of_bounds():
    def square(x):
        return x @ x, 2 * x

    for bounds, error, words in (
        ([(0, 1), (2, 1)], ValueError, r"bounds\[1\]: \(2.0, 1.0\) has its lower bound above"),
        ([(0, 1)], ValueError, "bounds: length is 1, expected 2"),
        ([(0, 1), 3], ValueError, r"bounds\[1\]: is 3, expected a pair"),
        ([(0, 1), ("a", 1)], TypeError, r"bounds\[1\]: 'a' is no number"),
    ):
        with pytest.raises(error, match=words):
            fl.minimize(square, np.ones(2), bounds=bounds)
    with pytest.raises(ValueError, match="not both"):
        fl.minimize(square, np.ones(2), bounds=[(0, 1)] * 2, constraint=fl.Box(0, 1))
    with pytest.raises(TypeError, match="bounds: are for one array"):
        fl.minimize(square, [np.ones(2)], bounds=[(0, 1)] * 2)
    with pytest.raises(ValueError, match="ConjugateGradient has none"):
        fl.minimize(square, np.ones(2), bounds=[(0, 1)] * 2, method="cg")

    def fun(x):
        return x @ x, 2 * x

    for constraint, options, words in (
        (fl.Box(np.array([0.0, 2.0]), 1.0), {}, "low is above high"),
        (fl.L2Ball(1.0), {}, "constraint: LBFGSB takes Box and NonNegative"),
        (fl.Box(0, 1), {"penalty": fl.L1(1.0)}, "penalty: LBFGSB needs a smooth one"),
    ):
        with pytest.raises(ValueError, match=words):
            fl.minimize(fun, np.ones(2), method="lbfgsb", constraint=constraint, **options)


def test_nonnegative_least_squares_agrees_with_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((30, 8)), rng.standard_normal(30)
    expected = optimize.nnls(a, b)[0]
    found = fl.minimize(
        lambda x: (0.5 * np.sum((a @ x - b) ** 2), a.T @ (a @ x - b)), np.ones(8), method="fista",
        constraint=fl.NonNegative(), stop=stop.GradientNorm(1e-10),
    )  # fmt: skip
    assert np.allclose(found.x, expected, atol=1e-9)
    assert np.all((found.x == 0) == (expected == 0))


@pytest.mark.parametrize("solver", SMOOTH[:6], ids=repr)
def test_smooth_penalties_join_the_objective(solver):
    def ridge(x):
        return 0.5 * np.sum((x - 1) ** 2) + np.sum(x**2), x - 1 + 2 * x

    def plain(x):
        return 0.5 * np.sum((x - 1) ** 2), x - 1

    one = fl.minimize(ridge, np.zeros(3), method=solver, stop=CONVERGES)
    other = fl.minimize(plain, np.zeros(3), method=solver, stop=CONVERGES, penalty=fl.L2(2.0))
    assert np.allclose(one.x, other.x, atol=1e-9)
    assert np.isclose(one.fun, other.fun)


# -- runs of one's own, records, stopping -------------------------------------------------


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


# -- bad input ----------------------------------------------------------------------------


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
        (gives(number, same), {"penalty": fl.L1(1.0)}, ValueError, "penalty: LBFGS .*OWLQN fits"),
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
