"""CUDA C++ from a program: the text of its kernel, and the table that the kernel is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from ._layout import HALVES
from .program import COMPARISONS, INFIX, Operand, Program

FLOATS = {"float32": "float", "float64": "double"}
VECTOR = 16  # bytes of the widest load and store

# Numbers as they are stored and as they are computed with. On the device, half precision goes
# through the hardware's conversions; on the host through the compiler's. bfloat16 is the upper
# half of a float, rounded to nearest, ties to even.
PRELUDE = """\
struct float16 { unsigned short bits; };
struct bfloat16 { unsigned short bits; };

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ double wide(double x) { return x; }
__device__ __forceinline__ float wide(bfloat16 x)
{
    const unsigned int word = (unsigned int)x.bits << 16;
    float y;
    memcpy(&y, &word, 4);
    return y;
}
__device__ __forceinline__ void put(float& to, float x) { to = x; }
__device__ __forceinline__ void put(double& to, double x) { to = x; }
__device__ __forceinline__ void put(bfloat16& to, float x)
{
    unsigned int word;
    memcpy(&word, &x, 4);
    to.bits = x != x ? (word >> 16) | 64 : (word + 0x7fff + (word >> 16 & 1)) >> 16;
}
#ifdef __CUDACC__
__device__ __forceinline__ float wide(float16 x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
__device__ __forceinline__ void put(float16& to, float x)
{
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
}
#else
__device__ __forceinline__ float wide(float16 x)
{
    _Float16 y;
    memcpy(&y, &x.bits, 2);
    return y;
}
__device__ __forceinline__ void put(float16& to, float x)
{
    const _Float16 y = x;
    memcpy(&to.bits, &y, 2);
}
#endif
template <typename Half> __device__ __forceinline__ float rounded(float x)
{
    Half y;
    put(y, x);
    return wide(y);
}
"""

# One block takes a chunk of an array; a thread takes a vector of elements at a time where the
# memory of all its arrays is aligned, and single elements elsewhere and at the end.
KERNEL = """\
extern "C" __global__ void step(const __grid_constant__ Table table)
{
    unsigned int low = 0, high = table.count;
    while (high - low > 1) {
        const unsigned int middle = (low + high) / 2;
        if (table.first[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const long long start = (long long)(blockIdx.x - table.first[low]) * table.chunk;
    const long long left = table.size[low] - start;
    const int n = left < table.chunk ? (int)left : (int)table.chunk;
@pointers
    int done = 0;
    if (((@addresses) & @mask) == 0) {
        done = n - n % @vector;
        for (int i = threadIdx.x * @vector; i < done; i += blockDim.x * @vector) {
@loads
#pragma unroll
            for (int k = 0; k < @vector; ++k)
                update(table.scalars, @inside);
@stores
        }
    }
    for (int i = done + threadIdx.x; i < n; i += blockDim.x) {
@single_loads
        update(table.scalars, @single);
@single_stores
    }
}
"""


def source(program: Program, capacity: int) -> str:
    """Return the text of a kernel ``step(Table)`` for up to `capacity` arrays in one launch."""
    arrays = program.arrays
    real, vector = FLOATS[program.dtype], _vector(program)
    types = [_element(operand) for operand in arrays]
    table = [
        "struct Table {",
        f"    unsigned long long address[{len(arrays)}][{capacity}];",
        f"    long long size[{capacity}];",
        f"    {real} scalars[{max(len(program.scalars), 1)}];",
        f"    unsigned int first[{capacity}];",
        "    unsigned int count, chunk;",
        "};",
    ]
    kinds = {_element(x): x for x in arrays}
    elements = [f"struct {name} {{ {_scalar(x)} part[{x.parts}]; }};" for name, x in kinds.items()]
    packs = [f"struct alignas({VECTOR}) {name}s {{ {name} element[{vector}]; }};" for name in kinds]
    names = [f"a{i}" for i in range(len(arrays))]
    parameters = [
        f"{'' if i in program.written else 'const '}{kind}& {name}"
        for i, (kind, name) in enumerate(zip(types, names, strict=True))
    ]
    update = [
        "__device__ __forceinline__ void update(",
        f"    const {real} (&s)[{max(len(program.scalars), 1)}], {', '.join(parameters)})",
        "{",
        *(f"    {line}" for line in statements(program)),
        "}",
    ]
    written = sorted(program.written)
    single = [operand.single for operand in arrays]
    many = [(i, kind) for i, kind in enumerate(types) if not single[i]]
    pointers = [
        f"    const {kind} v{i} = *({kind}*)table.address[{i}][low];"
        if single[i]
        else f"    {kind}* const p{i} = ({kind}*)table.address[{i}][low] + start;"
        for i, kind in enumerate(types)
    ]
    loads = [f"            {kind}s v{i} = *({kind}s*)(p{i} + i);" for i, kind in many]
    stores = [f"            *({types[i]}s*)(p{i} + i) = v{i};" for i in written]
    single_loads = [f"        {kind} v{i} = p{i}[i];" for i, kind in many]
    inside = [f"v{i}" if single[i] else f"v{i}.element[k]" for i in range(len(arrays))]
    filled = KERNEL
    for word, text in {
        "single_loads": "\n".join(single_loads),
        "single_stores": "\n".join(f"        p{i}[i] = v{i};" for i in written),
        "single": ", ".join(f"v{i}" for i in range(len(arrays))),
        "pointers": "\n".join(pointers),
        "addresses": " | ".join(f"(unsigned long long)p{i}" for i, _ in many),
        "mask": str(VECTOR - 1),
        "vector": str(vector),
        "loads": "\n".join(loads),
        "stores": "\n".join(stores),
        "inside": ", ".join(inside),
    }.items():
        filled = filled.replace(f"@{word}", text)
    blocks = ["// Made by fallline from a traced rule.", PRELUDE, *elements, *packs, "", *table]
    return "\n".join([*blocks, "", *update, "", filled])


def statements(program: Program) -> list[str]:
    """Return the statements for one element: loads, then one operation a line, then stores."""
    real, arrays = FLOATS[program.dtype], program.arrays
    names: list[str] = []
    text = []
    for k, (op, args) in enumerate(program.lines):
        if op == "scalar":
            names.append(f"s[{args[0]}]")
            continue
        names.append(f"t{k}")
        kind = "bool" if op in COMPARISONS else real
        if op == "load":
            value = f"wide(a{args[0]}.part[{args[1]}])"
        elif op == "rounded":
            value = f"rounded<{arrays[0].dtype}>({names[args[0]]})"
        else:
            value = expression(op, [names[a] for a in args], real)
        text.append(f"const {kind} t{k} = {value};")
    for array, part, line in program.stores:
        text.append(f"put(a{array}.part[{part}], {names[line]});")
    return text


def expression(op: str, x: Sequence[str], real: str) -> str:
    """Return an operation in C++ with NumPy's results, NaN and signed zeros included."""
    suffix = "f" if real == "float" else ""
    match op:
        case "sqrt":
            return f"sqrt{suffix}({x[0]})"
        case "abs":
            return f"fabs{suffix}({x[0]})"
        case "sign":
            one, zero = f"({real})1", f"({real})0"
            below = f"{x[0]} < {zero} ? -{one} : {x[0]} == {zero} ? {zero} : {x[0]}"
            return f"{x[0]} > {zero} ? {one} : {below}"
        case "maximum":
            return f"{x[0]} > {x[1]} || {x[0]} != {x[0]} ? {x[0]} : {x[1]}"
        case "minimum":
            return f"{x[0]} < {x[1]} || {x[0]} != {x[0]} ? {x[0]} : {x[1]}"
        case "where":
            return f"{x[0]} ? {x[1]} : {x[2]}"
    return INFIX[op].format(*x)


def _scalar(operand: Operand) -> str:
    # The type of one part of an element, as it is stored.
    name = operand.dtype.replace("complex64", "float32").replace("complex128", "float64")
    return name if name in HALVES else FLOATS[name]


def _element(operand: Operand) -> str:
    return f"{_scalar(operand)}_{operand.parts}"


def _bytes(operand: Operand) -> int:
    return {"float": 4, "double": 8}.get(_scalar(operand), 2) * operand.parts


def _vector(program: Program) -> int:
    # Elements of a vector: the smallest element fills the widest access.
    return VECTOR // min(VECTOR, *(_bytes(x) for x in program.arrays if not x.single))


def layout(program: Program, capacity: int) -> np.dtype[np.void]:
    """Return the kernel's ``Table`` as a dtype of NumPy."""
    return _layout(len(program.arrays), max(len(program.scalars), 1), program.dtype, capacity)


@cache
def _layout(arrays: int, scalars: int, real: str, capacity: int) -> np.dtype[np.void]:
    fields = [
        ("address", np.uint64, (arrays, capacity)),
        ("size", np.int64, (capacity,)),
        ("scalars", real, (scalars,)),
        ("first", np.uint32, (capacity,)),
        ("count", np.uint32),
        ("chunk", np.uint32),
    ]
    return np.dtype(fields, align=True)


def capacity(program: Program, limit: int) -> int:
    """Return how many arrays a table of at most `limit` bytes holds."""
    fixed = layout(program, 1).itemsize
    return max(1, (limit - fixed) // (8 * len(program.arrays) + 12))
