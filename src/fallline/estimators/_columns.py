"""The units of the data: what a solver is given has columns of one scale, around zero."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from .. import _arrays
from .._arrays import is_sparse
from .._arrays._types import Array, Namespace, Number
from ..losses import Loss
from ..objectives._curvature import second_derivatives
from ..objectives._linear_model import LinearModel, dense_like
from ..penalties import L1, L2, ElasticNet, Penalty

_BLOCK = 2**17  # elements of the rows that are looked at together: they stay in the cache


@dataclass(frozen=True)
class Columns:
    """Where the columns of the data lie, and how wide they are.

    Attributes
    ----------
    centre : array, shape (features,), or None
        Weighted means; `None` without an intercept, which alone can make up for them.
    scale : array, shape (features,)
        Weighted root mean squares about the centre. A constant column counts by its size.
    """

    centre: Array
    scale: Array

    @staticmethod
    def of(X: Array, weights: Array, *, centred: bool) -> Columns:
        """Return those of data."""
        like = dense_like(X)
        xp, shares = _arrays.namespace(like), _shares(weights, like, int(X.shape[0]))
        epsilon = _arrays.EPSILON[_arrays.dtype_name(like)]
        with _arrays.guard(like)():
            centre = X.T @ shares
            centre = centre if centred else xp.zeros_like(centre)
            # The deviations are looked at by themselves, so that nothing is lost where columns lie
            # far from zero; and once more where the mean was off, as it may be of long columns.
            shift, squares = _deviations(xp, X, shares, centre)
            if centred:
                centre = centre + shift
                if _arrays.to_float(xp.max(shift * shift - 0.01 * squares)) > 0:
                    shift, squares = _deviations(xp, X, shares, centre)
                    centre = centre + shift
            variance = squares - shift * shift if centred else squares
            scale = xp.sqrt(xp.where(variance > 0, variance, xp.zeros_like(variance)))
            size, one = xp.abs(centre), xp.ones_like(centre)
            size = xp.where(size > 0, size, one)
            sound = xp.logical_and(scale > epsilon * xp.abs(centre), xp.isfinite(scale))
            scale = xp.where(sound, scale, size)
        return Columns(centre if centred else None, scale)

    def rounding(self, params: dict[str, Array]) -> float:
        """Return how far rounding moves a model's predictions: synchronises with the device."""
        w = params["weights"]
        xp = _arrays.namespace(w)
        size = self.scale if self.centre is None else self.scale + xp.abs(self.centre)
        found = _arrays.to_float(xp.max(size @ xp.abs(w)))
        if "intercept" in params:
            found += _arrays.to_float(xp.max(xp.abs(params["intercept"])))
        return _arrays.EPSILON[_arrays.dtype_name(w)] * found

    def damped(self, flatness: float) -> tuple[Columns, float, float]:
        """Return wider columns, for an L2 penalty, and the least and the largest of old to new.

        A solver then sees the same curvature in each, whichever of loss and penalty it is of.

        Parameters
        ----------
        flatness : float
            The penalty's weight over the curvature of the loss.
        """
        xp = _arrays.namespace(self.scale)
        wide = xp.sqrt(self.scale * self.scale + flatness)
        ratio = self.scale / wide
        least, most = (_arrays.to_float(x) for x in (xp.min(ratio), xp.max(ratio)))
        return replace(self, scale=wide), least, most

    def alike(self) -> Columns:
        """Return columns of one scale, for penalties that do not act on each element by itself."""
        xp = _arrays.namespace(self.scale)
        one = xp.sqrt(xp.mean(self.scale * self.scale))
        return replace(self, scale=one * xp.ones_like(self.scale))


def _shares(weights: Array, like: Array, n: int) -> Array:
    # Of each row in the whole.
    weights = weights if weights is not None else _arrays.full(like, 1.0, like.dtype, (n,))
    return weights / _arrays.namespace(weights).sum(weights)


def _deviations(xp: Namespace, X: Array, shares: Array, centre: Array) -> tuple[Array, Array]:
    # The weighted means of the deviations from a centre, and of their squares.
    if is_sparse(X):
        apart = X.data - centre[X.indices]
        held, first, second = (
            type(X)((x, X.indices, X.indptr), shape=X.shape).T @ shares
            for x in (xp.ones_like(apart), apart, apart * apart)
        )
        # Of the zeros that are not stored; without any this is rounding, beside squares of centres.
        rest = xp.sum(shares) - held
        least = xp.min(xp.where(shares > 0, shares, xp.ones_like(shares)))
        rest = xp.where(2 * rest < least, xp.zeros_like(rest), rest)
        return first - rest * centre, second + rest * centre * centre
    first, second = xp.zeros_like(centre), xp.zeros_like(centre)
    rows = max(1, _BLOCK // max(1, int(X.shape[1])))
    n = int(X.shape[0])
    for start in range(0, n, rows):
        end = min(start + rows, n)
        apart, share = X[start:end, ...] - centre, shares[start:end]
        first, second = first + share @ apart, second + share @ (apart * apart)
    return first, second


@dataclass(frozen=True)
class WeightedL1(L1):
    """L1 with a weight for each element: an array that broadcasts with the coefficients."""

    alpha: Array
    given: Penalty

    def __post_init__(self) -> None:
        """Leave the weights as they are."""

    def __repr__(self) -> str:
        """Return the penalty that was given."""
        return repr(self.given)

    def _value(self, xp: Namespace, x: Array) -> Array:
        return xp.sum(self.alpha * xp.abs(x))


@dataclass(frozen=True)
class Rescaled(Penalty):
    """A penalty of coefficients in other units, those divided by a scale."""

    given: Penalty
    scale: float

    @property
    def elementwise(self) -> bool:  # type: ignore[override]
        """Whether the penalty acts on each element by itself."""
        return bool(getattr(self.given, "elementwise", False))

    @property
    def valued(self) -> bool:  # type: ignore[override]
        """Whether it has a value."""
        return bool(getattr(self.given, "valued", True))

    def __repr__(self) -> str:
        """Return the penalty that was given."""
        return repr(self.given)

    def value(self, x: Array) -> Number:
        """Return the penalty of an array."""
        return self.given.value(x / self.scale)

    def prox(self, x: Array, step: float) -> Array:
        """Return the proximal point."""
        return self.scale * self.given.prox(x / self.scale, step / self.scale**2)


@dataclass(frozen=True)
class Standardised:
    """A linear model as a function of the coefficients of columns of one scale, around zero.

    .. math:: v_j = s_j w_j, \\qquad c = b + \\sum_j m_j w_j

    The least objective and its coefficients are those of the model.
    """

    model: LinearModel
    columns: Columns = field(repr=False)
    penalty: Penalty | None = None

    @staticmethod
    def of(model: LinearModel, columns: Columns) -> Standardised:
        """Return one; what is not smooth of the penalty becomes one of the new coefficients."""
        given = model.penalty
        if given is None or given.smooth:
            return Standardised(model, columns)
        if isinstance(given, L1 | ElasticNet):
            ratio = given.l1_ratio if isinstance(given, ElasticNet) else 1.0
            smooth = None if ratio == 1.0 else L2(given.alpha * (1 - ratio))
            scale = columns.scale if model.n_outputs is None else columns.scale[:, None]
            rest: Penalty = WeightedL1(given.alpha * ratio / scale, given)
            return Standardised(replace(model, penalty=smooth), columns, rest)
        columns = columns.alike()
        rest = Rescaled(given, _arrays.to_float(columns.scale[0]))
        return Standardised(replace(model, penalty=None), columns, rest)

    def with_loss(self, loss: Loss) -> Standardised:
        """Return the same of another loss."""
        return replace(self, model=replace(self.model, loss=loss))

    @property
    def beside(self) -> dict[str, Penalty | None]:
        """The penalty that is no part of `value_and_gradient`, as a tree like the parameters."""
        return {name: self.penalty if name == "weights" else None for name in self.model.beside}

    def _spread(self, x: Array, w: Array) -> Array:
        return x if w.ndim == 1 else x[:, None]

    def scaled(self, params: dict[str, Array]) -> dict[str, Array]:
        """Return the new coefficients of a model's."""
        w = params["weights"]
        new = {**params, "weights": w * self._spread(self.columns.scale, w)}
        if self.columns.centre is not None:
            new["intercept"] = _arrays.unscalar(params["intercept"] + self.columns.centre @ w)
        return new

    def plain(self, params: dict[str, Array]) -> dict[str, Array]:
        """Return the model's coefficients."""
        w = params["weights"] / self._spread(self.columns.scale, params["weights"])
        new = {**params, "weights": w}
        if self.columns.centre is not None:
            new["intercept"] = _arrays.unscalar(params["intercept"] - self.columns.centre @ w)
        return new

    def value_and_gradient(
        self, params: dict[str, Array], X: Array, y: Array, weights: Array = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the model's value, and its gradient in the new coefficients."""
        value, gradient = self.model.value_and_gradient(self.plain(params), X, y, weights)
        g = gradient["weights"]
        if self.columns.centre is not None:
            g = g - self._spread(self.columns.centre, g) * gradient["intercept"]
        return value, {**gradient, "weights": g / self._spread(self.columns.scale, g)}

    def hessian(self, params: dict[str, Array], X: Array, y: Array, weights: Array = None) -> Array:
        """Return the matrix of second derivatives in the new coefficients."""
        return second_derivatives(
            self.model, self.plain(params), (X, y, weights),
            centre=self.columns.centre, scale=self.columns.scale,
        )  # fmt: skip


def slopes(loss: Loss, pred: Array, target: Array, weights: Array, *, centred: bool) -> float:
    """Return the size of a loss's slopes, the unit in which gradients of these columns count.

    No element of the gradient is larger than the root mean square of the slopes, with an
    intercept than their standard deviation: a column that follows them row by row reaches it. Of
    several outputs the one with the smallest is meant; an output without slopes does not count.
    """
    slope = replace(loss, reduction="none").gradient(pred, target)
    xp = _arrays.namespace(slope)
    slope = slope if slope.ndim == 2 else slope[:, None]
    shares = _shares(weights, slope, int(slope.shape[0]))
    peak = _arrays.to_float(xp.max(xp.abs(slope)))
    if not 0 < peak < math.inf:
        return 0.0
    slope = slope / peak
    if centred:
        slope = slope - shares @ slope
    squares = shares @ (slope * slope)
    sizes = [x for x in _arrays.to_numpy(squares).tolist() if x > 0]
    return peak * math.sqrt(min(sizes, default=0.0))


def curvature(loss: Loss, pred: Array, target: Array, weights: Array) -> float:
    """Return the mean curvature of a loss in its predictions, of the first of several outputs."""
    xp, whole = _arrays.namespace(pred), replace(loss, reduction="sum")
    if loss.curved:
        return _arrays.to_float(xp.sum(whole.curvature(pred, target, weights))) / int(pred.shape[0])
    step = 0.01 * max(1.0, _arrays.to_float(xp.max(xp.abs(pred))))
    first = xp.ones_like(pred)
    if pred.ndim == 2:
        first = first * _arrays.cast(_arrays.arange(int(pred.shape[1]), pred) == 0, pred)
    rise = whole.gradient(pred + step * first, target, weights) - whole.gradient(
        pred, target, weights
    )
    return _arrays.to_float(xp.sum(rise * first)) / step / int(pred.shape[0])


def l2_weight(penalty: Penalty | None) -> float:
    """Return the weight of a penalty's L2 part."""
    if isinstance(penalty, ElasticNet):
        return float(penalty.alpha * (1 - penalty.l1_ratio))
    return float(penalty.alpha) if isinstance(penalty, L2) else 0.0
