"""Residuals and Jacobians of trees as real matrices with an axis of problems, and back.

Residuals become (problems, m), a Jacobian (n, problems, m): a block for each real number of the
parameters, in the order of the space. A single problem is a batch of one. Complex residuals count
as pairs of reals.
"""

from __future__ import annotations

import math

from ... import _arrays
from ..._arrays import _checks
from ..._arrays._trees import Structure
from ..._arrays._types import Array, Tree
from .._space import AbstractSpace, Space
from ..batched._space import BatchedSpace


class Layout:
    """How residuals and Jacobians of some problems become matrices.

    Parameters
    ----------
    x : tree
        The parameters.
    batched : bool
        Whether the leading axes count problems.
    shape : tuple of int, optional
        Of the residuals of one problem, if it is known.
    is_complex : bool
        Whether they are complex.
    """

    def __init__(
        self, x: Tree, batched: bool, shape: tuple[int, ...] | None = None, is_complex: bool = False
    ) -> None:
        if batched:
            _check_axes(x)
        self.space: AbstractSpace = BatchedSpace(x) if batched else Space(x)
        self.batched, self.shape, self.is_complex = batched, shape, is_complex
        self.problems: int = self.space.problems if isinstance(self.space, BatchedSpace) else 1
        self.lead = (self.problems,) if batched else ()
        self.leaves = self.space.structure.flatten(x, "x0")

    def vectors(self, x: Tree, argument: str = "x0") -> Array:
        """Return a tree like the parameters as (n, problems)."""
        packed = self.space.pack(x, argument)
        return packed if self.batched else packed[:, None]

    def tree(self, x: Array) -> Tree:
        """Return (n, problems) as a tree like the parameters."""
        return self.space.unpack(x if self.batched else x[:, 0])

    def take(self, x: Array, index: Array) -> Layout:
        """Return the layout of some of the problems, which stand at `x`."""
        leaves = self.space.structure.flatten(self.tree(x), "x")
        some = [None if p is None else _arrays.rows(p, index) for p in leaves]
        tree = self.space.structure.unflatten(some)
        return Layout(tree, self.batched, self.shape, self.is_complex)

    def shown(self, x: Array) -> Tree:
        """Return (n, problems) as a tree through which it cannot be changed."""
        return self.space.shown(x if self.batched else x[:, 0])

    def rows(self, r: Array, place: str = "fun: its residuals") -> Array:
        """Return residuals as (problems, m), after a check; the first ones tell their shape."""
        r = _arrays.unscalar(r)
        if not _arrays.is_array(r):
            msg = f"{place}: are {_checks.described(r)}, expected an array"
            raise TypeError(msg)
        _checks.same_kind(place, self.space.like, r)
        _checks.floating(place, r)
        shape, lead = tuple(map(int, r.shape)), len(self.lead)
        if shape[:lead] != self.lead:
            expected = f"a leading axis of {self.problems}, an entry for each problem; problems "
            expected += "are worked on in parts, so that their data belong into batched_args"
            raise ValueError(_checks.mismatch(place, "shape", shape, expected))
        if self.shape is None:
            self.shape, self.is_complex = shape[lead:], _arrays.is_complex(r)
        if shape[lead:] != self.shape:
            whole = (*self.lead, *self.shape)
            raise ValueError(_checks.mismatch(place, "shape", shape, whole))
        if _arrays.is_complex(r) != self.is_complex:
            msg = f"{place}: are sometimes complex, expected one dtype at all points"
            raise TypeError(msg)
        return self._real(_arrays.detached(r), self.problems)

    def _real(self, r: Array, blocks: int) -> Array:
        # (blocks, m), where real and imaginary parts follow each other.
        xp, dtype = self.space.xp, self.space.dtype
        parts = _arrays.parts(r) if _arrays.is_complex(r) else (r,)
        parts = tuple(
            xp.astype(xp.reshape(x, (blocks, math.prod(self.shape or ()))), dtype, copy=False)
            for x in parts
        )
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)

    def residuals(self, r: Array) -> Array:
        """Return (problems, m) in the shape in which the function gave it."""
        xp, shape = self.space.xp, (*self.lead, *(self.shape or ()))
        if not self.is_complex:
            return xp.reshape(r, shape)
        half = r.shape[1] // 2
        re, im = xp.reshape(r[:, :half], shape), xp.reshape(r[:, half:], shape)
        return self.joined(re, im)

    def columns(self, jacobian: Tree, place: str = "J") -> Array:
        """Return a Jacobian, a tree of (*residuals, *leaf), as (n, problems, m), after a check."""
        structure, blocks = self.space.structure, list[Array]()
        given = structure.flatten(jacobian, place)
        for path, j, p in zip(structure.paths, given, self.leaves, strict=True):
            if p is not None:
                blocks += self._blocks(_checks.where(place, path), _arrays.unscalar(j), p)
        return blocks[0] if len(blocks) == 1 else self.space.xp.concat(blocks)

    def _blocks(self, place: str, j: Array, p: Array) -> list[Array]:
        # The columns of a leaf; of a complex one those of its real and of its imaginary parts.
        _checks.same_kind(place, self.space.like, j)
        _checks.floating(place, j, complex_too=self.is_complex or _arrays.is_complex(p))
        tail = tuple(p.shape[len(self.lead) :])
        expected = (*self.lead, *(self.shape or ()), *tail)
        if tuple(j.shape) != expected:
            raise ValueError(_checks.mismatch(place, "shape", tuple(j.shape), expected))
        xp, dtype, j = self.space.xp, self.space.dtype, _arrays.detached(j)
        shape = self.problems, math.prod(self.shape or ()), math.prod(tail)

        def turned(part: Array) -> Array:
            part = xp.astype(xp.reshape(part, shape), dtype, copy=False)
            return xp.permute_dims(part, (2, 0, 1))

        re = turned(_arrays.parts(j)[0] if _arrays.is_complex(j) else j)
        if not (self.is_complex or _arrays.is_complex(p)):
            return [re]
        im = turned(_arrays.parts(j)[1]) if _arrays.is_complex(j) else xp.zeros_like(re)
        if not self.is_complex:
            return [re, im]
        whole = xp.concat([re, im], axis=2)
        return [whole, xp.concat([-im, re], axis=2)] if _arrays.is_complex(p) else [whole]

    def jacobian(self, columns: Array) -> Tree:
        """Return (n, problems, m) as a tree of (*residuals, *leaf)."""
        spans = zip(self.leaves, self.space.spans, strict=True)
        return self.space.structure.unflatten(
            [None if p is None else self._shaped(columns[span, ...], p) for p, span in spans]
        )

    def _shaped(self, block: Array, p: Array) -> Array:
        xp, shape = self.space.xp, (*self.lead, *(self.shape or ()))
        block = xp.permute_dims(block, (1, 2, 0))
        half_m, half_k = block.shape[1] // 2, block.shape[2] // 2

        def shaped(part: Array) -> Array:
            return xp.reshape(part, (*shape, *p.shape[len(self.lead) :]))

        if not self.is_complex and not _arrays.is_complex(p):
            return shaped(block)
        if not self.is_complex:
            re, im = block[..., :half_k], block[..., half_k:]
        else:
            re, im = block[:, :half_m, :], block[:, half_m:, :]
            if _arrays.is_complex(p):  # what Wirtinger's derivative is
                re, im = (
                    (re[..., :half_k] + im[..., half_k:]) / 2,
                    (im[..., :half_k] - re[..., half_k:]) / 2,
                )
        return self.joined(shaped(re), shaped(im))

    def joined(self, re: Array, im: Array) -> Array:
        """Return the complex array with these parts."""
        xp = self.space.xp
        wide = xp.complex64 if self.space.dtype == xp.float32 else xp.complex128
        return _arrays.joined(re, im, xp.zeros_like(re, dtype=wide))


def _check_axes(x: Tree) -> None:
    # Every leaf has an entry for each problem.
    structure, problems = Structure(x), -1
    for path, p in zip(structure.paths, structure.flatten(x, "x0"), strict=True):
        if p is None or not _arrays.is_array(p):
            continue
        place, shared = _checks.where("x0", path), "; parameters that problems share do not fit a "
        shared += "batch: make one problem of them"
        if p.ndim == 0:
            msg = f"{place}: has no axis, expected a leading one with an entry for each problem"
            raise ValueError(msg + shared)
        problems = int(p.shape[0]) if problems < 0 else problems
        if p.shape[0] != problems:
            msg = _checks.mismatch(place, "leading axis", int(p.shape[0]), problems)
            raise ValueError(msg + shared)
