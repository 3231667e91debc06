"""Test problems of unconstrained minimization: value and gradient in NumPy, and the usual start.

Moré, Garbow, Hillstrom, "Testing unconstrained optimization software", 1981; its numbers in
brackets. Most are sums of squares of residuals, given with their Jacobians.
"""

from __future__ import annotations

import numpy as np


def squares(residuals):
    """Return the sum of squares and its gradient, from a function that gives (r, J)."""

    def fun(x):
        r, jacobian = residuals(x)
        return float(r @ r), 2 * (jacobian.T @ r)

    return fun


def rosenbrock(x):
    """[1], [21]: chained over all neighbours."""
    a, b = x[:-1], x[1:]
    g = np.zeros_like(x)
    g[:-1] = -400 * a * (b - a**2) - 2 * (1 - a)
    g[1:] += 200 * (b - a**2)
    return float(np.sum(100 * (b - a**2) ** 2 + (1 - a) ** 2)), g


@squares
def beale(x):
    """[5]."""
    a, b = x
    i = np.arange(1, 4)
    r = np.array([1.5, 2.25, 2.625]) - a * (1 - b**i)
    return r, np.stack([b**i - 1, a * i * b ** (i - 1)], axis=1)


@squares
def booth(x):
    """Booth's quadratic."""
    j = np.array([[1.0, 2.0], [2.0, 1.0]])
    return j @ x - np.array([7.0, 5.0]), j


@squares
def powell(x):
    """[13], [22]: in blocks of four."""
    n = x.size // 4
    a, b, c, d = x.reshape(n, 4).T
    r = np.stack(
        [a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2], axis=1
    ).ravel()
    j = np.zeros((n, 4, n, 4))
    i = np.arange(n)
    j[i, 0, i, 0], j[i, 0, i, 1] = 1, 10
    j[i, 1, i, 2], j[i, 1, i, 3] = 5**0.5, -(5**0.5)
    j[i, 2, i, 1], j[i, 2, i, 2] = 2 * (b - 2 * c), -4 * (b - 2 * c)
    j[i, 3, i, 0], j[i, 3, i, 3] = 2 * 10**0.5 * (a - d), -2 * 10**0.5 * (a - d)
    return r, j.reshape(4 * n, 4 * n)


@squares
def wood(x):
    """[14]."""
    a, b, c, d = x
    r = np.array(
        [10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, 10**0.5 * (b + d - 2),
         (b - d) / 10**0.5]
    )  # fmt: skip
    j = np.zeros((6, 4))
    j[0, :2], j[1, 0] = (-20 * a, 10), -1
    j[2, 2:], j[3, 2] = (-2 * 90**0.5 * c, 90**0.5), -1
    j[4, [1, 3]] = 10**0.5
    j[5, [1, 3]] = 10**-0.5, -(10**-0.5)
    return r, j


@squares
def helical_valley(x):
    """[7]."""
    a, b, c = x
    theta = np.arctan2(b, a) / (2 * np.pi)
    theta = theta if theta > -0.25 else theta + 1
    s = a * a + b * b
    slope = np.array([-b, a]) / (2 * np.pi * s)
    j = np.zeros((3, 3))
    j[0, :2], j[0, 2] = -100 * slope, 10
    j[1, :2] = 10 * np.array([a, b]) / s**0.5
    j[2, 2] = 1
    return np.array([10 * (c - 10 * theta), 10 * (s**0.5 - 1), c]), j


@squares
def trigonometric(x):
    """[26]."""
    n = x.size
    i = np.arange(1, n + 1)
    r = n - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x)
    j = np.tile(np.sin(x), (n, 1)) + np.diag(i * np.sin(x) - np.cos(x))
    return r, j


@squares
def brown_badly_scaled(x):
    """[4]."""
    a, b = x
    return np.array([a - 1e6, b - 2e-6, a * b - 2]), np.array([[1, 0], [0, 1], [b, a]])


@squares
def broyden_tridiagonal(x):
    """[30]."""
    n = x.size
    r = (3 - 2 * x) * x + 1
    r[1:] -= x[:-1]
    r[:-1] -= 2 * x[1:]
    j = np.diag(3 - 4 * x) - np.diag(np.ones(n - 1), -1) - 2 * np.diag(np.ones(n - 1), 1)
    return r, j


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
    "beale": (beale, [1.0, 1.0]),
    "booth": (booth, [1.0, 1.0]),
    "powell singular": (powell, [3.0, -1.0, 0.0, 1.0]),
    "wood": (wood, [-3.0, -1.0, -3.0, -1.0]),
    "helical valley": (helical_valley, [-1.0, 0.0, 0.0]),
    "extended powell": (powell, [3.0, -1.0, 0.0, 1.0] * 10),
    "trigonometric": (trigonometric, [0.1] * 10),
    "brown badly scaled": (brown_badly_scaled, [1.0, 1.0]),
    "broyden tridiagonal": (broyden_tridiagonal, [-1.0] * 20),
}
