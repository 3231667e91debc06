"""A run of `fit`: what callbacks see of it, and how it ends."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .. import _arrays
from .._arrays import _looks
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Fun, Json, Number, Tree
from ..callbacks import Callback
from ..callbacks._base import ends
from ..optimizer import Optimizer
from ..stop import Condition
from ._history import History


class StoppedError(Exception):
    """A callback or a condition ended the run."""


class InterruptedRunError(Exception):
    """The run was interrupted from outside."""


class End(NamedTuple):
    """Why a run is to end; `by` is who said so, as text."""

    message: str
    status: int
    success: bool
    by: str = ""


@dataclass(frozen=True)
class Job:
    """What a run of either kind of method is given.

    Attributes
    ----------
    evaluate : callable
        The objective, as a function of the parameters and a batch.
    params : tree of arrays
        Where to start.
    hooks : sequence of Callback
        The callbacks.
    validation : tuple of arrays or None
        The data on which the objective is evaluated after each epoch.
    stop : Condition or None
        The condition that is asked after each epoch.
    describe : callable
        Returns what tells the data and the problem from others, for files.
    """

    evaluate: Fun
    params: Tree
    hooks: Sequence[Callback]
    validation: Tree
    stop: Condition | None
    describe: Callable[[], dict[str, Json]]


class Run:
    """One call of `fit` while it is under way, as callbacks see it.

    Attributes
    ----------
    optimizer : Optimizer or None
        The Optimizer that steps the parameters by a rule; `None` with a solver.
    epoch, step : int
        The number of epochs and steps done; of iterations and evaluations, with a solver.
    epochs : int or None
        The number of epochs, or iterations, after which the run ends.
    loss : array or float
        The loss of the last step.
    history : History
        The numbers of the run so far, by name.
    at_start : bool
        Whether the run ended with the parameters it began with, as nothing better was found.
    """

    def __init__(self, job: Job) -> None:
        self._evaluate, self._params, self._hooks = job.evaluate, job.params, job.hooks
        self._validation, self._condition = job.validation, job.stop
        self._describe, self._first = job.describe, job.params
        self.optimizer: Optimizer | None = None
        self.epoch = self.step = 0
        self.epochs: int | None = None
        self.loss: Number = math.nan
        self.history = History()
        self.message, self.status, self.success = "", 0, False
        self.at_start = False
        self._best: tuple[float, Tree, int] = (math.inf, None, 0)  # with its epoch
        self._clock = time.perf_counter()
        self._ends: list[End] = []
        self._calling: Callback | None = None
        self._begun = False
        self._due: list[FilePath] = []  # files to be written when all callbacks were called
        self._told: set[int] = set()  # callbacks that were warned about

    # -- for callbacks ------------------------------------------------------------------------

    @property
    def params(self) -> Tree:
        """The parameters as they are now; do not write or keep them.

        They are read-only views of NumPy's arrays, and copies where a library has no such views.
        `copied` returns arrays that stay as they are; ``run.optimizer.params`` are the arrays that
        a rule steps.
        """
        return mapped(_arrays.shielded, self._params)

    @params.setter
    def params(self, params: Tree) -> None:
        self._params = params

    def stop(self, message: str, *, status: int = 0) -> None:
        """End the run after this epoch or step.

        Parameters
        ----------
        message : str
            The `message` of the result: why the run ends.
        status : int, default 0
            The `status` of the result; 0 means success.
        """
        self._ends.append(End(message, status, status == 0, told(self._calling)))

    def copied(self) -> Tree:
        """Return a copy of the parameters, or of their average if the run keeps one."""
        return mapped(copy, self._judged_params())

    def restore(self, params: Tree) -> None:
        """Go on from other parameters; the state of the rule stays.

        Parameters
        ----------
        params : tree
            A copy that `copied` returned.
        """
        self._params = mapped(copy, params)

    def save(self, path: FilePath) -> None:
        """Write a file from which `fit` goes on.

        Parameters
        ----------
        path : str or path
            The file. A callback that saves within `on_epoch` or `on_step` writes it before
            the callbacks after it were called, so that what they note now is missing;
            `callbacks.Checkpoint` writes after all of them.
        """
        raise NotImplementedError

    def save_later(self, path: FilePath) -> None:
        """Write the file of `save` as soon as all callbacks of this step or epoch were called.

        Parameters
        ----------
        path : str or path
            The file.
        """
        self._due.append(path)

    def _save_due(self) -> None:
        while self._due:
            self.save(self._due.pop(0))

    # -- for both kinds of methods --------------------------------------------------------------

    @cached_property
    def described(self) -> dict[str, Json]:
        """What tells the data and the problem from others, for files."""
        return self._describe()

    def _judged_params(self) -> Tree:
        # What is validated, compared and returned.
        return self._params

    def result(self) -> Tree:
        """Return the parameters that the run ends with, which are always finite."""
        params = self._judged_params()
        if not _finite(params):
            self.success, self.at_start = False, True
            if self.status in (0, 1):
                self.status = 3
                self.message += "; the parameters are not finite"
            return mapped(copy, self._first)
        return params

    def begin(self, states: Sequence[tuple[Callback, Json]] = ()) -> None:
        """Call `on_start` of the callbacks, and restore their state in a run that goes on."""
        self._clock, self._begun = time.perf_counter(), True
        self._tell_all("on_start")
        for hook, state in states:
            hook.load_state_dict(state)

    def conclude(self) -> None:
        """Call `on_end` of the callbacks, if they were told that the run began."""
        if self._begun:
            self._tell_all("on_end")

    def end(self, message: str, *, status: int, success: bool | None = None) -> None:
        """Write down why the run ended."""
        self.message, self.status = message, status
        self.success = status == 0 if success is None else success

    def _end_as_told(self) -> None:
        first = self._ends[0]
        self.end(first.message, status=first.status, success=first.success)

    def note_only(self, value: Number) -> None:
        """Add the loss of a run that made no step to the history."""
        if "loss" not in self.history:
            self._note_epoch(value)

    def _note_epoch(self, loss: Number) -> None:
        self.history.add("loss", loss)
        if self._validation is not None:
            self.history.add("validation_loss", self._validated(self._judged_params()))
        now = time.perf_counter()
        self.history.add("seconds", now - self._clock)
        self._clock = now

    def _tell_all(self, name: str) -> None:
        for hook in self._hooks:
            self._tell(hook, name)

    def _tell(self, hook: Callback, name: str) -> None:
        # A callback ends a run by a truth, by StopIteration or by `stop`.
        self._calling = hook
        try:
            ended = ends(
                getattr(hook, name), self, who=hook, name=lambda: f"callbacks: {told(hook)}",
                warned=self._told,
            )  # fmt: skip
        finally:
            self._calling = None
        if ended:
            self._ends.append(End("a callback stopped the run", 99, False, told(hook)))

    def _validated(self, params: Tree) -> Number:
        return self._evaluate(params, *self._validation)[0]


def told(x: object) -> str:
    """Return a condition or callback as text that is the same in another process."""
    return "" if x is None else re.sub(r" at 0x[0-9a-f]+", "", repr(getattr(x, "function", x)))


def mapped(function: Callable[[Array], Array], tree: Tree) -> Tree:
    """Return a tree with a function's results in the place of arrays."""
    structure = Structure(tree)
    leaves = structure.flatten(tree, "params")
    return structure.unflatten([x if x is None else function(x) for x in leaves])


def copy(x: Array) -> Array:
    """Return a copy of an array."""
    return _arrays.moved(x, x, x.dtype)


def _finite(params: Tree) -> bool:
    leaves = Structure(params).flatten(params, "params")
    return _looks.all_finite([x for x in leaves if x is not None])
