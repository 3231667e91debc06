"""Test problems of unconstrained minimization: value and gradient in NumPy, and the usual start.

Sums of squares, most of them functions of Moré, Garbow and Hillstrom; and a logistic regression.
"""

from __future__ import annotations

import numpy as np

from .solvers import more_garbow_hillstrom as mgh


def squares(residuals):
    """Return the sum of squares and its gradient, from a function that gives (r, J)."""

    def fun(x):
        r, jacobian = residuals(x)
        return float(r @ r), 2 * (jacobian.T @ r)

    return fun


def rosenbrock(x):
    """Chained over all neighbours."""
    a, b = x[:-1], x[1:]
    g = np.zeros_like(x)
    g[:-1] = -400 * a * (b - a**2) - 2 * (1 - a)
    g[1:] += 200 * (b - a**2)
    return float(np.sum(100 * (b - a**2) ** 2 + (1 - a) ** 2)), g


@squares
def booth(x):
    """Booth's quadratic."""
    j = np.array([[1.0, 2.0], [2.0, 1.0]])
    return j @ x - np.array([7.0, 5.0]), j


def logistic():
    """Return penalised logistic regression on scikit-learn's breast cancer data."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X = np.hstack([X, np.ones((len(X), 1))])

    def fun(x):
        z = X.astype(x.dtype) @ x
        value = np.mean(np.logaddexp(0, z) - y.astype(x.dtype) * z) + 5e-3 * (x @ x)
        p = 0.5 * (1 + np.tanh(z / 2))
        return float(value), X.astype(x.dtype).T @ (p - y.astype(x.dtype)) / len(y) + 1e-2 * x

    return fun, np.zeros(X.shape[1])


PROBLEMS = {
    "rosenbrock 2": (rosenbrock, [-1.2, 1.0]),
    "rosenbrock 100": (rosenbrock, [-1.2, 1.0] * 50),
    "beale": (squares(mgh.beale), [1.0, 1.0]),
    "booth": (booth, [1.0, 1.0]),
    "powell singular": (squares(mgh.powell_singular), [3.0, -1.0, 0.0, 1.0]),
    "wood": (squares(mgh.wood), [-3.0, -1.0, -3.0, -1.0]),
    "helical valley": (squares(mgh.helical_valley), [-1.0, 0.0, 0.0]),
    "extended powell": (squares(mgh.powell_singular), [3.0, -1.0, 0.0, 1.0] * 10),
    "trigonometric": (squares(mgh.trigonometric), [0.1] * 10),
    "brown badly scaled": (squares(mgh.brown_badly_scaled), [1.0, 1.0]),
    "broyden tridiagonal": (squares(mgh.broyden_tridiagonal), [-1.0] * 20),
}
