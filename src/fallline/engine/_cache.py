"""A private folder for compiled kernels; without one, kernels are compiled anew each time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path


def folder(kind: str) -> Path | None:
    """Return the user's private folder for a kind of kernels, or `None` if there is none to trust.

    ``FALLLINE_CACHE_DIR`` names another place than the system's usual one. A folder that others
    own or may write is not used, because what lies in it is run.
    """
    try:
        path = _base() / kind
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path if _private(path) and _private(path.parent) else None
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


def _private(path: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True
    status = path.lstat()
    mine = status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
    return mine and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def write(path: Path, data: bytes) -> bool:
    """Write a file whole or not at all; tell whether it holds the data now."""
    try:
        if path.is_file() and path.read_bytes() == data:
            return True
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError:
        return False
    return True


def write_sealed(path: Path, data: bytes) -> bool:
    """Write data behind its digest, for `read_sealed`; tell whether the file holds it now."""
    return write(path, hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """Return what `write_sealed` wrote, or `None` if nothing, or not all of it, is there."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, data = content[:32], content[32:]
    return data if hashlib.sha256(data).digest() == seal else None
