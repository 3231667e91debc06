"""Losses with kinks and an L1 penalty: linear programs, which are solved without a warning."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning

from fallline.estimators import LinearClassifier, LinearRegressor

optimize = pytest.importorskip("scipy.optimize")
LOSSES = {
    "hinge": fl.losses.Hinge(),
    "absolute": fl.losses.AbsoluteError(),
    "quantile": fl.losses.Quantile(0.8),
}


def least(kind, X, y, alpha):
    """Return the least objective: of the halves of w and b, and of the errors of the rows."""
    n, d = X.shape
    ones, eye = np.ones((n, 1)), np.eye(n)
    cost = [alpha * np.ones(2 * d), [0, 0]]
    if kind == "hinge":
        rows = -y[:, None] * np.hstack([X, -X, ones, -ones])
        cost = np.concatenate([*cost, np.ones(n) / n])
        sides = {"A_ub": np.hstack([rows, -eye]), "b_ub": -np.ones(n)}
    else:
        above, below = (1, 1) if kind == "absolute" else (0.8, 0.2)
        cost = np.concatenate([*cost, above * np.ones(n) / n, below * np.ones(n) / n])
        sides = {"A_eq": np.hstack([X, -X, ones, -ones, eye, -eye]), "b_eq": y}
    return optimize.linprog(cost, bounds=(0, None), **sides).fun


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(("n", "d", "alpha"), [(150, 20, 0.01), (300, 30, 0.003), (60, 90, 0.05)])
def test_an_l1_penalty_is_solved(kind, n, d, alpha):
    most = 1000 if n > d else 2500
    for seed in range(2):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, d))
        y = X[:, :4] @ [1.0, -2.0, 0.5, 1.5] + rng.standard_normal(n)
        y = np.sign(y) if kind == "hinge" else y
        estimator = LinearClassifier if kind == "hinge" else LinearRegressor
        model = estimator(LOSSES[kind], penalty="l1", alpha=alpha, max_iter=most).fit(X, y)
        w, b = np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
        value = float(LOSSES[kind].value_and_gradient(X @ w + b, y)[0]) + alpha * np.sum(np.abs(w))
        assert value == pytest.approx(least(kind, X, y, alpha), rel=5e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_solver_that_stops_at_a_kink_says_what_rounds_it(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    y = X @ [1.0, -2.0, 0.5, 1.5] + rng.standard_normal(60)
    y = np.sign(y) if kind == "hinge" else y
    estimator = LinearClassifier if kind == "hinge" else LinearRegressor
    with pytest.warns(ConvergenceWarning, match="method='auto' rounds the kinks of this loss"):
        estimator(LOSSES[kind], method="lbfgs", tol=1e-6).fit(X, y)
    estimator(LOSSES[kind], tol=1e-6).fit(X, y)
