"""What is done with each record of a batch: history, verdicts, best points, callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ... import _arrays, callbacks
from ..._arrays._types import Array, Json, RunView
from ...stop import Condition, NonFinite, Verdict
from ...stop._watch import copied, fill
from .._base import INTERRUPTED
from .._monitor import Keep, View
from .._record import Record
from .._search import no_step
from ._ends import ends
from ._search import chosen
from ._space import Stand


class Judged(NamedTuple):
    """What was known of the problems before their last record: a file keeps it.

    That record is judged again when a run goes on, like that of a single run.
    """

    codes: Array
    verdicts: list[tuple[str, bool, int]]
    seen: Array
    most: int


class BatchMonitor:
    """What is done with each record of a batch, as `Monitor` does it for one problem.

    A problem's code is zero, or one more than the index of its verdict; the codes are what is read
    from the device, once for each look.
    """

    remembers: ClassVar[dict[str, type]] = {"best": Stand, "last": Record, "judged": Judged}

    def __init__(
        self,
        run: RunView,
        stop: Condition | None,
        max_iterations: int,
        callback: Callable[[Record], object] | None,
        keep: Keep,
        hooks: Sequence[callbacks.Callback],
        view: View,
    ) -> None:
        self._run, self._most, self._callback, self._keep = run, max_iterations, callback, keep
        self.hooks, self.view, self.stop = hooks, view, stop
        view.monitor = self
        epsilon = run.space.epsilon
        self._finite = NonFinite().judge(epsilon)
        self._memory: dict[str, Any] = {}
        self._judge = None if stop is None else stop.judge(epsilon, self._memory)
        self.memory = copied(self._memory)  # before the last record was judged
        self.history: dict[str, list[Any]] = {name: [] for name in keep}
        self._verdicts: list[Verdict] = []
        self._codes: Array = None
        self._seen: Any = -1
        self._ended = 0
        self._read: Any = None
        self.best: Any = None
        self.last: Any = None
        self._at: Stand | None = None  # where an interrupted run ended

    def __call__(self) -> bool:
        """Judge the problems, freeze those that have ended, and tell whether some go on."""
        record, first = self._run.look(), self.best is None
        if first:
            self._codes = self._run.space.xp.zeros_like(record.iteration)
        for name, value in self._keep.items():
            self.history[name].append(value(record))
        self._judge_all(record)
        if not first:
            if self.view.stopped_by(self._callback, record):
                self._mark(True, Verdict("the callback stopped the run", False, 99))
            self.view.tell(self.hooks)
            self.view.write()
        if self.view.verdict is not None:
            self._mark(True, self.view.verdict)
        return self._frozen(record)

    def resumed(self) -> bool:
        """Judge the last record of a file again: the conditions and the limit may have changed."""
        run, (codes, verdicts, self._seen, most) = self._run, self.judged
        self._verdicts = [Verdict(*x) for x in verdicts]
        read = _arrays.to_numpy(codes)
        if np.any(read < 0) or np.any(read > len(verdicts)):
            msg = "resume: what the file says of problems that have ended is damaged"
            raise ValueError(msg)
        with _arrays.guard(run.space.like)():
            cut = (codes == 1 + i for i, x in enumerate(self._verdicts) if x == _limit(most))
            for which in cut:
                codes = run.space.xp.where(which, run.space.xp.zeros_like(codes), codes)
            self._codes, run.running = codes, codes == 0
        self._ended = int(np.count_nonzero(_arrays.to_numpy(codes)))
        fill(self._memory, self.memory)
        self._judge_all(self.last)
        return self._frozen(self.last)

    def _frozen(self, record: Record) -> bool:
        # Freeze what has ended, and tell whether some go on.
        run = self._run
        self._mark(record.iteration >= self._most, _limit(self._most))
        codes = self._read = _arrays.to_numpy(self._codes)
        ended = int(np.count_nonzero(codes))
        if ended > self._ended:
            self._ended = ended
            with _arrays.guard(run.space.like)():
                run.freeze(self._codes == 0, self._broken, self.best)
        return ended < codes.size

    def _judge_all(self, record: Record) -> None:
        # Notes the best points, which problems were found not finite, and which have ended.
        run, self.last = self._run, record
        verdicts = [(x.message, x.success, x.status) for x in self._verdicts]
        self.judged = Judged(self._codes, verdicts, self._seen, self._most)
        self.memory = copied(self._memory)
        with _arrays.guard(run.space.like)():
            self._bettered(record)
            # A problem in the midst of a line search was judged where it stands.
            moved, self._seen = record.iteration > self._seen, record.iteration
            before = self._codes
            for holds, verdict in self._finite(record):
                self._mark(holds & moved, verdict)
            self._broken = self._codes != before
            for holds, verdict in self._judge(record) if self._judge is not None else ():
                self._mark(holds if isinstance(holds, bool) else holds & moved, verdict)
            fill(self._memory, _chosen(moved, self._memory, self.memory))
            self._mark(run.stuck & run.at_precision(), Verdict(no_step(True)))
            self._mark(run.stuck, Verdict(no_step(False), False, 2))
        if self.hooks:
            self.view.move(record)

    def _bettered(self, record: Record) -> None:
        # Take note of the best points so far.
        xp, at = self._run.space.xp, self._run.at
        best = at if self.best is None else self.best
        better = ~record.broken & ((at.value < best.value) | xp.isnan(best.value))
        self.best = chosen(xp, better, at, best)

    @property
    def begun(self) -> bool:
        """Whether the first record was judged."""
        return self._read is not None

    def interrupted(self) -> bool:
        """End what has not ended, each problem at its best point; tell whether there are any."""
        run = self._run
        if self.best is None:
            return False
        with _arrays.guard(run.space.like)():
            self._bettered(run.look())
            back = (self._codes == 0) | self._broken
            self._mark(True, Verdict(INTERRUPTED, False, 98))
            self._at = chosen(run.space.xp, back, self.best, run.at)
        self._read = _arrays.to_numpy(self._codes)
        return True

    def _mark(self, holds: Array, verdict: Verdict) -> None:
        if holds is False:
            return
        if verdict not in self._verdicts:
            self._verdicts.append(verdict)
        code = self._verdicts.index(verdict) + 1
        xp, new = self._run.space.xp, (self._codes == 0) & holds
        self._codes = self._codes + code * xp.astype(new, xp.int32)

    def result(self) -> dict[str, Any]:
        """Return the entries of a `MinimizeResult`."""
        space = self._run.space
        at = self._run.at if self._at is None else self._at
        evaluations = self._run.objective.evaluations
        return {
            **ends(self._read - 1, self._verdicts, space.like),
            "fun": at.value,
            "x": space.unpack(at.x),
            "nit": self._run.iteration,
            "jac": space.unpack(at.gradient),
            "gradient_norm": at.norm,
            "nfev": evaluations,
            "njev": evaluations,
            "history": self.history,
        }


def _limit(most: int) -> Verdict:
    return Verdict(f"{most} iterations were made", False, 1)


def _chosen(moved: Array, new: dict[str, Json], old: dict[str, Json]) -> dict[str, Json]:
    # What conditions remember of problems that have moved, and of the others what they remembered.
    chosen: dict[str, Json] = {}
    for key, x in new.items():
        if isinstance(x, dict):
            chosen[key] = _chosen(moved, x, old[key])
        else:
            chosen[key] = _arrays.choose(moved, x, old[key]) if _arrays.is_array(x) else x
    return chosen
