"""NumPy's inner loops, by their addresses.

A ufunc runs a compiled loop that fits the dtypes of its operands. Compiled code that calls the same
loop gets the bits of the ufunc, by the same vector instructions, without the interpreter. NumPy
hands loops to compilers by two documented methods, ``ufunc._resolve_dtypes_and_context`` and
``ufunc._get_strided_loop``. A loop is used only after it gave the ufunc's own results for some
numbers.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._arrays._types import Array, HostArray
from ._nodes import UnrecordableError

# The name of the capsule tells which structure is inside.
KNOWN = b"numpy_1.24_ufunc_call_info"
# Loops of these dtypes never call the interpreter, so that they may run without its lock.
DTYPES = "?fd" + np.dtype(np.int64).char


class _CallInfo(ctypes.Structure):
    # How the structure begins.
    _fields_ = (
        ("function", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
    )


_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5)


class Loop(NamedTuple):
    """A loop: ``int function(context, char **operands, intp *lengths, intp *strides, data)``.

    `result` is the dtype of what it writes. `owner` frees the context and the data when it goes.
    """

    function: int
    context: int
    data: int
    result: str
    owner: object


@lru_cache(maxsize=256)
def find(name: str, dtypes: str) -> Loop:
    """Return the loop that a ufunc runs for operands of some dtypes, such as ``("add", "dd")``.

    Raises
    ------
    UnrecordableError
        If there is none that is known to give the results of the ufunc; the message says why.
    """
    ufunc: object = getattr(np, name, None)
    if not isinstance(ufunc, np.ufunc) or (ufunc.nin, ufunc.nout) != (len(dtypes), 1):
        msg = f"numpy.{name} is not a ufunc from {len(dtypes)} operands to one result"
        raise UnrecordableError(msg)
    loop = _found(ufunc, dtypes)
    with np.errstate(all="ignore"):
        for operands, lengths, strides, expected in _trials(ufunc, dtypes):
            out = np.zeros_like(expected)
            places = [x.ctypes.data for x in (*operands, out)]
            if call(loop, places, lengths, strides) or _bits(out) != _bits(expected):
                msg = f"the loop of numpy.{name} for {dtypes!r} does not give the ufunc's results"
                raise UnrecordableError(msg)
    return loop


def _found(ufunc: np.ufunc, dtypes: str) -> Loop:
    about = f"numpy.{ufunc.__name__} for {dtypes!r}"
    if sys.implementation.name != "cpython" or np.dtype(np.intp).itemsize != 8:
        msg = "loops of NumPy are known for 64-bit CPython only"
        raise UnrecordableError(msg)
    ours: Any = ufunc
    try:
        types, owner = ours._resolve_dtypes_and_context((*map(np.dtype, dtypes), None))
        ours._get_strided_loop(owner)
        info = _CallInfo.from_address(_pointer(owner))
    except (AttributeError, TypeError, ValueError) as error:
        msg = f"NumPy {np.__version__} gives no loop of {about}: {error}"
        raise UnrecordableError(msg) from error
    letters = "".join(x.char for x in types)
    if letters[:-1] != dtypes or not set(letters) <= set(DTYPES):
        msg = f"{about} computes in other dtypes, {letters!r}"
        raise UnrecordableError(msg)
    return Loop(info.function, info.context or 0, info.data or 0, letters[-1], owner)


def _pointer(owner: object) -> int:
    # Fails for a capsule of another name.
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return int(get(owner, KNOWN))


def _trials(
    ufunc: np.ufunc, dtypes: str
) -> Iterator[tuple[list[Array], list[int], list[int], HostArray]]:
    # Operands; lengths and strides; the result as NumPy has it.
    given = [fixed(dtype, shift) for shift, dtype in enumerate(dtypes)]
    item = given[0].itemsize
    if ufunc is np.matmul:
        for m, n, k in ((1, 1, 1), (3, 21, 1), (64, 1, 1), (5, 7, 3), (1, 9, 4), (16, 4, 4)):
            a, b = given[0][: m * n].reshape(m, n), given[1][: n * k].reshape(n, k)
            for x, y in ((a, b), (a.T.copy().T, b), (a, b.T.copy().T)):
                strides = [0, 0, 0, *x.strides, *y.strides, k * item, item]
                yield [x, y], [1, m, n, k], strides, x @ y
        return
    for n in (1, 3, 64):
        some = [x[:n] for x in given]
        expected = ufunc(*some)
        yield some, [n], [x.itemsize for x in (*some, expected)], expected
    for i in range(len(given) if len(given) > 1 else 0):  # one of them a single number
        some = [x[:1] if i == k else x for k, x in enumerate(given)]
        expected = ufunc(*some)
        steps = [0 if i == k else x.itemsize for k, x in enumerate(given)]
        yield some, [expected.size], [*steps, expected.itemsize], expected


def fixed(dtype: str, shift: int) -> HostArray:
    """Return 70 numbers of both signs, 0 among them, or truths; others for another shift."""
    steps = np.arange(shift, shift + 70) * 37 % 71 - 35
    return steps > 0 if dtype == "?" else (steps / 7).astype(dtype)


def call(loop: Loop, places: Sequence[int], lengths: Sequence[int], strides: Sequence[int]) -> int:
    """Call a loop with the addresses of its operands; the result is 0 if nothing went wrong."""
    tables = [np.asarray(row, np.int64) for row in (places, lengths, strides)]
    function = _PROTOTYPE(loop.function)
    return int(function(loop.context, *(table.ctypes.data for table in tables), loop.data))


def _bits(x: Array) -> bytes:
    # NaN counts as one number, since its bits are not promised.
    return np.where(x == x, x, np.nan).tobytes()
