"""Square matrices, and their factors where a library has the linear algebra of the standard."""

from __future__ import annotations

from ._facts import namespace
from ._making import on_device, placed
from ._types import Array


def has_factors(like: Array) -> bool:
    """Tell whether the library of an array has linear algebra."""
    return hasattr(namespace(like), "linalg")


def cholesky(matrix: Array) -> Array:
    """Return the lower factor of a positive definite matrix.

    Of another matrix it is `None`, or it has numbers that are not finite or not positive on its
    diagonal: libraries on devices cannot raise without waiting.
    """
    try:
        return namespace(matrix).linalg.cholesky(matrix)
    except (ValueError, RuntimeError) as error:
        if not type(error).__name__.endswith("LinAlgError"):
            raise
        return None


def with_diagonal(matrix: Array, more: Array) -> Array:
    """Return a matrix with a number or a vector added to its diagonal."""
    with on_device(matrix):
        unit = namespace(matrix).eye(matrix.shape[0], dtype=matrix.dtype, **placed(matrix))
    return matrix + unit * more
