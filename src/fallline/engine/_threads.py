"""The threads that help in large steps, and whether they help in this program.

Between two matrix products the threads of those still spin on the cores for which others wait.
Several threads may then take many times as long as one, and nothing that is known beforehand tells.
The results are the same, so that a runner may measure both and change between them.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import count
from statistics import median
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
MOST = 4  # more threads than this wait for memory, and for each other
FIRST = 3  # calls of each kind until something is known
EVERY = 64  # calls from one probe of the other kind to the next
LOSS = 0.01  # of all time may be lost by probes

_threads: ThreadPoolExecutor | None = None


def pool() -> ThreadPoolExecutor:
    """Return the helping threads of this process; they sleep until there is work."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(MOST, "fallline")
    return _threads


def _after_fork() -> None:
    # Threads do not live on in a child.
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def workers() -> int:
    """Return how many threads may share a step.

    As many as there are cores for this process, OpenMP's ``OMP_NUM_THREADS`` and Numba's
    ``set_num_threads`` allow, and at most 4.
    """
    allowed = _allowed()
    numba = sys.modules.get("numba.np.ufunc.parallel")
    if getattr(numba, "_is_initialized", False):  # else nobody has set anything
        return min(allowed, numba.get_num_threads())  # type: ignore[union-attr, no-any-return]
    return allowed


@lru_cache
def _allowed() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(MOST, cores, int(asked) if asked.isdecimal() and int(asked) else cores)


def together(work: Callable[[T], None], pieces: Sequence[T], threads: int) -> None:
    """Do the pieces of some work on several threads; each takes the next one that is left.

    All have stopped when this returns, even after an error. Nobody waits for a thread that did not
    get a core until all pieces were taken.

    Parameters
    ----------
    work : callable
        Called with each piece.
    pieces : sequence
        The pieces.
    threads : int
        Number of threads, this one among them.
    """
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    tickets = count()

    def take() -> None:
        while (k := next(tickets)) < len(pieces):
            work(pieces[k])

    helpers = [pool().submit(take) for _ in range(min(threads, len(pieces)) - 1)]
    try:
        take()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


class Faster:
    """Tells whether work is to be shared, by how long it took before.

    Work is shared where that was faster, by the medians of the last few calls of both kinds. Now
    and then the other kind is tried again; what this loses is a small part of all time.

    Attributes
    ----------
    shared : bool
        Which kind was faster so far.
    most : int
        The number of threads of the last call, had it been shared.
    """

    def __init__(self) -> None:
        self.shared, self.most = False, 1
        self._seconds: dict[bool, deque[float]] = {k: deque(maxlen=5) for k in (False, True)}
        self._calls, self._spent, self._lost = 0, 0.0, 0.0

    def run(self, work: Callable[[T], None], pieces: Sequence[T], amount: int) -> None:
        """Do the pieces of some work, as `together`, on one thread or on several.

        Parameters
        ----------
        work : callable
            Called with each piece.
        pieces : sequence
            The pieces.
        amount : int
            How much work they are: durations are compared for equal amounts.
        """
        threads = self.most = workers()
        shared = threads > 1 and len(pieces) > 1 and self.next()
        start = perf_counter()
        together(work, pieces, threads if shared else 1)
        if threads > 1:
            self.took(shared, (perf_counter() - start) / amount)

    def next(self) -> bool:
        """Return whether to share the next call."""
        self._calls += 1
        usual, other = self._seconds[self.shared], self._seconds[not self.shared]
        if len(usual) < FIRST:
            return self.shared
        if len(other) < FIRST:
            return self.shared ^ (self._calls % 2 == 0)
        if self._calls % EVERY == 0:
            loss = max(median(other) - median(usual), 0.0)
            return self.shared ^ (self._lost + loss <= LOSS * self._spent)
        return self.shared

    def took(self, shared: bool, seconds: float) -> None:
        """Take note of the duration of a call, for the same amount of work."""
        self._seconds[shared].append(seconds)
        usual, other = self._seconds[self.shared], self._seconds[not self.shared]
        self._spent += seconds
        if shared != self.shared and usual:
            self._lost += max(seconds - median(usual), 0.0)
        if len(usual) >= FIRST <= len(other) and median(other) < 0.95 * median(usual):
            self.shared = not self.shared
