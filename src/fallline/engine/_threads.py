"""The threads that help in large steps."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

_threads: ThreadPoolExecutor | None = None


def pool() -> ThreadPoolExecutor:
    """Return the helping threads of this process."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(workers(), "fallline")
    return _threads


def _after_fork() -> None:
    # Threads do not live on in a child.
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache
def workers() -> int:
    """Return how many threads speed up a step."""
    # More threads than this wait for memory, and for each other.
    affinity = getattr(os, "sched_getaffinity", None)
    return min(4, len(affinity(0)) if affinity else os.cpu_count() or 1)
