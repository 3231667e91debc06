"""`curve_fit`: curves through data, by least squares or by the likelihood of counts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._trees import Structure
from ..._arrays._types import Array, Fun, Number, Tree
from ...stop import Condition
from ._columns import Layout
from ._criteria import LOSSES, Counts, Criterion, Squares
from ._least_squares import check_not_negative
from ._likelihood import of_counts, of_squares
from ._record import FitRecord
from ._result import LeastSquaresResult
from ._solve import Setting, rows_for, solve

KNOWN = (
    "sigma", "absolute_sigma", "weights", "bounds", "likelihood", "read_variance", "jacobian",
    "loss", "loss_scale", "x_scale", "batched", "batched_xdata", "chunk", "stop",
    "max_iterations", "callback", "record", "progress",
)  # fmt: skip
LIKELIHOODS = ("gaussian", "poisson")


class CurveFitResult(LeastSquaresResult):
    """What `curve_fit` found: a `LeastSquaresResult` with a likelihood.

    Attributes
    ----------
    log_likelihood : float
        The logarithm of the likelihood of the data. With a Gaussian likelihood whose `sigma` is
        relative, it is that with the best common factor of the variances.
    fun : array
        The values of the curve minus the data; of counts the values of the curve, which are rates.
    chi2 : float
        The weighted sum of squares; of counts the deviance.
    """

    log_likelihood: Number

    def __iter__(self) -> Iterator[str]:
        """Refuse to be unpacked as SciPy's pair."""
        msg = "curve_fit returns one result, not SciPy's (popt, pcov): use result.x and "
        raise TypeError(msg + "result.covariance; its entries are in result.items()")


def curve_fit(
    f: Fun,
    xdata: Tree,
    ydata: Array,
    p0: Tree = None,
    *,
    sigma: Any = None,
    absolute_sigma: bool = False,
    weights: Any = None,
    bounds: Any = None,
    likelihood: str = "gaussian",
    read_variance: Any = None,
    jacobian: Any = "auto",
    loss: str = "linear",
    loss_scale: float = 1.0,
    x_scale: Any = "jac",
    batched: bool = False,
    batched_xdata: bool = False,
    chunk: int | str = "auto",
    stop: Condition | None = None,
    max_iterations: int | None = None,
    callback: Callable[[FitRecord], object] | None = None,
    record: Sequence[str] = ("cost",),
    progress: bool = False,
    **unknown: Any,
) -> CurveFitResult:
    r"""Fit a curve to data, or many curves, by least squares or by the likelihood of counts.

    .. math:: \min_p \tfrac12 \sum_i \frac{w_i}{\sigma_i^2} (f(x_i, p) - y_i)^2
        \qquad \text{or} \qquad \min_p \sum_i w_i \left(f_i - y_i \log f_i\right)

    Unlike SciPy's it takes the parameters as one array or tree, ``f(x, params)``, and returns one
    result, whose ``x`` and ``covariance`` are SciPy's `popt` and `pcov`.

    Parameters
    ----------
    f : callable
        ``f(x, params)`` returns the values, an array like `ydata`: a function, or a model of
        `fallline.models`, which knows its Jacobian. With ``likelihood="poisson"`` the values are
        rates, not their logarithms (as those that ``fl.losses.Poisson`` predicts).
    xdata : array, or tree of arrays
        The first argument of `f`: abscissae, or a pair of coordinates. In a batch it is the same
        for all problems, unless `batched_xdata` says otherwise.
    ydata : array
        The data, real or complex, of any shape; in a batch with the axis of problems first.
    p0 : array, or tree of arrays and numbers, optional
        Where to start. In a batch every leaf has the axis of problems; a number is the start of
        all. If it is not given the model has to have a method ``guess(x, y)``.
    sigma : float or array, optional
        Standard deviations of the data, in their units, positive. They broadcast against the data
        of one problem, or have the shape of `ydata`.
    absolute_sigma : bool, default False
        Whether `sigma` is known. By default only its ratios count, and the covariance is scaled by
        the variance of the residuals.
    weights : float or array, optional
        w, not negative. Data of weight zero, NaN included, does not count.
    bounds : (lower, upper), scipy.optimize.Bounds, or tree of Box, optional
        As in `least_squares`.
    likelihood : {"gaussian", "poisson"}, default "gaussian"
        Of the data. That of counts is maximized by Fisher's scoring with the same damping; a trial
        at which a rate is not positive where something was counted is refused.
    read_variance : float or array, optional
        Variance of the noise of reading a camera's pixels, in squared counts, for counts: it is
        added to data and rates, whose sum is then nearly Poissonian [2]_.
    jacobian : {"auto", "2-point", "3-point", "torch", "jax"}, True or callable, default "auto"
        ``f.jacobian(x, params)`` if there is one, else ``"2-point"``. Otherwise as in
        `least_squares`: ``True`` if `f` returns (values, J); a function of (x, params).
    loss, loss_scale, x_scale
        As in `least_squares`.
    batched : bool, default False
        Whether there are many problems, along the leading axes of `ydata` and of the parameters.
    batched_xdata : bool, default False
        Whether every array in `xdata` has the axis of problems, too.
    chunk, stop, max_iterations, callback, record, progress
        As in `least_squares`.
    **unknown
        Refused, with our name for it where it is SciPy's.

    Returns
    -------
    CurveFitResult
        As from `least_squares`, with ``log_likelihood``. For counts the covariance is the inverse
        of Fisher's information, without a scale, and ``chi2`` the deviance.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message names it. Unpacking the result raises a TypeError.

    Warns
    -----
    UserWarning
        If the data does not determine all parameters, so that covariances are infinite.

    Notes
    -----
    Where counts are few, least squares are biased, with weights from the data most of all; the
    likelihood is not, and as fast [1]_. That the iteration is Fisher's, with the expected instead
    of the observed second derivatives, makes it serve pixels without counts.

    References
    ----------
    .. [1] T. A. Laurence, B. A. Chromy, "Efficient maximum likelihood estimator fitting of
       histograms", Nature Methods 7, 2010.
    .. [2] F. Huang et al., "Video-rate nanoscopy using sCMOS camera-specific single-molecule
       localization algorithms", Nature Methods 10, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> def decay(t, p):
    ...     return p["height"][..., None] * np.exp(-p["rate"][..., None] * t)
    >>> t = np.linspace(0, 3, 20)
    >>> y = decay(t, {"height": np.asarray(2.0), "rate": np.asarray(1.5)})
    >>> res = fl.curve_fit(decay, t, y, {"height": 1.0, "rate": 1.0})
    >>> {name: round(float(value), 6) for name, value in res.x.items()}
    {'height': 2.0, 'rate': 1.5}
    """
    for name in unknown:
        raise _checks.unknown_argument("curve_fit", name, KNOWN)
    if likelihood not in LIKELIHOODS:
        raise _checks.unknown_name("likelihood", str(likelihood), LIKELIHOODS)
    if loss not in LOSSES:
        raise _checks.unknown_name("loss", str(loss), LOSSES)
    _checks.positive("loss_scale", loss_scale)
    _checks.flag("batched_xdata", batched_xdata)
    if batched_xdata and not batched:
        msg = "batched_xdata: is True, but batched is False"
        raise ValueError(msg)
    _check_signature(f)
    counts = likelihood == "poisson"
    if counts:
        _check_counts(sigma, absolute_sigma, loss, ydata)
    elif read_variance is not None:
        msg = "read_variance: is given, but the likelihood is not 'poisson'; use sigma"
        raise ValueError(msg)
    check_not_negative("sigma", sigma, zero=False)
    check_not_negative("weights", weights)
    check_not_negative("read_variance", read_variance)
    p0 = _start(f, xdata, ydata, p0, batched)
    first = Layout(p0, batched)
    problems, like, xp = first.problems, first.space.like, first.space.xp
    y = _data(ydata, first)
    if jacobian == "auto":
        jacobian = getattr(f, "jacobian", None) or "2-point"
    data = (y, xdata)
    shared = 0 if not batched else 2 if batched_xdata else 1
    own, more = data[:shared], data[shared:]

    def fun(p: Tree, y: Array, x: Tree) -> Any:
        values = f(x, p)
        if jacobian is True:
            values, slopes = _pair(values)
            return _less(values, y, counts), slopes
        return _less(values, y, counts)

    given = jacobian
    if callable(given):

        def jacobian(p: Tree, y: Array, x: Tree) -> Tree:
            return given(x, p)

    setting = Setting(
        jacobian, bounds, x_scale, batched, chunk, stop, max_iterations, callback, record, progress
    )

    def rows(name: str, value: Any, layout: Layout, part: slice | None) -> Array:
        return None if value is None else rows_for(name, value, layout, part, problems)

    def criterion(layout: Layout, part: slice | None) -> Criterion:
        with _arrays.guard(like)():
            scale = rows("weights", weights, layout, part)
            if not counts:
                spread = rows("sigma", sigma, layout, part)
                if spread is not None:
                    inverse = 1 / (spread * spread)
                    scale = inverse if scale is None else scale * inverse
                return Squares(xp, scale, loss, float(loss_scale))
            n = rows("ydata", y, layout, part)
            return Counts(xp, scale, n, rows("read_variance", read_variance, layout, part))

    entries, batch, ended = solve(
        fun, p0, setting, own=own, args=more, criterion=criterion,
        scaled=not (counts or absolute_sigma),
    )  # fmt: skip
    found = batch.criterion
    with _arrays.guard(like)():
        if isinstance(found, Counts):
            logs = of_counts(xp, ended.state.cost, found.counts, found.weights)
        else:
            absolute = absolute_sigma and sigma is not None
            logs = of_squares(xp, ended.state.cost, found, ended.r, absolute=absolute)
    entries["log_likelihood"] = logs if batched else _arrays.to_float(logs)
    return CurveFitResult(entries)


def _check_signature(f: Fun) -> None:
    if not callable(f):
        raise TypeError(_checks.unlike("f", f, "a function f(x, params)"))
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.kind in kinds and p.default is p.empty]
    if len(needed) > 2:
        names = ", ".join(needed[1:])
        msg = f"f: takes ({', '.join(needed)}), expected (x, params); write f(x, params) and "
        raise TypeError(msg + f"{names} = params, and pass the starts as one array or tree p0")


def _check_counts(sigma: Any, absolute_sigma: bool, loss: str, ydata: Array) -> None:
    if sigma is not None or absolute_sigma:
        msg = "sigma: is given, but counts have the variance of their rate; expected None with "
        raise ValueError(msg + "likelihood='poisson' (weights=0 leaves out pixels)")
    if loss != "linear":
        msg = f"loss: is {loss!r}, expected 'linear' with likelihood='poisson'"
        raise ValueError(msg)
    check_not_negative("ydata", ydata)


def _start(f: Fun, xdata: Tree, ydata: Array, p0: Tree, batched: bool) -> Tree:
    # The start: guessed by the model if there is none, and numbers as arrays.
    _checks.array("ydata", ydata)
    xp = _arrays.namespace(ydata)
    dtype = ydata.dtype if _arrays.is_real(ydata) else xp.asarray(0.0).dtype
    if p0 is None:
        guess = getattr(f, "guess", None)
        if guess is None:
            msg = "p0: is None, expected where to start: f has no method guess(x, y)"
            raise TypeError(msg)
        complex_ = _arrays.is_complex(ydata)
        p0 = guess(xdata, ydata if complex_ else xp.astype(ydata, dtype, copy=False))
    structure = Structure(p0)
    shape = tuple(ydata.shape[:1]) if batched else ()

    def whole(p: Any) -> Any:
        number = isinstance(p, int | float) and not isinstance(p, bool)
        return _arrays.full(ydata, float(p), dtype, shape) if number else _arrays.unscalar(p)

    return structure.unflatten([whole(p) for p in structure.flatten(p0, "p0")])


def _data(ydata: Array, layout: Layout) -> Array:
    # The data in the precision of the parameters; complex ones stay complex.
    like = layout.space.like
    _checks.same_kind("ydata", like, ydata)
    if layout.batched and tuple(ydata.shape[:1]) != (layout.problems,):
        expected = f"a leading axis of {layout.problems}, an entry for each problem"
        raise ValueError(_checks.mismatch("ydata", "shape", tuple(ydata.shape), expected))
    if _arrays.is_complex(ydata):
        return ydata
    return layout.space.xp.astype(ydata, layout.space.dtype, copy=False)


def _pair(values: Any) -> tuple[Array, Tree]:
    if not (isinstance(values, tuple) and len(values) == 2):
        msg = f"f: returned {_checks.described(values)}, expected (values, J), since jacobian is "
        raise TypeError(msg + "True")
    return values


def _less(values: Array, y: Array, counts: bool) -> Array:
    values = _arrays.unscalar(values)
    _checks.array("f: its values", values, "an array like ydata")
    if tuple(values.shape) != tuple(y.shape):
        got = tuple(values.shape)
        raise ValueError(_checks.mismatch("f: its values", "shape", got, tuple(y.shape)))
    return values if counts else values - y
