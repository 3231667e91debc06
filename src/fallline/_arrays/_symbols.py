"""Numbers on the host that may be symbols of ``jax.jit``: counts, and what rules make of them.

Counts are Python's integers, which are unbounded, or arrays and symbols, which are not: under
``jax.jit`` they have 32 bits.
"""

from __future__ import annotations

import math

from ._facts import is_array, is_integer, namespace
from ._types import Array, Number


def choose(condition: Array, a: Array, b: Array) -> Number:
    """Return `a` if the condition holds, else `b`; the condition may be a symbol."""
    return (
        namespace(condition).where(condition, a, b)
        if is_array(condition)
        else (a if condition else b)
    )


def square_root(x: Number) -> Number:
    """Return the square root of a float or of a symbol."""
    return math.sqrt(x) if isinstance(x, float) else function("sqrt", x)


def function(name: str, x: Number) -> Number:
    """Return a function, by its name, of a float or of a symbol."""
    return getattr(math if isinstance(x, float | int) else namespace(x), name)(x)


def cosine(x: Number) -> Number:
    """Return the cosine of a float or of a symbol."""
    return function("cos", x)


def power(base: float, exponent: Number) -> Number:
    """Return a positive float to the power of a number that may be a symbol."""
    if isinstance(exponent, float | int):
        return base**exponent
    # The logarithm in double: in single precision a base near 1 loses most of its digits.
    return namespace(exponent).exp(exponent * math.log(base))


def log1mexp_correction(beta: Number, t: Number) -> Number:
    """Return ``1 - beta**t`` for a count `t` that is an array: ``-expm1(t log(beta))``."""
    xp = namespace(t)
    if isinstance(beta, float):
        return -xp.expm1(t * math.log(beta)) if beta > 0 else 1.0
    return -xp.expm1(t * xp.log(beta))


# -- counts -----------------------------------------------------------------------------------


def largest(n: Number) -> float:
    """Return the largest number that a count of the kind of `n` can be."""
    if not is_array(n):
        return math.inf
    return int(namespace(n).iinfo(n.dtype).max) if is_integer(n) else 2**31 - 1


def counted(n: Number) -> Number:
    """Return a count plus one; a bounded count stays at its largest value instead of wrapping."""
    end = largest(n)
    return n + 1 if end == math.inf else namespace(n).minimum(n, end - 1) + 1


def reached(n: Number, mark: int) -> Number:
    """Tell whether a count is at least `mark`, which may be more than the count can hold."""
    return n >= mark if mark <= largest(n) else False


def capped(n: Number, limit: int) -> Number:
    """Return the smaller of a count and of a limit that may be more than it can hold."""
    return choose(n < limit, n, limit) if limit <= largest(n) else n


def since(n: Number, start: int) -> Number:
    """Return how far a count is past a start, 0 before it."""
    return choose(reached(n, start), n - start, 0) if start <= largest(n) else 0


def remainder(n: Number, period: int) -> Number:
    """Return what is left of a count after whole periods."""
    return n % period if period <= largest(n) else n


def held(n: Number, number: int) -> float:
    """Return an integer as it is, or as a float if a count of the kind of `n` cannot hold it."""
    return number if number <= largest(n) else float(number)


def periods(n: Number, period: int) -> Number:
    """Return how many whole periods a count holds."""
    return n // period if period <= largest(n) else 0
