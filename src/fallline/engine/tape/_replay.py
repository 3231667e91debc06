"""Runs a tape: Numba compiles the text of this file, and `_cache` keeps the machine code.

A line of a tape is a row of 64-bit numbers: what to do, then addresses, lengths and strides, as
`_writer` put them there. Nothing is checked here.
"""

# mypy: ignore-errors

import numpy as np
from llvmlite import ir
from numba import carray, int64, njit, types, uint64
from numba import float64 as Real
from numba import uint64 as Place  # unsigned, so that Numba does not test for negative indices
from numba.core import cgutils
from numba.extending import intrinsic

# What a line does.
LOOP, GATHER, SELECT, COPY, DOT, SLOPE = range(6)
# Where its numbers are: a loop with its context and data, and how often it is called; addresses;
# lengths; strides; how far addresses move between two calls.
FUNCTION, CONTEXT, DATA, TIMES, ADDRESSES, LENGTHS, STRIDES, JUMPS, WIDTH = (
    1, 2, 3, 4, 5, 10, 14, 23, 28,
)  # fmt: skip
ITEM = Real.bitwidth // 8
# Rows that are prefetched ahead of a copy, and between two lines; bytes of a batch up to which the
# rows of the next batch are prefetched too.
AHEAD, PACE, NEAR = 16, 4, 1 << 17


@intrinsic
def call(typing, function, about, arguments, lengths, strides, data):
    """Call a loop of NumPy; its result is 0 if nothing went wrong."""

    def codegen(context, builder, signature, args):
        word, any_ = ir.IntType(64).as_pointer(), cgutils.voidptr_t
        kinds = [any_, any_.as_pointer(), word, word, any_]
        pointer = ir.FunctionType(ir.IntType(32), kinds).as_pointer()
        pairs = zip(args[1:], kinds, strict=True)
        return builder.call(
            builder.inttoptr(args[0], pointer), [builder.inttoptr(x, kind) for x, kind in pairs]
        )

    return types.int32(int64, int64, int64, int64, int64, int64), codegen


@intrinsic
def copy(typing, target, source, size):
    """Copy bytes."""

    def codegen(context, builder, signature, args):
        target, source = (builder.inttoptr(x, cgutils.voidptr_t) for x in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(int64, int64, int64), codegen


@intrinsic
def fetch(typing, address):
    """Prefetch the memory at an address."""

    def codegen(context, builder, signature, args):
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        place = builder.inttoptr(args[0], cgutils.voidptr_t)
        builder.call(function, [place, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(int64), codegen


def _pointer(kind):
    @intrinsic
    def pointer(typing, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(int64), codegen

    return pointer


truths, reals, places = _pointer(types.uint8), _pointer(Real), _pointer(Place)


@njit(nogil=True, inline="always")
def ask(source, size, step, order, start, stop):
    """Prefetch rows of `size` bytes, which are `step` bytes apart; return where to continue."""
    stop = min(stop, order.size)
    for i in range(start, stop):
        address = source + order[i] * step
        for k in range(0, size, 64):
            fetch(address + k)
    return max(start, stop)


@njit(nogil=True)
def gather(target, source, pieces, size, step, jump, order, first, count, asked):
    """Copy such rows, of pieces `jump` bytes apart; return up to where they were asked for."""
    for i in range(first, first + count):
        if size >= 64:
            asked = ask(source, size, step, order, max(asked, i), i + AHEAD)
        place = source + order[i] * step
        for k in range(pieces):
            copy(target, place + k * jump, size)
            target += size
    return asked


@njit(nogil=True)
def select(at, length, strides):
    """Write x where a condition holds, else y."""
    dc, dx, dy, dt = strides[0], strides[1] // ITEM, strides[2] // ITEM, strides[3] // ITEM
    condition, x = carray(truths(at[0]), length), carray(reals(at[1]), length)
    y, target = carray(reals(at[2]), length), carray(reals(at[3]), length)
    for i in range(length):
        holds = condition[uint64(i * dc)]
        target[uint64(i * dt)] = x[uint64(i * dx)] if holds else y[uint64(i * dy)]


@njit(nogil=True, error_model="numpy")
def dot(target, order, first, count, ends, columns, numbers, x):
    """Multiply rows of a sparse matrix, in an order, with a vector or matrix, as SciPy does."""
    width = target.size // count
    for i in range(count):
        row = order[first + i]
        for c in range(width):
            total = Real(0)
            for k in range(ends[row], ends[row + 1]):
                total += numbers[k] * x[columns[k] * Place(width) + Place(c)]
            target[i * width + c] = total


@njit(nogil=True, error_model="numpy")
def slope(target, order, first, count, ends, columns, numbers, x):
    """Multiply the transpose of such rows with a vector or matrix, as SciPy does."""
    target[:] = 0
    width = x.size // count
    for i in range(count):
        row = order[first + i]
        for k in range(ends[row], ends[row + 1]):
            for c in range(width):
                target[columns[k] * Place(width) + Place(c)] += numbers[k] * x[i * width + c]


SIGNATURE = (
    "int64[:, ::1], int64[::1], int64, int64, int64, uint8[:, ::1], int64, uint8[:, ::1], int64, "
    "int64[::1]"
)


@njit(nogil=True, error_model="numpy")
def replay(tape, order, first, count, steps, scalars, place, values, value, done):
    """Run a tape some times, each on the next `count` rows.

    Before each time a row of `scalars` is put at the address `place`, after it the number at the
    address `value` goes to a row of `values`, and `done` counts. Returns whether all loops worked.
    """
    base, width = tape.ctypes.data, tape.shape[1] * 8
    source, size, apart, asked = 0, 0, 0, 0
    moving = np.empty(LENGTHS - ADDRESSES, int64)
    for step in range(steps):
        copy(place, scalars.ctypes.data + step * scalars.shape[1], scalars.shape[1])
        for i in range(tape.shape[0]):
            line, address = tape[i], base + i * width
            if size:
                asked = ask(source, size, apart, order, asked, min(asked + PACE, first + 2 * count))
            kind, at, sizes = line[0], line[ADDRESSES:LENGTHS], line[LENGTHS:STRIDES]
            if kind in (LOOP, SELECT):
                moving[:] = at
                for _ in range(line[TIMES]):
                    if kind == SELECT:
                        select(moving, sizes[0], line[STRIDES:JUMPS])
                    else:
                        at_lengths, at_strides = address + 8 * LENGTHS, address + 8 * STRIDES
                        failed = call(
                            line[FUNCTION], line[CONTEXT], moving.ctypes.data, at_lengths,
                            at_strides, line[DATA],
                        )  # fmt: skip
                        if failed:
                            return False
                    for k in range(moving.size):
                        moving[k] += line[JUMPS + k]
            elif kind == GATHER:
                long, between = line[STRIDES], line[STRIDES + 1]
                asked = gather(
                    at[0], at[1], sizes[0], long, between, line[STRIDES + 2], order, first, count,
                    asked,
                )  # fmt: skip
                if long >= 64 and long * count <= NEAR:
                    source, size, apart = at[1], long, between
            elif kind == COPY:
                copy(at[0], at[1], sizes[0])
            else:
                target, x = carray(reals(at[0]), sizes[0]), carray(reals(at[1]), sizes[1])
                ends = carray(places(at[2]), sizes[2])
                columns = carray(places(at[3]), sizes[3])
                numbers = carray(reals(at[4]), sizes[3])
                if kind == DOT:
                    dot(target, order, first, count, ends, columns, numbers, x)
                else:
                    slope(target, order, first, count, ends, columns, numbers, x)
        copy(values.ctypes.data + step * values.shape[1], value, values.shape[1])
        first += count
        done[0] = step + 1
    return True
