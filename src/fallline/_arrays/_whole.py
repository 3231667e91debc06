"""Files that are written atomically, and errors that name them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from ._types import FilePath

locks: ModuleType | None
try:
    import fcntl as locks
except ImportError:  # not on every system
    locks = None

KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class FileError(ValueError):
    """A file that cannot be used: not of this kind, damaged, or of a newer version."""


@contextlib.contextmanager
def whole(path: FilePath, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces the old one at the end, and atomically.

    A link is followed; when this returns the file is on disk. What killed processes left of earlier
    attempts at the same file is removed first, if they ran on this machine.

    Parameters
    ----------
    path : str or path
        Path of the file.
    private : bool, default False
        Whether nobody but the user may read and write the file. Otherwise it has the permissions
        of the old one.

    Raises
    ------
    FileError
        If there is something else than a file.
    OSError
        If the system refuses; the error names the path.
    """
    with named(path):
        old = status(path)
        target = Path(os.path.realpath(path))
        _remove_left(target)
        handle, temporary = _temporary(target, 0o600 if private or old is not None else 0o666)
        lock = None if locks is None else os.dup(handle)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                if old is not None and not private:
                    _keep_access(file.fileno(), old)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            if lock is not None:
                os.close(lock)
        with contextlib.suppress(OSError):  # not every system can open a folder
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextlib.contextmanager
def named(path: FilePath) -> Iterator[None]:
    """Let errors of the system inside name a file as the caller does."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def status(path: FilePath) -> os.stat_result | None:
    """Return the status of the file at a path, or behind a link; `None` if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        msg = f"{str(path)!r}: is a {kind}, expected a file"
        raise FileError(msg)
    return found


def _prefix(target: Path) -> str:
    # Of the temporary files of a target on this machine: short, however long the target's name is.
    key = platform.node().encode() + b"\0" + os.fsencode(target.name)
    return f".fallline-{hashlib.sha256(key).hexdigest()[:16]}-"


def _temporary(target: Path, mode: int) -> tuple[int, Path]:
    # A new file, locked for as long as a process has it open.
    while True:
        path = target.with_name(_prefix(target) + secrets.token_hex(8))
        handle = os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), mode
        )
        if locks is None:
            return handle, path
        with contextlib.suppress(OSError):  # not every file system has locks
            locks.flock(handle, locks.LOCK_EX)
        if path.exists():
            return handle, path
        os.close(handle)  # another process found it before it was locked


def _remove_left(target: Path) -> None:
    # A temporary file that can be locked belongs to no living process. Locks may not reach other
    # machines, whose files have other names for that reason.
    if locks is None:
        return
    prefix, found = _prefix(target), []
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(prefix)]
    for path in found:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                left = os.fstat(handle)
                if stat.S_ISREG(left.st_mode) and left.st_uid == os.getuid():
                    locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
                    os.unlink(path)
            finally:
                os.close(handle)


def _keep_access(handle: int, old: os.stat_result) -> None:
    # Give a file the owner and permissions of the one it replaces, as far as the system lets us;
    # else it stays the user's own.
    if not hasattr(os, "fchmod"):
        return
    for owner in (old.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(handle, owner, old.st_gid)
            break
    with contextlib.suppress(OSError):
        os.fchmod(handle, stat.S_IMODE(old.st_mode) & 0o777)
