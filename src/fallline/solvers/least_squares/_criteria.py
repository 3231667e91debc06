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
        """Return what each element adds to the cost, without its weight."""

    @abstractmethod
    def _model(self, raw: Array) -> tuple[Array, Array]:
        """Return residuals and factors of the rows of the Jacobian (or `None`)."""

    @abstractmethod
    def take(self, index: Array) -> Criterion:
        """Return the criterion of some of the problems."""

    def cost(self, raw: Array) -> Array:
        """Return the cost of each problem; not finite where a point is not allowed."""
        terms = self._terms(raw)
        if self.weights is not None:
            terms = self.xp.where(self.weights > 0, self.weights * terms, self.xp.zeros_like(terms))
        return self.xp.sum(terms, axis=1)

    def model(self, raw: Array, columns: Array) -> tuple[Array, Array]:
        """Return the residuals and the columns of the least-squares problem at a point."""
        xp, (r, factor) = self.xp, self._model(raw)
        if self.weights is not None:
            root, some = xp.sqrt(self.weights), self.weights > 0
            r = xp.where(some, root * r, xp.zeros_like(r))
            factor = xp.where(some, root if factor is None else root * factor, xp.zeros_like(r))
            columns = xp.where(some, columns, xp.zeros_like(r))
        return r, columns if factor is None else columns * factor

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

    def cost(self, raw: Array) -> Array:
        """Return the cost of each problem."""
        if self.loss == "linear":
            return super().cost(raw)
        r, _ = super().model(raw, raw[None, ...])
        z = (r / self.scale) ** 2
        return 0.5 * self.scale**2 * self.xp.sum(_rho(self.xp, self.loss, z).value, axis=1)

    def model(self, raw: Array, columns: Array) -> tuple[Array, Array]:
        """Return the residuals and the columns, by Triggs's correction for robust losses."""
        r, columns = super().model(raw, columns)
        if self.loss == "linear":
            return r, columns
        xp = self.xp
        z = (r / self.scale) ** 2
        rho = _rho(xp, self.loss, z)
        bend = rho.slope + 2 * rho.curvature * z
        tiny = xp.finfo(r.dtype).eps
        factor = xp.sqrt(xp.where(bend < tiny, xp.full_like(bend, float(tiny)), bend))
        return r * rho.slope / factor, columns * factor

    def _terms(self, raw: Array) -> Array:
        return 0.5 * raw * raw

    def _model(self, raw: Array) -> tuple[Array, Array]:
        return raw, None


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
        return xp.where(bad, xp.full_like(terms, math.inf), terms)

    def _model(self, raw: Array) -> tuple[Array, Array]:
        xp, n, f = self.xp, self.counts, self._rates(raw)
        least = float(xp.finfo(f.dtype).eps) ** 0.5
        f = xp.where(f < least, xp.full_like(f, least), f)
        factor = 1 / xp.sqrt(f)
        return (f - n) * factor, factor
