"""Epochs of a linear model without the interpreter: many steps in one compiled call.

What a step does is recorded from the model, its loss and penalty, and the rule, as they are written
for arrays of any library, and run by NumPy's own loops: the bits are those of the steps one by one.
"""

from __future__ import annotations

import contextlib
import copy
import operator
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .._arrays import _checks, _sparse, is_sparse
from ..data import Batches, plain_state
from ..engine import _threads
from ..engine._layout import is_plain
from ..engine.tape import Outcome, Recorder, Source, Tape, UnrecordableError
from ..losses._base import Domain, Loss
from ..objectives._linear_model import LinearModel
from ..optimizer import Optimizer
from ._objective import Batchwise

STEPS = 256  # of one call, between two looks at the keyboard
BYTES = 1 << 26  # of data in one call
DTYPES = ("float32", "float64")
PARTS = ("indptr", "indices", "data")  # of a sparse matrix


class Scan:
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
        steps are made one by one then, and say what is wrong with the data.
    """

    def __init__(self, objective: Batchwise, optimizer: Optimizer, batches: Any) -> None:
        if os.environ.get("FALLLINE_COMPILED_EPOCHS") == "0":
            msg = "FALLLINE_COMPILED_EPOCHS=0 switches compiled epochs off"
            raise UnrecordableError(msg)
        model = objective.objective
        if type(model) is not LinearModel or type(batches) is not Batches:
            msg = "only linear models over arrays are recorded"
            raise UnrecordableError(msg)
        if objective.weighs(batches.arrays):
            msg = "batches that count by their own weights are not recorded"
            raise UnrecordableError(msg)
        bound = optimizer._bound
        terms = [leaf.terms for leaf in bound.leaves]
        whole = any(x.whole is not None or x.by_gradient for x in terms)
        if bound.surrounded and (whole or not bound.options.trivial):
            msg = "transforms, finite checks and penalties of whole leaves are not recorded"
            raise UnrecordableError(msg)
        if not all(x.engine == "numba" and x.program and not x.reads for x in bound.groups):
            msg = "the rules do not run in Numba, or they measure whole leaves"
            raise UnrecordableError(msg)
        self.model, self.optimizer, self.batches, self.bound = model, optimizer, batches, bound
        self.objective = objective
        self.given = _given(batches)
        self.data = _data(model, batches)
        self.dtype = self.data[1].dtype
        self.arrays, self.clocks = self._arrays(), self._clocks()
        size, n = batches.batch_size, len(self.data[1])
        sizes = {min(size, n), n % size or size}
        self.tapes = {count: self._recorded(count) for count in sizes}
        self._ahead: Any = None
        self._error: Exception | None = None
        self._call: tuple[Outcome, int, list[Any], int]

    # -- what is recorded ---------------------------------------------------------------------

    def fits(self, optimizer: Optimizer, watched: bool = True) -> bool:
        """Tell whether what was recorded is still there, and the data are still good.

        Parameters
        ----------
        optimizer : Optimizer
            That of the run.
        watched : bool, default True
            Whether others have seen the run since the last epoch, who may have written into the
            indices of a sparse matrix.
        """
        optimizer._bound.check_written()
        if optimizer._bound is not self.bound or self._clocks() != self.clocks:
            return False
        given, now = _given(self.batches), self._arrays()
        if len(given) != len(self.given) or len(now) != len(self.arrays):
            return False
        pairs = [*zip(given, self.given, strict=True), *zip(now, self.arrays, strict=True)]
        if not all(a is b if isinstance(a, np.ndarray) else a == b for a, b in pairs):
            return False
        with np.errstate(all="ignore"):
            for mine, theirs in zip(self.data[1:], self.batches.arrays[1:], strict=True):
                if mine is not theirs:
                    mine[...] = theirs  # of another dtype, and perhaps not what they were
        _check_values(self.model.loss, *self.batches.arrays[1:])
        if watched:
            _sparse.check("X", self.batches.arrays[0])
        return True

    def _arrays(self) -> list[Any]:
        leaves = self.optimizer._bound.leaves
        return [x for leaf in leaves for x in ([leaf.p] if leaf.rule is None else leaf.arrays)]

    def _clocks(self) -> dict[int, tuple[int, int]]:
        # Of each leaf that is updated: its group, and how far its count is from the global step.
        bound, step = self.optimizer._bound, self.optimizer.step_count
        return {
            leaf.index: (i, leaf.state.count - step)  # type: ignore[union-attr]
            for i, group in enumerate(bound.groups)
            for leaf in group.leaves
        }

    def _recorded(self, count: int) -> Tape:
        bound, recorder = self.optimizer._bound, Recorder(self.dtype)
        X, *others = self.data
        source = X if isinstance(X, Source) else None
        batch = [recorder.sparse_rows(X, count) if source else recorder.rows(X, count)]
        batch += [recorder.rows(x, count) for x in others]
        leaves = [None if x.p is None else recorder.memory(x.p) for x in bound.leaves]
        params = bound.structure.unflatten(leaves)
        value, gradient = self.objective.value_and_gradient(params, *batch)
        gradients = bound.structure.flatten(gradient, "grads")
        pairs = zip(bound.leaves, gradients, strict=True)
        # The largest first, as is best for the cache.
        for leaf, g in sorted(pairs, key=lambda pair: -_size(pair[0].p)):
            if leaf.rule is not None and leaf.p is not None:
                p, *slots = (recorder.memory(x) for x in leaf.arrays)
                if g is None or g.shape != p.shape:
                    msg = "a gradient has another shape than its parameter"
                    raise UnrecordableError(msg)
                key = self.clocks[leaf.index]
                program = bound.groups[key[0]].program
                assert program is not None
                recorder.program(program, key, [p, g, *slots])
        return Tape(recorder, value, "int64" if source is None else source.columns.dtype.name)

    # -- running ------------------------------------------------------------------------------

    def order(self) -> Any:
        """Return the order of the rows in the next epoch: that which the batches would draw.

        While an epoch runs, which needs no interpreter, the order of the one after it is drawn from
        a copy of the generator, and taken if the generator is still as it was then.
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

    def advance(self, order: Any, batch: int) -> None:
        """Make some steps from a batch of an epoch on; Ctrl-C leaves whole steps.

        Parameters
        ----------
        order : array of int64
            Of the rows in this epoch.
        batch : int
            The first batch.
        """
        size, n, opt = self.batches.batch_size, len(order), self.optimizer
        opt._check_whole()
        first = batch * size
        count = min(size, n - first)
        tape = self.tapes[count]
        most = max(1, min(STEPS, BYTES // max(count * self._row_bytes, 1)))
        numbers = self._numbers(tape.scalars, min((n - first) // count, most))
        states = [leaf.state for group in self.bound.groups for leaf in group.leaves]
        starts = [(state, state.count) for state in states]  # type: ignore[union-attr]
        outcome = Outcome(len(numbers), self.dtype)
        self._call = outcome, count, starts, opt.step_count
        try:
            opt._begin()
            tape.run(order, first, count, numbers, outcome)
        finally:
            self.settle()

    @property
    def values(self) -> Any:
        """The loss of each step of the last call."""
        return self._call[0].values

    @property
    def count(self) -> int:
        """Rows of each batch of the last call."""
        return self._call[1]

    def total(self, start: Any) -> Any:
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
        """Count the steps of the last call, however often this is done."""
        (outcome, _, starts, step), opt = self._call, self.optimizer
        steps = len(outcome.values)
        for state, start in starts:
            state.count = start + steps
        for memory in self.bound.memories:
            memory.commit(step + steps)
        opt._memory.advance(step + steps - opt._memory.steps)
        opt._unfinished = not outcome.whole

    @property
    def _row_bytes(self) -> int:
        X = self.data[0]
        if isinstance(X, Source):
            return int(2 * X.numbers.nbytes // max(len(X.ends) - 1, 1))
        return int(X.nbytes // len(X))

    def _numbers(self, scalars: Sequence[Any], steps: int) -> Any:
        # What the rules read in each step. If a schedule fails in one of them, the steps before are
        # made first.
        if self._error is not None:
            raise self._error
        step = self.optimizer.step_count
        table = np.empty((steps, len(scalars)))
        readers = []
        for i, group in enumerate(self.bound.groups):
            for shift in dict.fromkeys(key[1] for key, _ in scalars if key[0] == i):
                places = [k for k, (key, _) in enumerate(scalars) if key == (i, shift)]
                constants = [k for k in places if isinstance(scalars[k][1], float)]
                table[:, constants] = [scalars[k][1] for k in constants]
                named = [k for k in places if k not in constants]
                readers.append(
                    (i, group.plan, shift, named, _reader([scalars[k][1] for k in named]))
                )
        plans = {i: plan for i, plan, *_ in readers}
        rows: list[list[Any]] = [[] for _ in readers]
        for k in range(steps):
            try:
                fixed = {i: plan.at(step + k) for i, plan in plans.items()}
                for row, (i, _, shift, _, read) in zip(rows, readers, strict=True):
                    row.append(read(fixed[i].scalars(step + k + shift + 1)))
            except Exception as error:
                if k == 0:
                    raise
                self._error, steps = error, k
                break
        for row, (*_, named, _) in zip(rows, readers, strict=True):
            table[:steps, named] = row[:steps]
        return table[:steps]


def _reader(names: Sequence[Any]) -> Any:
    # From a dict to the tuple of these entries.
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda found: tuple(found[name] for name in names)


def _size(x: Any) -> int:
    return 0 if x is None else int(x.size)


def _given(batches: Any) -> list[Any]:
    # What the data are, to be compared with what they are later.
    found: list[Any] = [batches.shuffle, batches.drop_last, batches.batch_size]
    for x in batches.arrays:
        parts = [getattr(x, name, None) for name in PARTS] if is_sparse(x) else [x]
        found += [x.shape, *parts]
    return found


def _data(model: LinearModel, batches: Batches) -> list[Any]:
    # X, y and weights as the tape reads them.
    X, y, *weights = batches.arrays
    if len(weights) > 1 or not batches.shuffle or batches.drop_last or not len(y):
        msg = "only shuffled batches of X, y and weights that cover all rows are recorded"
        raise UnrecordableError(msg)
    found = _source(X) if is_sparse(X) else X
    numbers = found.numbers if isinstance(found, Source) else found
    kind = type(numbers) is np.ndarray and numbers.dtype.name in DTYPES and X.ndim == 2
    if not kind or not numbers.size or not X.shape[1]:
        msg = "only arrays of NumPy are recorded"
        raise UnrecordableError(msg)
    others = []
    for x in (y, *weights):
        if type(x) is not np.ndarray or x.ndim != 1 or x.dtype.kind not in "biuf":
            msg = "only one target of numbers for each row is recorded"
            raise UnrecordableError(msg)
        with np.errstate(all="ignore"):
            others.append(np.ascontiguousarray(x, numbers.dtype))
    if not (_ours(model.loss) and (model.penalty is None or _ours(model.penalty))):
        msg = "only the losses and penalties of this library are recorded"
        raise UnrecordableError(msg)
    _check_values(model.loss, y, *weights)
    return [found, *others]


def _ours(x: Any) -> bool:
    # Others may change, or look at what a recording does not show.
    return type(x).__module__.startswith("fallline.") and (not hasattr(x, "loss") or _ours(x.loss))


def _check_values(loss: Any, y: Any, weights: Any = None) -> None:
    # What a loss would look at in each batch, of all rows.
    while hasattr(loss, "loss"):
        loss = loss.loss
    if type(loss)._check is not Loss._check:
        msg = "a loss that checks more is not recorded"
        raise UnrecordableError(msg)
    if loss.domain != Domain():
        _checks.inside("y", y, loss.domain, weights is not None and weights == 0)
    if weights is not None and (weights < 0).any():
        msg = "weights: some are negative"
        raise ValueError(msg)


def _source(X: Any) -> Source:
    parts = ends, columns, numbers = [getattr(X, name, None) for name in PARTS]
    whole = all(type(x) is np.ndarray and is_plain(x) for x in parts)
    known = type(X).__module__.partition(".")[0] == "scipy"
    if not (known and getattr(X, "format", None) == "csr" and whole):
        msg = "only rows (CSR) are recorded"
        raise UnrecordableError(msg)
    assert ends is not None
    assert columns is not None
    assert numbers is not None
    same = ends.dtype == columns.dtype and ends.dtype.name in ("int32", "int64")
    kind: Any = type(X)
    if not (same and numbers.dtype.name in DTYPES and _rounds_products(kind, numbers.dtype)):
        msg = "these kinds of numbers or indices are not recorded"
        raise UnrecordableError(msg)
    _sparse.check("X", X)
    return Source(ends, columns, numbers, X.shape[1])


@lru_cache
def _rounds_products(kind: Any, dtype: Any) -> bool:
    # Whether SciPy was compiled to round a product before it is added, as Numba does.
    x = 1 + 2.0 ** -(12 if dtype.name == "float32" else 30)
    row = np.asarray([1 - 2 * x, x], dtype)
    X = kind((row, np.arange(2), np.asarray([0, 2])), shape=(1, 2))
    right = np.asarray([1.0, x], dtype)
    across = kind((row, np.zeros(2, int), np.arange(3)), shape=(2, 1)).T @ right
    return not (X @ right).any() and not across.any()
