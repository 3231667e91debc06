"""What may happen while `fallline.fit` runs: callbacks.

A callback is a function of the run, called after each epoch; or a `Callback` with methods for the
start, each step, each epoch and the end. It ends the run by returning True (Python's or NumPy's),
by raising StopIteration, or by ``run.stop(message)``; what else it returns stops nothing.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from . import _arrays
from ._arrays import _checks

__all__ = [
    "CSVLog", "Callback", "Checkpoint", "EarlyStopping", "JSONLog", "LearningRateLog", "Log",
    "Progress",
]  # fmt: skip

logger = logging.getLogger("fallline")


# What the hooks are called elsewhere, where another name of ours would look nearer.
_ELSEWHERE = {
    "on_train_begin": "on_start",
    "on_train_start": "on_start",
    "on_fit_start": "on_start",
    "on_train_end": "on_end",
    "on_fit_end": "on_end",
    "on_batch_end": "on_step",
    "on_train_batch_end": "on_step",
}


class Callback:
    """Base of the callbacks; every method does nothing.

    Each gets the run: ``run.params`` (to be read; read-only where the library has that, else a
    copy), ``run.optimizer`` (`None` for solvers), ``run.epoch`` and ``run.step`` (how many are
    done), ``run.loss`` (of the last step, on its device), ``run.history``, and
    ``run.stop(message)``.

    What a callback knows is written to files of the run by `state_dict`, and comes back by
    `load_state_dict` when a run goes on, after `on_start`.

    A subclass with a method ``on_...`` of another name is refused with a TypeError when it is
    defined, because nothing would ever call that method.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse methods that look like hooks and are none."""
        super().__init_subclass__(**options)
        hooks = [name for name in vars(Callback) if name.startswith("on_")]
        for name, x in vars(cls).items():
            method = callable(x) or isinstance(x, classmethod)
            if name.startswith("on_") and method and name not in hooks:
                nearest = _ELSEWHERE.get(name) or get_close_matches(name, hooks, n=1, cutoff=0)[0]
                raise TypeError(
                    f"{cls.__name__}.{name}: is a method that nothing calls, expected {nearest}; "
                    f"the hooks are {', '.join(hooks)}"
                )

    @property
    def watches_steps(self) -> bool:
        """Whether `on_step` does anything; steps that nobody watches may run many at a time."""
        return type(self).on_step is not Callback.on_step

    def on_start(self, run: Any) -> None:
        """Before the first step."""

    def on_step(self, run: Any) -> None:
        """After a step of a rule."""

    def on_epoch(self, run: Any) -> None:
        """After an epoch of a rule, or an iteration of a solver."""

    def on_end(self, run: Any) -> None:
        """After the last step, however the run ended."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a run that goes on needs: numbers, text, arrays, dicts and lists of them."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """


class FromFunction(Callback):
    """A function as a callback."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def on_epoch(self, run: Any) -> Any:
        """Return what the function returns."""
        return self.function(run)


def made(callbacks: Any) -> list[Callback]:
    """Return callbacks for a sequence of callbacks and functions.

    Parameters
    ----------
    callbacks : sequence
        Instances of `Callback`, and functions of the run.

    Returns
    -------
    list of Callback
        In their order.
    """
    result = []
    for i, one in enumerate(callbacks):
        if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
            msg = f"callbacks[{i}]: is {one!r}, expected a function or an instance of a Callback"
            raise TypeError(msg)
        result.append(one if isinstance(one, Callback) else FromFunction(one))
    return result


class Progress(Callback):
    """A progress bar over epochs, by tqdm: ``pip install 'fallline[progress]'``.

    Parameters
    ----------
    **options
        Of ``tqdm.tqdm``.
    """

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            msg = "a progress bar needs tqdm: pip install 'fallline[progress]'"
            raise ImportError(msg) from error
        self._make, self._options = tqdm, options

    def on_start(self, run: Any) -> None:
        """Show an empty bar."""
        self._bar = self._make(total=run.epochs, initial=run.epoch, **self._options)

    def on_epoch(self, run: Any) -> None:
        """Move it, with the newest numbers beside."""
        names = [n for n in ("loss", "validation_loss") if n in run.history]
        self._bar.set_postfix({n: f"{run.history.last(n):.4g}" for n in names}, refresh=False)
        self._bar.update(run.epoch - self._bar.n)

    def on_end(self, run: Any) -> None:
        """Leave it as it is."""
        self._bar.close()


class Log(Callback):
    """The numbers of an epoch through `logging`, logger "fallline", level INFO.

    Parameters
    ----------
    every : int, default 1
        Epochs between two lines.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = _checks.count("every", every, 1)

    def on_epoch(self, run: Any) -> None:
        """Write a line."""
        if run.epoch % self.every == 0 and logger.isEnabledFor(logging.INFO):
            numbers = _newest(run)
            text = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())
            logger.info("epoch %d: %s", run.epoch, text)


class CSVLog(Callback):
    """The numbers of each epoch as a line of a CSV file, written at once.

    Parameters
    ----------
    path : str or path
        The file; an old one is replaced.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        self._names: list[str] = []

    def on_start(self, run: Any) -> None:
        """Begin the file."""
        self._names = []
        self.path.write_text("")

    def state_dict(self) -> dict[str, Any]:
        """Return the lines so far."""
        return {"names": self._names, "text": _read(self.path)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin the file with the lines of a run that goes on.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        self._names = state_dict["names"]
        _write(self.path, state_dict["text"])

    def on_epoch(self, run: Any) -> None:
        """Append a line."""
        numbers = {"epoch": run.epoch, "step": run.step, **_newest(run)}
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not self._names:
                self._names = list(numbers)
                writer.writerow(self._names)
            writer.writerow([numbers.get(name, "") for name in self._names])


class JSONLog(Callback):
    """The numbers of each epoch as a line of JSON, written at once.

    Parameters
    ----------
    path : str or path
        The file; an old one is replaced.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(path)

    def on_start(self, run: Any) -> None:
        """Begin the file."""
        self.path.write_text("")

    def state_dict(self) -> dict[str, Any]:
        """Return the lines so far."""
        return {"text": _read(self.path)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin the file with the lines of a run that goes on.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        _write(self.path, state_dict["text"])

    def on_epoch(self, run: Any) -> None:
        """Append a line."""
        numbers = {"epoch": run.epoch, "step": run.step, **_newest(run)}
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(finite) + "\n")


def _read(path: Path) -> str:
    with path.open(newline="") as file:  # with the ends of lines as they are
        return file.read()


def _write(path: Path, text: str) -> None:
    with path.open("w", newline="") as file:
        file.write(text)


def _newest(run: Any) -> dict[str, float]:
    history = run.history
    return {name: history.last(name) for name in history if not name.startswith("step_")}


class Checkpoint(Callback):
    """A file from which ``fit(..., resume=path)`` or `minimize` goes on, bit for bit.

    `fit` writes them for rules, `minimize` for rules and solvers.

    It is written when all callbacks of the step or epoch were called, with what they know.

    Parameters
    ----------
    path : str or path
        The file; each new one replaces the old, whole or not at all.
    every : int, default 1
        Epochs between two files; in `minimize`, iterations.
    steps : int, optional
        Steps between two files, instead.
    """

    def __init__(self, path: Any, every: int = 1, *, steps: int | None = None) -> None:
        self.path, self.every = path, _checks.count("every", every, 1)
        self.steps = None if steps is None else _checks.count("steps", steps, 1)

    @property
    def watches_steps(self) -> bool:
        """Whether files are written after steps."""
        return self.steps is not None or type(self).on_step is not Checkpoint.on_step

    def on_step(self, run: Any) -> None:
        """Save after some steps."""
        if self.steps is not None and run.step % self.steps == 0:
            run.save_later(self.path)

    def on_epoch(self, run: Any) -> None:
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

    def on_start(self, run: Any) -> None:
        """Forget an earlier run."""
        self._best, self._since = math.inf, 0
        self._params: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best number, its age in epochs and its parameters."""
        return {"best": self._best, "since": self._since, "params": self._params}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with these.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        self._best, self._since = state_dict["best"], state_dict["since"]
        self._params = state_dict["params"] if self.restore_best else None

    def on_epoch(self, run: Any) -> None:
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

    def on_end(self, run: Any) -> None:
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

    def __init__(self, leaf: tuple[Any, ...] | None = None) -> None:
        self.leaf = leaf

    def on_epoch(self, run: Any) -> None:
        """Take the rate down."""
        if run.optimizer is None:
            return
        bound = run.optimizer._bound
        numbers = bound.structure.flatten(run.optimizer.hyperparameters(), "hyperparameters")
        for path, row in zip(bound.structure.paths, numbers, strict=True):
            if row and "learning_rate" in row and self.leaf in (None, path):
                run.history.add("learning_rate", _arrays.to_float(row["learning_rate"]))
                return
