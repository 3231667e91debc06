"""How the epochs of a rule are judged, and what a run of them ends with."""

from __future__ import annotations

import math

from .. import _arrays
from .._arrays._trees import Structure
from ..optimizer._inner import Inner
from ._run import Run


class JudgedRun(Run):
    """A run that keeps the best parameters, and goes back to them after a bad end."""

    _inner: Inner  # of the Optimizer

    @property
    def _epsilon(self) -> float:
        leaves = Structure(self._first).flatten(self._first, "params")
        return max(_arrays.EPSILON[_arrays.dtype_name(p)] for p in leaves if p is not None)

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
        if self._best[1] is not None or not self._inner.whole:  # a step was cut in two
            self._go_back()

    def _go_back(self) -> None:
        # To the best parameters. Without a validation the loss of an epoch is that before its end:
        # if the first is the lowest of several, the start was better than what came after.
        value, params, epoch = self._best
        start = params is None
        if params is not None and self._validation is not None:
            start = _arrays.to_float(self._validated(self._first)) <= value
        elif params is not None:
            losses = self.history["loss"]
            start = epoch == 1 and self.epoch > 1 and bool((losses[1:] > losses[0]).any())
        self.at_start = start
        self.restore(self._first if start else params)
