"""A file of named arrays with a header: NumPy's ``.npz``, sealed, and written whole or not at all.

The header is JSON in an array of bytes. It holds the dtype, the shape and the digest of every
array; a last array holds the digest of the header. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

LARGEST_HEADER = 1 << 26  # bytes


class FileError(ValueError):
    """A file that cannot be used: not of this kind, damaged, or of a newer version."""


@contextlib.contextmanager
def whole(path: Any) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of the old one whole, and only at the end."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write(path: Any, kind: str, version: int, header: Mapping[str, Any], arrays: Any) -> None:
    """Write a file, on disk when this returns; an interrupted call leaves the old one.

    Parameters
    ----------
    path : str or path
        Where.
    kind, version : str, int
        What `Reader` asks for.
    header : mapping
        Of what JSON can hold.
    arrays : mapping from str to (array of NumPy, name of its dtype)
        The name may be "bfloat16" for the upper halves of floats, as integers.
    """
    with whole(path) as file:
        _write(file, {"kind": kind, "version": version, **header}, arrays)


def _write(file: BinaryIO, header: dict[str, Any], arrays: Any) -> None:
    entries = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, (x, dtype) in arrays.items():
            x = np.asarray(x, x.dtype.newbyteorder("<"), order="C")
            entries[name] = {"dtype": dtype, "shape": list(x.shape), "sha256": _digest(x)}
            _member(archive, name, x)
        text = json.dumps({**header, "arrays": entries}, indent=1).encode()
        _member(archive, "header", np.frombuffer(text, np.uint8))
        _member(archive, "seal", np.frombuffer(hashlib.sha256(text).digest(), np.uint8))


def _member(archive: zipfile.ZipFile, name: str, x: np.ndarray[Any, Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, x, allow_pickle=False)


def _digest(x: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data).hexdigest()


class Reader:
    """An open file; the header is checked, arrays are read and checked one by one.

    Parameters
    ----------
    path : str or path
        The file.
    kind, version : str, int
        What it must be, at most this version.

    Raises
    ------
    FileError
        If it is something else; the message names the path.
    """

    def __init__(self, path: Any, kind: str, version: int) -> None:
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._archive = zipfile.ZipFile(self._file)
            text = self._member("header", limit=LARGEST_HEADER).tobytes()
            seal = self._member("seal", limit=1024).tobytes()
            if hashlib.sha256(text).digest() != seal:
                raise self._error("its header was altered")
            self.header: dict[str, Any] = json.loads(text)
            if self.header.get("kind") != kind:
                raise self._error(f"it is no {kind}")
            if self.header["version"] > version:
                found = self.header["version"]
                raise self._error(f"it has version {found}, newer than {version}")
        except KeyError as error:
            self.close()
            raise self._error(f"it is no {kind} of fallline") from error
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            self.close()
            raise self._error(f"it is no {kind} of fallline, or damaged") from error
        except BaseException:
            self.close()
            raise

    def _error(self, what: str) -> FileError:
        return FileError(f"{str(self.path)!r}: {what}")

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def dtype(self, name: str) -> str:
        """Return the name of an array's dtype."""
        return str(self.header["arrays"][name]["dtype"])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self.header["arrays"][name]["shape"])

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array, after a check of its digest."""
        entry = self.header["arrays"][name]
        try:
            x = self._member(name, shape=tuple(entry["shape"]))
        except (zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
            raise self._error(f"its array {name!r} is damaged") from error
        if _digest(x) != entry["sha256"]:
            raise self._error(f"its array {name!r} was altered")
        return x

    def _member(
        self, name: str, *, limit: int | None = None, shape: tuple[int, ...] | None = None
    ) -> np.ndarray[Any, Any]:
        if limit is not None and self._archive.getinfo(f"{name}.npy").file_size > limit:
            raise self._error(f"its {name} is too large")
        with self._archive.open(f"{name}.npy") as member:
            try:
                version = np.lib.format.read_magic(member)
                readers = {(1, 0): np.lib.format.read_array_header_1_0}
                readers[2, 0] = np.lib.format.read_array_header_2_0
                if version not in readers:
                    raise self._error(f"its array {name!r} has an unknown form")
                found, _, dtype = readers[version](member)
                if dtype.hasobject:
                    raise self._error(f"its array {name!r} is pickled, which is never loaded")
                if shape is not None and found != shape:
                    raise self._error(f"its array {name!r} was altered")
            except FileError:
                raise
            except ValueError as error:
                raise self._error(f"its array {name!r} is damaged") from error
        with self._archive.open(f"{name}.npy") as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))
