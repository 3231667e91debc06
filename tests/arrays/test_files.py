"""Files: whole or not at all, where and as the user has them, and errors that name them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import stat
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from fallline._arrays import _files, _whole

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and locks of POSIX")
ARRAYS = {
    "a": (np.arange(6.0).reshape(2, 3), "float64"),
    "b": (np.asarray([1, 2, 3], np.uint16), "bfloat16"),
    "c": (np.asarray(1 + 2j), "complex128"),
}


def put(path, data=b"new"):
    with _files.whole(path) as file:
        file.write(data)


def save(path):
    _files.write(path, "thing", 2, {"more": [1]}, ARRAYS)


def load(path):
    with _files.Reader(path, "thing", 2) as file:
        assert file.header["more"] == [1]
        return {name: file.array(name) for name in file.header["arrays"]}


# -- where files go -----------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("old", [None, 0o600, 0o666])
def test_a_private_file_is_private_whatever_was_there(old, tmp_path):
    path = tmp_path / "file"
    if old is not None:
        path.touch()
        path.chmod(old)
    with _files.whole(path, private=True) as file:
        file.write(b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666])
def test_an_old_file_keeps_its_permissions(mode, tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"old")
    path.chmod(mode)
    put(path)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_nobody_else_reads_a_private_file_while_it_is_written(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with _files.whole(path):
        assert {stat.S_IMODE(x.stat().st_mode) for x in tmp_path.iterdir()} == {0o600}


@posix
def test_a_new_file_is_as_the_umask_says(tmp_path):
    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            put(tmp_path / f"{mode}")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{mode}").stat().st_mode) == mode


@pytest.mark.skipif(getattr(os, "getuid", int.__call__)() != 0, reason="only root gives away files")
def test_an_old_file_keeps_its_owner(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.chown(path, 12345, 12346)
    put(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o600)


@posix
def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "run.npz", tmp_path / "latest.npz"
    link.symlink_to("there/run.npz")
    for data in (b"made", b"replaced"):
        put(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert {x.name for x in tmp_path.rglob("*")} == {"there", "run.npz", "latest.npz"}
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match=r"circle'$"):
        put(tmp_path / "circle")


@posix
@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_by_name(kind, tmp_path):
    path = tmp_path / "run.npz"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    before = path.lstat()
    for use in (put, load):
        with pytest.raises(_files.FileError, match=rf"run.npz': is a {kind}, expected a file"):
            use(path)
    assert path.lstat().st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" * 237])
def test_names_may_be_as_long_as_the_system_lets_them(name, tmp_path):
    for data in (b"made", b"replaced"):
        put(tmp_path / name, data)
        assert (tmp_path / name).read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 1


def test_what_the_system_refuses_is_told_by_the_name_that_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for path, error in (
        ("nowhere/run.npz", FileNotFoundError),
        (tmp_path / "nowhere" / "run.npz", FileNotFoundError),
        ("file/run.npz", NotADirectoryError),
        ("a" * 256, OSError),
    ):
        with pytest.raises(error) as caught:
            put(path)
        assert caught.value.filename == os.fspath(path)
        assert "fallline" not in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        load("nowhere/run.npz")
    assert caught.value.filename == "nowhere/run.npz"


@posix
def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path):
    import resource

    path = tmp_path / "run.npz"
    save(path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"run\.npz'$") as caught:
            save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- what killed processes leave -------------------------------------------------------------------

KILLED = """
import os, sys
from fallline._arrays import _files
with _files.whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os._exit(0)
"""


def killed(path):
    subprocess.run([sys.executable, "-c", KILLED, path], check=True)


@posix
def test_the_next_save_removes_what_a_killed_process_left(tmp_path):
    path, other = tmp_path / "run.npz", tmp_path / "run.npz2"
    killed(path)
    killed(other)
    assert len(list(tmp_path.iterdir())) == 2
    put(path)
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2  # the other's is not looked at
    put(other)
    assert {x.name for x in tmp_path.iterdir()} == {"run.npz", "run.npz2"}


@posix
def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "run.npz"
    with _files.whole(path) as file:
        put(path, b"the second one")
        file.write(b"the first one, which ends later")
    assert path.read_bytes() == b"the first one, which ends later"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_what_another_machine_left_is_left_alone(tmp_path, monkeypatch):
    # Its processes may be alive, and locks do not reach them on every network.
    path = tmp_path / "run.npz"
    killed(path)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another")
        put(path)
    assert len(list(tmp_path.iterdir())) == 2
    put(path)
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_temporary_file_that_was_removed_before_it_was_locked_is_made_again(
    tmp_path, monkeypatch
):
    path, lock, removed = tmp_path / "run.npz", _whole.locks.flock, []

    def flock(handle, how):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        lock(handle, how)

    monkeypatch.setattr(_whole.locks, "flock", flock)
    put(path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("missing", ["locks", "the module"])
def test_without_locks_nothing_is_removed(missing, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    killed(path)
    if missing == "locks":
        refuse = lambda *_: (_ for _ in ()).throw(OSError(37, "no locks"))  # noqa: E731
        monkeypatch.setattr(_whole.locks, "flock", refuse)
    else:
        monkeypatch.setattr(_whole, "locks", None)
    put(path)
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


@posix
def test_what_only_looks_left_behind_is_left_alone(tmp_path):
    path = tmp_path / "run.npz"
    prefix = _whole._prefix(path)
    (tmp_path / f"{prefix}folder").mkdir()
    os.mkfifo(tmp_path / f"{prefix}pipe")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f"{prefix}link").symlink_to("mine")
    put(path)
    assert len(list(tmp_path.iterdir())) == 5
    assert (tmp_path / "mine").read_text() == "mine"


# -- what is in files ------------------------------------------------------------------------------


def same(found):
    for name, (x, _) in ARRAYS.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x, strict=True)


def test_arrays_come_back(tmp_path):
    path = tmp_path / "run.npz"
    save(path)
    same(load(path))
    with _files.Reader(path, "thing", 2) as file:
        assert [file.dtype(x) for x in "abc"] == ["float64", "bfloat16", "complex128"]
        assert [file.shape(x) for x in "abc"] == [(2, 3), (3,), ()]
        for ask in (file.array, file.dtype, file.shape):
            for name in ("d", ["a"], None, "header"):
                with pytest.raises(_files.FileError, match=r"run.npz': it has no array"):
                    ask(name)


def test_every_damaged_byte_is_found_or_does_not_matter(tmp_path):
    path = tmp_path / "run.npz"
    save(path)
    content, errors = path.read_bytes(), []
    for i in range(len(content)):
        for change in (1 << i % 8, 0xFF):
            changed = bytearray(content)
            changed[i] ^= change
            path.write_bytes(changed)
            try:
                same(load(path))
            except _files.FileError as error:
                errors.append(str(error))
    assert len(errors) > len(content)
    assert all(str(path) in words for words in errors)


def npy(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def forge(path, text, change=lambda members: None, **options):
    """Write a file with any header, rightly sealed."""
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    seal = hashlib.sha256(text).digest()
    members = {name: npy(x) for name, (x, _) in ARRAYS.items()}
    members |= {k: npy(np.frombuffer(x, np.uint8)) for k, x in (("header", text), ("seal", seal))}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def header(**changes):
    entries = {
        name: {"dtype": dtype, "shape": list(x.shape), "sha256": _files._digest(x)}
        for name, (x, dtype) in ARRAYS.items()
    }
    return {"kind": "thing", "version": 2, "more": [1], "arrays": entries, **changes}


def entry(**changes):
    return header(arrays={"a": {**header()["arrays"]["a"], **changes}})


FORGED = [
    [],
    "thing",
    None,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a": ' * 50_000,
    b"\xff\xfe",
    b"",
    b"1" * 10_000,
    header(kind=["thing"]),
    *(header(version=x) for x in (0, -1, True, None, "2", 2.0, [2], 3, 10**30)),
    {"kind": "thing"},
    *(header(arrays=x) for x in ([], None, {"a": None}, {"a": []}, {"a": {}})),
    *(entry(shape=x) for x in (None, "2", [2, "3"], [2.0, 3.0], [-2, -3], [[2, 3]], [6], [])),
    *(entry(shape=x) for x in ([1 << 70], [1 << 70, 0], [True, 6], [3, 2])),
    *(entry(dtype=x) for x in (None, "float32", "O", "nonsense", "V8", "int64", "float64,int8")),
    *(entry(sha256=x) for x in (None, "", "0" * 64)),
]


@pytest.mark.parametrize("text", FORGED, ids=lambda x: repr(x)[:60])
def test_forged_headers_are_refused_by_the_name_of_the_file(text, tmp_path):
    path = tmp_path / "run.npz"
    forge(path, header())
    same(load(path))
    forge(path, text)
    with pytest.raises(_files.FileError, match=r"run\.npz': "):
        load(path)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0, "has version 0, expected an integer from 1 to 2"),
        (True, "has version True"),
        (3, "newer"),
    ],
)
def test_versions(version, words, tmp_path):
    forge(tmp_path / "run.npz", header(version=version))
    with pytest.raises(_files.FileError, match=words):
        load(tmp_path / "run.npz")


def described(members, descr, shape, order=False):
    """Put another description before the numbers of an array."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}\n".encode()
    members["a"] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(48)


SPOILED = {
    "larger": lambda m: described(m, "<f8", (1 << 37,)),
    "far larger": lambda m: described(m, "<f8", (1 << 62, 2)),
    "negative": lambda m: described(m, "<f8", (-2, -3)),
    "smaller": lambda m: described(m, "<f8", (2, 2)),
    "of another kind": lambda m: described(m, "<i8", (2, 3)),
    "swapped": lambda m: described(m, ">f8", (2, 3)),
    "objects": lambda m: described(m, "|O", (2, 3)),
    "brackets": lambda m: described(m, [("x", "<f8")] * 3, (2, 3)),
    "deep": lambda m: m.update(
        a=b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000 + bytes(48)
    ),
    "signs": lambda m: m.update(
        a=b"\x93NUMPY\x01\x00" + (9001).to_bytes(2, "little") + b"-" * 9000 + b"1" + bytes(48)
    ),
    "new": lambda m: m.update(a=m["a"].replace(b"NUMPY\x01", b"NUMPY\x03")),
    "missing": lambda m: m.pop("a"),
    "empty": lambda m: m.update(a=b""),
    "longer": lambda m: m.update(a=m["a"] + b"\0"),
    "no seal": lambda m: m.pop("seal"),
    "a large seal": lambda m: m.update(seal=npy(np.zeros(4000, np.uint8))),
}


def refused_at_once(path, words):
    """Load a file that must be refused before anything large is allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(_files.FileError, match=words):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("spoil", SPOILED)
def test_arrays_that_are_not_as_they_say_are_refused_before_memory_is_taken(spoil, tmp_path):
    path = tmp_path / "run.npz"
    for text in (header(), entry(shape=[1 << 37])):
        forge(path, text, SPOILED[spoil])
        refused_at_once(path, r"run\.npz': ")


def test_members_that_claim_more_than_the_file_has_or_are_packed_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    forge(path, entry(shape=[1 << 28]), lambda m: described(m, "<f8", (1 << 28,)))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")  # of the first member, in the list at the end
    size = int.from_bytes(content[place + 20 : place + 24], "little") - 48 + (8 << 28)
    for start in (20, 24):
        content[place + start : place + start + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    refused_at_once(path, r"run\.npz': its array 'a' is damaged")
    forge(path, header(), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(_files.FileError, match=r"run\.npz': its array 'header' is damaged"):
        load(path)


def test_a_header_that_could_not_be_read_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save(path)
    before = path.read_bytes()
    monkeypatch.setattr(_files, "LARGEST_HEADER", 300)
    with pytest.raises(_files.FileError, match=r"run\.npz': its header has \d+ bytes, expected"):
        save(path)
    assert path.read_bytes() == before
    forge(path, header(more=[1] * 1000))
    with pytest.raises(_files.FileError, match=r"run\.npz': its header is too large"):
        load(path)


def test_what_the_system_says_while_reading_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save(path)

    def fail_with(error):
        def fail(*_, **__):
            raise error

        return fail

    with _files.Reader(path, "thing", 2) as file:
        for error, words in (
            (OSError(5, "Input/output error"), r"\[Errno 5\] Input/output error: '.*run\.npz'"),
            (MemoryError("no room"), "no room"),
        ):
            monkeypatch.setattr(np.lib.format, "read_array", fail_with(error))
            with pytest.raises(type(error), match=words):
                file.array("a")


def test_files_are_closed_whatever_happens(tmp_path):
    path = tmp_path / "run.npz"
    forge(path, [])
    for _ in range(3):
        with contextlib.suppress(_files.FileError):
            load(path)
    if os.path.isdir("/proc/self/fd"):
        open_now = [os.readlink(f"/proc/self/fd/{x}") for x in os.listdir("/proc/self/fd")
                    if os.path.exists(f"/proc/self/fd/{x}")]  # fmt: skip
        assert str(path) not in open_now
