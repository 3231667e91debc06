"""What `minimize` does with each record of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from .. import callbacks
from .. import stop as conditions
from .._arrays._types import Array, FilePath, Fun, Json, Method, RunView, Tree
from ..callbacks._base import ends
from ..stop import Verdict
from ..stop._watch import copied as remembered
from ..stop._watch import fill
from . import _resume
from ._base import INTERRUPTED
from ._record import Record
from ._rule_run import copied

Keep = dict[str, Callable[[Record], object]]


class Monitor:
    """Keeps the history and the best point, judges each record, and calls the callbacks.

    Files keep what `remembers` names.

    Parameters
    ----------
    epsilon : float
        Precision of the numbers.
    stop : Condition or None
        When to end the run.
    callback : callable or None
        A function that is called with each record.
    keep : dict of callables
        Functions of a record whose values the history keeps, by name.
    view : View
        What `hooks` see of the run.
    hooks : sequence of Callback
        Callbacks that are told of each iteration.
    """

    remembers: ClassVar[dict[str, type]] = {"best": Record, "last": Record}

    def __init__(
        self,
        epsilon: float,
        stop: Any,
        callback: Callable[[Record], object] | None,
        keep: Keep,
        view: View,
        hooks: Sequence[callbacks.Callback],
    ) -> None:
        self._finite = conditions.NonFinite().watch(epsilon)
        self._memory: dict[str, Any] = {}
        self._watch = None if stop is None else stop.watch(epsilon, self._memory)
        self._callback, self._keep, self.hooks, self.stop = callback, keep, hooks, stop
        self.view = view
        self.view.monitor = self
        self.history: dict[str, list[Any]] = {name: [] for name in keep}
        # What the conditions remembered before they judged the last record.
        self.memory = remembered(self._memory)
        self.best: Any = None
        self.last: Any = None

    def __call__(self, record: Record, *, first: bool = False) -> Verdict | None:
        """Record an iteration, and return why to stop if there is a reason."""
        self.last = record
        for name, value in self._keep.items():
            self.history[name].append(value(record))
        verdict = self._judged(record)
        if first:
            return verdict
        if self.view.stopped_by(self._callback, record):
            verdict = verdict or Verdict("the callback stopped the run", False, 99)
        self.view.tell(self.hooks)
        self.view.write()
        return verdict or self.view.verdict

    def _judged(self, record: Record) -> Verdict | None:
        if self.hooks:  # nobody else sees the view, and what files keep
            self.view.move(record)
            self.memory = remembered(self._memory)
        verdict = self._finite(record)
        self._compare(record, broken=verdict is not None)
        if verdict is None and self._watch is not None:
            verdict = self._watch(record)
        return verdict

    def _compare(self, record: Record, *, broken: bool) -> None:
        if self.best is None or record.value < self.best.value or math.isnan(self.best.value):
            self.best = record if not broken or self.best is None else self.best

    def resumed(self) -> Verdict | None:
        """Judge the last record of a file again: the conditions may have changed."""
        fill(self._memory, self.memory)
        return self._judged(self.last)

    def interrupted(self, record: Record) -> Verdict:
        """Record where the run was interrupted, and return that as the reason."""
        self._compare(record, broken=bool(record.broken))
        return Verdict(INTERRUPTED, False, 98)


class _Newest(dict[str, float]):
    # The numbers of the last record, where `fit` has those of all.

    def last(self, name: str) -> float:
        return self[name]

    def add(self, name: str, value: float) -> None:
        self[name] = value


Numbers = Callable[[Record], tuple[int, float, float]]  # which epoch it is, loss, gradient's norm


def _of_one(record: Record) -> tuple[int, float, float]:
    return record.iteration, record.value, record.gradient_norm


class View:
    """What the classes of `fallline.callbacks` see of a run of `minimize`.

    Attributes
    ----------
    params : tree
        The point, read-only.
    optimizer : Optimizer or None
        The Optimizer, if the method is a rule.
    epoch, step : int
        Iterations and evaluations so far.
    epochs : int or None
        The largest number of iterations, if it was given.
    loss : float
        The value.
    history : dict
        The newest ``"loss"`` and ``"gradient_norm"``; ``history.last(name)``.
    """

    monitor: Any

    def __init__(
        self, run: RunView, method: Method, epochs: int | None, numbers: Numbers = _of_one
    ) -> None:
        self._run, self._method, self.epochs, self._numbers = run, method, epochs, numbers
        self.optimizer = run.optimizer
        self.verdict: Verdict | None = None
        self.history = _Newest()
        self._warned: set[int] = set()  # callbacks
        self._paths: list[Any] = []

    def move(self, record: Record) -> None:
        """Show another record."""
        self._record, self.step = record, record.evaluations
        self.epoch, self.loss, norm = self._numbers(record)
        self.history.update(loss=self.loss, gradient_norm=norm)

    def stopped_by(self, callback: Fun | None, record: Record) -> bool:
        """Call a function with a record, and tell whether it ends the run."""
        return callback is not None and ends(
            callback, record, who=callback, name=lambda: "callback:", warned=self._warned
        )

    def tell(self, hooks: Sequence[callbacks.Callback]) -> None:
        """Tell callbacks of an iteration; each may end the run."""
        for hook in hooks:
            name = partial("callbacks: {!r}".format, hook)
            if ends(hook.on_epoch, self, who=hook, name=name, warned=self._warned):
                self.stop("a callback stopped the run", status=99)

    @property
    def params(self) -> Tree:
        """The point."""
        return self._record.x

    def copied(self) -> Tree:
        """Return a copy of the point."""
        return copied(self._run.space.structure, self._record.x)

    def stop(self, message: str, *, status: int = 0) -> None:
        """End the run after this iteration.

        Parameters
        ----------
        message : str
            Why, for the result.
        status : int, default 0
            For the result.
        """
        self.verdict = self.verdict or Verdict(message, status == 0, status)

    def save(
        self,
        path: FilePath,
        *,
        more: Mapping[str, Json] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        """Write a file from which `minimize` can continue.

        Parameters
        ----------
        path : str or path
            Path of the file.
        more, arrays : mapping, optional
            What else belongs into the file: entries of its header, and arrays by their names.
        """
        _resume.save(path, self._run, self._method, self.monitor, more=more, arrays=arrays)

    def save_later(self, path: FilePath) -> None:
        """Write the file after all callbacks of this iteration have been called.

        Parameters
        ----------
        path : str or path
            Path of the file.
        """
        self._paths.append(path)

    def write(self) -> None:
        """Write the files that were postponed."""
        while self._paths:
            self.save(self._paths.pop(0))


def hooks(given: Sequence[Any], progress: bool) -> list[callbacks.Callback]:
    """Return the callbacks of a run, after checking that they suit `minimize`.

    Parameters
    ----------
    given : sequence
        Instances of `Callback`, and functions of the run.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    list of Callback
        The callbacks, in the order given.
    """
    found = callbacks.made([*given, *([callbacks.Progress()] if progress else [])])
    for i, hook in enumerate(found):
        if isinstance(hook, callbacks.EarlyStopping):
            msg = f"callbacks[{i}]: EarlyStopping is for fit; use stop=NotImproved(...)"
            raise ValueError(msg)
        if hook.watches_steps:
            name = type(hook).__name__
            msg = f"callbacks[{i}]: {name} watches the steps of fit's epochs; here every iteration "
            raise ValueError(msg + "is an epoch, and every= counts them")
    return found
