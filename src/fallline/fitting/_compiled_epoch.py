"""Epochs of a linear model without the interpreter: many steps in one compiled call.

What a step does is recorded from the model, its loss and penalty, and the rule, as they are written
for arrays of any library, and run by NumPy's own loops: the bits are those of the steps one by one.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from operator import itemgetter
from typing import Any

import numpy as np

from .._arrays import _sparse
from .._arrays._types import Array, HostArray, Json, Number, Tree
from ..data import Batches, plain_state
from ..engine import _threads, numba_
from ..engine.tape import Outcome, Recorder, Source, Tape, UnrecordableError
from ..objectives._linear_model import LinearModel
from ..optimizer import Optimizer
from ..optimizer._inner import Inner
from ..optimizer._leaf import LeafState
from ..rules._abstract import AbstractRule
from ._epoch_data import check_values, data, given, need
from ._objective import Batchwise

STEPS = 256  # of one call, between two looks at the keyboard
BYTES = 1 << 26  # of data in one call


class CompiledEpoch:
    """Runs the steps of an Optimizer over mini-batches.

    Parameters
    ----------
    objective : Batchwise
        A linear model over batches.
    optimizer : Optimizer
        Holds the parameters.
    batches : Batches
        Of NumPy's arrays: X, or a sparse matrix of SciPy; y; weights of the rows, if there are any.

    Raises
    ------
    TypeError, ValueError
        If any of these does not fit, or the environment says ``FALLLINE_COMPILED_EPOCHS=0``. The
        caller then makes the steps one by one, where an error says what is wrong with the data.
    """

    def __init__(
        self, objective: Batchwise, optimizer: Optimizer, batches: Iterable[Tree]
    ) -> None:  # fmt: skip
        off = os.environ.get("FALLLINE_COMPILED_EPOCHS") == "0"
        need(not off, "FALLLINE_COMPILED_EPOCHS=0 switches compiled epochs off")
        # No rule asks for it where all leaves are frozen.
        need(numba_.installed(), "Numba is not installed")
        model = objective.objective
        if type(model) is not LinearModel or type(batches) is not Batches:
            msg = "only linear models over arrays are recorded"
            raise UnrecordableError(msg)
        own = objective.weighs(batches.arrays)
        need(not own, "batches that count by their own weights are not recorded")
        inner = Inner(optimizer)
        bound = inner.bound
        whole = any(x.terms.whole is not None or x.terms.by_gradient for x in bound.leaves)
        need(
            bound.options.within and not bound.remembering and not whole,
            "transforms but for ClipByValue, finite checks and penalties of whole leaves are not "
            "recorded",
        )
        need(
            all(x.engine == "numba" and x.program and not x.reads for x in bound.groups),
            "the rules do not run in Numba, or they measure whole leaves",
        )
        self.model, self.optimizer, self.batches, self.bound = model, optimizer, batches, bound
        self.inner, self.objective = inner, objective
        self.given = given(batches)
        self.outputs = tuple(optimizer.params["weights"].shape[1:])
        self.X, self.others = data(model, batches, self.outputs)
        self.dtype = (self.X.numbers if isinstance(self.X, Source) else self.X).dtype
        self.arrays, self.clocks = self._arrays(), self._clocks()
        size, n = batches.batch_size, len(self.others[0])
        sizes = {min(size, n), n % size or size}
        self.tapes = {count: self._recorded(count) for count in sizes}
        self._ahead: tuple[Json, Future[tuple[HostArray, Json]]] | None = None
        self._error: Exception | None = None
        self._call: tuple[Outcome, int, list[tuple[LeafState, int]], int]

    # -- what is recorded ---------------------------------------------------------------------

    def fits(self, watched: bool = True) -> bool:
        """Tell whether the objects that were recorded are still used, and the data still fit.

        Parameters
        ----------
        watched : bool, default True
            Whether callbacks were called since the last epoch, which may have written into the
            indices of a sparse matrix.
        """
        self.inner.bound.check_written()
        if self.inner.bound is not self.bound or self._clocks() != self.clocks:
            return False
        parts, now = given(self.batches), self._arrays()
        if len(parts) != len(self.given) or len(now) != len(self.arrays):
            return False
        pairs = [*zip(parts, self.given, strict=True), *zip(now, self.arrays, strict=True)]
        if not all(a is b if isinstance(a, np.ndarray) else a == b for a, b in pairs):
            return False
        with np.errstate(all="ignore"):
            for mine, theirs in zip(self.others, self.batches.arrays[1:], strict=True):
                if mine is not theirs:
                    mine[...] = theirs  # of another dtype, and perhaps not what they were
        check_values(self.model.loss, self.outputs, *self.batches.arrays[1:])
        if watched:
            _sparse.check("X", self.batches.arrays[0])
        return True

    def _arrays(self) -> list[Array]:
        leaves = self.inner.bound.leaves
        return [x for leaf in leaves for x in ([leaf.p] if leaf.rule is None else leaf.arrays)]

    def _clocks(self) -> dict[int, tuple[int, int]]:
        # Of each leaf that is updated: its group, and how far its count is from the global step.
        bound, step = self.inner.bound, self.optimizer.step_count
        return {
            leaf.index: (i, leaf.state.count - step)  # type: ignore[union-attr]
            for i, group in enumerate(bound.groups)
            for leaf in group.leaves
        }

    def _recorded(self, count: int) -> Tape:
        bound, recorder = self.inner.bound, Recorder(self.dtype)
        X = self.X
        source = X if isinstance(X, Source) else None
        batch = [recorder.sparse_rows(source, count) if source else recorder.rows(X, count)]
        batch += [recorder.rows(x, count) for x in self.others]
        leaves = [None if x.p is None else recorder.memory(x.p) for x in bound.leaves]
        params = bound.structure.unflatten(leaves)
        value, gradient = self.objective.value_and_gradient(params, *batch)
        gradients = bound.structure.flatten(gradient, "grads")
        pairs = zip(bound.leaves, gradients, strict=True)
        # The largest first, as is best for the cache.
        for leaf, g in sorted(pairs, key=lambda pair: -_size(pair[0].p)):
            if leaf.rule is not None and leaf.p is not None:
                p, *slots = (recorder.memory(x) for x in leaf.arrays)
                same = g is not None and g.shape == p.shape
                need(same, "a gradient has another shape than its parameter")
                key = self.clocks[leaf.index]
                program = bound.groups[key[0]].program
                assert program is not None
                recorder.program(program, key, [p, g, *slots])
        return Tape(recorder, value, "int64" if source is None else source.columns.dtype.name)

    # -- running ------------------------------------------------------------------------------

    def order(self) -> Array:
        """Return the order of the rows in the next epoch, as the batches would draw it.

        The order of the epoch after that is drawn from a copy of the generator while the compiled
        epoch runs. It is used if nobody has drawn from the generator in the meantime.
        """
        self._call = Outcome(0, self.dtype), 0, [], self.optimizer.step_count
        rng, ahead = self.batches.rng, self._ahead
        if ahead is not None and ahead[1].done() and ahead[0] == plain_state(rng):
            order, rng.bit_generator.state = ahead[1].result()
        else:
            order = self.batches.order()
        if _threads.workers() > 1:
            twin, n = copy.deepcopy(rng), len(order)
            with contextlib.suppress(RuntimeError):  # no new threads at the end of a process
                drawn = _threads.pool().submit(
                    lambda: (twin.permutation(n), twin.bit_generator.state)
                )
                self._ahead = plain_state(rng), drawn
        return np.ascontiguousarray(order, np.int64)

    def advance(self, order: Array, batch: int) -> None:
        """Make some steps, from a batch of an epoch on. Ctrl-C ends this between two steps.

        Parameters
        ----------
        order : array of int64
            Of the rows in this epoch.
        batch : int
            The first batch.
        """
        size, n, opt = self.batches.batch_size, len(order), self.optimizer
        self.inner.check_whole()
        first = batch * size
        count = min(size, n - first)
        tape = self.tapes[count]
        most = max(1, min(STEPS, BYTES // max(count * self._row_bytes, 1)))
        numbers = self._numbers(tape.scalars, min((n - first) // count, most))
        leaves = [leaf for group in self.bound.groups for leaf in group.leaves]
        starts = [(leaf.state, leaf.state.count) for leaf in leaves if leaf.state is not None]
        outcome = Outcome(len(numbers), self.dtype)
        self._call = outcome, count, starts, opt.step_count
        try:
            self.inner.begin()
            tape.run(order, first, count, numbers, outcome)
        finally:
            self.settle()

    @property
    def values(self) -> Array:
        """The loss of each step of the last call."""
        return self._call[0].values

    @property
    def count(self) -> int:
        """Rows of each batch of the last call."""
        return self._call[1]

    def total(self, start: Number) -> Number:
        """Return the sum of the losses of the last call times their rows, added to what was before.

        Parameters
        ----------
        start : float
            The sum before.

        Returns
        -------
        float
            As single steps would add it up.
        """
        values = self.values
        return np.add.accumulate([values.dtype.type(start), *(values * self.count)])[-1]

    def settle(self) -> None:
        """Add the steps of the last call to the count; calling this again adds nothing."""
        outcome, _, starts, step = self._call
        steps = len(outcome.values)
        for state, start in starts:
            state.count = start + steps
        for memory in self.bound.memories:
            memory.commit(step + steps)
        self.inner.made(step + steps, whole=outcome.whole)

    @property
    def _row_bytes(self) -> int:
        X = self.X
        if isinstance(X, Source):
            return int(2 * X.numbers.nbytes // max(len(X.ends) - 1, 1))
        return int(X.nbytes // len(X))

    def _numbers(self, scalars: Sequence[Number], steps: int) -> HostArray:
        # What the rules read in each step, asked for where it changes. If a schedule fails in one,
        # the steps before are made first.
        if self._error is not None:
            raise self._error
        step = self.optimizer.step_count
        table = np.empty((steps, len(scalars)))
        readers: list[tuple[AbstractRule, list[_Reader]]] = []
        for i, group in enumerate(self.bound.groups):
            parts = []
            for shift in dict.fromkeys(key[1] for key, _ in scalars if key[0] == i):
                places = [k for k, (key, _) in enumerate(scalars) if key == (i, shift)]
                constants = [k for k in places if isinstance(scalars[k][1], float)]
                table[:, constants] = [scalars[k][1] for k in constants]
                named = [k for k in places if k not in constants]
                parts.append(_Reader(shift, named, [scalars[k][1] for k in named]))
            readers += [(group.plan, parts)] if parts else []
        still = not self.bound.memories
        for k in range(steps):
            try:
                for plan, parts in readers:
                    fixed = plan.at(step + k)
                    still = still and fixed is plan
                    for part in parts:
                        part.read(fixed, step + k)
            except Exception as error:
                if k == 0:
                    raise
                self._error, steps = error, k
                break
            still = still and all(part.stays(plan) for plan, parts in readers for part in parts)
            if still:
                break
        for _, parts in readers:
            for part in parts:
                table[:steps, part.places] = part.rows[:steps]  # one row stands for all
        return table[:steps]


class _Reader:
    # The numbers that leaves of one group need, whose counts are so far from the global step.

    def __init__(self, shift: int, places: list[int], names: list[str | float]) -> None:
        self.shift, self.places, self.names = shift, places, names
        self._take = itemgetter(*names) if len(names) > 1 else self._few
        self.rows: list[Sequence[Number]] = []

    def _few(self, found: Mapping[Any, Number]) -> Sequence[Number]:
        return [found[name] for name in self.names]

    def read(self, plan: AbstractRule, step: int) -> None:
        # Those of a step, of a rule without schedules.
        self.rows.append(self._take(plan.scalars(step + self.shift + 1)))

    def stays(self, plan: AbstractRule) -> bool:
        # Whether they are the same in every step: no arrays where the count is one, of which no
        # rule can decide whether it is the first.
        with np.errstate(all="ignore"), contextlib.suppress(Exception):
            found = self._few(plan.scalars(np.asarray([2, 3])))
            return all(isinstance(x, float | int) for x in found)
        return False


def _size(x: Array) -> int:
    return 0 if x is None else int(x.size)
