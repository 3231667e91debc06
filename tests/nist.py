"""NIST's reference data for nonlinear regression: 27 sets, and their models with derivatives.

``tests/data/nist_strd.json`` has the data, two starts for each set, the certified parameters with
their standard deviations, and the sum of squares. A model takes parameters, an array, and x, and
returns its values with the derivatives as columns.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SETS = {
    data["name"]: data
    for data in json.loads((Path(__file__).parent / "data" / "nist_strd.json").read_text())["sets"]
}


def columns(value, *derivatives):
    """Return values and a matrix of derivatives, some of which may be numbers."""
    return value, np.stack(np.broadcast_arrays(*derivatives), axis=-1)


def misra1a(b, x):
    e = np.exp(-b[1] * x)
    return columns(b[0] * (1 - e), 1 - e, b[0] * x * e)


def misra1b(b, x):
    u = 1 + b[1] * x / 2
    return columns(b[0] * (1 - u**-2), 1 - u**-2, b[0] * x * u**-3)


def misra1c(b, x):
    u = 1 + 2 * b[1] * x
    return columns(b[0] * (1 - u**-0.5), 1 - u**-0.5, b[0] * x * u**-1.5)


def misra1d(b, x):
    u = 1 + b[1] * x
    return columns(b[0] * b[1] * x / u, b[1] * x / u, b[0] * x / u**2)


def chwirut(b, x):
    e, u = np.exp(-b[0] * x), b[1] + b[2] * x
    return columns(e / u, -x * e / u, -e / u**2, -x * e / u**2)


def danwood(b, x):
    return columns(b[0] * x ** b[1], x ** b[1], b[0] * x ** b[1] * np.log(x))


def sum_of_decays(b, x):
    value, derivatives = 0.0, []
    for a, rate in zip(b[::2], b[1::2], strict=True):
        e = np.exp(-rate * x)
        value = value + a * e
        derivatives += [e, -a * x * e]
    return columns(value, *derivatives)


def decay_and_two_bells(b, x):
    value, slopes = sum_of_decays(b[:2], x)
    derivatives = [*slopes.T]
    for a, c, w in (b[2:5], b[5:8]):
        u = (x - c) / w
        e = np.exp(-u * u)
        value = value + a * e
        derivatives += [e, 2 * a * e * u / w, 2 * a * e * u * u / w]
    return columns(value, *derivatives)


def rational(top, bottom):
    """Return the quotient of two polynomials of some degrees, of which the second begins with 1."""

    def model(b, x):
        powers = x[:, None] ** np.arange(max(top, bottom) + 1)
        p = powers[:, : top + 1] @ b[: top + 1]
        q = 1 + powers[:, 1 : bottom + 1] @ b[top + 1 :]
        over = powers[:, : top + 1] / q[:, None]
        under = -(p / q**2)[:, None] * powers[:, 1 : bottom + 1]
        return p / q, np.concatenate([over, under], axis=1)

    return model


def nelson(b, x):
    time, heat = x
    e = np.exp(-b[2] * heat)
    return columns(b[0] - b[1] * time * e, 1.0, -time * e, b[1] * time * heat * e)


def mgh17(b, x):
    e, f = np.exp(-b[3] * x), np.exp(-b[4] * x)
    value = b[0] + b[1] * e + b[2] * f
    return columns(value, 1.0, e, f, -b[1] * x * e, -b[2] * x * f)


def roszman(b, x):
    u = x - b[3]
    size = np.pi * (u * u + b[2] * b[2])
    value = b[0] - b[1] * x - np.arctan(b[2] / u) / np.pi
    return columns(value, 1.0, -x, -u / size, -b[2] / size)


def mgh09(b, x):
    p, q = x * x + x * b[1], x * x + x * b[2] + b[3]
    return columns(b[0] * p / q, p / q, b[0] * x / q, -b[0] * p * x / q**2, -b[0] * p / q**2)


def enso(b, x):
    value, derivatives = b[0], [1.0]
    for cosine, sine, period in ((b[1], b[2], None), (b[4], b[5], b[3]), (b[7], b[8], b[6])):
        u = 2 * np.pi * x / (12 if period is None else period)
        value = value + cosine * np.cos(u) + sine * np.sin(u)
        if period is not None:
            derivatives.append((cosine * np.sin(u) - sine * np.cos(u)) * u / period)
        derivatives += [np.cos(u), np.sin(u)]
    return columns(value, *derivatives)


def mgh10(b, x):
    u = x + b[2]
    e = np.exp(b[1] / u)
    return columns(b[0] * e, e, b[0] * e / u, -b[0] * b[1] * e / u**2)


def rat42(b, x):
    e = np.exp(b[1] - b[2] * x)
    u = 1 + e
    return columns(b[0] / u, 1 / u, -b[0] * e / u**2, b[0] * x * e / u**2)


def rat43(b, x):
    e = np.exp(b[1] - b[2] * x)
    u = 1 + e
    part = u ** (-1 / b[3])
    slope = -b[0] * part * e / (b[3] * u)
    return columns(b[0] * part, part, slope, -x * slope, b[0] * part * np.log(u) / b[3] ** 2)


def eckerle(b, x):
    u = (x - b[2]) / b[1]
    e = np.exp(-u * u / 2) / b[1]
    slope = b[0] * e / b[1]
    return columns(b[0] * e, e, slope * (u * u - 1), slope * u)


def bennett(b, x):
    u = b[1] + x
    part = u ** (-1 / b[2])
    value = b[0] * part
    return columns(value, part, -value / (b[2] * u), value * np.log(u) / b[2] ** 2)


MODELS = {
    "Bennett5": bennett, "BoxBOD": misra1a, "Chwirut1": chwirut, "Chwirut2": chwirut,
    "DanWood": danwood, "ENSO": enso, "Eckerle4": eckerle, "Gauss1": decay_and_two_bells,
    "Gauss2": decay_and_two_bells, "Gauss3": decay_and_two_bells, "Hahn1": rational(3, 3),
    "Kirby2": rational(2, 2), "Lanczos1": sum_of_decays, "Lanczos2": sum_of_decays,
    "Lanczos3": sum_of_decays, "MGH09": mgh09, "MGH10": mgh10, "MGH17": mgh17, "Misra1a": misra1a,
    "Misra1b": misra1b, "Misra1c": misra1c, "Misra1d": misra1d, "Nelson": nelson, "Rat42": rat42,
    "Rat43": rat43, "Roszman1": roszman, "Thurber": rational(3, 3),
}  # fmt: skip


class Problem:
    """One of the sets, by its name: residuals, starts, and what is certified."""

    def __init__(self, name):
        self.name, self.model, data = name, MODELS[name], SETS[name]
        self.x, y = np.asarray(data["x"]), np.asarray(data["y"])
        self.y = np.log(y) if name == "Nelson" else y
        self.starts = [np.asarray(start) for start in data["starts"]]
        self.parameters = np.asarray(data["parameters"])
        self.deviations = np.asarray(data["deviations"])
        self.sum_of_squares = data["sum_of_squares"]

    def residuals(self, b):
        """Return the residuals and their Jacobian."""
        value, jacobian = self.model(b, self.x)
        return value - self.y, jacobian


def digits(found, certified):
    """Return to how many digits numbers agree with the certified ones, the worst of them."""
    error = np.max(np.abs(np.asarray(found) - certified) / np.abs(certified))
    return np.inf if error == 0 else -np.log10(error)
