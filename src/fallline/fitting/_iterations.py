"""A run of a solver over all data, iteration by iteration."""

from __future__ import annotations

from collections.abc import Sequence

from .. import callbacks
from .._arrays._types import Array, FilePath, RunView, Tree
from ..solvers import Solver
from ..solvers._minimize import minimize
from ..solvers._monitor import View
from . import _objective, _resuming
from ._run import Job, Run, StoppedError


class SolverRun(Run):
    """A run of a solver.

    Parameters
    ----------
    job : Job
        What every run is given.
    method : Solver
        The method.
    arrays : sequence of arrays
        The data.
    weights : array or None
        Of the rows.
    around : dict
        The penalty and the constraint, for `minimize`.
    """

    _view: View

    def __init__(
        self, job: Job, method: Solver, arrays: Sequence[Array], weights: Array,
        around: dict[str, Tree],
    ) -> None:  # fmt: skip
        super().__init__(job)
        self._method, self._arrays, self._around = method, arrays, around
        self._more = {} if weights is None else {"weights": weights}

    def _value_and_gradient(self, params: Tree) -> tuple[Array, Tree]:
        return _objective.checked(self._evaluate(params, *self._arrays, **self._more))

    def save(self, path: FilePath) -> None:
        """Write a file, as `Run.save`."""
        entry, writer = _resuming.written(self)
        self._view.save(path, more={"run": entry}, arrays=writer.arrays)

    def train(self, epochs: int | None, resume: FilePath | None) -> None:
        """Make the iterations, which count as epochs."""
        self.epochs = epochs
        told = _Told(self)
        if resume is None:
            self.begin()
        else:
            with _resuming.opened(self, resume) as saved:
                told.saved = saved
        found = minimize(
            self._value_and_gradient, self._params, method=self._method, stop=self._condition,
            max_iterations=epochs, callbacks=[told], record=(), resume=resume, **self._around,
        )  # fmt: skip
        self._params, self.step = found.x, found.nfev
        self.note_only(found.fun)
        self.end(found.message, status=found.status, success=found.success)

    def start(self, view: View, saved: _resuming.Saved | None) -> None:
        """Note that a run of `minimize` begins or goes on."""
        self._view = view
        if saved is None:
            return
        saved.put(self)
        self._stand(view)
        self.begin(saved.pairs)
        self._stop_if_told()

    def look(self, view: View) -> None:
        """Note an iteration, and end the run if a callback says so."""
        self._stand(view)
        if self.loss < self._best[0]:
            self._best = self.loss, self._params, self.epoch
        self.history.add("gradient_norm", view.history.last("gradient_norm"))
        self._note_epoch(self.loss)
        self._tell_all("on_epoch")
        self._save_due()
        self._stop_if_told()

    def _stand(self, view: View) -> None:
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

    def on_start(self, run: RunView) -> None:
        self._run.start(run, self.saved)

    def on_epoch(self, run: RunView) -> None:
        self._run.look(run)
