"""Every model with points and parameters, in several units, and formulas of NumPy beside them."""

from __future__ import annotations

import numpy as np

import fallline as fl

models = fl.models
LINE = np.linspace(0.2, 9.7, 60)
PLANE = tuple(np.mgrid[:13, :15][::-1].reshape(2, -1).astype(float))


def integrated(u, width, pixel=1.0, n=4001):
    """Return the integral of a Gaussian of area 1 over pixels, by Simpson's rule."""
    v = u[:, None] + np.linspace(-pixel / 2, pixel / 2, n)
    weights = np.where(np.arange(n) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1
    bell = np.exp(-v * v / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
    return bell @ weights * pixel / (3 * (n - 1))


def bell(x, c, w):
    return np.exp(-((x - c) ** 2) / (2 * w**2))


def turned(x, y, a, cx, cy, wx, wy, t, b):
    p = np.cos(t) * (x - cx) + np.sin(t) * (y - cy)
    q = -np.sin(t) * (x - cx) + np.cos(t) * (y - cy)
    return a * bell(p, 0, wx) * bell(q, 0, wy) + b


# Class, points, parameters in the order of the names, and the formula.
TABLE = {
    models.Line: (LINE, (2.5, -1.2), lambda x, s, b: s * x + b),
    models.Gaussian: (LINE, (3.0, 4.4, 0.9, 1.5), lambda x, a, c, w, b: a * bell(x, c, w) + b),
    models.Lorentzian: (
        LINE,
        (3.0, 4.4, 0.8, 1.5),
        lambda x, a, c, w, b: a / (1 + ((x - c) / w) ** 2) + b,
    ),
    models.PseudoVoigt: (
        LINE,
        (3.0, 4.4, 0.9, 0.3, 1.5),
        lambda x, a, c, w, f, b: (
            a * (f / (1 + ((x - c) / w) ** 2) + (1 - f) * 2.0 ** -(((x - c) / w) ** 2)) + b
        ),
    ),
    models.ExponentialDecay: (LINE, (4.0, 2.1, 0.7), lambda x, a, t, b: a * np.exp(-x / t) + b),
    models.TwoExponentialDecays: (
        LINE,
        (4.0, 0.6, 2.0, 5.0, 0.7),
        lambda x, a, s, c, t, b: a * np.exp(-x / s) + c * np.exp(-x / t) + b,
    ),
    models.Gaussian2D: (
        PLANE,
        (8.0, 6.3, 5.4, 1.7, 2.0),
        lambda x, y, a, cx, cy, w, b: a * bell(x, cx, w) * bell(y, cy, w) + b,
    ),
    models.EllipticGaussian2D: (
        PLANE,
        (8.0, 6.3, 5.4, 1.7, 2.4, 2.0),
        lambda x, y, a, cx, cy, wx, wy, b: a * bell(x, cx, wx) * bell(y, cy, wy) + b,
    ),
    models.RotatedGaussian2D: (PLANE, (8.0, 6.3, 5.4, 2.6, 1.3, 0.5, 2.0), turned),
    models.PixelGaussian2D: (
        PLANE,
        (300.0, 6.3, 5.4, 1.2, 2.0),
        lambda x, y, n, cx, cy, w, b: n * integrated(x - cx, w) * integrated(y - cy, w) + b,
    ),
    models.EllipticPixelGaussian2D: (
        PLANE,
        (300.0, 6.3, 5.4, 1.2, 1.9, 2.0),
        lambda x, y, n, cx, cy, wx, wy, b: n * integrated(x - cx, wx) * integrated(y - cy, wy) + b,
    ),
}
# What a parameter is measured in: powers of the units of the coordinates and of the data.
UNITS = {
    "slope": (-1, 1), "amplitude": (0, 1), "amplitude_1": (0, 1), "amplitude_2": (0, 1),
    "offset": (0, 1), "total": (0, 1), "center": (1, 0), "center_x": (1, 0), "center_y": (1, 0),
    "width": (1, 0), "width_x": (1, 0), "width_y": (1, 0), "lifetime": (1, 0),
    "lifetime_1": (1, 0), "lifetime_2": (1, 0), "fraction": (0, 0), "angle": (0, 0),
}  # fmt: skip


def made(kind, unit_x=1.0, **held):
    """Return a model whose pixels, if it has some, are measured in a unit of the coordinates."""
    return kind(**held, **({"pixel": unit_x} if "pixel" in kind.settings else {}))


def scaled(points, unit):
    """Return points in a unit."""
    return tuple(p * unit for p in points) if isinstance(points, tuple) else points * unit


def parameters(kind, unit_x=1.0, unit_y=1.0):
    """Return the parameters of the table, in units, as 0-d arrays."""
    found = {}
    for name, value in zip(made(kind).names, TABLE[kind][1], strict=True):
        power_x, power_y = UNITS[name]
        found[name] = np.asarray(value * unit_x**power_x * unit_y**power_y)
    return found


def batch(kind, n, seed=0):
    """Return parameters for some problems: those of the table, each changed by a few percent."""
    rng = np.random.default_rng(seed)
    return {k: v * rng.uniform(0.9, 1.1, n) for k, v in parameters(kind).items()}
