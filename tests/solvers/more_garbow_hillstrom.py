"""The 35 functions of Moré, Garbow and Hillstrom: residuals r(x), their Jacobians, and the data.

"Testing unconstrained optimization software", ACM TOMS 7, 1981; its numbers in brackets. Each
function takes a vector and returns (r, J); the objective is r.r and its gradient 2 J'r.
``tests/data/mgh.json`` has the sizes, the starts, the minima with points that attain them, and the
bounds of Gay, "A trust-region approach to linearly constrained optimization", 1984.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


def columns(*entries):
    """Return a matrix of columns of one length, of which some are given as numbers."""
    return np.stack(np.broadcast_arrays(*entries), axis=-1)


def counted(n, start=1):
    """Return the n numbers from `start` on, as floats."""
    return np.arange(start, start + n, dtype=float)


def rosenbrock(x):
    """[1], [21]: in blocks of two."""
    a, b = x[::2], x[1::2]
    i = np.arange(a.size)
    j = np.zeros((a.size, 2, a.size, 2))
    j[i, 0, i, 0], j[i, 0, i, 1], j[i, 1, i, 0] = -20 * a, 10, -1
    return columns(10 * (b - a * a), 1 - a).ravel(), j.reshape(x.size, x.size)


def freudenstein_roth(x):
    """[2]."""
    a, b = x
    r = [a - 13 + ((5 - b) * b - 2) * b, a - 29 + ((b + 1) * b - 14) * b]
    return np.array(r), np.array([[1, 10 * b - 3 * b * b - 2], [1, 3 * b * b + 2 * b - 14]])


def powell_badly_scaled(x):
    """[3]."""
    e = np.exp(-x)
    return np.array([1e4 * x[0] * x[1] - 1, e.sum() - 1.0001]), np.array([1e4 * x[::-1], -e])


def brown_badly_scaled(x):
    """[4]."""
    a, b = x
    return np.array([a - 1e6, b - 2e-6, a * b - 2]), np.array([[1, 0], [0, 1], [b, a]])


def beale(x):
    """[5]."""
    a, b = x
    i = counted(3)
    r = np.array([1.5, 2.25, 2.625]) - a * (1 - b**i)
    return r, columns(b**i - 1, a * i * b ** (i - 1))


def jennrich_sampson(x):
    """[6], ten terms."""
    i = counted(10)[:, None]
    e = np.exp(i * x)
    return 2 + 2 * i[:, 0] - e.sum(axis=1), -i * e


def helical_valley(x):
    """[7]."""
    a, b, c = x
    theta = np.arctan2(b, a) / (2 * np.pi)
    theta = theta if theta > -0.25 else theta + 1
    s = math.hypot(a, b)
    j = np.zeros((3, 3))
    j[0] = -100 * (-b / s**2) / (2 * np.pi), -100 * (a / s**2) / (2 * np.pi), 10
    j[1, :2] = 10 * a / s, 10 * b / s
    j[2, 2] = 1
    return np.array([10 * (c - 10 * theta), 10 * (s - 1), c]), j


_BARD = np.array(
    [.14, .18, .22, .25, .29, .32, .35, .39, .37, .58, .73, .96, 1.34, 2.10, 4.39]
)  # fmt: skip


def bard(x):
    """[8]."""
    u = counted(15)
    v = 16 - u
    w = np.minimum(u, v)
    below = v * x[1] + w * x[2]
    return _BARD - x[0] - u / below, columns(-1, u * v / below**2, u * w / below**2)


_GAUSSIAN = np.array([.0009, .0044, .0175, .0540, .1295, .2420, .3521, .3989])  # fmt: skip


def gaussian(x):
    """[9]."""
    a, b, c = x
    d = (8 - counted(15)) / 2 - c
    e = np.exp(-b * d * d / 2)
    y = np.concatenate([_GAUSSIAN, _GAUSSIAN[-2::-1]])
    return a * e - y, columns(e, -a * e * d * d / 2, a * e * b * d)


_MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820,
     3307, 2872.0]
)  # fmt: skip


def meyer(x):
    """[10]."""
    a, b, c = x
    t = 45 + 5 * counted(16) + c
    e = np.exp(b / t)
    return a * e - _MEYER, columns(e, a * e / t, -a * e * b / t**2)


def gulf(x):
    """[11], 99 terms; with the difference y - x2 where the paper has a misprint."""
    a, b, c = x
    t = counted(99) / 100
    d = 25 + (-50 * np.log(t)) ** (2 / 3) - b
    size = np.abs(d)
    power = size**c
    e = np.exp(-power / a)
    slope = c * power / np.where(d == 0, 1, d)
    return e - t, columns(
        e * power / a**2, e * slope / a, -e * power * np.log(np.where(d == 0, 1, size)) / a
    )


def box(x):
    """[12], ten terms."""
    t = counted(10) / 10
    e, f, g = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t) - np.exp(-10 * t)
    return e - f - x[2] * g, columns(-t * e, t * f, -g)


def powell_singular(x):
    """[13], [22]: in blocks of four."""
    n = x.size // 4
    a, b, c, d = x.reshape(n, 4).T
    r = columns(a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2).ravel()
    j = np.zeros((n, 4, n, 4))
    i = np.arange(n)
    j[i, 0, i, 0], j[i, 0, i, 1] = 1, 10
    j[i, 1, i, 2], j[i, 1, i, 3] = 5**0.5, -(5**0.5)
    j[i, 2, i, 1], j[i, 2, i, 2] = 2 * (b - 2 * c), -4 * (b - 2 * c)
    j[i, 3, i, 0], j[i, 3, i, 3] = 2 * 10**0.5 * (a - d), -2 * 10**0.5 * (a - d)
    return r, j.reshape(4 * n, 4 * n)


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


_KOWALIK = np.array(
    [[.1957, .1947, .1735, .1600, .0844, .0627, .0456, .0342, .0323, .0235, .0246],
     [4, 2, 1, .5, .25, .167, .125, .1, .0833, .0714, .0625]]
)  # fmt: skip


def kowalik_osborne(x):
    """[15]."""
    y, u = _KOWALIK
    above, below = u * u + u * x[1], u * u + u * x[2] + x[3]
    q = above / below
    return y - x[0] * q, columns(-q, -x[0] * u / below, x[0] * q * u / below, x[0] * q / below)


def brown_dennis(x):
    """[16], twenty terms."""
    t = counted(20) / 5
    s = np.sin(t)
    p, q = x[0] + t * x[1] - np.exp(t), x[2] + x[3] * s - np.cos(t)
    return p * p + q * q, columns(2 * p, 2 * p * t, 2 * q, 2 * q * s)


_OSBORNE_1 = np.array(
    [.844, .908, .932, .936, .925, .908, .881, .850, .818, .784, .751, .718, .685, .658, .628,
     .603, .580, .558, .538, .522, .506, .490, .478, .467, .457, .448, .438, .431, .424, .420,
     .414, .411, .406]
)  # fmt: skip


def osborne_1(x):
    """[17]."""
    t = 10 * counted(33, 0)
    e, f = np.exp(-t * x[3]), np.exp(-t * x[4])
    r = _OSBORNE_1 - (x[0] + x[1] * e + x[2] * f)
    return r, columns(-1, -e, -f, x[1] * t * e, x[2] * t * f)


def biggs(x):
    """[18], thirteen terms."""
    t = counted(13) / 10
    e, f, g = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * e - x[3] * f + x[5] * g - y, columns(
        -t * x[2] * e, t * x[3] * f, e, -f, -t * x[5] * g, g
    )


_OSBORNE_2 = np.array(
    [1.366, 1.191, 1.112, 1.013, .991, .885, .831, .847, .786, .725, .746, .679, .608, .655, .616,
     .606, .602, .626, .651, .724, .649, .649, .694, .644, .624, .661, .612, .558, .533, .495,
     .500, .423, .395, .375, .372, .391, .396, .405, .428, .429, .523, .562, .607, .653, .672,
     .708, .633, .668, .645, .632, .591, .559, .597, .625, .739, .710, .729, .720, .636, .581,
     .428, .292, .162, .098, .054]
)  # fmt: skip


def osborne_2(x):
    """[19]."""
    t = counted(65, 0) / 10
    d = t - x[8:, None]
    e = np.exp(-t * x[4])
    f = np.exp(-(d**2) * x[5:8, None])
    a = x[1:4, None]
    r = _OSBORNE_2 - x[0] * e - (a * f).sum(axis=0)
    return r, np.vstack([-e, -f, x[0] * t * e, a * d**2 * f, -2 * a * x[5:8, None] * d * f]).T


def watson(x):
    """[20]."""
    t = counted(29)[:, None] / 29
    k = counted(x.size, 0)
    powers = t**k
    slopes = k * t ** np.maximum(k - 1, 0)
    s = powers @ x
    j = np.zeros((31, x.size))
    j[:29] = slopes - 2 * s[:, None] * powers
    j[29, 0], j[30, :2] = 1, (-2 * x[0], 1)
    return np.concatenate([slopes @ x - s * s - 1, [x[0], x[1] - x[0] ** 2 - 1]]), j


def penalty_1(x):
    """[23]."""
    a = 1e-5**0.5
    j = np.vstack([a * np.eye(x.size), 2 * x])
    return np.concatenate([a * (x - 1), [x @ x - 0.25]]), j


def penalty_2(x):
    """[24]."""
    n, a = x.size, 1e-5**0.5
    e, i = np.exp(x / 10), counted(n)
    y = np.exp(i[1:] / 10) + np.exp(i[:-1] / 10)
    above, both = a * np.diag(e / 10)[1:], a * (np.diag(e) + np.diag(e[:-1], -1))[1:] / 10
    weights = n - i + 1
    r = [[x[0] - 0.2], a * (e[1:] + e[:-1] - y), a * (e[1:] - np.exp(-0.1)), [weights @ x**2 - 1]]
    return np.concatenate(r), np.vstack([np.eye(n)[:1], both, above, 2 * weights * x])


def variably_dimensioned(x):
    """[25]."""
    i = counted(x.size)
    s = i @ (x - 1)
    return np.concatenate([x - 1, [s, s * s]]), np.vstack([np.eye(x.size), i, 2 * s * i])


def trigonometric(x):
    """[26]."""
    n = x.size
    i = counted(n)
    r = n - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x)
    return r, np.tile(np.sin(x), (n, 1)) + np.diag(i * np.sin(x) - np.cos(x))


def brown_almost_linear(x):
    """[27]."""
    n = x.size
    j = np.ones((n, n)) + np.eye(n)
    j[-1] = [np.prod(np.delete(x, k)) for k in range(n)]
    return np.append(x[:-1] + x.sum() - (n + 1), np.prod(x) - 1), j


def discrete_boundary_value(x):
    """[28]."""
    n = x.size
    h = 1 / (n + 1)
    s = x + counted(n) * h + 1
    j = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    return j @ x + h * h * s**3 / 2, j + np.diag(1.5 * h * h * s**2)


def discrete_integral_equation(x):
    """[29]."""
    n = x.size
    h = 1 / (n + 1)
    t = counted(n) * h
    kernel = h / 2 * np.minimum.outer(t, t) * (1 - np.maximum.outer(t, t))
    s = x + t + 1
    return x + kernel @ s**3, np.eye(n) + kernel * (3 * s**2)


def broyden_tridiagonal(x):
    """[30]."""
    n = x.size
    off = -np.eye(n, k=-1) - 2 * np.eye(n, k=1)
    return (3 - 2 * x) * x + 1 + off @ x, np.diag(3 - 4 * x) + off


def broyden_banded(x):
    """[31]."""
    n = x.size
    near = sum(np.eye(n, k=k) for k in (-5, -4, -3, -2, -1, 1))
    r = x * (2 + 5 * x * x) + 1 - near @ (x * (1 + x))
    return r, np.diag(2 + 15 * x * x) - near * (1 + 2 * x)


def linear(x):
    """[32], ten equations."""
    j = np.eye(10, x.size) - 0.2
    return j @ x - 1, j


def linear_rank_1(x):
    """[33], ten equations."""
    j = np.outer(counted(10), counted(x.size))
    return j @ x - 1, j


def linear_rank_1_zeros(x):
    """[34], ten equations."""
    row, column = counted(10, 0), counted(x.size)
    row[-1] = column[0] = column[-1] = 0
    j = np.outer(row, column)
    return j @ x - 1, j


def chebyquad(x):
    """[35], as many equations as unknowns."""
    n = x.size
    y = 2 * x - 1
    t, slope = [np.ones(n), y], [np.zeros(n), np.full(n, 2.0)]
    for _ in range(n - 1):
        slope.append(2 * y * slope[-1] + 4 * t[-1] - slope[-2])
        t.append(2 * y * t[-1] - t[-2])
    i = counted(n)
    integral = np.where(i % 2 == 0, -1 / np.where(i == 1, 1, i * i - 1), 0)
    return np.mean(t[1:], axis=1) - integral, np.array(slope[1:]) / n


@dataclass(frozen=True)
class Problem:
    """A function at one size, with what is known of it."""

    number: int
    name: str
    residuals: Callable[..., Any]
    x0: np.ndarray
    m: int
    minima: list[dict[str, Any]]  # each with a value, and a point that attains it
    bounds: tuple[np.ndarray, np.ndarray] | None  # of Gay
    bounded: list[dict[str, Any]]  # the minima within them

    def __call__(self, x):
        """Return the sum of squares and its gradient."""
        r, j = self.residuals(x)
        return float(r @ r), 2 * (j.T @ r)

    def start(self, factor):
        """Return a multiple of the usual start; of a start at zero, `factor` in every element."""
        if factor == 1 or self.x0.any():
            return factor * self.x0
        return np.full_like(self.x0, factor)


def load():
    """Return all problems, in the paper's order."""
    path = Path(__file__).parents[1] / "data" / "mgh.json"
    return [
        Problem(
            row["number"], f"{row['name']} {row['n']}", globals()[row["name"]],
            np.array(row["x0"], float), row["m"], row["minima"],
            None if row["bounds"] is None else tuple(np.array(b, float) for b in row["bounds"]),
            row["bounded"],
        )
        for row in json.loads(path.read_text())
    ]  # fmt: skip
