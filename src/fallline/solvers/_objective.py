"""The objective as a function of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._arrays import _checks
from .._arrays._types import Array, Fun, Tree
from ._space import AbstractSpace, Space


class Objective:
    """A function of a tree, with smooth penalties, as one of vectors.

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args)`` returns the value and the gradient, a tree like `x`, or only the value if
        `gradient` is given. `None` if there are no values, only gradients.
    x0 : array or tree of arrays
        Where to start.
    args : sequence
        More arguments of `fun`.
    gradient : callable, optional
        ``gradient(x, *args)`` returns the gradient.
    penalty : tree of penalties, optional
        Smooth penalties, a prefix of the structure of `x0`.
    space : type, default Space
        The class of the space of the vectors.
    """

    def __init__(
        self,
        fun: Fun | None,
        x0: Tree,
        *,
        args: Sequence[Any] = (),
        gradient: Fun | None = None,
        penalty: Tree = None,
        space: type[AbstractSpace] = Space,
    ) -> None:
        if gradient is None if fun is None else not callable(fun):
            msg = f"fun: is {_checks.described(fun)}, expected a function; or None beside gradient="
            raise TypeError(msg)
        self.space: Any = space(x0)
        self.evaluations = 0
        self._fun, self._args, self._gradient = fun, tuple(args), gradient
        self.valued = fun is not None
        self.penalise(self.space.structure.broadcast(penalty, "penalty"))

    def penalise(self, penalties: Sequence[Any]) -> None:
        """Take smooth penalties, one or `None` for each leaf."""
        self.penalties = penalties
        self._penalised = any(p is not None for p in penalties)

    def __call__(self, x: Array) -> tuple[Any, Any]:
        """Return the value, as the space has it, and the gradient, a new vector."""
        value, gradient = self.at_tree(self.space.unpack(x))
        gradient = self.space.pack(gradient, "gradient")
        return self.space.value(value), gradient

    def at_tree(self, tree: Tree) -> tuple[Any, Any]:
        """Return the value and the gradient at a tree, as `fun` gave them."""
        space = self.space
        self.evaluations += 1
        result = math.nan if self._fun is None else self._fun(tree, *self._args)
        if self._gradient is not None:
            value, gradient = result, self._gradient(tree, *self._args)
        elif isinstance(result, tuple) and len(result) == 2:
            value, gradient = result
        else:
            msg = f"fun: returned a {type(result).__name__}, expected (value, gradient)"
            raise TypeError(msg)
        if not self._penalised:
            return value, gradient
        leaves = space.structure.flatten(tree, "x")
        slopes = space.structure.flatten(gradient, "gradient")
        for i, (p, leaf) in enumerate(zip(self.penalties, leaves, strict=True)):
            if p is not None and leaf is not None:
                value = value + space.penalty(p, leaf)
                slopes[i] = slopes[i] + p.gradient(leaf)
        return value, space.structure.unflatten(slopes)
