"""Functions of arrays as one program, where a library compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from . import is_immutable
from ._types import Array

F = TypeVar("F", bound=Callable[..., object])


def compiled(f: F, like: Array, *static: int) -> F:
    """Return a function for arrays like `like`: compiled by JAX, which takes long for each shape.

    JAX compiles every operation by itself otherwise, for every shape. `static` are the positions of
    arguments that are no arrays.
    """
    return _jitted(f, static) if is_immutable(like) else f


@cache
def _jitted(f: F, static: tuple[int, ...]) -> F:
    import jax

    jitted: F = jax.jit(f, static_argnums=static)
    return jitted
