"""What gives residuals and Jacobians of the problems at hand, as matrices.

The ways to a Jacobian: the function gives it beside the residuals, another function does, finite
differences, or a library that differentiates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._trees import Structure
from ..._arrays._types import Array, Fun, Namespace, Tree
from ...objectives._residuals import BORROWED, derivatives
from ._columns import Layout

# Lower and upper, (n, problems).
Bounds: TypeAlias = tuple[Array, Array] | None
DIFFERENCES = ("2-point", "3-point")


class Residuals:
    """A function of trees as one of (n, problems) to (problems, m).

    Parameters
    ----------
    fun : callable
        ``fun(x, *own, *args)`` returns the residuals, or the residuals and J.
    jacobian : {"2-point", "3-point", "torch", "jax"}, True or callable
        As in `least_squares`.
    layout : Layout
        Of the problems.
    own : sequence of trees
        Arguments with a leading axis of problems.
    args : sequence
        More arguments.
    bounds : pair of array or None
        Of which differences keep within, (n, problems).
    size : array
        What steps of differences are relative to at least, (n, problems).
    """

    def __init__(
        self, fun: Fun, jacobian: Any, layout: Layout, own: Sequence[Tree], args: Sequence[Any],
        bounds: Bounds, size: Array,
    ) -> None:  # fmt: skip
        self._fun, self._jacobian, self.layout = fun, jacobian, layout
        self._own, self._args, self._bounds, self._size = tuple(own), tuple(args), bounds, size
        self._columns: Array = None  # beside the last residuals, where `fun` gives both

    def __call__(self, x: Array) -> Array:
        """Return the residuals."""
        found = self._at(x)
        if self._jacobian is not True:
            return self.layout.rows(found)
        if not (isinstance(found, tuple) and len(found) == 2):
            msg = f"fun: returned {_checks.described(found)}, expected (residuals, J), since "
            raise TypeError(msg + "jacobian is True")
        r = self.layout.rows(found[0])
        self._columns = self.layout.columns(found[1])
        return r

    def _at(self, x: Array) -> Any:
        if self._jacobian in BORROWED:
            return derivatives(
                self._fun, self._jacobian, self.layout.tree(x), (*self._own, *self._args), ()
            )[0]
        return self._fun(self.layout.tree(x), *self._own, *self._args)

    @property
    def beside(self) -> bool:
        """Whether every evaluation gives the Jacobian, too."""
        return self._jacobian is True

    def columns(self, x: Array, r: Array) -> Array:
        """Return the Jacobian at the point of the residuals `r`, (n, problems, m).

        Where `fun` gives both it is that of the last evaluation.
        """
        if self._jacobian is True:
            return self._columns
        if self._jacobian in DIFFERENCES:
            return self._differences(x, r)
        if self._jacobian in BORROWED:
            return self._borrowed(x)
        tree = self.layout.tree(x)
        return self.layout.columns(self._jacobian(tree, *self._own, *self._args))

    @property
    def evaluations(self) -> int:
        """How many evaluations of `fun` the differences of a Jacobian take."""
        if self._jacobian not in DIFFERENCES:
            return 0
        return self.layout.space.size * (1 if self._jacobian == "2-point" else 2)

    @property
    def epsilon(self) -> float:
        """The precision of a Jacobian."""
        power = {"2-point": 1 / 2, "3-point": 2 / 3}.get(str(self._jacobian), 1.0)
        return float(self.layout.space.epsilon**power)

    def take(self, layout: Layout, index: Array) -> Residuals:
        """Return the same for some of the problems."""
        xp = layout.space.xp
        return Residuals(
            self._fun, self._jacobian, layout, [rows_of(tree, index) for tree in self._own],
            self._args,
            taken(xp, self._bounds, index), xp.take(self._size, index, axis=1),
        )  # fmt: skip

    # -- differences ----------------------------------------------------------------------------

    def _differences(self, x: Array, r: Array) -> Array:
        guard = _arrays.guard(self.layout.space.like)
        with guard():
            xp, steps = self.layout.space.xp, self._steps(x)
            unit = xp.eye(x.shape[0], dtype=x.dtype, **_arrays.placed(x))
        found = []
        for j in range(x.shape[0]):
            looks = []
            for step in steps:
                with guard():
                    at = x + unit[:, j][:, None] * step[j, ...]
                looks.append((at[j, ...] - x[j, ...], self.layout.rows(self._at(at))))
            with guard():
                found.append(_slope(xp, [(h, there - r) for h, there in looks]))
        return xp.stack(found)

    def _steps(self, x: Array) -> tuple[Array, ...]:
        xp, central = self.layout.space.xp, self._jacobian == "3-point"
        size = xp.maximum(xp.abs(x), self._size)
        h = xp.where(x < 0, -size, size) * self.layout.space.epsilon ** (
            1 / 3 if central else 1 / 2
        )
        if self._bounds is not None:
            return _inside(xp, x, h, self._bounds, central)
        return (h, -h) if central else (h,)

    # -- differentiation ------------------------------------------------------------------------

    def _borrowed(self, x: Array) -> Array:
        layout = self.layout
        xp, n = layout.space.xp, layout.space.size
        with _arrays.on_device(x):
            unit = xp.eye(n, dtype=x.dtype, **_arrays.placed(x))
        ones = xp.ones_like(x[0, ...])
        tangents = [layout.tree(unit[:, j][:, None] * ones) for j in range(n)]
        args = (*self._own, *self._args)
        _, slopes = derivatives(self._fun, self._jacobian, layout.tree(x), args, tangents)
        return xp.stack([layout.rows(slope) for slope in slopes])


def _slope(xp: Namespace, looks: Sequence[tuple[Array, Array]]) -> Array:
    # The slope at zero of the polynomial through zero and the points (step, change).
    (a, up), *rest = looks
    if not rest:
        return up / a[:, None]
    ((b, down),) = rest
    return up * (b / (a * (b - a)))[:, None] - down * (a / (b * (b - a)))[:, None]


def _inside(
    xp: Namespace, x: Array, h: Array, bounds: tuple[Array, Array], central: bool
) -> tuple[Array, ...]:
    # Steps that stay within bounds: to the other side, or shorter where neither is wide enough.
    low, high = bounds
    reach = xp.abs(h)
    up, down = high - x, x - low
    wide = xp.where(up > down, up, down)
    if not central:
        fits = xp.where(h > 0, up, down) >= reach
        turned = xp.where(fits, h, xp.where(up > down, xp.ones_like(h), -xp.ones_like(h)) * reach)
        return (xp.where(xp.abs(turned) > wide, xp.sign(turned) * wide, turned),)
    both = (up >= reach) & (down >= reach)
    side = xp.where(up > down, xp.ones_like(h), -xp.ones_like(h))
    far = xp.where(2 * reach > wide, wide, 2 * reach)
    return xp.where(both, h, side * far / 2), xp.where(both, -h, side * far)


def taken(xp: Namespace, bounds: Bounds, index: Array) -> Bounds:
    """Return the bounds of some problems, by their indices or a slice."""
    if bounds is None:
        return None
    low, high = bounds
    if isinstance(index, slice):
        return low[:, index], high[:, index]
    return xp.take(low, index, axis=1), xp.take(high, index, axis=1)


def rows_of(tree: Tree, index: Array) -> Tree:
    """Return some rows of every array of a tree, by their indices or a slice."""
    structure = Structure(tree)
    leaves = structure.flatten(tree, "batched_args")
    return structure.unflatten([_some(x, index) if _arrays.is_array(x) else x for x in leaves])


def _some(x: Array, index: Array) -> Array:
    return x[index, ...] if isinstance(index, slice) else _arrays.rows(x, index)
