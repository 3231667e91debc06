"""The Numba engine: a program as one compiled loop over NumPy arrays.

A step runs on the thread that asks for it. Several threads would be faster on a large step by
itself, but in a training loop they have to wait for the cores on which the threads of the matrix
products before it still spin, many times as long as the step itself takes.

The text of a kernel is a pure function of the program; what Numba compiled of it is kept in the
user's private cache folder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from . import _compile, blocked
from .trace import INFIX, Program

DTYPES = ("float32", "float64", "complex64", "complex128")
SMALL = 1 << 14  # elements, up to which fresh gradients are gathered
GATHERED = 3 << 19  # bytes of the buffer for that


def installed() -> bool:
    """Tell whether Numba can be imported, without doing so."""
    return importlib.util.find_spec("numba") is not None


class Runner:
    """Runs a program on NumPy leaves; parameters as in `eager.Runner`.

    Leaves, or gradients, whose memory is not in one piece are left to the blocked engine.
    """

    name = "numba"

    def __init__(self, program: Program, leaves: Sequence[list[Any]]) -> None:
        self.program = program
        self.leaves = leaves
        self.dtype = np.dtype(program.dtype)
        self.numbers = np.zeros(max(len(program.scalars), 1), self.dtype)
        self.flat = [_flat_leaf(program, leaf) for leaf in leaves]
        self._blocked: blocked.Runner | None = None
        self._table: _Table | None = None
        small = [
            i
            for i, leaf in enumerate(leaves)
            if self.flat[i] is not None and 0 < leaf[0].size <= SMALL
        ]
        if len(small) > 3:
            self._table = _Table(program, self.flat, small, self.numbers)
        self._one = kernel(program, "one")

    def run(
        self,
        scalars: Mapping[str, Any],
        which: Sequence[int],
        grads: Sequence[Any],
        begin: Callable[[], None],
    ) -> dict[int, list[Any]]:
        """Update the leaves `which`, as `eager.Runner.run`."""
        self.numbers[: len(self.program.scalars)] = self.program.numbers(scalars)
        begin()
        done: frozenset[int] = frozenset()
        if self._table is not None and len(which) == len(self.leaves):
            done = self._table.run(grads)
            if len(done) == len(which):
                return {}
        rest = []
        for i, g in zip(which, grads, strict=True):
            if i in done:
                continue
            flat = self.flat[i]
            flat_g = None if flat is None else _flat(g, flat[0], self.program.arrays[1])
            if flat is None or flat_g is None:
                rest.append((i, g))
            else:
                self._one(flat[1], flat_g, *flat[2], self.numbers)
        if rest:
            if self._blocked is None:
                self._blocked = blocked.Runner(self.program, self.leaves)
            self._blocked.run(scalars, [i for i, _ in rest], [g for _, g in rest], _nothing)
        return {}


def _nothing() -> None:
    pass


class _Table:
    """Addresses of many small leaves, for one call of a kernel.

    Finding the address of a fresh array costs more than copying a small one, so fresh gradients
    are gathered into a buffer of fixed address.
    """

    def __init__(
        self, program: Program, flat: Sequence[Any], small: Sequence[int], numbers: Any
    ) -> None:
        itemsize = numbers.itemsize
        self.flat, self.numbers = flat, numbers
        self.operand = program.arrays[1]
        self.batches: list[tuple[list[int], Any, Any]] = []
        self.done = frozenset(small)
        batch: list[int] = []
        size = 0
        for i in small:
            n = flat[i][1].size
            if batch and (size + n) * itemsize > GATHERED:
                self.batches.append(self._batch(batch))
                batch, size = [], 0
            batch.append(i)
            size += n
        self.batches.append(self._batch(batch))
        longest = max(int(ends[-1]) for _, _, ends in self.batches)
        self.buffer = np.empty(longest, numbers.dtype)
        address = self.buffer.ctypes.data
        for _, table, ends in self.batches:
            table[:, 1] = address + itemsize * np.concatenate([[0], ends[:-1]])
        self.kernel = kernel(program, "many")
        self.small = small
        # The gradients of the last step, where these are few bytes, and their own addresses.
        self.remembers = len(self.batches) == 1
        self.last: list[Any] = []
        self.direct: Any = None

    def _batch(self, leaves: list[int]) -> tuple[list[int], Any, Any]:
        flats = [self.flat[i] for i in leaves]
        rows = [
            [flat[1].ctypes.data, 0, *(x.ctypes.data for x in flat[2]), flat[1].size]
            for flat in flats
        ]
        table = np.asarray(rows, np.int64)
        table[:, -1] //= self.operand.parts
        return leaves, table, np.cumsum(table[:, -1] * self.operand.parts)

    def run(self, grads: Sequence[Any]) -> frozenset[int]:
        """Update the small leaves, unless a gradient cannot be gathered; tell which are done."""
        taken = grads if len(self.small) == len(grads) else [grads[i] for i in self.small]
        if len(self.last) == len(taken) and all(map(is_, taken, self.last)):
            if self.direct is None:
                self.direct = self.batches[0][1].copy()
                self.direct[:, 1] = [g.ctypes.data for g in taken]
            self.kernel(self.direct, self.numbers)
            return self.done
        self.last, self.direct = [], None
        for i, g in zip(self.small, taken, strict=True):
            flags = g.flags
            if not (flags.c_contiguous and flags.aligned and g.dtype.isnative):
                return frozenset()
            if g.ndim > 1 and self.flat[i][0] != "C":
                return frozenset()
        start = 0
        for leaves, table, ends in self.batches:
            gathered = [
                g if g.ndim == 1 else g.reshape(-1) for g in taken[start : start + len(leaves)]
            ]
            start += len(leaves)
            buffer = self.buffer[: int(ends[-1])]
            np.concatenate(gathered, out=buffer.view(gathered[0].dtype))
            self.kernel(table, self.numbers)
        if self.remembers:
            self.last = list(taken)
        return self.done


def _flat_leaf(program: Program, leaf: list[Any]) -> tuple[str, Any, list[Any]] | None:
    for order in ("C", "F"):
        flat = [_flat(x, order, op) for x, op in zip(leaf, program.bound, strict=True)]
        if all(x is not None for x in flat):
            return order, flat[0], flat[1:]
    return None


def _flat(x: Any, order: str, operand: Any) -> Any:
    # A 1-d array of real numbers, the parts of a complex one in turn; `None` if there is none.
    if operand.single:
        return x.reshape(1)
    flags = x.flags
    straight = flags.c_contiguous if order == "C" else flags.f_contiguous
    dtype = x.dtype
    if not (straight and flags.aligned and dtype.isnative and dtype.name == operand.dtype):
        return None
    if x.ndim != 1:
        x = (x if order == "C" else x.T).reshape(-1)
    return x if operand.parts == 1 else x.view(x.real.dtype)


# -- from a program to compiled code ----------------------------------------------------------


_KNOWN: dict[tuple[str, str], Callable[..., None]] = {}


def kernel(program: Program, form: str) -> Callable[..., None]:
    """Return a compiled function of the arrays of "one" leaf, or of a table of "many"."""
    key = program.key, form
    if key not in _KNOWN:
        _KNOWN[key] = _compile.compiled(source(program, form), form)
    return _KNOWN[key]


def source(program: Program, form: str) -> str:
    """Return the text of a module with one function; nothing in it comes from the user."""
    names = [f"a{i}" for i in range(len(program.arrays))]
    real = program.dtype
    mutable = [f"{real}[::1]"] * len(names)
    mutable[1] = f"types.Array({real}, 1, 'C', readonly=True)"
    options = 'nogil=True, error_model="numpy"'
    body = [
        f"@njit({options})",
        f"def body({', '.join(names)}, s):",
        *(f"    s{i} = s[{i}]" for i in range(len(program.scalars))),
        *(f"    n{i} = a{i}[0]" for i, operand in enumerate(program.arrays) if operand.single),
        f"    zero, one_ = {real}(0), {real}(1)",
        f"    for i in range(a0.size{_per(program.arrays[0])}):",
        *(f"        {line}" for line in statements(program)),
    ]
    head = [
        '"""Made by fallline from a traced rule."""',
        "",
        "import math",
        "",
        "from numba import carray, float32, float64, int64, njit, types",
        "from numba.extending import intrinsic",
        "",
        "",
        *body,
        "",
        "",
    ]
    if form == "one":
        signature = f"types.void({', '.join([*mutable, f'{real}[::1]'])})"
        arguments = f"{', '.join(names)}, s"
        inside = [f"    body({arguments})"]
    else:
        signature = f"types.void(int64[:, ::1], {real}[::1])"
        arguments = "table, s"
        arrays = [
            f"carray(pointer(table[j, {i}]), "
            + ("1)" if operand.single else f"{operand.parts} * table[j, {len(names)}])")
            for i, operand in enumerate(program.arrays)
        ]
        inside = [
            "    for j in range(table.shape[0]):",
            f"        body({', '.join(arrays)}, s)",
        ]
        head += [
            "@intrinsic",
            "def pointer(typing, address):",
            "    def codegen(context, builder, signature, args):",
            "        kind = context.get_value_type(signature.return_type)",
            "        return builder.inttoptr(args[0], kind)",
            "",
            f"    return types.CPointer({real})(types.int64), codegen",
            "",
            "",
        ]
    lines = [
        *head,
        f"SIGNATURE = {signature}",
        "",
        "",
        f"@njit({options})",
        f"def {form}({arguments}):",
        *inside,
    ]
    return "\n".join(lines) + "\n"


def _per(operand: Any) -> str:
    return "" if operand.parts == 1 else " // 2"


def statements(program: Program) -> list[str]:
    """Return the statements for element ``i``: loads, one operation a line, stores."""
    names: list[str] = []
    text = []
    for k, (op, args) in enumerate(program.lines):
        if op == "scalar" or (op == "load" and program.arrays[args[0]].single):
            names.append(f"{'s' if op == 'scalar' else 'n'}{args[0]}")
            continue
        names.append(f"t{k}")
        if op == "load":
            text.append(f"t{k} = a{args[0]}[{_index(program.arrays[args[0]], args[1])}]")
        else:
            text.append(f"t{k} = {expression(op, [names[a] for a in args])}")
    for array, part, line in program.stores:
        text.append(f"a{array}[{_index(program.arrays[array], part)}] = {names[line]}")
    return text


def _index(operand: Any, part: int) -> str:
    return "i" if operand.parts == 1 else ("2 * i", "2 * i + 1")[part]


def expression(op: str, x: Sequence[str]) -> str:
    """Return an operation as Numba compiles it with NumPy's results.

    Sign, maximum and minimum are comparisons, because Numba's own differ for NaN and -0.0. Of
    zeros of both signs the second is taken, as x86 does; NumPy elsewhere may take the other.
    """
    match op:
        case "sqrt":
            return f"math.sqrt({x[0]})"
        case "abs":
            return f"abs({x[0]})"
        case "sign":
            below = f"-one_ if {x[0]} < zero else (zero if {x[0]} == zero else {x[0]})"
            return f"one_ if {x[0]} > zero else ({below})"
        case "maximum":
            return f"{x[0]} if {x[0]} > {x[1]} or {x[0]} != {x[0]} else {x[1]}"
        case "minimum":
            return f"{x[0]} if {x[0]} < {x[1]} or {x[0]} != {x[0]} else {x[1]}"
        case "where":
            return f"{x[1]} if {x[0]} else {x[2]}"
    return INFIX[op].format(*x)
