"""A file of named arrays with a header: NumPy's ``.npz``, sealed, and written atomically.

The header is JSON in an array of bytes. It holds the dtype, the shape and the digest of every
array; a last array holds the digest of the header. Nothing is ever unpickled, and what a file says
of itself is compared with the rest of the file before it is used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, BinaryIO, Self

import numpy as np

from ._types import Array, FilePath, HostArray, HostDtype, Json
from ._whole import FileError, named, status, whole

__all__ = ["FileError", "Reader", "whole", "write"]

LARGEST_HEADER = 1 << 26  # bytes


def write(
    path: FilePath,
    kind: str,
    version: int,
    header: Mapping[str, Json],
    arrays: Mapping[str, tuple[HostArray, str]],
) -> None:
    """Write a file, on disk when this returns; an interrupted call leaves the old one.

    Parameters
    ----------
    path : str or path
        Path of the file.
    kind, version : str, int
        What `Reader` asks for.
    header : mapping
        Data that JSON can hold.
    arrays : mapping from str to (array of NumPy, name of its dtype)
        The name may be "bfloat16" for the upper halves of floats, as integers.
    """
    with whole(path) as file:
        size = _write(file, {"kind": kind, "version": version, **header}, arrays)
        if size > LARGEST_HEADER:
            msg = f"{str(path)!r}: its header has {size} bytes, expected at most {LARGEST_HEADER}"
            raise FileError(msg)


def _write(
    file: BinaryIO, header: dict[str, Json], arrays: Mapping[str, tuple[HostArray, str]]
) -> int:
    # Returns the length of the header.
    entries = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, (x, dtype) in arrays.items():
            x = np.asarray(x, x.dtype.newbyteorder("<"), order="C")
            entries[name] = {"dtype": dtype, "shape": list(x.shape), "sha256": _digest(x)}
            _member(archive, name, x)
        text = json.dumps({**header, "arrays": entries}, indent=1).encode()
        _member(archive, "header", np.frombuffer(text, np.uint8))
        _member(archive, "seal", np.frombuffer(hashlib.sha256(text).digest(), np.uint8))
    return len(text)


def _member(archive: zipfile.ZipFile, name: str, x: HostArray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, x, allow_pickle=False)


def _digest(x: HostArray) -> str:
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
        If the file is something else; the message names the path.
    OSError
        If the system refuses; the error names the path.
    """

    def __init__(self, path: FilePath, kind: str, version: int) -> None:
        self.path = path
        with named(path):
            status(path)
            self._file = open(path, "rb")  # noqa: SIM115
        try:
            with self.blamed(f"it is not a {kind} of fallline, or damaged"):
                self._size = os.fstat(self._file.fileno()).st_size
                self._archive = zipfile.ZipFile(self._file)
                text = self._member("header", "uint8", limit=LARGEST_HEADER).tobytes()
                seal = self._member("seal", "uint8", limit=1024).tobytes()
                if hashlib.sha256(text).digest() != seal:
                    raise self.error("its header was altered")
                self.header: dict[str, Json] = self._checked(json.loads(text), kind, version)
        except BaseException:
            self.close()
            raise

    def error(self, what: str) -> FileError:
        """Return an error that names this file.

        Parameters
        ----------
        what : str
            What is wrong with it.

        Returns
        -------
        FileError
            To be raised.
        """
        return FileError(f"{str(self.path)!r}: {what}")

    @contextlib.contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Make an error that names this file of whatever fails inside.

        Refusals of the system and a lack of memory are raised as they are.

        Parameters
        ----------
        what : str
            What is wrong with the file then.
        """
        try:
            yield
        except (FileError, MemoryError):
            raise
        except Exception as error:
            # A forged place before the start of the file is an invalid argument to the system.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                with named(self.path):
                    raise
            raise self.error(what) from error

    def _checked(self, header: Json, kind: str, version: int) -> dict[str, Json]:
        if not isinstance(header, dict) or header.get("kind") != kind:
            raise self.error(f"it is not a {kind}")
        found = header.get("version")
        if type(found) is not int or found < 1:
            raise self.error(f"has version {found!r}, expected an integer from 1 to {version}")
        if found > version:
            raise self.error(f"it has version {found}, newer than {version}")
        entries = header.get("arrays")
        if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
            raise self.error("its list of arrays is damaged")
        return header

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
        return str(self._entry(name)["dtype"])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self._entry(name)["shape"])

    def array(self, name: str) -> HostArray:
        """Return an array after checking its digest."""
        entry = self._entry(name)
        with self.blamed(f"its array {name!r} is damaged"):
            x = self._member(name, entry["dtype"], shape=tuple(entry["shape"]))
            if _digest(x) != entry["sha256"]:
                raise self.error(f"its array {name!r} was altered")
        return x

    def _entry(self, name: object) -> dict[str, Json]:
        entries = self.header["arrays"]
        if not isinstance(name, str) or name not in entries:
            raise self.error(f"it has no array {name!r}")
        return entries[name]  # type: ignore[no-any-return]

    def _member(
        self,
        name: str,
        dtype: str,
        *,
        limit: int | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> HostArray:
        info = self._archive.getinfo(f"{name}.npy")
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not stored or info.file_size > self._size:
            raise self.error(f"its array {name!r} is damaged")
        if limit is not None and info.file_size > limit + 1024:  # of NumPy's own header
            raise self.error(f"its {name} is too large")
        with self._archive.open(info) as member:
            size, found = self._described(name, member)
        if found[1] != _stored(dtype) or (shape is not None and found[0] != shape):
            raise self.error(f"its array {name!r} was altered")
        if size + math.prod(found[0]) * found[1].itemsize != info.file_size:
            raise self.error(f"its array {name!r} is damaged")
        with self._archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    def _described(
        self, name: str, member: IO[bytes]
    ) -> tuple[int, tuple[tuple[int, ...], HostDtype]]:
        # The length of NumPy's header, and the shape and dtype in it.
        try:
            version = np.lib.format.read_magic(member)
            readers = {(1, 0): np.lib.format.read_array_header_1_0}
            readers[2, 0] = np.lib.format.read_array_header_2_0
            if version not in readers:
                raise self.error(f"its array {name!r} has an unknown form")
            shape, _, dtype = readers[version](member)
        except MemoryError as error:  # of Python's parser, from too many brackets
            raise self.error(f"its array {name!r} is damaged") from error
        if dtype.hasobject:
            raise self.error(f"its array {name!r} is pickled, which is never loaded")
        return member.tell(), (shape, dtype)


def _is_entry(x: Array) -> bool:
    return (
        isinstance(x, dict)
        and isinstance(x.get("dtype"), str)
        and isinstance(x.get("sha256"), str)
        and isinstance(x.get("shape"), list)
        and all(type(n) is int and n >= 0 for n in x["shape"])
    )


def _stored(name: str) -> HostDtype:
    # The dtype with which an array lies in a file.
    return np.dtype("uint16" if name == "bfloat16" else name).newbyteorder("<")
