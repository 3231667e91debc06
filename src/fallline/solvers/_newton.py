"""Newton's method with a line search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _arrays
from .._arrays import _checks
from .._arrays._factors import cholesky, has_factors, with_diagonal
from .._arrays._types import Array, Fun, Tree
from ..penalties import L2
from ._base import Solver
from ._line_run import LineRun
from ._search import Trial, strong_wolfe
from ._space import numbers


class NewtonRun(LineRun):
    """The second derivatives are evaluated where an iteration begins."""

    def __init__(
        self, solver: Any, fun: Fun | None, x0: Tree, *, hessian: Fun | None = None, **options: Any
    ) -> None:
        if not callable(hessian):
            msg = (
                f"hessian: is {_checks.described(hessian)}, expected a function for Newton's method"
            )
            raise TypeError(msg)
        self._hessian, self._more = hessian, tuple(options.get("args", ()))
        super().__init__(solver, fun, x0, **options)

    def _setup(self, penalty: Tree, constraint: Tree) -> None:
        space, penalties = self.space, self.objective.penalties
        if not has_factors(space.like):
            msg = f"method: Newton needs linear algebra, which {space.xp.__name__} lacks"
            raise TypeError(msg)
        if any(space._complex):
            msg = "x0: is complex, expected real numbers for Newton's method"
            raise TypeError(msg)
        if any(p is not None and type(p) is not L2 for p in penalties):
            msg = f"penalty: Newton supports L2, got {penalty!r}"
            raise ValueError(msg)
        self._ridge: Array = None  # of the diagonal
        if any(p is not None for p in penalties):
            leaves = [
                x if x is None else _arrays.full(x, 0.0 if p is None else p.alpha, x.dtype)
                for x, p in zip(space._like, penalties, strict=True)
            ]
            self._ridge = space.pack(space.structure.unflatten(leaves), "x0")

    def _restart(self) -> None:
        self.at.slope = -math.inf  # not known before the second derivatives are

    def _measured(self, trial: Trial) -> Sequence[Array]:
        return [] if self._d is None else [trial.gradient @ self._d]

    def _take(self, trial: Trial) -> None:
        trial.slope = float(trial.measured[0])

    def _advance(self) -> Trial:
        at = self.at
        with _arrays.guard(at.gradient)():
            at.slope = self._turned(at)
        self._tried = 1.0
        trial = None if at.slope == 0 else strong_wolfe(self._line, at, 1.0, noise=self.noise)
        if trial is None:
            raise self._failed()
        return trial

    def _matrix(self, x: Array) -> Array:
        # The second derivatives in the space, those of the penalties included.
        space, tree = self.space, self.space.unpack(x)
        found = _arrays.detached(self._hessian(tree, *self._more))
        shape = (space.size, space.size)
        if tuple(found.shape) != shape:
            raise ValueError(_checks.mismatch("hessian", "shape", tuple(found.shape), shape))
        found = space.xp.astype(found, space.dtype, copy=False)
        return found if self._ridge is None else with_diagonal(found, self._ridge)

    def _turned(self, at: Trial) -> float:
        # The slope along a new direction.
        matrix, g, xp = self._matrix(at.x), at.gradient, self.space.xp
        # In units in which the diagonal is one, so that no variable's own decides what is singular.
        size = xp.abs(xp.linalg.diagonal(matrix))
        unit = 1 / xp.sqrt(xp.where(size > 0, size, xp.ones_like(size)))
        matrix = unit[:, None] * matrix * unit
        for step in (_newton, _modified):
            d = step(matrix, unit * g, self.space.epsilon)
            if d is not None:
                self._d = -unit * d
                slope = float(numbers(self.space, 0.0, [g @ self._d])[1])
                if -math.inf < slope < 0:
                    return slope
        self._d = -g
        return float(numbers(self.space, 0.0, [g @ self._d])[1])


def _newton(matrix: Array, g: Array, epsilon: float) -> Array:
    # Nothing if the matrix is singular as far as rounding tells, or not positive.
    factor = cholesky(matrix)
    if factor is None:
        return None
    xp = _arrays.namespace(matrix)
    sides = xp.linalg.diagonal(factor)
    if not _arrays.to_float(xp.min(sides)) ** 2 > 8 * epsilon * int(matrix.shape[0]):
        return None
    return xp.linalg.solve(matrix, g)


def _modified(matrix: Array, g: Array, epsilon: float) -> Array:
    # Nocedal and Wright, section 3.4, eigenvalue modification: their magnitudes, and no small ones.
    xp = _arrays.namespace(matrix)
    if not math.isfinite(_arrays.to_float(xp.sum(matrix))):
        return None
    values, vectors = xp.linalg.eigh(matrix)
    size = xp.abs(values)
    least = math.sqrt(epsilon) * xp.max(size)
    size = xp.where(size > least, size, least)
    return vectors @ ((vectors.T @ g) / xp.where(size > 0, size, xp.ones_like(size)))


@dataclass(frozen=True, repr=False)
class Newton(Solver):
    r"""Newton's method with a strong Wolfe line search, for few variables.

    .. math:: x_{k+1} = x_k - t_k H_k^{-1} g_k

    H is the matrix of second derivatives that the `hessian` of `fallline.minimize` returns, or that
    a `fallline.LinearModel` has. On a linear model the steps are those of iteratively reweighted
    least squares [1]_. Where H is singular or not positive definite, its eigenvalues are replaced
    by their magnitudes, of at least the root of the precision [2]_, in the units in which the
    diagonal of H is one.

    Notes
    -----
    An iteration evaluates H once, factorizes it and solves for the direction, which takes about
    n**3 operations and n**2 numbers of memory for n variables. It synchronises with the device
    twice, and each evaluation once. The library of the arrays needs the `linalg` extension of the
    Array API. Variables are real; of the penalties L2 is supported.

    References
    ----------
    .. [1] McCullagh, Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.5.
    .. [2] Nocedal, Wright, "Numerical Optimization", 2nd edition, 2006, section 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> def fun(x):
    ...     return np.sum(np.cosh(x - 3)), np.sinh(x - 3)
    >>> res = fl.minimize(
    ...     fun, np.zeros(2), method="newton", hessian=lambda x: np.diag(np.cosh(x - 3))
    ... )
    >>> res.x, res.nit
    (array([3., 3.]), 6)
    """

    _run = NewtonRun
