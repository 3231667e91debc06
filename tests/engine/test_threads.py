"""Threads that share large steps: same bits, no waiting, and only where they are faster."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

import fallline as fl
from fallline.engine import _threads, blocked, numba_
from tests.helpers import same_bits

ENGINES = [
    "blocked",
    pytest.param(
        "numba", marks=pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")
    ),
]
LARGE = {"blocked": 2 * blocked.PIECE + 12345, "numba": 2 * numba_.PIECE + 12345}


def trajectory(engine, dtype, shared, monkeypatch):
    monkeypatch.setattr(_threads.Faster, "next", lambda self: shared)
    monkeypatch.setattr(_threads, "workers", lambda: 3)
    rng = np.random.default_rng(0)
    n = LARGE[engine]
    params = {
        "large": rng.standard_normal(n), "wide": rng.standard_normal((2, n)),
        "small": rng.standard_normal(5),
    }  # fmt: skip
    params = {k: x.astype(dtype) for k, x in params.items()}
    if np.dtype(dtype).kind == "c":
        params = {k: x * np.asarray(1 + 0.5j, dtype) for k, x in params.items()}
    rule, more = fl.Adam(0.1, weight_decay=0.1), {"gradients": [fl.gradients.ClipByGlobalNorm(1.0)]}
    opt = fl.Optimizer(params, rule, engine=engine, penalty=fl.L1(1e-3), **more)
    for k in range(3):
        opt.step({name: (x * x).real * x + k for name, x in params.items()})
    return opt


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("engine", ENGINES)
def test_shared_steps_have_the_bits_of_others(engine, dtype, monkeypatch):
    one = trajectory(engine, dtype, False, monkeypatch)
    several = trajectory(engine, dtype, True, monkeypatch)
    for name, x in one.params.items():
        same_bits(several.params[name], x)
        for slot in ("m", "v"):
            same_bits(several.state[name][slot], one.state[name][slot])


@pytest.mark.parametrize("engine", ENGINES)
def test_large_leaves_are_cut(engine, monkeypatch):
    seen = []
    together = _threads.together

    def spied(work, pieces, threads):
        seen.append((len(pieces), threads))
        together(work, pieces, threads)

    monkeypatch.setattr(_threads, "together", spied)
    trajectory(engine, "float32", True, monkeypatch)
    assert seen == [(3 + 5, 3)] * 3  # of the large leaf, and of the wide one


def test_an_optimizer_tells_how_many_threads_share_its_steps(monkeypatch):
    opt = trajectory("blocked", "float32", True, monkeypatch)
    assert repr(opt).endswith(", step 3, blocked>")
    (group,) = opt._bound.groups
    group.runner.sharing.shared = True
    assert repr(opt).endswith(", step 3, blocked on 3 threads>")
    assert opt.engine == "blocked"


# -- pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 4, 7])
def test_each_piece_is_done_once(threads):
    done, names = [], set()

    def work(k):
        names.add(threading.get_ident())
        time.sleep(1e-4)
        done.append(k)

    _threads.together(work, range(100), threads)
    assert sorted(done) == list(range(100))
    assert 1 <= len(names) <= threads


@pytest.mark.parametrize("where", ["here", "in a helper"])
def test_an_error_ends_all_threads(where):
    me, running, helped = threading.get_ident(), [], threading.Event()

    def work(k):
        running.append(k)
        try:
            if (threading.get_ident() == me) == (where == "here"):
                if where == "here":
                    helped.wait(10)
                raise ZeroDivisionError
            helped.set()
            time.sleep(0.01)
        finally:
            running.remove(k)

    with pytest.raises(ZeroDivisionError):
        _threads.together(work, range(50), 2)
    assert not running


def test_nobody_waits_for_threads_that_have_not_begun():
    free, busy = threading.Event(), threading.Barrier(_threads.MOST + 1)

    def hold():
        busy.wait()
        free.wait()

    held = [_threads.pool().submit(hold) for _ in range(_threads.MOST)]
    busy.wait()
    done = []
    _threads.together(done.append, range(10), 4)  # would hang
    assert done == list(range(10))
    free.set()
    for one in held:
        one.result()
    assert done == list(range(10))


# -- how many -------------------------------------------------------------------------------------


def test_environment_and_numba_are_obeyed(monkeypatch):
    monkeypatch.setattr(_threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for text, expected in (("", 4), ("3", 3), ("2,1", 2), ("many", 4), ("0", 4), ("16", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        _threads._allowed.cache_clear()
        assert _threads._allowed() == expected
    _threads._allowed.cache_clear()
    monkeypatch.undo()
    _threads._allowed.cache_clear()


@pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")
def test_the_number_that_numba_was_told_is_obeyed(monkeypatch):
    class Parallel:
        _is_initialized = False
        get_num_threads = staticmethod(lambda: 2)

    monkeypatch.setattr(_threads, "_allowed", lambda: 4)
    monkeypatch.setitem(sys.modules, "numba.np.ufunc.parallel", Parallel)
    assert _threads.workers() == 4  # it would start Numba's threads to ask
    Parallel._is_initialized = True
    assert _threads.workers() == 2
    monkeypatch.delitem(sys.modules, "numba.np.ufunc.parallel")
    assert _threads.workers() == 4


def test_numba_has_what_is_asked_of_it():
    parallel = pytest.importorskip("numba.np.ufunc.parallel")
    assert isinstance(parallel._is_initialized, bool)
    assert callable(parallel.get_num_threads)


# -- whether --------------------------------------------------------------------------------------


def told(faster, calls, seconds):
    """Make calls that take so long, and return which of them were shared."""
    kinds = []
    for _ in range(calls):
        kinds.append(faster.next())
        faster.took(kinds[-1], seconds[kinds[-1]])
    return kinds


def test_what_is_faster_is_kept():
    for seconds in ({False: 1.0, True: 0.6}, {False: 1.0, True: 1.4}):
        faster = _threads.Faster()
        told(faster, 20, seconds)
        assert faster.shared == (seconds[True] < seconds[False])
        kinds = told(faster, 1000, seconds)
        assert kinds.count(not faster.shared) <= 20


def test_a_change_of_the_program_is_seen():
    faster = _threads.Faster()
    told(faster, 200, {False: 1.0, True: 0.6})
    assert faster.shared
    told(faster, 10, {False: 1.1, True: 9.0})  # now between matrix products
    assert not faster.shared
    told(faster, 60_000, {False: 1.0, True: 0.6})  # probes of what was slow are rare
    assert faster.shared


def test_probes_lose_little_time():
    faster, seconds = _threads.Faster(), {False: 1.0, True: 50.0}
    first = told(faster, 10, seconds)
    assert first.count(True) == _threads.FIRST
    kinds = told(faster, 100_000, seconds)
    assert kinds.count(True) > 0
    assert kinds.count(True) * 49.0 <= 0.015 * 100_000


def test_noise_does_not_change_the_way():
    faster, rng = _threads.Faster(), np.random.default_rng(0)
    changes, before = 0, False
    for _ in range(5000):
        shared = faster.next()
        faster.took(shared, (0.7 if shared else 1.0) * rng.lognormal(0, 0.1))
        changes += before != faster.shared
        before = faster.shared
    assert faster.shared
    assert changes <= 10


def test_one_core_measures_nothing(monkeypatch):
    monkeypatch.setattr(_threads, "workers", lambda: 1)
    faster, done = _threads.Faster(), []
    for _ in range(10):
        faster.run(done.append, range(3), 3)
    assert done == [0, 1, 2] * 10
    assert not any(faster._seconds.values())
