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
    r"""Minimize a sum of squares, by the method of Levenberg and Marquardt."""
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
