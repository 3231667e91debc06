"""A run of a rule over batches, epoch by epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .. import _arrays
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Fun, Json, Number, Tree
from ..callbacks import Callback
from ..data import Batches, plain_state
from ..optimizer import EMA, Optimizer
from ..optimizer._inner import Inner
from ..solvers._rule_run import started
from ..stop._seen import Seen
from . import _resuming
from ._compiled_epoch import CompiledEpoch
from ._judging import JudgedRun
from ._objective import Batchwise
from ._run import End, InterruptedRunError, Job, copy, mapped, told

logger = logging.getLogger("fallline")

KEPT = ("stop", "skip")  # what to do with a loss that is not finite, where the best is kept


def steps(
    value_and_gradient: Fun, optimizer: Optimizer, batches: Iterable[tuple[Array, ...]]
) -> Iterator[tuple[Number, tuple[Array, ...]]]:
    """Make a step by the gradient of each batch, and yield the loss before it, and the batch."""
    for batch in batches:
        value, gradient = value_and_gradient(*batch)
        optimizer.step(gradient)
        yield value, batch


def epoch_of(batches: Iterable[Tree], start: int = 0) -> Iterator[tuple[Array, ...]]:
    """Yield the batches of an epoch from one on, as tuples; the next may overwrite one."""
    if isinstance(batches, Batches):
        yield from batches.epoch(start, reuse=True)
        return
    found = iter(batches)
    for _ in range(start):
        next(found)
    for batch in found:
        # Torch's DataLoader makes lists.
        yield tuple(batch) if isinstance(batch, tuple | list) else (batch,)


class EpochRun(JudgedRun):
    """A run of a rule.

    Parameters
    ----------
    job : Job
        What every run is given.
    objective : Batchwise
        What the steps evaluate.
    batches : iterable
        The batches of an epoch.
    rule : Rule, or tree of rules
        What makes the steps.
    options : dict
        The arguments of the Optimizer besides params and the rule.
    average : float, schedule or None
        The decay of an average of the parameters.
    nonfinite : str
        As in `fit`.

    Attributes
    ----------
    uncompiled : str
        Why the steps of the last epoch were made one by one; empty if compiled code made them.
    """

    def __init__(
        self, job: Job, objective: Batchwise, batches: Iterable[Tree], rule: Tree,
        options: dict[str, Any], average: Number, nonfinite: str,
    ) -> None:  # fmt: skip
        super().__init__(job)
        if (constraint := options.get("constraint")) is not None:
            self._first = started(Structure(self._first), self._first, constraint)
        self._params = mapped(copy, self._first)
        how = nonfinite if nonfinite in ("skip", "raise") else "propagate"
        self.optimizer: Optimizer = Optimizer(self._params, rule, nonfinite=how, **options)
        self._inner = Inner(self.optimizer)
        self._average = None if average is None else EMA(self._params, average)
        self._decay = average
        self._objective, self._batches, self._nonfinite = objective, batches, nonfinite
        self._batch = 0  # of this epoch
        self._rng_state: Json = None
        self._total: Array = 0.0
        self._rows: Array = 0  # or the sum of the weights that batches bring
        self._compiled: CompiledEpoch | None = None
        self.uncompiled = ""
        self._refused: tuple[object, str] = (None, "")  # what could not be compiled, and why
        self._running_compiled, self._offset = False, 0
        self._memory: dict[str, Json] = {}
        self._judge = None if job.stop is None else job.stop.watch(self._epsilon, self._memory)

    # -- for callbacks ------------------------------------------------------------------------

    def restore(self, params: Tree) -> None:
        """Go on from other parameters. The state of the rule stays; an average starts again."""
        if self.message:  # it has ended, perhaps in the midst of a step
            super().restore(params)
        else:
            self.optimizer.rebind(mapped(copy, params))
            self._params = self.optimizer.params
        if self._average is not None:
            self._average = EMA(self._params, self._decay)

    def save(self, path: FilePath) -> None:
        """Write a file, as `Run.save`."""
        _resuming.save(self, path)

    def _judged_params(self) -> Tree:
        average = self._average
        return self._params if average is None or self.at_start else average.params

    # -- the loop -----------------------------------------------------------------------------

    def train(self, epochs: int | None, resume: FilePath | None) -> None:
        """Go through the batches, epoch by epoch."""
        self.epochs = epochs = 10 if epochs is None else _checks.count("epochs", epochs)
        self.begin([] if resume is None else _resuming.resume(self, resume))
        if self._ends and resume is not None:
            return self._end_as_told()
        if self.epoch >= epochs and "loss" not in self.history:
            self.note_only(self._untrained())
        while self.epoch < epochs:
            self._one_epoch()
            empty = not self._batch  # or another thread has stopped the run before a step was made
            if not empty:
                self._finish_epoch()
            if self._ends:
                return self._end_as_told()
            if empty:
                break
        return self.end(f"{self.epoch} epochs were made", status=1)

    def _finish_epoch(self) -> None:
        loss = self._epoch_loss()
        self.epoch, self._batch = self.epoch + 1, 0
        self._total, self._rows = 0.0, 0
        self._note_rng()
        self._note_epoch(loss)
        self._tell_all("on_epoch")
        value = 0.0
        if self._nonfinite in KEPT or self._judge is not None:
            value = self._judged()
        broken = self._nonfinite == "stop" and not math.isfinite(value)
        if broken:
            message = f"the loss is {value} in epoch {self.epoch}"
            self._ends.insert(0, End(message, 3, False))
        elif self._judge is not None:
            verdict = self._judge(_SeenEpoch(value, self.epoch, self.step))
            if verdict is not None:
                by = told(self._condition)
                self._ends.insert(0, End(verdict.message, verdict.status, verdict.success, by))
        if not broken:
            self._save_due()

    def _one_epoch(self) -> None:
        step_hooks = [hook for hook in self._hooks if hook.watches_steps]
        self._note_rng()
        try:
            if self._ends or not self._compiles(bool(step_hooks)):
                self._make_steps(step_hooks)
            else:
                self._run_compiled()
        except KeyboardInterrupt as error:
            if self._compiled is not None and self._running_compiled:
                self._compiled.settle()
                self._account()
            raise InterruptedRunError from error
        finally:
            self._running_compiled = False
        if not self._batch and not self.step:
            msg = "data: gave no batches"
            raise ValueError(msg)

    def _make_steps(self, step_hooks: Sequence[Callback]) -> None:
        opt, rest = self.optimizer, epoch_of(self._batches, self._batch)
        measures = self._inner.bound.options.clips_norm
        for value, batch in steps(self._value_and_gradient, opt, rest):
            self._params = opt.params
            if self._average is not None and not self._inner.gathers:  # not while gradients gather
                self._average.update(self._params)
            self._count(value, self._objective.share(batch, value))
            self.loss = value
            self.history.add("step_loss", value)
            if measures:
                norm = opt.gradient_norm  # none while the first gradients are gathered
                self.history.add("step_gradient_norm", math.nan if norm is None else norm)
            self.step, self._batch = self.step + 1, self._batch + 1
            for hook in step_hooks:
                self._tell(hook, "on_step")
            self._save_due()
            if self._ends:
                break

    def _value_and_gradient(self, *batch: Array) -> tuple[Array, Tree]:
        return self._objective.value_and_gradient(self._params, *batch)

    def _count(self, value: Number, n: Number) -> None:
        # Take a batch into the loss of the epoch; steps that are left out have none, and neither
        # have batches without weight.
        value = _arrays.detached(value)
        if self._nonfinite == "skip" and _arrays.is_array(value):
            xp = _arrays.namespace(value)
            good = xp.isfinite(value)
            self._rows = self._rows + n * _arrays.cast(good, value)
            value = xp.where(good, value, xp.zeros_like(value))
        elif self._nonfinite != "skip" or math.isfinite(value):
            self._rows = self._rows + n
        else:
            return
        self._total = self._total + value * n

    def _epoch_loss(self) -> Number:
        if self._nonfinite == "skip" or not _arrays.is_array(self._rows):
            rows = _arrays.to_float(self._rows)
            return self._total / rows if rows else math.nan
        xp = _arrays.namespace(self._rows)
        with _arrays.guard(self._rows)():
            return self._total / xp.where(self._rows == 0, math.nan, self._rows)

    def _untrained(self) -> Number:
        # The loss of an epoch without steps.
        batches = self._batches
        if isinstance(batches, Batches):
            batches = Batches(*batches.arrays, batch_size=batches.batch_size, shuffle=False)
        for batch in epoch_of(batches):
            value, _ = self._value_and_gradient(*batch)
            self._count(value, self._objective.share(batch, value))
        return self._epoch_loss()

    # -- steps without the interpreter ----------------------------------------------------------

    def _compiles(self, watched: bool) -> bool:
        # Whether the steps of an epoch run without the interpreter.
        why = "a callback looks at every step" if watched else self._refusal()
        if why and why != self.uncompiled:
            logger.debug("the steps of an epoch are made one by one: %s", why)
        self.uncompiled = why
        return not why

    def _refusal(self) -> str:
        # Why they do not; empty if they do.
        opt = self.optimizer
        if self._params is not opt.params or self._average is not None:
            return "an average of the parameters is kept, or they are not the Optimizer's own"
        bound = self._inner.ready()
        if self._refused[0] is bound:
            return self._refused[1]
        try:
            if self._compiled is None or not self._compiled.fits(bool(self._hooks)):
                self._compiled = CompiledEpoch(self._objective, opt, self._batches)
        except (TypeError, ValueError) as error:  # the steps one by one say what is wrong
            why = str(error) or type(error).__name__
            self._compiled, self._refused = None, (bound, why)
            return why
        return ""

    def _run_compiled(self) -> None:
        epoch, opt = self._compiled, self.optimizer
        assert epoch is not None
        order = epoch.order()
        while self._batch < len(epoch.batches) and not self._ends:
            self._offset, self._running_compiled = opt.step_count - self.step, True
            epoch.advance(order, self._batch)
            self._account()
            self._running_compiled = False

    def _account(self) -> None:
        # Write down the steps of the last call that are not yet.
        assert self._compiled is not None
        values, count = self._compiled.values, self._compiled.count
        if self._compiled.optimizer.step_count - self._offset == self.step or not len(values):
            return
        total = self._compiled.total(self._total)
        rows, batch = self._rows + count * len(values), self._batch + len(values)
        step, loss = self.step + len(values), values[-1:].reshape(())
        self.history.put("step_loss", self.step, values)
        self.step, self._batch, self._total, self._rows, self.loss = step, batch, total, rows, loss

    def _note_rng(self) -> None:
        # The state from which the order of this epoch is drawn.
        if isinstance(self._batches, Batches):
            self._rng_state = plain_state(self._batches.rng)


class _SeenEpoch(Seen):
    # What a condition sees of an epoch.

    def __init__(self, value: float, epoch: int, steps: int) -> None:
        self.value, self.iteration, self.evaluations = value, epoch, steps
        self.broken = not math.isfinite(value)

    def not_finite(self) -> str:
        return "the loss is not finite" if self.broken else ""
