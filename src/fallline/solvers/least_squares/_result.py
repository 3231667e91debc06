"""What a least-squares fit found, and how it is put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arrays._results import Result
from ..._arrays._types import Array, HostArray, Number, Tree
from ..._arrays._warned import warn
from ...stop import Verdict
from ..batched._ends import ends
from . import _algebra, _steps
from ._batch import Batch
from ._columns import Layout
from ._covariance import inverse_matrix, structured
from ._driver import Ended


class LeastSquaresResult(Result):
    """What `least_squares` found, with SciPy's names; entries are attributes too.

    Attributes
    ----------
    x : tree
        The best point, like `x0`.
    cost : float
        Half the sum of squares at `x`, or what a robust loss makes of it.
    fun : array
        The residuals at `x`, without weights.
    jac : tree or None
        The Jacobian of `fun` there: leaves of shape ``(*fun.shape, *leaf.shape)``, in a batch
        ``(*fun.shape, *leaf.shape[1:])``. `None` if those of all problems were too large to keep.
    grad : tree
        The gradient of the cost.
    optimality : float
        The largest magnitude of an element of `grad`, without those that bounds hold back.
    active_mask : tree
        -1 where a lower bound holds a parameter, 1 where an upper one does, 0 elsewhere.
    nfev, njev, nit : int
        Evaluations of the residuals, those for differences included; Jacobians that were used;
        trial steps.
    success : bool
        Whether a condition of convergence was met.
    status : int
        0 converged, 1 a limit was reached, 2 no progress, 3 not finite, 98 interrupted, 99 a
        callback stopped.
    message : str
        Why the run ended.
    method : str
        What ran: ``"lm"``, or ``"active-set"`` with bounds.
    covariance, stderr : tree
        Of the parameters: a tree of trees like `x`, with leaves of shape ``(*a.shape, *b.shape)``,
        and the roots of its diagonal, like `x`. NaN where a bound holds a parameter, infinite where
        the Jacobian is singular or no residual is left to tell the variance.
    chi2 : float
        The weighted sum of squares, twice the cost.
    history : dict of lists
        What `record` asked for, from the start.

    Notes
    -----
    For a batch all numbers are arrays with an entry for each problem, of the library and on the
    device of `x0`, and `message` says how many problems ended for which reason.
    """

    x: Tree
    cost: Number
    fun: Array
    jac: Tree
    grad: Tree
    optimality: Number
    active_mask: Tree
    nfev: Any
    njev: Any
    nit: Any
    success: Any
    status: Any
    message: str
    method: str
    covariance: Tree
    stderr: Tree
    chi2: Number
    history: dict[str, list[Any]]
    _named = ("history",)
    _hidden = ("jac", "covariance")


def assembled(
    ended: Ended, batch: Batch, verdicts: Sequence[Verdict], *, scaled: bool
) -> dict[str, Any]:
    """Return the entries of a result.

    Parameters
    ----------
    ended : Ended
        All problems, in order.
    batch : Batch
        Of all problems.
    verdicts : sequence of Verdict
        By the codes of the problems, less one.
    scaled : bool
        Whether covariances are scaled by the variance of the residuals.

    Returns
    -------
    dict
        Without the history.
    """
    s, layout, xp = ended.state, batch.layout, batch.xp
    with _arrays.guard(layout.space.like)():
        gradient = _algebra.transposed_product(xp, s.factor, s.rotated)
        free = _steps.free(xp, s.x, gradient, batch.bounds)
        mask = _mask(batch, s.x, free)
        optimality = _steps.measured(xp, s, batch.bounds).optimality
        matrix, singular = inverse_matrix(xp, s.factor, free, batch.residuals.epsilon)
        if scaled:
            spare = batch.criterion.counted(ended.r) - _count(xp, s.x, free)
            some = spare > 0  # else nothing is left to tell the variance
            variance = 2 * s.cost / xp.where(some, spare, xp.ones_like(spare))
            variance = xp.where(some, variance, xp.full_like(variance, float("inf")))
            matrix = xp.where(xp.isfinite(matrix), matrix * variance, matrix)
            matrix = xp.where(some | xp.isnan(matrix), matrix, xp.full_like(matrix, float("inf")))
        covariance, stderr = structured(layout, matrix)
    good = xp.isfinite(optimality)
    _warn(np.asarray(_arrays.to_numpy(singular & good)))
    numbers = {
        "cost": s.cost, "optimality": optimality, "nfev": s.nfev, "njev": s.njev, "nit": s.nit,
        "chi2": 2 * s.cost,
    }  # fmt: skip
    return {
        **_ends(ended, layout, verdicts),
        **(numbers if layout.batched else _read(xp, numbers)),
        "x": layout.tree(s.x),
        "fun": layout.residuals(ended.r),
        "jac": None if ended.columns is None else layout.jacobian(ended.columns),
        "grad": layout.tree(gradient),
        "active_mask": mask,
        "method": "lm" if batch.bounds is None else "active-set",
        "covariance": covariance,
        "stderr": stderr,
    }


def _count(xp: Any, x: Array, free: Array | None) -> Any:
    if free is None:
        return x.shape[0]
    return xp.sum(xp.astype(free, x.dtype), axis=0)


def _mask(batch: Batch, x: Array, free: Array | None) -> Tree:
    xp, layout = batch.xp, batch.layout
    mask = xp.zeros_like(x)
    if free is not None and batch.bounds is not None:
        low, _ = batch.bounds
        side = xp.where(x <= low, -xp.ones_like(x), xp.ones_like(x))
        mask = xp.where(free, mask, side)
    leaves = layout.space.structure.flatten(layout.tree(mask), "x")
    whole = [
        None if p is None else xp.astype(xp.real(p) if _arrays.is_complex(p) else p, xp.int32)
        for p in leaves
    ]
    return layout.space.structure.unflatten(whole)


def _read(xp: Any, numbers: dict[str, Array]) -> dict[str, Any]:
    # The numbers of a single problem on the host, in one copy.
    dtype = numbers["cost"].dtype
    packed = xp.concat([xp.astype(x, dtype, copy=False) for x in numbers.values()])
    values = _arrays.to_numpy(packed).tolist()
    whole = ("nfev", "njev", "nit")
    return {
        name: int(value) if name in whole else value
        for name, value in zip(numbers, values, strict=True)
    }


def _ends(ended: Ended, layout: Layout, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    codes = np.asarray(_arrays.to_numpy(ended.state.code)) - 1
    if not layout.batched:
        verdict = verdicts[int(codes[0])]
        return {
            "message": verdict.message, "success": verdict.success, "status": verdict.status,
        }  # fmt: skip
    return ends(codes, verdicts, layout.space.like)


def _warn(singular: HostArray) -> None:
    count = int(np.count_nonzero(singular))
    if count:
        which = f"of {count} of {singular.size} problems " if singular.size > 1 else ""
        msg = f"covariance {which}is infinite: the residuals do not determine all parameters"
        warn(msg)
