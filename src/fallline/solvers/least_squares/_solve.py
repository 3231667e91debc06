"""A least-squares problem from its arguments to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._trees import Structure
from ..._arrays._types import Array, Fun, Tree
from ...objectives._residuals import BORROWED
from ...stop import FitTolerance, Verdict
from .._base import INTERRUPTED
from .._minimize import check_condition
from ._batch import Batch
from ._bounds import bounds_of, scale_of
from ._columns import Layout
from ._criteria import Criterion
from ._driver import Collected, Ended, chunks, finished
from ._residuals import DIFFERENCES, Residuals, rows_of, taken
from ._result import assembled
from ._run import Run
from ._watching import Watch

# Differences step at least this part of where they began, and as from 1 if that is zero.
_TYPICAL, _ZERO = 1e-3, 1e-25
# Bytes of all Jacobians up to which they are kept where nothing tells how much memory is free.
_KEPT = 1 << 31
# From how many problems on one is tried alone, to see how large its Jacobian is.
_MANY = 64


class Setting(NamedTuple):
    """What `least_squares` and `curve_fit` have in common."""

    jacobian: Any
    bounds: Any
    x_scale: Any
    batched: bool
    chunk: Any
    stop: Any
    max_iterations: int | None
    callback: Any
    record: Sequence[str]
    progress: bool


def solve(
    fun: Fun,
    x0: Tree,
    setting: Setting,
    *,
    own: Sequence[Tree],
    args: Sequence[Any],
    criterion: Callable[..., Criterion],
    scaled: bool,
) -> tuple[dict[str, Any], Batch, Ended]:
    """Return the entries of a result, and what they were made of.

    Parameters
    ----------
    fun : callable
        ``fun(x, *own, *args)`` returns residuals, or what the criterion compares with data.
    x0 : tree
        The start.
    setting : Setting
        The options.
    own : sequence of trees
        Arguments with a leading axis of problems.
    args : sequence
        More arguments.
    criterion : callable
        Returns the criterion for a layout whose residuals are known, and for some problems of all.
    scaled : bool
        Whether covariances are scaled by the variance of the residuals.
    """
    if not callable(fun):
        raise TypeError(_checks.unlike("fun", fun, "a function"))
    batched = _checks.flag("batched", setting.batched)
    check_jacobian_argument(setting.jacobian)
    check_condition(setting.stop)
    stop = FitTolerance() if setting.stop is None else setting.stop
    layout = Layout(x0, batched)
    space, problems = layout.space, layout.problems
    if not space.size:
        msg = "x0: has no elements, expected parameters"
        raise ValueError(msg)
    most = 100 * (space.size + 1) if setting.max_iterations is None else setting.max_iterations
    most = _checks.count("max_iterations", most)
    check_own(own, layout)
    x = layout.vectors(x0)
    bounds, scale = bounds_of(setting.bounds, layout, x), scale_of(setting.x_scale, layout)
    with _arrays.guard(space.like)():
        xp = space.xp
        size = xp.where(xp.abs(x) < _ZERO, xp.ones_like(x), _TYPICAL * xp.abs(x))

    def residuals(part: slice | None) -> Residuals:
        if part is None:
            return Residuals(fun, setting.jacobian, layout, own, args, bounds, size)
        some = Layout(rows_of(x0, part), batched, layout.shape, layout.is_complex)
        own_ = [rows_of(tree, part) for tree in own]
        inside = taken(xp, bounds, part)
        return Residuals(fun, setting.jacobian, some, own_, args, inside, size[:, part])

    watch = Watch(setting.record, setting.callback, setting.progress, problems if batched else None)
    parts, keep = [slice(0, 1)], True
    if batched:
        numbers = 0
        if setting.chunk == "auto" and problems > _MANY:
            one = residuals(slice(0, 1))
            numbers = int(one(x[:, :1]).shape[1]) * space.size
        parts = list(chunks(setting.chunk, problems, numbers, space.like))
        keep = len(parts) == 1 or numbers * problems * 8 <= _KEPT
    verdicts: list[Verdict] = []
    done = Collected(xp, problems)
    interrupted = False
    watch.start()
    try:
        for part in parts:
            some = None if len(parts) == 1 else part
            within = part if some is not None else slice(None)
            source = residuals(some)
            run = Run(
                source, partial(criterion, part=some), taken(xp, bounds, within), x[:, within],
                None if scale is None else scale[:, within], stop, most, verdicts,
            )  # fmt: skip
            if interrupted:
                run.mark(True, Verdict(INTERRUPTED, False, 98))
            watch.begin()
            found, cut = finished(run, part.start, watch, keep)
            with _arrays.guard(space.like)():
                done.put(found)
            interrupted = interrupted or cut
            layout.shape, layout.is_complex = source.layout.shape, source.layout.is_complex
    finally:
        watch.end()
    with _arrays.guard(space.like)():
        ended = done.joined()
    batch = Batch(residuals(None), criterion(layout, None), bounds)
    entries = assembled(ended, batch, verdicts, scaled=scaled)
    return {**entries, "history": watch.kept()}, batch, ended


def check_jacobian_argument(jacobian: Any) -> None:
    """Check what `jacobian` may be."""
    names = (*DIFFERENCES, *BORROWED)
    if isinstance(jacobian, str):
        if jacobian not in names:
            raise _checks.unknown_name("jacobian", jacobian, names)
    elif jacobian is not True and not callable(jacobian):
        expected = f"True, a function or one of {', '.join(map(repr, names))}"
        raise TypeError(_checks.unlike("jacobian", jacobian, expected))


def check_own(own: Sequence[Tree], layout: Layout) -> None:
    """Check that arrays have a leading axis with an entry for each problem."""
    for i, tree in enumerate(own):
        structure = Structure(tree)
        leaves = structure.flatten(tree, "batched_args")
        for path, a in zip(structure.paths, leaves, strict=True):
            if a is None:
                continue
            place = _checks.where("batched_args", (i, *path))
            _checks.array(place, a)
            shape = tuple(a.shape)
            if not layout.batched:
                msg = f"{place}: is given, but batched is False; pass it in args"
                raise ValueError(msg)
            if shape[:1] != (layout.problems,):
                expected = f"a leading axis of {layout.problems}, an entry for each problem"
                raise ValueError(_checks.mismatch(place, "shape", shape, expected))


def rows_for(place: str, value: Array, layout: Layout, part: slice | None, problems: int) -> Array:
    """Return numbers that belong to residuals as (problems, m), or (1, m) if they are shared.

    Parameters
    ----------
    place : str
        Name of the argument.
    value : float or array
        Of the residuals' shape, or of one that broadcasts against those of one problem.
    layout : Layout
        Of the problems at hand, whose residuals are known.
    part : slice or None
        Which of all problems these are.
    problems : int
        How many there are in all.
    """
    space, shape = layout.space, layout.shape or ()
    xp, like = space.xp, space.like
    if not _arrays.is_array(value):
        value = np.asarray(value, float) if isinstance(value, list | tuple) else value
        if not _arrays.is_array(value):
            number = _checks.real(place, value, "a number or an array")
            value = _arrays.full(like, number, space.dtype, shape=())
    elif not _arrays.on_host(value):
        _checks.same_kind(place, like, value)
    own = layout.batched and value.ndim == len(shape) + 1
    if own and value.shape[0] != problems:
        expected = (problems, *shape)
        raise ValueError(_checks.mismatch(place, "shape", tuple(value.shape), expected))
    if own and part is not None:
        value = value[part, ...]
    blocks = int(value.shape[0]) if own else 1
    x = _arrays.moved(value, like, space.dtype)
    try:
        with _arrays.on_device(like):
            x = xp.broadcast_to(x, ((blocks, *shape) if own else shape))
            x = xp.reshape(x, (blocks, -1)) if shape else xp.reshape(x, (blocks, 1))
    except (ValueError, RuntimeError, TypeError) as error:
        expected = (problems, *shape) if layout.batched else shape
        raise ValueError(_checks.mismatch(place, "shape", tuple(value.shape), expected)) from error
    return xp.concat([x, x], axis=1) if layout.is_complex else x
