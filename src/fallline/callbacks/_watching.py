"""Callbacks that save a run, end it, or note what its rules do."""

from __future__ import annotations

import math

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import FilePath, Json, KeyPath, RunView, Tree
from ._base import Callback


class Checkpoint(Callback):
    """A file from which ``fit(..., resume=path)`` or `minimize` goes on, bit for bit.

    It is written when all callbacks of the step or epoch were called, with what they know.

    Parameters
    ----------
    path : str or path
        The file; each new one replaces the old, whole or not at all.
    every : int, default 1
        Epochs between two files; iterations, with a solver and in `minimize`.
    steps : int, optional
        Steps of a rule between two files, instead.
    """

    def __init__(self, path: FilePath, every: int = 1, *, steps: int | None = None) -> None:
        self.path, self.every = path, _checks.count("every", every, 1)
        self.steps = None if steps is None else _checks.count("steps", steps, 1)

    @property
    def watches_steps(self) -> bool:
        """Whether files are written after steps."""
        return self.steps is not None or type(self).on_step is not Checkpoint.on_step

    def on_step(self, run: RunView) -> None:
        """Save after some steps."""
        if self.steps is not None and run.step % self.steps == 0:
            run.save_later(self.path)

    def on_epoch(self, run: RunView) -> None:
        """Save after some epochs."""
        if self.steps is None and run.epoch % self.every == 0:
            run.save_later(self.path)


class EarlyStopping(Callback):
    """Stops when a number of the history has not fallen for some epochs.

    Parameters
    ----------
    patience : int, default 5
        Epochs to wait.
    by : float, default 0
        What counts as better: lower by more than this.
    monitor : str, optional
        By default "validation_loss" where there is one, else "loss".
    restore_best : bool, default True
        Put the parameters back to where the number was lowest.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        by: float = 0.0,
        monitor: str | None = None,
        restore_best: bool = True,
    ) -> None:
        self.patience = _checks.count("patience", patience)
        self.by = _checks.number("by", by, 0.0, math.inf)
        self.monitor, self.restore_best = monitor, restore_best

    def __repr__(self) -> str:
        """Return the settings."""
        return (
            f"EarlyStopping({self.patience}, by={self.by!r}, monitor={self.monitor!r}, "
            f"restore_best={self.restore_best!r})"
        )

    def on_start(self, run: RunView) -> None:
        """Forget an earlier run."""
        self._best, self._since = math.inf, 0
        self._params: Tree = None

    def state_dict(self) -> dict[str, Json]:
        """Return the best number, its age in epochs and its parameters."""
        return {"best": self._best, "since": self._since, "params": self._params}

    def load_state_dict(self, state_dict: dict[str, Json]) -> None:
        """Go on with these.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        self._best, self._since = state_dict["best"], state_dict["since"]
        self._params = state_dict["params"] if self.restore_best else None

    def on_epoch(self, run: RunView) -> None:
        """Look at the number."""
        name = self.monitor or ("validation_loss" if "validation_loss" in run.history else "loss")
        if name not in run.history:
            raise _checks.unknown_name("monitor", name, list(run.history))
        value = run.history.last(name)
        if value < self._best - self.by:
            self._best, self._since = value, 0
            self._params = run.copied() if self.restore_best else None
            return
        self._since += 1
        if self._since > self.patience:
            run.stop(f"{name} has not fallen for {self._since} epochs")

    def on_end(self, run: RunView) -> None:
        """Put the best parameters back, unless the run went back to its start."""
        if self._params is not None and not run.at_start:
            run.restore(self._params)


class LearningRateLog(Callback):
    """The learning rate of each epoch's last step, as ``history["learning_rate"]``.

    Parameters
    ----------
    leaf : path, optional
        Which leaf's, where rules differ: a tuple of keys. By default the first that has one.
    """

    def __init__(self, leaf: KeyPath | None = None) -> None:
        self.leaf = leaf

    def on_epoch(self, run: RunView) -> None:
        """Take the rate down."""
        if run.optimizer is None:
            return
        structure = Structure(run.optimizer.params)
        rates = structure.broadcast(run.optimizer.learning_rate, "learning_rate")
        for path, rate in zip(structure.paths, rates, strict=True):
            if rate is not None and self.leaf in (None, path):
                run.history.add("learning_rate", _arrays.to_float(rate))
                return
