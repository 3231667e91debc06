"""Callbacks that show or write how a run goes."""

from __future__ import annotations

import csv
import json
import logging
import math
from pathlib import Path

from .._arrays import _checks
from .._arrays._types import FilePath, Json, RunView
from ._base import Callback

logger = logging.getLogger("fallline")


class Progress(Callback):
    """A progress bar over epochs, by tqdm: ``pip install 'fallline[progress]'``.

    Parameters
    ----------
    **options
        Of ``tqdm.tqdm``.
    """

    def __init__(self, **options: object) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            msg = "a progress bar needs tqdm: pip install 'fallline[progress]'"
            raise ImportError(msg) from error
        self._make, self._options = tqdm, options

    def on_start(self, run: RunView) -> None:
        """Show an empty bar."""
        self._bar = self._make(total=run.epochs, initial=run.epoch, **self._options)

    def on_epoch(self, run: RunView) -> None:
        """Move it, with the newest numbers beside."""
        names = [n for n in ("loss", "validation_loss") if n in run.history]
        self._bar.set_postfix({n: f"{run.history.last(n):.4g}" for n in names}, refresh=False)
        self._bar.update(run.epoch - self._bar.n)

    def on_end(self, run: RunView) -> None:
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

    def on_epoch(self, run: RunView) -> None:
        """Write a line."""
        if run.epoch % self.every == 0 and logger.isEnabledFor(logging.INFO):
            numbers = _newest(run)
            text = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())
            logger.info("epoch %d: %s", run.epoch, text)


class _FileLog(Callback):
    # A line in a file for each epoch; a run that goes on begins with the lines so far.

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)

    def on_start(self, run: RunView) -> None:
        """Begin the file."""
        self.path.write_text("")

    def state_dict(self) -> dict[str, Json]:
        """Return the lines so far."""
        with self.path.open(newline="") as file:  # with the ends of lines as they are
            return {"text": file.read()}

    def load_state_dict(self, state_dict: dict[str, Json]) -> None:
        """Begin the file with the lines of a run that goes on.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        with self.path.open("w", newline="") as file:
            file.write(state_dict["text"])


class CSVLog(_FileLog):
    """The numbers of each epoch as a line of a CSV file, written at once.

    Parameters
    ----------
    path : str or path
        The file; an old one is replaced.
    """

    def __init__(self, path: FilePath) -> None:
        super().__init__(path)
        self._names: list[str] = []

    def on_start(self, run: RunView) -> None:
        """Begin the file."""
        self._names = []
        super().on_start(run)

    def state_dict(self) -> dict[str, Json]:
        """Return the lines so far, and the names of the columns."""
        return {"names": self._names, **super().state_dict()}

    def load_state_dict(self, state_dict: dict[str, Json]) -> None:
        """Begin the file with the lines of a run that goes on.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        self._names = state_dict["names"]
        super().load_state_dict(state_dict)

    def on_epoch(self, run: RunView) -> None:
        """Append a line."""
        numbers = {"epoch": run.epoch, "step": run.step, **_newest(run)}
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not self._names:
                self._names = list(numbers)
                writer.writerow(self._names)
            writer.writerow([numbers.get(name, "") for name in self._names])


class JSONLog(_FileLog):
    """The numbers of each epoch as a line of JSON, written at once.

    Parameters
    ----------
    path : str or path
        The file; an old one is replaced.
    """

    def on_epoch(self, run: RunView) -> None:
        """Append a line."""
        numbers = {"epoch": run.epoch, "step": run.step, **_newest(run)}
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(finite) + "\n")


def _newest(run: RunView) -> dict[str, float]:
    history = run.history
    return {name: history.last(name) for name in history if not name.startswith("step_")}
