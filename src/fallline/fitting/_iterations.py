"""A run of a solver over all data, iteration by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import callbacks
from .._arrays._types import Array, FilePath, Json, Method, Tree
from ..solvers._minimize import minimize
from . import _objective, _resuming
from ._run import Run, StoppedError


class SolverRun(Run):
    """A run of a solver.

    Parameters
    ----------
    method : Solver
        The method.
    arrays : sequence of arrays
        The data.
    weights : array or None
        Of the rows.
    around : dict
        The penalty and the constraint, for `minimize`.
    *args, **more
        As in `Run`.
    """

    def __init__(
        self, method: Method, arrays: Sequence[Array], weights: Array, around: dict[str, Any],
        *args: Any, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **more)
        self._method, self._arrays, self._around = method, arrays, around
        self._more = {} if weights is None else {"weights": weights}
        self._view: Any = None

    def _value_and_gradient(self, params: Tree) -> Any:
        return _objective.checked(self._evaluate(params, *self._arrays, **self._more))

    def save(self, path: FilePath) -> None:
        """Write a file, as `Run.save`."""
        entry, writer = _resuming.written(self)
        self._view.save(path, more={"run": entry}, arrays=writer.arrays)

    def solve(self, iterations: int | None, resume: FilePath | None) -> None:
        """Make the iterations."""
        self.epochs = iterations
        told = _Told(self)
        if resume is None:
            self.begin()
        else:
            with _resuming.opened(self, resume) as saved:
                told.saved = saved
        found = minimize(
            self._value_and_gradient, self._params, method=self._method, stop=self._condition,
            max_iterations=iterations, callbacks=[told], record=(), resume=resume, **self._around,
        )  # fmt: skip
        self._params, self.step = found.x, found.nfev
        self.note_only(found.fun)
        self.end(found.message, status=found.status, success=found.success)

    def start(self, view: Any, saved: Json) -> None:
        """Note that a run of `minimize` begins or goes on."""
        self._view = view
        if saved is None:
            return
        saved.put(self)
        self._stand(view)
        self.begin(saved.pairs)
        self._stop_if_told()

    def look(self, view: Any) -> None:
        """Note an iteration, and end the run if a callback says so."""
        self._stand(view)
        if self.loss < self._best[0]:
            self._best = self.loss, view.params, self.epoch
        self.history.add("gradient_norm", view.history.last("gradient_norm"))
        self._note_epoch(self.loss)
        self._tell_epoch()
        self._save_due()
        self._stop_if_told()

    def _stand(self, view: Any) -> None:
        self.epoch, self.step, self.loss = view.epoch, view.step, view.loss
        self._params = view.params

    def _stop_if_told(self) -> None:
        if self._ends:
            self._params = self.copied()
            self._end_as_told()
            raise StoppedError

    def interrupted(self) -> None:
        """End a run that was interrupted, with the best parameters so far."""
        self.end("interrupted; these are the best parameters so far", status=98)
        if self._best[1] is not None:
            self._params = self._best[1]


class _Told(callbacks.Callback):
    # Stands in `minimize` for all callbacks of `fit`.

    def __init__(self, run: SolverRun) -> None:
        self._run = run
        self.saved: _resuming.Saved | None = None

    def on_start(self, view: Any) -> None:
        self._run.start(view, self.saved)

    def on_epoch(self, view: Any) -> None:
        self._run.look(view)
