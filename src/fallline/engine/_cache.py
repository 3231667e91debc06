"""A private folder for compiled kernels; without one, each process compiles them again.

Code from this folder is executed. Every file therefore begins with a digest of its name and
contents, and a file that is damaged, misplaced or not the user's own is ignored.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from .._arrays import _whole


def folder(kind: str) -> Path | None:
    """Return the user's private folder for a kind of kernels, or `None` if none can be trusted.

    ``FALLLINE_CACHE_DIR`` replaces the system's usual place. A folder that others own or may write
    to is not used, because code from it is executed.
    """
    try:
        path = _base() / kind
        _make(path)
        trusted = all(
            stat.S_ISDIR(one.lstat().st_mode) and _private(one.lstat())
            for one in (path, path.parent)
        )
        return path if trusted else None
    except (OSError, RuntimeError):
        return None


def _base() -> Path:
    if chosen := os.environ.get("FALLLINE_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "fallline"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fallline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fallline"


def _make(path: Path) -> None:
    # Every new folder is private: `mkdir(parents=True)` would leave its parents to the umask.
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _private(status: os.stat_result) -> bool:
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    open_to_others = os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return mine and not open_to_others


def write_sealed(path: Path, data: bytes) -> bool:
    """Write data and their digest, for `read_sealed`; tell whether that worked."""
    try:
        with _whole.whole(path, private=True) as file:
            file.write(_digest(path, data))
            file.write(data)
    except (OSError, _whole.FileError):
        return False
    return True


def read_sealed(path: Path) -> bytes | None:
    """Return what `write_sealed` wrote to a file, or `None` if the file is missing or changed."""
    try:
        with open(path, "rb") as file:
            content = file.read() if _private(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    seal, data = content[:32], content[32:]
    return data if seal == _digest(path, data) else None


def _digest(path: Path, data: bytes) -> bytes:
    # The name is included so that no kernel can take the place of another.
    return hashlib.sha256(path.name.encode() + b"\0" + data).digest()
