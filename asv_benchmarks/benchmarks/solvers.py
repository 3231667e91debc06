"""What an iteration of L-BFGS costs beside the function, and what many problems at once save."""

from __future__ import annotations

import time

import numpy as np

import fallline as fl

from .common import SMOKE, Timed, few, load

ITERATIONS = 30


def rosenbrock(x):
    """Return Rosenbrock's function of any number of variables, and its gradient."""
    bend, short = x[1:] - x[:-1] * x[:-1], 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * x[:-1] * bend - 2 * short
    gradient[1:] += 200 * bend
    return float(100 * (bend @ bend) + short @ short), gradient


def valley(who, size):
    """Return a run of L-BFGS down Rosenbrock's valley; it returns its evaluations."""
    x0 = np.tile([-1.2, 1.0], size // 2)
    if who == "scipy":
        minimize = load("scipy.optimize").minimize
        return lambda: int(minimize(rosenbrock, x0, jac=True, method="L-BFGS-B").nfev)
    return lambda: int(fl.minimize(rosenbrock, x0, method="lbfgs").nfev)


class Valley(Timed):
    """The time of one evaluation of Rosenbrock's function, with what L-BFGS does for it."""

    params = (("fallline", "scipy"), few((2, 10)))
    param_names = ("solver", "size")

    def make(self, solver, size):
        """Return the run."""
        return valley(solver, size)


class Iteration:
    """A bowl with ripples in float64: 30 iterations with 10 pairs, less the evaluations."""

    params = (("fallline", "scipy"), few((10, 1000, 1_000_000)))
    param_names = ("solver", "size")
    unit = "seconds"
    timeout = 300

    def setup(self, solver, size):
        """Draw the bowl and the start."""
        rng = np.random.default_rng(0)
        self.scales = np.exp(rng.uniform(-3, 3, size))
        self.x0 = rng.standard_normal(size)
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
        """Return the seconds of one iteration."""
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
        return (time.perf_counter() - start - self.inside) / ITERATIONS

    def track_overhead(self, solver, size):
        """Return the median of several runs."""
        runs = 1 if SMOKE else 3 if size >= 1_000_000 else 51
        return float(np.median([self.once(solver) for _ in range(runs)]))


class Batched(Timed):
    """Penalised logistic regressions of 50 rows and 5 features, all at once and one by one."""

    params = (("batched", "one by one"), few((100, 1000)))
    param_names = ("how", "problems")

    def make(self, how, problems):
        """Draw rows, each times its label, and return the solution of all by L-BFGS."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((problems, 50, 5))
        z = x @ rng.standard_normal((problems, 5, 1))
        data = np.where(rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z)), x, -x)
        x0 = np.zeros((problems, 5))
        if how == "batched":
            return lambda: fl.minimize(self.fun, x0, args=(data,), batched=True)
        pairs = list(zip(x0, data, strict=True))
        return lambda: [fl.minimize(self.fun, x, args=(rows,)) for x, rows in pairs]

    @staticmethod
    def fun(x, rows):
        """Return values and gradients, whatever the leading axes."""
        z = (rows @ x[..., None])[..., 0]
        small = np.exp(-np.abs(z))
        value = np.mean(np.maximum(-z, 0) + np.log1p(small), axis=-1)
        slope = np.where(z < 0, -1.0, -small) / (1 + small) / z.shape[-1]
        gradient = (slope[..., None, :] @ rows)[..., 0, :] + 1e-2 * x
        return value + 5e-3 * np.sum(x * x, axis=-1), gradient
