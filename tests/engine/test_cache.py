"""The cache of compiled kernels: private, whole, and only ever a matter of time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline.engine import _cache, _compile, _numba_source, numba_
from fallline.engine.tape import _tape
from fallline.engine.trace import trace

needs_numba = pytest.mark.skipif(not numba_.installed(), reason="Numba is not installed")
posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")

STEP = """
import numpy as np, fallline as fl
x = np.ones(5)
opt = fl.Optimizer(x, fl.SGD(0.5), engine="numba")
opt.step(np.ones(5))
assert (x == 0.5).all()
from fallline.engine.numba_ import kernel
from fallline.engine.trace import trace
kernel = kernel(trace(fl.SGD(0.5), "float64"), "one")
assert sum(kernel.stats.cache_hits.values()) == {hits}, kernel.stats
"""


def step_in_a_process(hits=0, umask=-1, **environment):
    code = STEP.format(hits=hits)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True, env={**os.environ, **environment}, umask=umask,
    )  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FALLLINE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "numba"


def compile_and_run():
    """Compile a kernel as a new process would; tell whether it came from the cache."""
    function = _compile.compiled(_numba_source.source(trace(fl.SGD(), "float64"), "one"), "one")
    x, numbers = np.ones(5), np.asarray([0.5])
    function(x, np.ones(5), numbers)
    np.testing.assert_array_equal(x, np.full(5, 0.5))
    return bool(function.stats.cache_hits)


# -- machine code comes back, and nothing else -----------------------------------------------------


@needs_numba
def test_a_second_process_finds_what_the_first_one_compiled(tmp_path):
    step_in_a_process(FALLLINE_CACHE_DIR=str(tmp_path))
    (path,) = (tmp_path / "numba").iterdir()
    assert path.suffix == ".bin"
    before = path.stat()
    step_in_a_process(hits=1, FALLLINE_CACHE_DIR=str(tmp_path))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@needs_numba
def test_replayed_tapes_are_kept_too(cache):
    replay = _tape._compiled.__wrapped__("float32", "int64")
    assert not replay.stats.cache_hits
    assert len(list(cache.iterdir())) == 1
    assert _tape._compiled.__wrapped__("float32", "int64").stats.cache_hits


@needs_numba
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"raise SystemExit('run from the cache')\n",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: data[: len(data) // 2] + bytes(256) + data[len(data) // 2 + 256 :],
    ],
)
def test_a_damaged_file_is_not_run_and_is_replaced(cache, spoil, monkeypatch):
    from numba.core import serialize

    assert not compile_and_run()
    (path,) = cache.iterdir()
    data = path.read_bytes()
    path.write_bytes(spoil(data))
    with monkeypatch.context() as patch:
        patch.setattr(serialize, "loads", lambda _: pytest.fail("unpickled"))
        assert not compile_and_run()
    assert list(cache.iterdir()) == [path]
    assert _cache.read_sealed(path) is not None
    assert compile_and_run()


@needs_numba
def test_whole_files_that_numba_cannot_load_are_replaced(cache):
    compile_and_run()
    (path,) = cache.iterdir()
    _cache.write_sealed(path, b"of some other version")
    assert not compile_and_run()
    assert compile_and_run()


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "kernel.bin"
    assert _cache.write_sealed(path, b"machine code")
    assert _cache.read_sealed(path) == b"machine code"
    content = path.read_bytes()
    for i in range(8 * len(content)):
        changed = bytearray(content)
        changed[i // 8] ^= 1 << i % 8
        path.write_bytes(changed)
        assert _cache.read_sealed(path) is None
    for n in range(len(content)):
        path.write_bytes(content[:n])
        assert _cache.read_sealed(path) is None
    # Nor is a kernel run in the place of another.
    other = tmp_path / "other.bin"
    other.write_bytes(content)
    assert _cache.read_sealed(other) is None
    assert _cache.read_sealed(tmp_path / "nothing.bin") is None


# -- places ----------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"])
def test_numbas_own_places_are_not_looked_at(name, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    ours = {"FALLLINE_CACHE_DIR": str(tmp_path / "cache"), name: str(shared)}
    for hits in (0, 1):
        step_in_a_process(hits, **ours)
    assert not list(shared.iterdir())


@needs_numba
@posix
@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_folders_are_private_whatever_the_umask_is(umask, tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path / "new" / "cache"), "FALLLINE_CACHE_DIR": ""}
    for hits in (0, 1):
        step_in_a_process(hits, umask, **home)
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert {path.name for path in made} > {"new", "cache", "fallline", "numba"}


@needs_numba
@posix
def test_what_others_may_write_is_not_used(cache):
    compile_and_run()
    for path in (cache, cache.parent, *cache.iterdir()):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWGRP)
        assert not compile_and_run()
        path.chmod(mode)
        assert compile_and_run()


@needs_numba
@pytest.mark.parametrize("place", ["a file", os.devnull])
def test_without_a_folder_kernels_are_compiled_anew(place, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("FALLLINE_CACHE_DIR", str(tmp_path / place))
    for _ in range(2):
        assert not compile_and_run()
    assert _cache.folder("numba") is None


@posix
def test_a_cache_of_somebody_else_or_that_cannot_be_written_is_not_used(cache, monkeypatch):
    assert _cache.folder("numba") == cache
    path = cache / "kernel.bin"
    assert _cache.write_sealed(path, b"code")
    assert not _cache.write_sealed(cache / "nowhere" / "kernel.bin", b"")
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert _cache.folder("numba") is None
    assert _cache.read_sealed(path) is None


def test_a_folder_that_is_a_link_is_not_used(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.parent.mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    assert _cache.folder("numba") is None


def test_a_home_that_nobody_knows(monkeypatch):
    for name in ("FALLLINE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert _cache.folder("numba") is None


@needs_numba
def test_numba_told_not_to_compile(cache):
    code = (
        "import numpy as np, fallline as fl; x = np.ones(3); "
        "fl.Optimizer(x, fl.SGD(0.5), engine='numba').step(np.ones(3)); assert (x == 0.5).all()"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
    assert not list(cache.glob("*"))
