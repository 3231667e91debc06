"""The orthant-wise form of L-BFGS, for L1 penalties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array, Namespace, Tree
from ..penalties import L1, L2, ElasticNet
from ._lbfgs import LBFGS
from ._objective import Objective
from ._projected import ProjectedRun, Region
from ._search import Trial


class Orthants(Region):
    """The orthant of a step is that of the point, or of the pseudo-gradient where that is 0."""

    def __init__(self, xp: Namespace, weights: Array) -> None:
        super().__init__(xp)
        self._weights = weights

    def land(self, at: Trial, x: Array) -> Array:
        """Return a point at which no element has changed its sign: it is 0 instead."""
        xp = self._xp
        side = xp.where(at.x == 0, -xp.sign(at.pseudo), xp.sign(at.x))
        inside = xp.logical_or(x * side > 0, self._weights == 0)
        return xp.where(inside, x, xp.zeros_like(x))

    def pseudo(self, x: Array, gradient: Array) -> Array:
        """Return the gradient of the side on which the objective falls, 0 if it rises on both."""
        xp, w = self._xp, self._weights
        right, left = gradient + w, gradient - w
        zero = xp.zeros_like(x)
        still = xp.where(right < 0, right, xp.where(left > 0, left, zero))
        return xp.where(x > 0, right, xp.where(x < 0, left, still))

    def penalty(self, x: Array) -> Sequence[Array]:
        """Return the weighted sum of magnitudes."""
        return [self._xp.sum(self._weights * self._xp.abs(x))]


def _weighted(objective: Objective, penalty: Tree, constraint: Tree) -> Orthants:
    # The weights of the L1 parts of penalties; what is smooth of them joins the objective.
    if constraint is not None:
        msg = "constraint: OWLQN does not support constraints; use ProximalGradient"
        raise ValueError(msg)
    space = objective.space
    structure, smooth, weights = space.structure, [], []
    penalties = structure.broadcast(penalty, "penalty")
    for path, p, x in zip(structure.paths, penalties, space._like, strict=True):
        alpha, other = _split(p, _checks.where("penalty", path))
        if p is not None and not p.smooth and x is not None and _arrays.is_complex(x):
            msg = f"{_checks.where('penalty', path)}: OWLQN supports {p!r} for real leaves only; "
            raise TypeError(msg + "use ProximalGradient")
        smooth.append(other)
        weights.append(None if x is None else alpha * _arrays.full(x, 1.0, x.dtype))
    objective.penalise(smooth)
    return Orthants(space.xp, space.pack(structure.unflatten(weights), "penalty"))


def _split(penalty: Tree, place: str) -> tuple[Array, Array]:
    # The weight of the L1 part, which may be an array, and the smooth part.
    if penalty is None or penalty.smooth:
        return 0.0, penalty
    if isinstance(penalty, L1):
        return penalty.alpha, None
    if isinstance(penalty, ElasticNet):
        ratio = penalty.l1_ratio
        return penalty.alpha * ratio, L2(penalty.alpha * (1 - ratio))
    msg = f"{place}: OWLQN supports L1, ElasticNet and smooth penalties, got {penalty!r}; "
    raise ValueError(msg + "use ProximalGradient")


@dataclass(frozen=True, repr=False)
class OWLQN(LBFGS):
    r"""Orthant-wise L-BFGS, for a smooth objective with an L1 penalty.

    The pseudo-gradient, the one-sided gradient of least magnitude, takes the place of the gradient.
    The quasi-Newton step stops where an element would change sign, and leaves zero only on the side
    where the objective falls, so that elements become exactly zero [1]_.

    Parameters
    ----------
    history : int, optional
        Number of pairs to keep, as for ``LBFGS``.

    Notes
    -----
    Penalties may be ``L1``, ``ElasticNet`` or smooth; those of complex leaves must be smooth. Each
    evaluation synchronises with the device once. The `gradient_norm` of records is that of the
    pseudo-gradient.

    Andrew and Gao also leave out the elements of a step that go up by themselves. Here, as between
    bounds, only those do that stay at zero [2]_, which takes a fraction of the iterations.

    References
    ----------
    .. [1] Andrew, Gao, "Scalable training of L1-regularized log-linear models", 2007.
    .. [2] Gafni, Bertsekas, "Two-metric projection methods for constrained optimization", 1984.
    """

    _run = ProjectedRun
    _region = staticmethod(_weighted)
