"""What an iteration of L-BFGS costs beside the function, and what many problems at once save."""

from __future__ import annotations

import time

import numpy as np

import fallline as fl

from .common import load

ITERATIONS = 30
SIZES = {"10": 10, "1e3": 1_000, "1e6": 1_000_000}


class Iteration:
    """A bowl with ripples in float64: 30 iterations with 10 pairs, less the evaluations."""

    params = (("fallline", "scipy"), tuple(SIZES))
    param_names = ("solver", "size")
    unit = "us"
    timeout = 300

    def setup(self, solver, size):
        """Draw the bowl and the start."""
        rng = np.random.default_rng(0)
        self.scales = np.exp(rng.uniform(-3, 3, SIZES[size]))
        self.x0 = rng.standard_normal(SIZES[size])
        self.inside = 0.0
        if solver == "scipy":
            self.scipy = load("scipy.optimize")

    def fun(self, x):
        """Return value and gradient, and add up the time it takes."""
        start = time.perf_counter()
        t = self.scales * x
        result = 0.5 * (t @ x) + np.sum(np.cos(x)), t - np.sin(x)
        self.inside += time.perf_counter() - start
        return result

    def once(self, solver):
        """Return the microseconds of one iteration."""
        self.inside, start = 0.0, time.perf_counter()
        if solver == "scipy":
            options = {"maxiter": ITERATIONS, "ftol": 0.0, "gtol": 0.0}
            found = self.scipy.minimize(
                self.fun, self.x0, jac=True, method="L-BFGS-B", options=options
            )
        else:
            found = fl.minimize(
                self.fun, self.x0, max_iterations=ITERATIONS, stop=fl.stop.GradientNorm(0.0)
            )
        assert found.nit == ITERATIONS
        return (time.perf_counter() - start - self.inside) / ITERATIONS * 1e6

    def track_overhead(self, solver, size):
        """Return the median of several runs."""
        runs = 5 if SIZES[size] >= 1_000_000 else 101
        return float(np.median([self.once(solver) for _ in range(runs)]))


class Batched:
    """Penalised logistic regressions of 50 rows and 5 features, all at once and one by one."""

    params = (("batched", "one by one"), ("100", "1000"))
    param_names = ("how", "problems")
    timeout = 300

    def setup(self, how, problems):
        """Draw rows, each times its label."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((int(problems), 50, 5))
        z = x @ rng.standard_normal((int(problems), 5, 1))
        self.rows = np.where(rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z)), x, -x)
        self.x0 = np.zeros((int(problems), 5))

    @staticmethod
    def fun(x, rows):
        """Return values and gradients, whatever the leading axes."""
        z = (rows @ x[..., None])[..., 0]
        small = np.exp(-np.abs(z))
        value = np.mean(np.maximum(-z, 0) + np.log1p(small), axis=-1)
        slope = np.where(z < 0, -1.0, -small) / (1 + small) / z.shape[-1]
        gradient = (slope[..., None, :] @ rows)[..., 0, :] + 1e-2 * x
        return value + 5e-3 * np.sum(x * x, axis=-1), gradient

    def time_regressions(self, how, problems):
        """Solve all of them by L-BFGS."""
        if how == "batched":
            fl.minimize(self.fun, self.x0, args=(self.rows,), batched=True)
        else:
            for x, rows in zip(self.x0, self.rows, strict=True):
                fl.minimize(self.fun, x, args=(rows,))
