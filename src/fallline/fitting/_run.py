"""A run of `fit`: what callbacks see of it, and the loop of a rule over batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files
from .._arrays._trees import Structure
from ..data import Batches, plain_state
from ..optimizer import Optimizer, _saving
from ._compiled_epoch import Scan
from ._history import History


class StoppedError(Exception):
    """A callback or a condition ended the run."""


class InterruptedRunError(Exception):
    """The run was interrupted from outside."""


class Run:
    """One call of `fit` while it is under way.

    Attributes
    ----------
    params : tree
        The parameters as they are now.
    optimizer : Optimizer or None
        What steps them, for a rule.
    epoch, step : int
        How many are done; iterations and evaluations, for a solver.
    epochs : int or None
        How many there will be.
    loss : array or float
        Of the last step.
    history : History
        Numbers by name.
    """

    def __init__(
        self, evaluate: Callable[..., Any], params: Any, hooks: Sequence[Any], *, validation: Any,
        weighted: bool,
    ) -> None:  # fmt: skip
        self._evaluate, self.params, self._hooks = evaluate, params, hooks
        self._validation, self._weighted = validation, weighted
        self.optimizer: Optimizer | None = None
        self.epoch = self.step = 0
        self.epochs: int | None = None
        self.loss: Any = math.nan
        self.history = History()
        self.message, self.status, self.success = "", 0, False
        self._best: tuple[float, Any] = (math.inf, None)
        self._clock = time.perf_counter()
        self._batch = 0  # of this epoch
        self._rng_state: Any = None
        self._total: Any = 0.0
        self._ends: list[tuple[str, int]] = []
        self._first = params
        self._rows = 0
        self._scan: Scan | None = None
        self._refused: Any = None  # what no scan could be made of
        self._scanning, self._behind = False, 0

    # -- for callbacks ------------------------------------------------------------------------

    def stop(self, message: str, *, status: int = 0) -> None:
        """End the run after this epoch or step.

        Parameters
        ----------
        message : str
            Why, for the result.
        status : int, default 0
            For the result.
        """
        self._ends.append((message, status))

    def copied(self) -> Any:
        """Return a copy of the parameters."""
        return _copied(self.params)

    def restore(self, params: Any) -> None:
        """Go on from other parameters; what the rule remembers stays.

        Parameters
        ----------
        params : tree
            A copy that `copied` gave.
        """
        if self.optimizer is None:
            self.params = params
        else:
            self.optimizer.rebind(_copied(params))
            self.params = self.optimizer.params

    def save(self, path: Any) -> None:
        """Write a file from which `fit` goes on.

        Parameters
        ----------
        path : str or path
            Where.
        """
        assert self.optimizer is not None
        more = {
            "epoch": self.epoch, "step": self.step, "batch": self._batch, "rng": self._rng_state,
            "history": list(self.history), "rows": self._rows,
            "total": _arrays.to_float(self._total),
        }  # fmt: skip
        opt = self.optimizer
        arrays = {f"history/{name}": x for name, x in self.history.state().items()}
        _saving.save(path, opt._ready(), opt._memory, more={"run": more}, arrays=arrays)

    # -- for both kinds of methods --------------------------------------------------------------

    def evaluated(self, params: Any, batch: Sequence[Any]) -> tuple[Any, Any]:
        """Return the loss and the gradient of a batch."""
        if self._weighted:
            found = self._evaluate(params, *batch[:-1], weights=batch[-1])
        else:
            found = self._evaluate(params, *batch)
        if not isinstance(found, tuple) or len(found) != 2:
            msg = f"objective: returned a {type(found).__name__}, expected (value, gradient)"
            raise TypeError(msg)
        return found

    def begin(self) -> None:
        """Tell the callbacks."""
        self._clock = time.perf_counter()
        for hook in self._hooks:
            hook.on_start(self)

    def end(
        self, message: str, *, status: int, success: bool | None = None, best: bool = False
    ) -> None:
        """Write down why the run ended; `best`: go back to the best parameters."""
        self.message, self.status = message, status
        self.success = status == 0 if success is None else success
        if best and self._best[1] is not None:
            self.params = self._best[1]
        elif best and self.optimizer is not None and self.optimizer._unfinished:
            self.params = self._first  # a step was cut in two

    def look(self, record: Any) -> bool:
        """Take note of a solver's iteration; tell whether to end."""
        self.epoch, self.step, self.loss = record.iteration, record.evaluations, record.value
        self.params = record.x
        if record.value < self._best[0]:
            self._best = record.value, record.x
        self.history.add("gradient_norm", record.gradient_norm)
        self._finish_epoch(record.value)
        if self._ends:
            self.end(self._ends[0][0], status=self._ends[0][1])
            raise StoppedError
        return False

    def _finish_epoch(self, loss: Any) -> None:
        self.history.add("loss", loss)
        if self._validation is not None:
            self.history.add("validation_loss", self._validated())
        now = time.perf_counter()
        self.history.add("seconds", now - self._clock)
        self._clock = now
        for hook in self._hooks:
            hook.on_epoch(self)

    def _validated(self) -> Any:
        batch = self._validation
        return self._evaluate(self.params, *batch)[0]

    # -- rules ------------------------------------------------------------------------------------

    def train(
        self, rule: Any, batches: Any, epochs: int, *, penalty: Any, constraint: Any, stop: Any,
        nonfinite: str, resume: Any, engine: str, objective: Any,
    ) -> None:  # fmt: skip
        """Go through the batches, epoch by epoch."""
        self.params = self.copied()
        how = nonfinite if nonfinite in ("skip", "raise") else "propagate"
        self.optimizer = Optimizer(
            self.params, rule, penalty=penalty, constraint=constraint, nonfinite=how,
            engine=engine,
        )  # fmt: skip
        self.epochs = epochs
        self._batches, self._objective = batches, objective
        if resume is not None:
            self._resume(resume)
        watch = None if stop is None else stop.watch(_epsilon(self.params))
        keeps = nonfinite in ("stop", "skip")
        self.begin()
        while self.epoch < epochs:
            if not self._one_epoch():
                break
            loss = self._total / max(self._rows, 1)
            self.epoch, self._batch = self.epoch + 1, 0
            self._total, self._rows = 0.0, 0
            self._note_rng()
            self._finish_epoch(loss)
            value = self._judged() if keeps or watch is not None else 0.0
            if nonfinite == "stop" and not math.isfinite(value):
                self.end(f"the loss is {value} in epoch {self.epoch}", status=3, best=True)
                return
            verdict = None if watch is None else watch(self._standing(value))
            if verdict is not None:
                self.end(verdict.message, status=verdict.status, success=verdict.success)
                return
            if self._ends:
                self.end(self._ends[0][0], status=self._ends[0][1])
                return
        self.end(f"{self.epoch} epochs were made", status=0)

    def _one_epoch(self) -> bool:
        # Tells whether there were batches.
        step_hooks = [hook for hook in self._hooks if hook.watches_steps]
        self._note_rng()
        try:
            if step_hooks or self._ends or not self._scannable():
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
        batches, opt = self._batches, self.optimizer
        assert opt is not None
        found: Iterator[Any]
        if isinstance(batches, Batches):
            found = batches.epoch(self._batch, reuse=True)
        else:
            found = iter(batches)
            for _ in range(self._batch):
                next(found)
        some = self._batch > 0
        for batch in found:
            batch = batch if isinstance(batch, tuple) else (batch,)
            some = True
            value, gradient = self.evaluated(self.params, batch)
            self.params = opt.step(gradient)
            n = int(batch[0].shape[0])
            self._total = self._total + _arrays.detached(value) * n
            self._rows += n
            self.loss = value
            self.history.add("step_loss", value)
            self.step, self._batch = self.step + 1, self._batch + 1
            for hook in step_hooks:
                hook.on_step(self)
            if self._ends:
                return True
        if not some and self.step == 0:
            msg = "data: gave no batches"
            raise ValueError(msg)
        return some

    def _scannable(self) -> bool:
        # Whether the steps of an epoch run without the interpreter.
        opt = self.optimizer
        assert opt is not None
        if self.params is not opt.params:
            return False
        opt._ready()
        if self._refused is opt._bound:
            return False
        try:
            if self._scan is None or not self._scan.fits(opt, bool(self._hooks)):
                self._scan = Scan(self._objective, opt, self._batches)
        except Exception:  # what is wrong is said by the steps one by one
            self._scan, self._refused = None, opt._bound
        return self._scan is not None

    def _scanned(self) -> None:
        scan, opt = self._scan, self.optimizer
        assert scan is not None
        assert opt is not None
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
        products = values * count
        total = np.add.accumulate([values.dtype.type(self._total), *products])[-1]
        rows, batch = self._rows + count * len(values), self._batch + len(values)
        step, loss = self.step + len(values), values[-1:].reshape(())
        self.history.put("step_loss", self.step, values)
        self.step, self._batch, self._total, self._rows, self.loss = step, batch, total, rows, loss

    def _note_rng(self) -> None:
        # The state from which the order of this epoch is drawn.
        if isinstance(self._batches, Batches):
            self._rng_state = plain_state(self._batches.rng)

    def _judged(self) -> float:
        # The number by which epochs are compared, and the best parameters so far.
        validated = "validation_loss" in self.history
        value = self.history.last("validation_loss" if validated else "loss")
        loss = self.history.last("loss")
        if value < self._best[0] and math.isfinite(loss):
            self._best = value, self.copied()
        return loss if not math.isfinite(loss) else value

    def _standing(self, value: float) -> Any:
        # What a condition of stopping looks at.
        return SimpleNamespace(
            value=value, gradient_norm=math.inf, iteration=self.epoch, evaluations=self.step,
            broken=not math.isfinite(value),
            not_finite=lambda: "" if math.isfinite(value) else "the loss is not finite",
            change=lambda: (math.inf, 0.0),
        )  # fmt: skip

    def _resume(self, path: Any) -> None:
        opt = self.optimizer
        assert opt is not None
        with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
            snapshot, more = _saving.snapshot(file), file.header.get("run")
            if more is None:
                msg = f"resume: {str(path)!r} is of an Optimizer, not of a run; use Optimizer.load"
                raise _files.FileError(msg)
            history = more["history"]
            if isinstance(history, list):
                history = {name: file.array(f"history/{name}") for name in history}
            self._restore(path, snapshot, more, history)

    def _restore(self, path: Any, snapshot: Any, more: Any, history: Any) -> None:
        opt = self.optimizer
        assert opt is not None
        if isinstance(self._batches, Batches):
            try:
                self._batches.rng.bit_generator.state = _unjson(more["rng"])
            except (TypeError, ValueError, KeyError) as error:
                msg = f"resume: {str(path)!r} used another kind of random numbers"
                raise ValueError(msg) from error
        opt._restore(opt._ready(), snapshot)
        self.params = opt.params
        self.epoch, self.step, self._batch = (
            _checks.count(f"resume[{name!r}]", more[name]) for name in ("epoch", "step", "batch")
        )
        self._total, self._rows = more["total"], more["rows"]
        self.history.load(history)


def _copied(params: Any) -> Any:
    structure = Structure(params)
    leaves = structure.flatten(params, "params")
    return structure.unflatten([p if p is None else _arrays.moved(p, p, p.dtype) for p in leaves])


def _unjson(state: Any) -> Any:
    if isinstance(state, dict):
        if set(state) == {"array"}:
            return np.asarray(state["array"], np.uint32)
        return {key: _unjson(value) for key, value in state.items()}
    return state


def _epsilon(params: Any) -> float:
    structure = Structure(params)
    leaves = [p for p in structure.flatten(params, "params") if p is not None]
    return max(_arrays.EPSILON[_arrays.dtype_name(p)] for p in leaves)
