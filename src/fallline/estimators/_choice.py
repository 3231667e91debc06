"""The method of an estimator: what is given, or what suits the problem."""

from __future__ import annotations

from .. import _arrays, solvers
from .._arrays._factors import has_factors
from .._arrays._types import Array, Method, Tree
from ..fitting._fit import method_of
from ..losses import Huber, Loss
from ..objectives._linear_model import LinearModel
from ..penalties import L2

WORK = 2e6  # products of second derivatives that cost no more than an iteration itself
TALL = 2  # times as many rows as columns


def is_automatic(method: Method) -> bool:
    """Tell whether the method is left to the estimator."""
    return isinstance(method, str) and method == "auto"


def chosen(
    method: Method, model: LinearModel, loss: Loss, X: Array, constraint: Tree, *, whole: bool
) -> Method:
    """Return the method for a problem.

    Parameters
    ----------
    method : str, Solver, Rule or tree of rules
        What was given.
    model : LinearModel
        The problem.
    loss : Loss
        Its loss.
    X : array or sparse matrix
        The data.
    constraint : tree or None
        Of the coefficients.
    whole : bool
        Whether the run is to end at the minimum, and not early.

    Returns
    -------
    Solver, Rule or tree of rules
        The method.
    """
    penalty = model.beside["weights"]
    if is_automatic(method) and penalty is None:
        if constraint is not None:
            return solvers.LBFGSB()
        if whole and _is_small(model, loss, X):
            return solvers.Newton()
    return method_of(method, penalty, constraint)


def _is_small(model: LinearModel, loss: Loss, X: Array) -> bool:
    # Newton's steps are few and exact where the loss bends everywhere; Huber's does not.
    bends = loss.curved and type(loss) is not Huber
    alone = model.n_outputs is None and (model.penalty is None or type(model.penalty) is L2)
    if not (bends and alone) or _arrays.is_sparse(X) or not has_factors(X):
        return False
    rows, columns = map(int, X.shape)
    return rows * columns**2 <= WORK and rows >= TALL * columns
