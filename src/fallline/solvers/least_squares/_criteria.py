"""What is minimized: sums over the residuals of a problem, and their quadratic models.

A criterion turns what the function gives, (problems, m), into the cost of each problem, and into
residuals and a factor for the rows of the Jacobian whose products are the gradient and the
Gauss-Newton matrix of that cost.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from ..._arrays._types import Array, Namespace

# Losses by SciPy's names: value and two derivatives in the squared residual z.
LOSSES = ("linear", "huber", "soft_l1", "cauchy", "arctan")


class Criterion(ABC):
    """Base of the criteria: the cost of each problem, and its model.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    weights : array, shape (problems, m) or (1, m), or None
        Not negative. What has no weight does not count, be it NaN.
    """

    def __init__(self, xp: Namespace, weights: Array) -> None:
        self.xp, self.weights = xp, weights

    @abstractmethod
    def _terms(self, raw: Array) -> Array:
        """Return what each element adds to the cost."""

    @abstractmethod
    def _model(self, raw: Array) -> tuple[Array, Array]:
        """Return residuals, and factors of the rows of the Jacobian or `None`."""

    @abstractmethod
    def take(self, index: Array) -> Criterion:
        """Return the criterion of some of the problems."""

    def cost(self, raw: Array) -> Array:
        """Return the cost of each problem; not finite where a point is not allowed."""
        return self.xp.sum(self._terms(raw), axis=1)

    def model(self, raw: Array, columns: Array) -> tuple[Array, Array]:
        """Return the residuals and the columns of the least-squares problem at a point."""
        r, factor = self._model(raw)
        if self.weights is not None:
            columns = self.xp.where(self.weights > 0, columns, self.xp.zeros_like(r))
        return r, columns if factor is None else columns * factor

    def _weighted(self, terms: Array) -> Array:
        # Terms of the cost, times their weights.
        if self.weights is None:
            return terms
        return self.xp.where(self.weights > 0, self.weights * terms, self.xp.zeros_like(terms))

    def _rooted(self, r: Array, factor: Array = None) -> tuple[Array, Array]:
        # Residuals and factors of the rows, times the roots of the weights.
        if self.weights is None:
            return r, factor
        xp, none, some = self.xp, self.xp.zeros_like(r), self.weights > 0
        root = xp.sqrt(self.weights)
        factor = root if factor is None else root * factor
        return xp.where(some, root * r, none), xp.where(some, factor, none)

    def counted(self, raw: Array) -> Array:
        """Return how many elements of each problem have a weight."""
        none = self.xp.zeros_like(raw[:, 0])
        if self.weights is None:
            return none + raw.shape[1]
        return none + self.xp.sum(self.xp.astype(self.weights > 0, raw.dtype), axis=1)

    def _taken(self, x: Array, index: Array) -> Array:
        # Rows of what belongs to problems; what is shared by all has one row.
        if x is None or x.shape[0] == 1:
            return x
        return self.xp.take(x, index, axis=0)


class Squares(Criterion):
    r"""Half a sum of squares, or of what a robust loss makes of them, as SciPy scales it.

    .. math:: \tfrac12 s^2 \sum_i \rho(w_i r_i^2 / s^2)
    """

    def __init__(self, xp: Namespace, weights: Array, loss: str = "linear", scale: float = 1.0):
        super().__init__(xp, weights)
        self.loss, self.scale = loss, scale

    def take(self, index: Array) -> Squares:
        """Return the criterion of some of the problems."""
        return Squares(self.xp, self._taken(self.weights, index), self.loss, self.scale)

    def _terms(self, raw: Array) -> Array:
        if self.loss == "linear":
            return self._weighted(0.5 * raw * raw)
        z = (self._rooted(raw)[0] / self.scale) ** 2
        return 0.5 * self.scale**2 * _rho(self.xp, self.loss, z).value

    def _model(self, raw: Array) -> tuple[Array, Array]:
        # Robust losses by Triggs's correction.
        r, root = self._rooted(raw)
        if self.loss == "linear":
            return r, root
        xp = self.xp
        z = (r / self.scale) ** 2
        rho = _rho(xp, self.loss, z)
        bend = rho.slope + 2 * rho.curvature * z
        tiny = xp.finfo(r.dtype).eps
        factor = xp.sqrt(xp.where(bend < tiny, xp.full_like(bend, float(tiny)), bend))
        return r * rho.slope / factor, factor if root is None else root * factor


class _Rho(NamedTuple):
    value: Array
    slope: Array
    curvature: Array


def _rho(xp: Namespace, loss: str, z: Array) -> _Rho:
    t = 1 + z
    if loss == "huber":
        far = z > 1
        safe = xp.where(far, z, xp.ones_like(z))
        root = xp.sqrt(safe)
        return _Rho(
            xp.where(far, 2 * root - 1, z),
            1 / root,
            xp.where(far, -0.5 / (safe * root), xp.zeros_like(z)),
        )
    if loss == "soft_l1":
        root = xp.sqrt(t)
        return _Rho(2 * (root - 1), 1 / root, -0.5 / (t * root))
    if loss == "cauchy":
        return _Rho(xp.log1p(z), 1 / t, -1 / (t * t))
    t = 1 + z * z
    return _Rho(xp.atan(z), 1 / t, -2 * z / (t * t))


class Counts(Criterion):
    r"""Half the deviance of counts n from rates f, for maximum likelihood.

    .. math:: \sum_i w_i \left(f_i - n_i + n_i \log(n_i / f_i)\right)

    The model of it is Fisher's scoring, :math:`J^T \operatorname{diag}(w / f) J`, whose inverse is
    the covariance of the parameters. A read variance v is added to both f and n.
    """

    def __init__(self, xp: Namespace, weights: Array, counts: Array, variance: Array = None):
        super().__init__(xp, weights)
        self._given, self._variance = counts, variance
        self.counts = counts if variance is None else counts + variance

    def take(self, index: Array) -> Counts:
        """Return the criterion of some of the problems."""
        given, variance = self._taken(self._given, index), self._taken(self._variance, index)
        return Counts(self.xp, self._taken(self.weights, index), given, variance)

    def _rates(self, raw: Array) -> Array:
        return raw if self._variance is None else raw + self._variance

    def _terms(self, raw: Array) -> Array:
        # n (u - log(1 + u)) with u = (f - n) / n loses less to rounding than the definition.
        xp, n, f = self.xp, self.counts, self._rates(raw)
        some = n > 0
        u = (f - n) / xp.where(some, n, xp.ones_like(n))
        bad = (f < 0) | (some & (f == 0))
        inside = xp.where(some & ~bad, u, xp.zeros_like(u))
        terms = xp.where(some, n * (inside - xp.log1p(inside)), f)
        return self._weighted(xp.where(bad, xp.full_like(terms, math.inf), terms))

    def _model(self, raw: Array) -> tuple[Array, Array]:
        xp, n, f = self.xp, self.counts, self._rates(raw)
        least = float(xp.finfo(f.dtype).eps) ** 0.5
        f = xp.where(f < least, xp.full_like(f, least), f)
        factor = 1 / xp.sqrt(f)
        return self._rooted((f - n) * factor, factor)
