"""Many small curves fitted in one call: about four minutes, most of them SciPy's.

Peers are values of the first parameter; absent ones are skipped with a reason. All get the same
data, the same starts and derivatives written by hand, but for Optimistix, which differentiates
itself.
"""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import Skip, load

PEAKS, POINTS = 10_000, 40
NOISE = 0.05
SPOTS, SIDE = 2_000, 11


def peaks(dtype):
    """Return points, noisy Gaussian peaks, and starts away from the truth."""
    rng = np.random.default_rng(0)
    x = np.linspace(-5, 5, POINTS)
    truth = {
        "amplitude": rng.uniform(1, 3, PEAKS),
        "center": rng.uniform(-1, 1, PEAKS),
        "width": rng.uniform(0.7, 1.5, PEAKS),
        "offset": rng.uniform(-0.5, 0.5, PEAKS),
    }
    y = fl.models.Gaussian()(x, truth) + NOISE * rng.standard_normal((PEAKS, POINTS))
    start = {"amplitude": 1.5, "center": 0.3, "width": 1.2, "offset": 0.0}
    start = {name: np.full(PEAKS, value) for name, value in start.items()}
    return x.astype(dtype), y.astype(dtype), {k: v.astype(dtype) for k, v in start.items()}


class Peaks:
    """10,000 Gaussian peaks of 4 parameters and 40 points, to a tolerance of 1e-8."""

    params = (
        ("fallline", "fallline cupy", "scipy loop", "optimistix vmap"),
        ("float64", "float32"),
    )
    param_names = ("solver", "dtype")
    timeout = 600
    number = 1
    repeat = (2, 5, 20.0)
    warmup_time = 0.0

    def setup(self, solver, dtype):
        """Make the data and what is compiled."""
        self.x, self.y, self.start = peaks(dtype)
        self.solve = {
            "fallline": self.of_fallline,
            "fallline cupy": self.of_fallline,
            "scipy loop": self.of_scipy,
            "optimistix vmap": self.of_optimistix,
        }[solver]
        if solver == "scipy loop":
            self.peer = load("scipy.optimize")
        elif solver == "fallline cupy":
            cupy = load("cupy")
            if not cupy.cuda.is_available():
                msg = "no CUDA device"
                raise Skip(msg)
            self.x, self.y = cupy.asarray(self.x), cupy.asarray(self.y)
            self.start = {k: cupy.asarray(v) for k, v in self.start.items()}
        elif solver == "optimistix vmap":
            self.compiled = self.compile_optimistix(dtype)
        if solver != "scipy loop":  # compile, or import, what the first call needs
            self.solve()

    def of_fallline(self):
        """Return the costs of one batched call."""
        model = fl.models.Gaussian()
        return fl.curve_fit(
            model, self.x, self.y, self.start, jacobian=model.jacobian, batched=True
        ).cost

    def of_scipy(self):
        """Return the costs of SciPy's Levenberg-Marquardt, one problem after the other."""
        x, costs = self.x, []
        p0 = np.stack(list(self.start.values()), axis=1)
        for start, y in zip(p0, self.y, strict=True):

            def residuals(p, y=y):
                u = (x - p[1]) / p[2]
                return p[0] * np.exp(-0.5 * u * u) + p[3] - y

            def jacobian(p):
                u = (x - p[1]) / p[2]
                e = np.exp(-0.5 * u * u)
                slope = p[0] * e * u / p[2]
                return np.stack([e, slope, slope * u, np.ones_like(u)], axis=1)

            costs.append(self.peer.least_squares(residuals, start, jacobian, method="lm").cost)
        return np.asarray(costs)

    def compile_optimistix(self, dtype):
        """Return Optimistix's Levenberg-Marquardt under vmap and jit, with its arguments."""
        jax, optimistix = load("jax"), load("optimistix")
        jax.config.update("jax_enable_x64", dtype == "float64")
        xp, x = jax.numpy, jax.numpy.asarray(self.x)

        def residuals(p, y):
            return p[0] * xp.exp(-0.5 * ((x - p[1]) / p[2]) ** 2) + p[3] - y

        tolerance = 1e-8 if dtype == "float64" else 1e-6
        solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)

        def one(p, y):
            found = optimistix.least_squares(
                residuals, solver, p, args=y, max_steps=200, throw=False
            )
            return 0.5 * xp.sum(residuals(found.value, y) ** 2)

        p0 = xp.stack([xp.asarray(v) for v in self.start.values()], axis=1)
        return jax.jit(jax.vmap(one)), p0, xp.asarray(self.y)

    def of_optimistix(self):
        """Return the costs, compiled before."""
        fit, p0, y = self.compiled
        return np.asarray(fit(p0, y))

    def time_fit(self, solver, dtype):
        """Fit all peaks."""
        self.solve()

    def track_excess(self, solver, dtype):
        """Return the mean cost above that of SciPy's in double precision, relative to it."""
        found = self.solve()
        found = found.get() if hasattr(found, "get") else np.asarray(found)
        self.peer = load("scipy.optimize")
        self.x, self.y, self.start = peaks("float64")
        return float(np.mean(found.astype(float)) / np.mean(self.of_scipy()) - 1)


class Spots:
    """2,000 spots of 11 x 11 pixels with the noise of photons, by their likelihood.

    The Gaussian is that at the centres of pixels, as Picasso has it. Picasso's loops are compiled
    by Numba, run on one thread, and stop at a tolerance of 1e-6 in single precision whatever the
    dtype of the counts.
    """

    params = (("fallline", "fallline cupy", "picasso"), ("float64", "float32"))
    param_names = ("solver", "dtype")
    timeout = 300
    number = 1
    repeat = (2, 5, 20.0)
    warmup_time = 0.0

    def setup(self, solver, dtype):
        """Draw the counts, and fit once, which compiles or imports."""
        xp = load("cupy" if solver == "fallline cupy" else "numpy")
        if solver == "fallline cupy" and not xp.cuda.is_available():
            msg = "no CUDA device"
            raise Skip(msg)
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1).astype(dtype)
        self.truth = {
            "amplitude": rng.uniform(50, 200, SPOTS),
            "center_x": rng.uniform(4.5, 5.5, SPOTS),
            "center_y": rng.uniform(4.5, 5.5, SPOTS),
            "width": np.full(SPOTS, 1.3),
            "offset": np.full(SPOTS, 3.0),
        }
        self.model = fl.models.Gaussian2D()
        counts = rng.poisson(self.model((x, y), self.truth)).astype(dtype)
        self.points, self.counts = (xp.asarray(x), xp.asarray(y)), xp.asarray(counts)
        self.start = self.model.guess(self.points, self.counts)
        if solver == "picasso":
            self.peer = load("picasso.fitting.gaussfit")
        self.fit(solver)

    def fit(self, solver):
        """Return where the spots are found, from the same starts."""
        if solver == "picasso":
            spots = np.asarray(self.counts, np.float32).reshape(-1, SIDE, SIDE)
            p0 = np.stack(list(self.start.values()), axis=1).astype(np.float32)
            options = {"mle": True, "tolerance": 1e-6, "max_iterations": 100}
            return self.peer.fit_spots(self.peer.SPHERICAL, spots, p0, **options)[0][:, 1]
        return fl.curve_fit(
            self.model, self.points, self.counts, self.start, likelihood="poisson", batched=True
        ).x["center_x"]

    def time_fit(self, solver, dtype):
        """Fit all spots; statuses are read at the end, so that a device has finished."""
        self.fit(solver)

    def track_scatter(self, solver, dtype):
        """Return the root mean square error of a position, in pixels."""
        found = self.fit(solver)
        found = found.get() if hasattr(found, "get") else found
        return float(np.sqrt(np.mean((found - self.truth["center_x"]) ** 2)))
