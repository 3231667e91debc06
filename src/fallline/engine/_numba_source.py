"""Python code from a program, for Numba: one loop over the elements of a leaf."""

from __future__ import annotations

from collections.abc import Sequence

from .program import INFIX, Operand, Program

# Numba has no pointers to numbers of an address: this makes one.
POINTER = """\
@intrinsic
def pointer(typing, address):
    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(args[0], kind)

    return types.CPointer({real})(types.int64), codegen
"""
OPTIONS = 'nogil=True, error_model="numpy"'


def source(program: Program, form: str) -> str:
    """Return the text of a module for a form of `numba_.kernel`; none of it comes from the user."""
    real = program.dtype
    names = ", ".join(_names(program))
    if form == "one":
        arrays = [f"{real}[::1]" for _ in program.arrays]
        arrays[1] = f"types.Array({real}, 1, 'C', readonly=True)"
        types, arguments, extra = ", ".join(arrays), names, []
        inside = [f"    body({names}, s)"]
    else:
        types, arguments, extra = "int64[:, ::1]", "table", [POINTER.format(real=real), ""]
        inside = [
            "    for j in range(table.shape[0]):",
            f"        body({', '.join(_from_table(program))}, s)",
        ]
    lines = [
        '"""Made by fallline from a traced rule."""',
        "",
        "import math",
        "",
        "from numba import carray, float32, float64, int64, njit, types",
        "from numba.extending import intrinsic",
        "",
        "",
        *_loop(program),
        "",
        "",
        *extra,
        f"SIGNATURE = types.void({types}, {real}[::1])",
        "",
        "",
        f"@njit({OPTIONS})",
        f"def {form}({arguments}, s):",
        *inside,
    ]
    return "\n".join(lines) + "\n"


def _names(program: Program) -> list[str]:
    return [f"a{i}" for i in range(len(program.arrays))]


def _loop(program: Program) -> list[str]:
    # A function ``body`` that goes through the elements of one leaf.
    real = program.dtype
    return [
        f"@njit({OPTIONS})",
        f"def body({', '.join(_names(program))}, s):",
        *(f"    s{i} = s[{i}]" for i in range(len(program.scalars))),
        *(f"    n{i} = a{i}[0]" for i, operand in enumerate(program.arrays) if operand.single),
        f"    zero, one_ = {real}(0), {real}(1)",
        f"    for i in range(a0.size{_per(program.arrays[0])}):",
        *(f"        {line}" for line in statements(program)),
    ]


def _from_table(program: Program) -> list[str]:
    # The arrays of a leaf, from the addresses and the number of elements in row ``j`` of a table.
    count = len(program.arrays)
    return [
        f"carray(pointer(table[j, {i}]), "
        + ("1)" if operand.single else f"{operand.parts} * table[j, {count}])")
        for i, operand in enumerate(program.arrays)
    ]


def _per(operand: Operand) -> str:
    return "" if operand.parts == 1 else " // 2"


def statements(program: Program) -> list[str]:
    """Return the statements for element ``i``: loads, then one operation a line, then stores."""
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


def _index(operand: Operand, part: int) -> str:
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
