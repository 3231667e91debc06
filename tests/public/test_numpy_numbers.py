"""Numbers of NumPy as settings are those of Python: they change no precision, on no library."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop

HALF, FEW = np.float64(0.5), np.int64(3)
PENALTIES = [
    fl.L1(HALF), fl.L2(HALF), fl.ElasticNet(HALF, HALF), fl.GroupL1(HALF),
    fl.penalties.TotalVariation(HALF, eps=HALF), fl.L2(np.array(0.5)),
]  # fmt: skip
CONSTRAINTS = [
    fl.Box(HALF, None), fl.Box(-HALF, HALF), fl.Simplex(HALF), fl.L1Ball(HALF), fl.L2Ball(HALF),
]  # fmt: skip
LOSSES = [
    fl.losses.Huber(HALF), fl.losses.Quantile(HALF), fl.losses.PoissonIntensity(background=HALF),
]  # fmt: skip
CONDITIONS = [
    stop.GradientNorm(HALF), stop.ParameterChange(HALF), stop.NotImproved(FEW, by=HALF),
    stop.Target(HALF), stop.RelativeGradient(HALF), stop.RelativeDecrease(HALF, FEW, HALF),
    stop.MaxTime(HALF) | stop.MaxEvaluations(FEW),
]  # fmt: skip
METHODS = [
    fl.LBFGS(FEW), fl.SteepestDescent(HALF), fl.SteepestDescent(lambda k: HALF), fl.SGD(HALF),
    fl.OWLQN(), fl.ProximalGradient(HALF),
]  # fmt: skip


def single(x):
    return str(x.dtype).endswith("float32")


def test_penalties_constraints_and_losses(backend):
    x = backend.array(np.array([[1.0, 2, 3]], np.float32))
    for penalty in PENALTIES:
        assert "np." not in repr(penalty)
        assert single(penalty.value(x))
        assert single(penalty.gradient(x) if penalty.smooth else penalty.prox(x, 0.5))
    for constraint in CONSTRAINTS:
        assert "np." not in repr(constraint)
        assert single(constraint(x))
    for loss in LOSSES:
        assert "np." not in repr(loss)
        assert all(map(single, loss.value_and_gradient(x, x)))


@pytest.mark.parametrize("batched", [False, True])
def test_conditions_and_methods_of_minimize(backend, batched):
    x0 = backend.array(np.ones((2, 3), np.float32))

    def fun(x):
        return (x * x).sum(axis=1) if batched else (x * x).sum(), 2 * x

    if backend.name == "array_api_strict":

        def fun(x):
            return backend.xp.sum(x * x, axis=1 if batched else None), 2 * x

    for condition in CONDITIONS:
        assert "np." not in repr(condition)
        found = fl.minimize(fun, x0, stop=condition, batched=batched, max_iterations=FEW)
        assert single(found.x)
    for method in METHODS:
        penalty = fl.L1(HALF) if isinstance(method, fl.OWLQN | fl.ProximalGradient) else None
        if penalty is None or not batched:
            options = {"method": method, "penalty": penalty, "max_iterations": FEW}
            assert single(fl.minimize(fun, x0, batched=batched, **options).x)


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_weights_from_a_grid_suit_single_precision(penalty, kind):
    pytest.importorskip("sklearn")
    from fallline.estimators import LinearClassifier, LinearRegressor

    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3)).astype(np.float32)
    y = X @ np.ones(3, np.float32) + rng.standard_normal(60).astype(np.float32)
    options = {"penalty": penalty, "alpha": kind(0.01), "l1_ratio": kind(0.5)}
    for model in (LinearRegressor(**options), LinearClassifier(**options)):
        model.fit(X, y > 0 if isinstance(model, LinearClassifier) else y)
        assert model.coef_.dtype == np.float32
