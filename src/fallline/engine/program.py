"""Programs: what the compiled engines run, a formula as straight-line code.

The operations of a program act on real numbers of one precision: complex arrays are two parts, and
half precision is widened when it is loaded. Every scalar of a rule is an argument, so that a new
learning rate needs no new program.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from operator import itemgetter
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from .._arrays._types import Number

# How an operation is written.
INFIX = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "less": "{} < {}",
    "less_equal": "{} <= {}",
    "equal": "{} == {}",
    "not_equal": "{} != {}",
    "negative": "-{}",
}
FUNCTIONS = {"sqrt": 1, "abs": 1, "sign": 1, "maximum": 2, "minimum": 2, "where": 3}
FUNCTIONS["rounded"] = 1  # to the half precision of the parameter, and widened again
COMPARISONS = ("less", "less_equal", "equal", "not_equal")
# Names of NumPy's functions where they differ from these.
UFUNCS = {"abs": "absolute"}


class Line(NamedTuple):
    """An operation on earlier lines, a load of (array, part), or the scalar with an index."""

    op: str
    args: tuple[int, ...]


class Operand(NamedTuple):
    """An array of a program; `single` tells whether it has one element only."""

    name: str
    dtype: str
    parts: int
    single: bool = False


@dataclass(frozen=True)
class Program:
    """A traced rule: straight-line operations on the elements of its arrays.

    Attributes
    ----------
    name : str
        The rule it was traced from.
    dtype : str
        The precision of all operations.
    arrays : tuple of Operand
        The parameter, the gradient, the slots, and what is only read.
    scalars : tuple of str or float
        Names of the arguments that change from step to step, and constants of the formula.
    lines : tuple of Line
        The operations.
    outputs : tuple of tuple of int
        For the parameter and each slot, the lines of its new parts.
    """

    name: str
    dtype: str
    arrays: tuple[Operand, ...]
    scalars: tuple[str | float, ...]
    lines: tuple[Line, ...]
    outputs: tuple[tuple[int, ...], ...]

    def numbers(self, scalars: Mapping[str, Number]) -> Sequence[float]:
        """Return the scalar arguments, given what a rule's `scalars` returned."""
        if self._named is not None:
            return self._named(scalars)
        return [scalars[x] if isinstance(x, str) else x for x in self.scalars]

    @cached_property
    def _named(self) -> Callable[[Mapping[str, Number]], Sequence[float]] | None:
        # What takes all scalars at once, where none is a constant.
        names = [x for x in self.scalars if isinstance(x, str)]
        return itemgetter(*names) if 1 < len(names) == len(self.scalars) else None

    @cached_property
    def bound(self) -> tuple[Operand, ...]:
        """The arrays that stay the same from step to step: all but the gradient."""
        return self.arrays[:1] + self.arrays[2:]

    @cached_property
    def stores(self) -> tuple[tuple[int, int, int], ...]:
        """What is written, as (array, part, line); arrays that keep their values are left out."""
        numbers = [0, *range(2, len(self.outputs) + 1)]
        return tuple(
            (array, part, line)
            for array, parts in zip(numbers, self.outputs, strict=True)
            for part, line in enumerate(parts)
            if self.lines[line] != Line("load", (array, part))
        )

    @cached_property
    def written(self) -> frozenset[int]:
        """The indices of the arrays that are written."""
        return frozenset(array for array, _, _ in self.stores)

    @cached_property
    def changed(self) -> tuple[int, ...]:
        """The places of these among the arrays that are `bound`."""
        return tuple(i - (i > 0) for i in sorted(self.written))

    @cached_property
    def key(self) -> str:
        """All that the code of a kernel depends on."""
        constants = tuple(None if isinstance(x, str) else x for x in self.scalars)
        return repr((self.dtype, [x[1:] for x in self.arrays], constants, self.lines, self.outputs))

    def __str__(self) -> str:
        """Return the program as readable text."""
        names: list[str] = []
        text = [f"{self.name}, computed in {self.dtype}"]
        for op, args in self.lines:
            if op == "load":
                operand = self.arrays[args[0]]
                names.append(operand.name + ("" if operand.parts == 1 else (".re", ".im")[args[1]]))
            elif op == "scalar":
                names.append(str(self.scalars[args[0]]))
            else:
                form = INFIX.get(op) or f"{op}({', '.join(['{}'] * len(args))})"
                text.append(f"  t{len(text)} = {form.format(*(names[a] for a in args))}")
                names.append(f"t{len(text) - 1}")
        for array, part, line in self.stores:
            operand = self.arrays[array]
            suffix = "" if operand.parts == 1 else (".re", ".im")[part]
            text.append(f"  {operand.name}{suffix} <- {names[line]}")
        return "\n".join(text)


P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[Concatenate[Program, P], T]) -> Callable[Concatenate[Program, P], T]:
    """Decorate a function of a program so that programs with the same code share one result."""
    known: dict[Hashable, T] = {}

    @wraps(make)
    def remembered(program: Program, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = program.key, args, *kwargs.items()
        if key not in known:
            known[key] = make(program, *args, **kwargs)
        return known[key]

    return remembered
