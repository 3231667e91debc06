"""A run of a rule over batches, epoch by epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

from .. import _arrays
from .._arrays._trees import Structure
from ..data import Batches, plain_state
from ..optimizer import EMA, Optimizer
from ..stop._seen import Seen
from . import _resuming
from ._compiled_epoch import Scan
from ._objective import Batchwise
from ._run import End, InterruptedRunError, Run, copy, mapped, told

logger = logging.getLogger("fallline")

KEPT = ("stop", "skip")  # what to do with a loss that is not finite, where the best is kept


class EpochRun(Run):
    """A run of a rule.

    Parameters
    ----------
    objective : Batchwise
        What the steps evaluate.
    batches : iterable
        The batches of an epoch.
    options : dict
        Of the Optimizer, beside params and the rule.
    average : float, schedule or None
        The decay of an average of the parameters.
    stop : Condition or None
        Looks at each epoch.
    nonfinite : str
        As in `fit`.
    *args, **more
        As in `Run`.

    Attributes
    ----------
    uncompiled : str
        Why the steps of the last epoch were made one by one; empty if compiled code made them.
    """

    def __init__(
        self, objective: Batchwise, batches: Any, rule: Any, options: dict[str, Any],
        *args: Any, average: Any, stop: Any, nonfinite: str, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, stop=stop, **more)
        self._params = mapped(copy, self._params)
        how = nonfinite if nonfinite in ("skip", "raise") else "propagate"
        self.optimizer: Optimizer = Optimizer(self._params, rule, nonfinite=how, **options)
        self._average = None if average is None else EMA(self._params, average)
        self._decay = average
        self._objective, self._batches, self._nonfinite = objective, batches, nonfinite
        self._batch = 0  # of this epoch
        self._rng_state: Any = None
        self._total: Any = 0.0
        self._rows: Any = 0  # or the sum of the weights that batches bring
        self._scan: Scan | None = None
        self.uncompiled = ""
        self._refused: tuple[Any, str] = (None, "")  # what no scan could be made of, and why
        self._scanning, self._behind = False, 0
        self._memory: dict[str, Any] = {}
        self._judge = None
        if stop is not None:
            epsilon = self._epsilon
            self._judge = stop._judge(lambda: epsilon, self._memory)

    @property
    def _epsilon(self) -> float:
        leaves = Structure(self._first).flatten(self._first, "params")
        return max(_arrays.EPSILON[_arrays.dtype_name(p)] for p in leaves if p is not None)

    # -- for callbacks ------------------------------------------------------------------------

    def restore(self, params: Any) -> None:
        """Go on from other parameters; what the rule remembers stays, an average starts again."""
        if self.message:  # it has ended, perhaps in the midst of a step
            super().restore(params)
        else:
            self.optimizer.rebind(mapped(copy, params))
            self._params = self.optimizer.params
        if self._average is not None:
            self._average = EMA(self._params, self._decay)

    def save(self, path: Any) -> None:
        """Write a file, as `Run.save`."""
        _resuming.save(self, path)

    def _judged_params(self) -> Any:
        average = self._average
        return self._params if average is None or self.at_start else average.params

    # -- the loop -----------------------------------------------------------------------------

    def train(self, epochs: int, resume: Any) -> None:
        """Go through the batches, epoch by epoch."""
        self.epochs = epochs
        states: Sequence[Any] = ()
        if resume is not None:
            states = _resuming.resume(self, resume)
        self.begin(states)
        if self._ends and resume is not None:
            return self._end_as_told()
        if self.epoch >= epochs and "loss" not in self.history:
            self.note_only(self._untrained())
        while self.epoch < epochs:
            if not self._one_epoch():
                break
            if self._finish_epoch():
                return None
        self.end(f"{self.epoch} epochs were made", status=1)
        return None

    def _finish_epoch(self) -> bool:
        # Tells whether the run has ended.
        loss = self._epoch_loss()
        self.epoch, self._batch = self.epoch + 1, 0
        self._total, self._rows = 0.0, 0
        self._note_rng()
        self._note_epoch(loss)
        self._tell_epoch()
        value = 0.0
        if self._nonfinite in KEPT or self._judge is not None:
            value = self._judged()
        broken = self._nonfinite == "stop" and not math.isfinite(value)
        if broken:
            message = f"the loss is {value} in epoch {self.epoch}"
            self._ends.insert(0, End(message, 3, False))
        elif self._judge is not None:
            seen = _SeenEpoch(value, self.epoch, self.step)
            found = (v for holds, v in self._judge(seen) if holds)
            if (verdict := next(found, None)) is not None:
                by = told(self._condition)
                self._ends.insert(0, End(verdict.message, verdict.status, verdict.success, by))
        if not broken:
            self._save_due()
        if self._ends:
            self._end_as_told()
        return bool(self._ends)

    def _one_epoch(self) -> bool:
        # Tells whether there were batches.
        step_hooks = [hook for hook in self._hooks if hook.watches_steps]
        self._note_rng()
        try:
            if self._ends or not self._compiles(bool(step_hooks)):
                return self._stepped(step_hooks)
            self._scanned()
            return True
        except KeyboardInterrupt as error:
            if self._scan is not None and self._scanning:
                self._scan.settle()
                self._account()
            raise InterruptedRunError from error
        finally:
            self._scanning = False

    def _stepped(self, step_hooks: Sequence[Any]) -> bool:
        opt, objective = self.optimizer, self._objective
        some = self._batch > 0
        measures = opt._bound.options.clips_norm
        for batch in self._rest():
            some = True
            value, gradient = objective.value_and_gradient(self._params, *batch)
            self._params = opt.step(gradient)
            if self._average is not None and not opt._memory.calls:  # not while gradients gather
                self._average.update(self._params)
            self._count(value, objective.share(batch, value))
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
                return True
        if not some and self.step == 0:
            msg = "data: gave no batches"
            raise ValueError(msg)
        return some

    def _count(self, value: Any, n: Any) -> None:
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

    def _epoch_loss(self) -> Any:
        if self._nonfinite == "skip" or not _arrays.is_array(self._rows):
            rows = _arrays.to_float(self._rows)
            return self._total / rows if rows else math.nan
        xp = _arrays.namespace(self._rows)
        with _arrays.guard(self._rows)():
            return self._total / xp.where(self._rows == 0, math.nan, self._rows)

    def _rest(self) -> Iterator[tuple[Any, ...]]:
        # The batches of this epoch that are left.
        if isinstance(self._batches, Batches):
            yield from self._batches.epoch(self._batch, reuse=True)
            return
        found = iter(self._batches)
        for _ in range(self._batch):
            next(found)
        for batch in found:
            # Torch's DataLoader makes lists.
            yield tuple(batch) if isinstance(batch, tuple | list) else (batch,)

    def _untrained(self) -> Any:
        # The loss of an epoch without steps.
        batches = self._batches
        if isinstance(batches, Batches):
            batches = Batches(*batches.arrays, batch_size=batches.batch_size, shuffle=False)
        for batch in batches:
            batch = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            value, _ = self._objective.value_and_gradient(self._params, *batch)
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
        opt._ready()
        if self._refused[0] is opt._bound:
            return self._refused[1]
        try:
            if self._scan is None or not self._scan.fits(opt, bool(self._hooks)):
                self._scan = Scan(self._objective, opt, self._batches)
        except Exception as error:  # what is wrong is said by the steps one by one
            why = str(error) or type(error).__name__
            self._scan, self._refused = None, (opt._bound, why)
            return why
        return ""

    def _scanned(self) -> None:
        scan, opt = self._scan, self.optimizer
        assert scan is not None
        order = scan.order()
        while self._batch < len(self._batches) and not self._ends:
            self._behind, self._scanning = opt.step_count - self.step, True
            scan.advance(order, self._batch)
            self._account()
            self._scanning = False

    def _account(self) -> None:
        # Write down the steps of the last call that are not yet.
        assert self._scan is not None
        values, count = self._scan.values, self._scan.count
        if self._scan.optimizer.step_count - self._behind == self.step or not len(values):
            return
        total = self._scan.total(self._total)
        rows, batch = self._rows + count * len(values), self._batch + len(values)
        step, loss = self.step + len(values), values[-1:].reshape(())
        self.history.put("step_loss", self.step, values)
        self.step, self._batch, self._total, self._rows, self.loss = step, batch, total, rows, loss

    def _note_rng(self) -> None:
        # The state from which the order of this epoch is drawn.
        if isinstance(self._batches, Batches):
            self._rng_state = plain_state(self._batches.rng)

    # -- how it goes, and ends --------------------------------------------------------------------

    def _judged(self) -> float:
        # The number by which epochs are compared, and the best parameters so far.
        validated = self._validation is not None
        value = self.history.last("validation_loss" if validated else "loss")
        loss = self.history.last("loss")
        if value < self._best[0] and math.isfinite(loss):
            self._best = value, self.copied(), self.epoch
        return loss if not math.isfinite(loss) else value

    def end(self, message: str, *, status: int, success: bool | None = None) -> None:
        """Write down why the run ended; after a bad end the parameters are the best, or the start.

        A loss that is not finite, or is above that of the first epoch, is no success.
        """
        super().end(message, status=status, success=success)
        if "loss" not in self.history:
            return
        last = self.history.last("loss")
        if not math.isfinite(last):
            self._fail(3, f"the loss is {last}")
        else:
            losses = self.history["loss"]
            slack = 100 * self._epsilon * abs(losses[0])
            if losses[-1] > losses[0] + slack:
                self._fail(2, "the loss ended above its first value")

    def _fail(self, status: int, why: str) -> None:
        if why not in self.message:
            self.message += f"; {why}"
        self.status = max(self.status, status) if status == 3 else self.status or status
        self.success = False
        self._go_back()

    def interrupted(self) -> None:
        """End a run that was interrupted, with the best parameters so far."""
        super().end("interrupted; these are the best parameters so far", status=98)
        if self._best[1] is not None or self.optimizer._unfinished:  # a step was cut in two
            self._go_back()

    def _go_back(self) -> None:
        # To the best parameters. Without a validation the loss of an epoch is that before its end:
        # if the first is the lowest of several, the start was better than what came after.
        value, params, epoch = self._best
        start = params is None
        if params is not None and self._validation is not None:
            start = _arrays.to_float(self._validated(self._first)) <= value
        elif params is not None:
            start = epoch == 1 and self.epoch > 1 and _has_risen(self.history["loss"])
        self.at_start = start
        self.restore(self._first if start else params)


class _SeenEpoch(Seen):
    # What a condition sees of an epoch.

    def __init__(self, value: float, epoch: int, steps: int) -> None:
        self.value, self.iteration, self.evaluations = value, epoch, steps
        self.broken = not math.isfinite(value)

    def not_finite(self) -> str:
        return "the loss is not finite" if self.broken else ""


def _has_risen(losses: Any) -> bool:
    return bool((losses[1:] > losses[0]).any())
