"""Tracing: a formula, called once with symbols for arrays, becomes a program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import NoReturn

from .. import _arrays
from .._arrays._pairs import Pair
from .._arrays._types import Array, Number, Scalars
from ..rules._abstract import AbstractRule
from .program import COMPARISONS, FUNCTIONS, INFIX, Line, Operand, Program


class TraceError(TypeError):
    """A formula does something that cannot be traced; the message names the line."""


class UntraceableError(TraceError):
    """A formula uses a function whose last bit differs between libraries."""


def _method(op: str, *, swapped: bool = False) -> Callable[..., Array]:
    def method(self: Symbol, *others: Array) -> Array:
        if any(isinstance(x, Pair) for x in others):
            return NotImplemented
        return self.builder.apply(op, *((*others, self) if swapped else (self, *others)))

    return method


class Symbol:
    """Stands for an array, a truth value of its elements, or a scalar while a rule is traced."""

    __slots__ = ("builder", "kind", "line")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: Builder, line: int, kind: str) -> None:
        self.builder, self.line, self.kind = builder, line, kind

    __add__, __radd__ = _method("add"), _method("add", swapped=True)
    __sub__, __rsub__ = _method("subtract"), _method("subtract", swapped=True)
    __mul__, __rmul__ = _method("multiply"), _method("multiply", swapped=True)
    __truediv__, __rtruediv__ = _method("divide"), _method("divide", swapped=True)
    __lt__, __gt__ = _method("less"), _method("less", swapped=True)
    __le__, __ge__ = _method("less_equal"), _method("less_equal", swapped=True)
    __eq__, __ne__ = _method("equal"), _method("not_equal")
    __neg__, __abs__ = _method("negative"), _method("abs")

    def _refuse(self, *_: object) -> NoReturn:
        msg = "a formula must not turn an array into a Python value or branch on it; use xp.where"
        raise TraceError(f"{_caller()}: {msg}")

    __float__ = __int__ = __bool__ = __index__ = __complex__ = __len__ = __iter__ = _refuse
    __array__ = __getitem__ = __setitem__ = _refuse

    def __pow__(self, power: Number) -> NoReturn:
        msg = "powers differ between libraries in the last bit; write products and xp.sqrt"
        raise UntraceableError(f"{_caller()}: {msg}")

    __rpow__ = __pow__

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        msg = f"a formula must not ask for .{name} of its arrays"
        raise TraceError(f"{_caller()}: {msg}")


class SymbolNamespace:
    """The namespace that a formula is called with while it is traced."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        builder = self._builder
        if name in ("zeros_like", "ones_like"):
            return lambda x: builder.scalar(float(name == "ones_like"))
        if name == "square":
            return lambda x: builder.apply("multiply", x, x)
        if name not in FUNCTIONS and name not in INFIX:
            known = ", ".join(sorted([*FUNCTIONS, *INFIX]))
            raise UntraceableError(f"{_caller()}: xp.{name} cannot be traced; there are {known}")
        return lambda *args: builder.apply(name, *args)


class Builder:
    """Collects the lines of a program; equal lines are stored once."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.scalars: list[str | float] = []
        self._known: dict[Line, int] = {}

    def _line(self, op: str, args: tuple[int, ...], kind: str) -> Symbol:
        line = Line(op, args)
        if line not in self._known:
            self._known[line] = len(self.lines)
            self.lines.append(line)
        return Symbol(self, self._known[line], kind)

    def load(self, array: int, part: int) -> Symbol:
        """Return a part of an array as it was before the step."""
        return self._line("load", (array, part), "array")

    def scalar(self, value: str | float) -> Symbol:
        """Return the rule's scalar with a name, or a constant."""
        if value not in self.scalars:
            self.scalars.append(value)
        return self._line("scalar", (self.scalars.index(value),), "scalar")

    def apply(self, op: str, *operands: Array) -> Symbol:
        """Return the result of an operation."""
        args = [self._operand(x) for x in operands]
        count = FUNCTIONS.get(op) or INFIX[op].count("{}")
        if len(args) != count:
            msg = f"{op} takes {count} operands, got {len(args)}"
            raise TraceError(f"{_caller()}: {msg}")
        wanted = ["truth", "array", "array"] if op == "where" else ["array"] * count
        for x, kind in zip(args, wanted, strict=True):
            if x.kind != kind and not (x.kind == "scalar" and kind == "array"):
                raise TraceError(f"{_caller()}: {op} of a {x.kind} where a {kind} is needed")
        if all(x.kind == "scalar" for x in args) and op not in COMPARISONS:
            msg = "arithmetic between numbers of the step belongs in scalars(t)"
            raise TraceError(f"{_caller()}: {msg}")
        return self._line(
            op, tuple(x.line for x in args), "truth" if op in COMPARISONS else "array"
        )

    def _operand(self, x: Array) -> Symbol:
        if isinstance(x, Symbol):
            return x
        if isinstance(x, int | float) and not isinstance(x, bool):
            return self.scalar(float(x))
        raise TraceError(f"{_caller()}: {x!r} is not an operand of a formula")


def trace(rule: AbstractRule, dtype: str) -> Program:
    """Return the program of a rule for parameters of a dtype, which is given by name.

    Raises
    ------
    TypeError
        If the formula converts an array to a Python value, branches on one, or uses a function
        that has no exact counterpart everywhere; the message names the line.
    """
    builder = Builder()
    precision = _arrays.COMPUTE[dtype]
    paired = dtype.startswith("complex")
    of_gradient = precision if rule._wide and not paired else dtype
    arrays = [Operand("p", dtype, 1 + paired), Operand("g", of_gradient, 1 + paired)]
    for slot in rule.slots:
        both = paired and rule._slot_is_paired(slot)
        arrays.append(Operand(slot.name, dtype if both else precision, 1 + both))
    arrays += [Operand(read.name, precision, 1, read.single) for read in rule.reads]
    pairs = [
        Pair(*(builder.load(i, part) for part in range(operand.parts)))
        for i, operand in enumerate(arrays)
    ]
    s: Scalars = _Scalars(builder)
    xp = SymbolNamespace(builder)
    if paired:
        results = rule._on_pairs(xp, s, *pairs)
    else:
        results = [Pair(x) for x in rule.formula(xp, s, *(x.re for x in pairs))]
    outputs = tuple(
        tuple(x.line for x in ((r.re,) if r.im is None else (r.re, r.im))) for r in results
    )
    return _pruned(Program(rule.name, precision, tuple(arrays), (), (), outputs), builder)


class _Scalars(SimpleNamespace):
    def __init__(self, builder: Builder) -> None:
        super().__init__(_builder=builder)

    def __getattr__(self, name: str) -> Symbol:
        scalar: Symbol = self.__dict__["_builder"].scalar(name)
        return scalar


def _pruned(program: Program, builder: Builder) -> Program:
    # The program with only the lines that an output depends on, and the scalars that they use.
    needed = {line for parts in program.outputs for line in parts}
    for i in range(len(builder.lines) - 1, -1, -1):
        if i in needed and builder.lines[i].op not in ("load", "scalar"):
            needed.update(builder.lines[i].args)
    place: dict[int, int] = {}
    scalars: list[str | float] = []
    lines: list[Line] = []
    for i in sorted(needed):
        op, args = builder.lines[i]
        if op == "scalar":
            scalars.append(builder.scalars[args[0]])
            args = (len(scalars) - 1,)
        elif op != "load":
            args = tuple(place[a] for a in args)
        place[i] = len(lines)
        lines.append(Line(op, args))
    outputs = tuple(tuple(place[line] for line in parts) for parts in program.outputs)
    return Program(
        program.name, program.dtype, program.arrays, tuple(scalars), tuple(lines), outputs
    )


def _caller() -> str:
    # The innermost line outside of this machinery, which is the formula's own.
    frame = sys._getframe(1)
    inside = (__file__, Pair.__init__.__code__.co_filename)
    while frame.f_back is not None and frame.f_code.co_filename in inside:
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno}, in {code.co_qualname}"
