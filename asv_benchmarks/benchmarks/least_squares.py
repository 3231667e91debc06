"""Many small curves fitted in one call: a minute in all, half of it SciPy's, which is in a loop."""

from __future__ import annotations

from functools import partial

import numpy as np

import fallline as fl

from .common import Skip, Timed, few, load, rows

PEAKS, POINTS = 10_000, 40
NOISE = 0.05
SPOTS, SIDE = 2_000, 11
OURS, ON_GPU, LOOP, VMAP = "fallline", "fallline cupy", "scipy loop", "optimistix vmap"


def gpu():
    """Return CuPy, or skip."""
    cupy = load("cupy")
    if not cupy.cuda.is_available():
        msg = "no CUDA device"
        raise Skip(msg)
    return cupy


def peaks(dtype):
    """Return points, noisy Gaussian peaks, and starts away from the truth."""
    rng, n = np.random.default_rng(0), rows(PEAKS, 200)
    x = np.linspace(-5, 5, POINTS)
    truth = {
        "amplitude": rng.uniform(1, 3, n),
        "center": rng.uniform(-1, 1, n),
        "width": rng.uniform(0.7, 1.5, n),
        "offset": rng.uniform(-0.5, 0.5, n),
    }
    y = fl.models.Gaussian()(x, truth) + NOISE * rng.standard_normal((n, POINTS))
    start = {"amplitude": 1.5, "center": 0.3, "width": 1.2, "offset": 0.0}
    start = {name: np.full(n, value) for name, value in start.items()}
    return x.astype(dtype), y.astype(dtype), {k: v.astype(dtype) for k, v in start.items()}


def of_fallline(x, y, start):
    """Return a function that fits all in one call; it returns the costs."""
    model = fl.models.Gaussian()
    return lambda: fl.curve_fit(model, x, y, start, batched=True).cost


def of_scipy(x, y, start):
    """Return a loop over SciPy's Levenberg-Marquardt, with derivatives by hand."""
    solve = load("scipy.optimize").least_squares
    starts = np.stack(list(start.values()), axis=1)

    def residuals(p, y):
        u = (x - p[1]) / p[2]
        return p[0] * np.exp(-0.5 * u * u) + p[3] - y

    def jacobian(p, y):
        u = (x - p[1]) / p[2]
        e = np.exp(-0.5 * u * u)
        slope = p[0] * e * u / p[2]
        return np.stack([e, slope, slope * u, np.ones_like(u)], axis=1)

    def loop():
        pairs = zip(starts, y, strict=True)
        return np.asarray(
            [solve(residuals, p, jacobian, method="lm", args=(row,)).cost for p, row in pairs]
        )

    return loop


def of_optimistix(x, y, start):
    """Return Optimistix's Levenberg-Marquardt under vmap and jit, compiled by the first call."""
    jax, optimistix = load("jax"), load("optimistix")
    jax.config.update("jax_enable_x64", y.dtype == np.float64)
    xp, x = jax.numpy, jax.numpy.asarray(x)

    def residuals(p, row):
        return p[0] * xp.exp(-0.5 * ((x - p[1]) / p[2]) ** 2) + p[3] - row

    tolerance = 1e-8 if y.dtype == np.float64 else 1e-6
    solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)

    def one(p, row):
        found = optimistix.least_squares(residuals, solver, p, args=row, max_steps=200, throw=False)
        return 0.5 * xp.sum(residuals(found.value, row) ** 2)

    fit = jax.jit(jax.vmap(one))
    p0, y = xp.stack([xp.asarray(v) for v in start.values()], axis=1), xp.asarray(y)
    return lambda: np.asarray(fit(p0, y))


def of_cupy(x, y, start):
    """Return what `of_fallline` does, on the device."""
    xp = gpu()
    moved = {name: xp.asarray(value) for name, value in start.items()}
    fit = of_fallline(xp.asarray(x), xp.asarray(y), moved)
    return lambda: fit().get()


FITS = {OURS: of_fallline, ON_GPU: of_cupy, LOOP: of_scipy, VMAP: of_optimistix}


def fit_peaks(who, dtype):
    """Return a function that fits all peaks and returns the costs."""
    return FITS[who](*peaks(dtype))


class Peaks(Timed):
    """10,000 Gaussian peaks of 4 parameters and 40 points, all with the same starts."""

    params = (tuple(FITS), ("float64", "float32"))
    param_names = ("solver", "dtype")
    budget, least = 1.0, 2

    def make(self, solver, dtype):
        """Return the fit."""
        return fit_peaks(solver, dtype)


def spots(dtype):
    """Return a model, the pixels, counts with the noise of photons, and the truth."""
    rng, n = np.random.default_rng(0), rows(SPOTS, 50)
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1).astype(dtype)
    truth = {
        "amplitude": rng.uniform(50, 200, n),
        "center_x": rng.uniform(4.5, 5.5, n),
        "center_y": rng.uniform(4.5, 5.5, n),
        "width": np.full(n, 1.3),
        "offset": np.full(n, 3.0),
    }
    model = fl.models.Gaussian2D()
    return model, (x, y), rng.poisson(model((x, y), truth)).astype(dtype), truth


def fit_spots(who, dtype):
    """Return a function that fits all spots by their likelihood and returns where they are.

    The Gaussian is that at the centres of pixels, as Picasso has it. Picasso's loops are compiled
    by Numba, run on one thread, and stop at a tolerance of 1e-6 in single precision whatever the
    dtype of the counts.
    """
    model, points, counts, _ = spots(dtype)
    start = model.guess(points, counts)
    if who == "picasso":
        peer = load("picasso.fitting.gaussfit")
        images = np.asarray(counts, np.float32).reshape(-1, SIDE, SIDE)
        p0 = np.stack(list(start.values()), axis=1).astype(np.float32)
        fit = partial(peer.fit_spots, mle=True, tolerance=1e-6, max_iterations=100)
        return lambda: fit(peer.SPHERICAL, images, p0)[0][:, 1]
    xp = gpu() if who == ON_GPU else np
    points, counts = tuple(map(xp.asarray, points)), xp.asarray(counts)
    start = {name: xp.asarray(value) for name, value in start.items()}
    fit = partial(fl.curve_fit, likelihood="poisson", batched=True)
    return lambda: fit(model, points, counts, start).x["center_x"]


class Spots(Timed):
    """2,000 spots of 11 x 11 pixels with the noise of photons."""

    params = ((OURS, ON_GPU, "picasso"), few(("float64", "float32")))
    param_names = ("solver", "dtype")
    budget, least = 1.0, 2

    def make(self, solver, dtype):
        """Return the fit."""
        return fit_spots(solver, dtype)

    def track_scatter(self, solver, dtype):
        """Return the root mean square error of a position, in pixels."""
        if self.call is None:
            return np.nan
        found, truth = self.call(), spots(dtype)[3]
        found = found.get() if hasattr(found, "get") else found
        return float(np.sqrt(np.mean((found - truth["center_x"]) ** 2)))

    track_scatter.unit = "pixels"
