"""Mini-batches of arrays."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator

import numpy as np

from . import _arrays
from ._arrays import _checks, _sparse
from ._arrays._types import Array, Json

RELEASE = 1 << 26  # bytes of a memory map that may have been read before their pages are given back
AROUND = 1 << 16  # bytes


class Batches:
    """Mini-batches along the first axis of any number of arrays.

    Each iteration is an epoch: it yields tuples, one array of `batch_size` rows for each array
    given, gathered on the arrays' own device.

    Parameters
    ----------
    *arrays : array
        Of one library and device and of equal length; sparse matrices with rows (CSR) too. Of
        memory maps no more than 64 MB stay in memory.
    batch_size : int
        Rows in a batch; the last one may have fewer.
    shuffle : bool, default True
        Draw a new order for each epoch. Without it batches are slices, which may be views.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    rng : int, numpy.random.Generator, or None
        Where the orders come from. They depend on it and on the length only, so they are the
        same for every library. Each epoch takes one permutation from it, at its start.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not fit together, a sparse matrix is of a format whose rows cannot be
        taken or has indices outside of it, or `batch_size` is no positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> batches = fl.Batches(np.arange(5), np.arange(5) ** 2, batch_size=2, rng=0)
    >>> len(batches)
    3
    >>> for x, y in batches:
    ...     print(x, y)
    [2 4] [ 4 16]
    [3 0] [9 0]
    [1] [1]
    """

    def __init__(
        self,
        *arrays: Array,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if not arrays:
            msg = "Batches() needs at least one array"
            raise TypeError(msg)
        for i, x in enumerate(arrays):
            place = _checks.where("arrays", (i,))
            if not _arrays.is_sparse(x):  # a sparse matrix is gathered by its own means
                like = next((y for y in arrays if not _arrays.is_sparse(y)), x)
                _checks.array(place, x)
                _checks.same_kind(place, like, x)
            else:
                _sparse.check(place, x)
                _sparse.check_rows(place, x)
            if x.ndim == 0:
                msg = f"{place}: is 0-d, expected an array of rows"
                raise ValueError(msg)
            if x.shape[0] != arrays[0].shape[0]:
                raise ValueError(_checks.mismatch(place, "length", x.shape[0], arrays[0].shape[0]))
        self.batch_size = _checks.count("batch_size", batch_size, 1)
        self.arrays = arrays
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.rng = np.random.default_rng(rng)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(self.arrays[0].shape[0], self.batch_size)
        return int(full) + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Return an iterator over the next epoch."""
        return self.epoch()

    def epoch(self, start: int = 0, *, reuse: bool = False) -> Iterator[tuple[Array, ...]]:
        """Return an iterator over the next epoch, from a batch on.

        Parameters
        ----------
        start : int, default 0
            The first batch of it; those before are left out, and not gathered.
        reuse : bool, default False
            Gather every batch into the same memory, where the arrays are NumPy's: a batch is
            overwritten by the next.

        Returns
        -------
        iterator of tuple of arrays
            The batches.
        """
        for i, x in enumerate(self.arrays):  # which may not be what they were
            _sparse.check(_checks.where("arrays", (i,)), x)
        n, size = self.arrays[0].shape[0], self.batch_size
        order = self.order()
        like = next((x for x in self.arrays if not _arrays.is_sparse(x)), None)
        if order is not None and like is not None:
            order = _arrays.from_numpy(order, like)
        slices = (slice(i * size, min((i + 1) * size, n)) for i in range(start, len(self)))
        buffers = [
            _buffer(x, self.batch_size) if reuse and self.shuffle else None for x in self.arrays
        ]
        return self._epoch(order, slices, buffers)

    def order(self) -> Array:
        """Return the order of the rows in the next epoch, drawn from `rng`.

        Returns
        -------
        numpy.ndarray or None
            `None` without shuffling.
        """
        return self.rng.permutation(self.arrays[0].shape[0]) if self.shuffle else None

    def _epoch(
        self, order: Array, rows: Iterator[slice], buffers: list[Array]
    ) -> Iterator[tuple[Array, ...]]:
        touched = 0
        for part in rows:
            if order is None:
                yield tuple(
                    _sparse.rows(f"arrays[{i}]", x, part) if _arrays.is_sparse(x) else x[part, ...]
                    for i, x in enumerate(self.arrays)
                )
                touched += sum(map(_bytes, self.arrays)) * (part.stop - part.start)
                if touched > RELEASE:
                    touched = 0
                    for x in self.arrays:
                        _release(x)
            else:
                pairs = zip(self.arrays, buffers, strict=True)
                yield tuple(
                    _sparse.rows(f"arrays[{i}]", x, order[part]) if _arrays.is_sparse(x)
                    else _gathered(x, order[part], buffer)
                    for i, (x, buffer) in enumerate(pairs)
                )  # fmt: skip

    def __repr__(self) -> str:
        """Return what is batched, and how."""
        n = self.arrays[0].shape[0]
        return f"<Batches of {self.batch_size} from {n} rows of {len(self.arrays)} arrays>"


def _buffer(x: Array, size: int) -> Array:
    # Memory for a batch of an array that NumPy gathers from without a copy of the whole.
    if not isinstance(x, np.ndarray) or not (x.flags.c_contiguous and x.flags.aligned):
        return None
    return np.empty((min(size, x.shape[0]), *x.shape[1:]), x.dtype)


def _gathered(x: Array, indices: Array, buffer: Array) -> Array:
    # Some rows of an array, in the buffer if there is one.
    if buffer is None:
        return _arrays.rows(x, indices)
    out = buffer[: len(indices)]
    step = len(indices)
    if isinstance(x, np.memmap):
        # The system maps this much around every row that is read.
        step = max(1, RELEASE // max(_bytes(x), AROUND))
    for start in range(0, len(indices), max(step, 1)):
        some = slice(start, start + step)
        x.take(indices[some], axis=0, out=out[some], mode="clip")
        if isinstance(x, np.memmap):
            _release(x)
    return out


def _bytes(x: Array) -> int:
    # Of a row of a memory map.
    return x.nbytes // max(x.shape[0], 1) if isinstance(x, np.memmap) else 0


def _release(x: Array) -> None:
    # Give back the memory of a map that was read; the pages stay in the system's own cache.
    memory: object = getattr(x, "_mmap", None)
    if isinstance(x, np.memmap) and x.mode != "c" and hasattr(memory, "madvise"):
        memory.madvise(mmap.MADV_DONTNEED)


def plain_state(rng: np.random.Generator) -> Json:
    """Return the state of a generator as JSON has it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Any.

    Returns
    -------
    dict
        Integers of up to 128 bits stay; arrays become lists, marked as such.
    """
    state = rng.bit_generator.state
    return json.loads(json.dumps(state, default=lambda x: {"array": x.tolist()}))
