"""`least_squares`: sums of squares of many problems, or of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._types import Fun, Tree
from ...stop import Condition
from ._columns import Layout
from ._criteria import LOSSES, Criterion, Squares
from ._record import FitRecord
from ._result import LeastSquaresResult
from ._solve import Setting, rows_for, solve

KNOWN = (
    "jacobian", "method", "bounds", "loss", "loss_scale", "x_scale", "weights", "batched",
    "batched_args", "args", "chunk", "stop", "max_iterations", "callback", "record", "progress",
)  # fmt: skip


def least_squares(
    fun: Fun,
    x0: Tree,
    *,
    jacobian: Any = "2-point",
    method: str = "auto",
    bounds: Any = None,
    loss: str = "linear",
    loss_scale: float = 1.0,
    x_scale: Any = "jac",
    weights: Any = None,
    batched: bool = False,
    batched_args: Sequence[Tree] = (),
    args: Sequence[Any] = (),
    chunk: int | str = "auto",
    stop: Condition | None = None,
    max_iterations: int | None = None,
    callback: Callable[[FitRecord], object] | None = None,
    record: Sequence[str] = ("cost",),
    progress: bool = False,
    **unknown: Any,
) -> LeastSquaresResult:
    r"""Minimize a sum of squares by the method of Levenberg and Marquardt, for one problem or many.

    .. math:: \min_{l \le x \le u} F(x), \qquad
        F(x) = \tfrac12 s^2 \sum_i \rho\left(w_i r_i(x)^2 / s^2\right)

    One method does it all: unlike SciPy's ``method="lm"`` it takes bounds, by an active set, and
    robust losses. With ``batched=True`` it runs for many independent problems side by side, each
    with its own damping and its own end.

    Parameters
    ----------
    fun : callable
        ``fun(x, *batched_args, *args)`` returns the residuals r, an array of any shape; complex
        ones count as pairs of reals. It must not write into `x`.
    x0 : array or tree of arrays
        Where to start: real or complex arrays of one library, on one device. `None` leaves are
        passed on. Not modified.
    jacobian : {"2-point", "3-point", "torch", "jax"}, True or callable, default "2-point"
        How to get J, a tree like `x` whose leaves have the shape ``(*r.shape, *leaf.shape)``:

        * by forward or central differences on the device of `x0`, within the bounds, with steps
          from the precision;
        * by torch or JAX, which `fun` must then be written for, as in `residuals_and_jacobian`;
        * ``True``: `fun` returns ``(r, J)``;
        * a function of the arguments of `fun`.

        For complex leaves it is dr/dz if the residuals are complex, which then have to be
        holomorphic, and dr/dRe + i dr/dIm if they are real.
    method : "auto"
        There is one method; what ran is in the result.
    bounds : (lower, upper), scipy.optimize.Bounds, or tree of Box, optional
        Each of a pair is a number, an array, or a tree that is a prefix of `x0`; `None` and
        infinity mean that there is no bound. `x0` must lie between them.
    loss : {"linear", "huber", "soft_l1", "cauchy", "arctan"}, default "linear"
        :math:`\rho`, as in SciPy.
    loss_scale : float, default 1.0
        s, in units of the weighted residuals: from about here on they count as outliers. It has no
        effect on the linear loss.
    x_scale : "jac", float, array or tree, default "jac"
        Typical sizes of the parameters. By default one over the largest norm so far of each
        column of J, so that the units of the parameters do not matter.
    weights : float or array, optional
        w, not negative, broadcast against the residuals. What has weight zero does not count at
        all, NaN included.
    batched : bool, default False
        Whether the leading axes of every leaf and of the residuals count independent problems. J
        has leaves of shape ``(*r.shape, *leaf.shape[1:])``.
    batched_args : sequence of arrays and trees
        More arguments of `fun` with the axis of problems: data, abscissae. Problems that have ended
        are dropped from them as from `x`.
    args : sequence
        More arguments of `fun`, the same for all problems.
    chunk : int or "auto"
        How many problems are worked on together. By default as many as leave memory for others on
        a device, and on the host as many as stay in the cache. Results do not depend on it.
    stop : Condition, optional
        By default ``fl.stop.FitTolerance()``: cost, step or gradient change no more, each relative.
    max_iterations : int, optional
        By default 100 for each parameter and 100 more. An iteration is the trial of one step.
    callback : callable, optional
        Called with a `FitRecord` after every iteration, in a batch for the problems at work. The
        run ends if it returns True or raises StopIteration.
    record : sequence of str
        What `history` keeps: ``"cost", "damping", "nfev", "nit", "optimality", "x"``.
    progress : bool, default False
        Whether to show a progress bar, by tqdm: over iterations, or the problems of a batch.
    **unknown
        Refused, with our name for it where it is SciPy's.

    Returns
    -------
    LeastSquaresResult
        With SciPy's names, and ``covariance, stderr, chi2``. Ctrl-C ends a run at the best point.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it, and the leaf.

    Warns
    -----
    UserWarning
        If residuals do not determine all parameters, so that covariances are infinite.

    Notes
    -----
    A step solves the damped problem

    .. math:: \min_p \|J p + r\|^2 + \lambda \|D p\|^2

    by a QR factorization of J, which is made once for each point and does not square its
    condition, and a small one for each :math:`\lambda`. D has the largest norms so far of the
    columns of J [1]_. A trial is taken only if the cost falls by at least 1e-4 of what the model
    promises; the ratio of both rules :math:`\lambda`, as in [2]_ up to 3/4, while runs of good and
    of bad trials change it faster and faster. Parameters at a bound whose gradient points
    outside are held, and steps are cut at the bounds [3]_. Robust losses scale rows of J and r by
    Triggs's correction, as in SciPy.

    A trial that is not finite is refused. A problem whose start is not finite, or that finds
    nothing finite around its point, ends there with status 3; in a batch nobody else notices.
    Nothing raises because a matrix is singular.

    An iteration synchronises with the device once. Beside the arrays of `fun`, memory is needed for
    J and for the copies of it that are factored, of the problems of one chunk.

    Parameters that several problems share do not fit a batch: make one problem of them.

    References
    ----------
    .. [1] J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", Numerical
       Analysis, Lecture Notes in Mathematics 630, 1978.
    .. [2] K. Madsen, H. B. Nielsen, O. Tingleff, "Methods for non-linear least squares problems",
       Technical University of Denmark, 2004.
    .. [3] M. A. Branch, T. F. Coleman, Y. Li, "A subspace, interior, and conjugate gradient method
       for large-scale bound-constrained minimization problems", SIAM J. Sci. Comput. 21, 1999, has
       SciPy's method for bounds, with whose results this one is compared.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> t = np.linspace(0, 3, 20)
    >>> y = 2 * np.exp(-1.5 * t)
    >>> res = fl.least_squares(lambda x: x[0] * np.exp(-x[1] * t) - y, np.ones(2))
    >>> res.x.round(6), res.success
    (array([2. , 1.5]), True)

    Three decays in one call:

    >>> rates = np.asarray([0.5, 1.0, 2.0])
    >>> ys = np.exp(-rates[:, None] * t)
    >>> def residuals(x, y, t):
    ...     return np.exp(-x[:, None] * t) - y
    >>> res = fl.least_squares(residuals, np.ones(3), batched=True, batched_args=(ys,), args=(t,))
    >>> res.x.round(6)
    array([0.5, 1. , 2. ])
    """
    for name in unknown:
        raise _checks.unknown_argument("least_squares", name, KNOWN)
    if method != "auto":
        given = {"lm": "without bounds", "active-set": "with bounds"}
        what = given.get(str(method))
        hint = f"; it is what runs {what}" if what else ""
        msg = f"method: is {method!r}, expected 'auto'{hint}"
        raise ValueError(msg)
    if loss not in LOSSES:
        raise _checks.unknown_name("loss", str(loss), LOSSES)
    _checks.positive("loss_scale", loss_scale)
    check_not_negative("weights", weights)
    setting = Setting(
        jacobian, bounds, x_scale, batched, chunk, stop, max_iterations, callback, record, progress
    )
    problems = Layout(x0, batched).problems

    def criterion(layout: Layout, part: slice | None) -> Criterion:
        rows = None
        if weights is not None:
            rows = rows_for("weights", weights, layout, part, problems)
        return Squares(layout.space.xp, rows, loss, float(loss_scale))

    entries, _, _ = solve(
        fun, x0, setting, own=tuple(batched_args), args=tuple(args), criterion=criterion,
        scaled=True,
    )  # fmt: skip
    return LeastSquaresResult(entries)


def check_not_negative(place: str, value: Any, *, zero: bool = True) -> None:
    """Check numbers on the host before they are used; of a device this reads one truth."""
    if value is None:
        return
    if isinstance(value, list | tuple):
        value = np.asarray(value, float)
    if not _arrays.is_array(value):
        number = _checks.real(place, value, "a number or an array")
        good = number >= 0 if zero else number > 0
    else:
        xp = _arrays.namespace(value)
        with _arrays.guard(value)():
            good = bool(_arrays.to_float(xp.all(value >= 0 if zero else value > 0)))
    if not good:
        msg = f"{place}: some are negative or NaN" if zero else f"{place}: some are not positive"
        raise ValueError(msg)
