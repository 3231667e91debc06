"""Residuals and their Jacobians by torch or JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from .. import _arrays
from .._arrays import _checks
from .._arrays._memory import lendable
from .._arrays._trees import Structure
from .._arrays._types import Array, Fun, Tree
from ._autodiff import converted

BORROWED = ("torch", "jax")


def residuals_and_jacobian(
    f: Fun, via: str = "torch", *, batched: bool = False
) -> Callable[..., tuple[Array, Tree]]:
    """Return a function of the residuals and their Jacobian, by automatic differentiation.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns the residuals, an array. It gets arrays of `via`, and must work
        with them: take the namespace from the array, and data from `args`, which are moved too.
    via : {"torch", "jax"}
        The library that differentiates.
    batched : bool, default False
        Whether the leading axis of every leaf and of the residuals counts independent problems.

    Returns
    -------
    callable
        ``fun(x, *args)`` returns (r, J) for an array or a tree of arrays of NumPy, CuPy or `via`,
        as `least_squares` wants it with ``jacobian=True``: J is a tree like `x`, each leaf of shape
        ``(*r.shape, *leaf.shape)``, and in a batch ``(*r.shape, *leaf.shape[1:])``.

    Raises
    ------
    ImportError
        If the library is not installed.
    ValueError
        If `via` is neither.
    TypeError
        When called, if a leaf or the residuals are not arrays of floating-point numbers.

    Notes
    -----
    There is one pass for each real number of a problem's parameters, so that batches need no
    Jacobian between problems. Functions must not write into their arguments; of torch's they have
    to be differentiable twice. For complex leaves J is dr/dz if the residuals
    are complex, which then have to be holomorphic, and dr/dRe + i dr/dIm if they are real.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> fun = fl.residuals_and_jacobian(lambda x, t: x[0] * t + x[1], via="jax")  # doctest: +SKIP
    >>> fun(np.ones(2), np.arange(3.0))  # doctest: +SKIP
    (array([1., 2., 3.]), array([[0., 1.],
           [1., 1.],
           [2., 1.]]))
    """
    _library(via)

    def fun(x: Tree, *args: Tree) -> tuple[Array, Tree]:
        structure = Structure(x)
        leaves = structure.flatten(x, "x")
        places: list[tuple[int, Array]] = []  # of each direction: the leaf, and the direction
        for i, p in enumerate(leaves):
            if p is not None:
                _checks.leaf(_checks.where("x", structure.paths[i]), p)
                places += [(i, d) for d in _directions(p, batched)]
        still = [None if p is None else _arrays.full(p, 0.0, p.dtype) for p in leaves]
        tangents = [structure.unflatten([*still[:i], d, *still[i + 1 :]]) for i, d in places]
        r, slopes = derivatives(f, via, x, args, tangents)
        found: list[list[Array]] = [[] for _ in leaves]
        for (i, _), slope in zip(places, slopes, strict=True):
            found[i].append(slope)
        blocks = zip(leaves, found, strict=True)
        return r, structure.unflatten([_block(r, p, some, batched) for p, some in blocks])

    return fun


def _directions(p: Array, batched: bool) -> list[Array]:
    # A unit in each element, of complex leaves also an imaginary one.
    xp, tail = _arrays.namespace(p), tuple(p.shape[1:] if batched else p.shape)
    with _arrays.on_device(p):
        size = 1
        for n in tail:
            size *= n
        ones = xp.ones((p.shape[0] if batched else 1, 1), dtype=p.dtype, **_arrays.placed(p))
        unit = xp.eye(size, dtype=p.dtype, **_arrays.placed(p))
        found = [xp.reshape(ones * unit[j, ...][None, :], p.shape) for j in range(size)]
    return found + [1j * d for d in found] if _arrays.is_complex(p) else found


def _block(r: Array, p: Array, slopes: Sequence[Array], batched: bool) -> Array:
    # The slopes in the directions of a leaf as its part of J.
    if p is None:
        return None
    xp, tail = _arrays.namespace(r), tuple(p.shape[1:] if batched else p.shape)
    if not slopes:
        return xp.reshape(r[..., None][..., :0], (*r.shape, *tail))
    block = xp.stack(slopes, axis=-1)
    if _arrays.is_complex(p):
        half = len(slopes) // 2
        re, im = block[..., :half], block[..., half:]
        block = (re - 1j * im) / 2 if _arrays.is_complex(r) else _arrays.joined(re, im, 1j * re)
    return xp.reshape(block, (*r.shape, *tail))


def _library(via: str) -> ModuleType:
    if via not in BORROWED:
        raise _checks.unknown_name("via", str(via), BORROWED)
    try:
        return import_module(via)
    except ImportError as error:
        msg = f"via: {via} is not installed; pip install 'fallline[{via}]'"
        raise ImportError(msg) from error


def derivatives(
    f: Fun, via: str, x: Tree, args: Sequence[Tree], tangents: Sequence[Tree]
) -> tuple[Array, list[Array]]:
    """Return ``f(x, *args)`` and its derivatives along tangents, by another library.

    Parameters
    ----------
    f : callable
        Gets arrays of `via`.
    via : {"torch", "jax"}
        The library.
    x : tree of arrays
        The point, of NumPy, CuPy or `via`.
    args : sequence of trees
        More arguments.
    tangents : sequence of trees
        Directions, like `x`.

    Returns
    -------
    tuple of array and list of array
        Arrays of the library of `x`.
    """
    module, structure = _library(via), Structure(x)
    leaves = structure.flatten(x, "x")
    kept = [i for i, p in enumerate(leaves) if p is not None]
    like = leaves[kept[0]]
    own = _arrays.library(like) == via
    if not own and _arrays.family(like) not in ("numpy", "cupy"):
        what = f"numpy, cupy or {via}"
        raise TypeError(_checks.mismatch("x", "array library", _arrays.library(like), what))

    def convert(p: Array) -> Array:
        if own:
            return p
        if via == "torch":
            return module.from_dlpack(lendable(p))
        if _arrays.on_host(p):
            return module.numpy.array(lendable(p), copy=True)
        return module.numpy.from_dlpack(p.copy())

    def back(p: Array) -> Array:
        if via == "torch":
            p = p.detach().resolve_conj().resolve_neg()
        return p if own else _arrays.namespace(like).from_dlpack(p)

    with _double(module, own):
        moved = [converted(convert, a) for a in args]

        def flat(*given: Array) -> Array:
            full: list[Array] = [None] * len(leaves)
            for i, p in zip(kept, given, strict=True):
                full[i] = p
            r = f(structure.unflatten(full), *moved)
            if not _arrays.is_array(r) or _arrays.library(r) != via:
                msg = f"fun: returned {_checks.described(r)}, expected an array of {via}"
                raise TypeError(msg)
            return r

        given = [convert(leaves[i]) for i in kept]
        flats = [structure.flatten(t, "x") for t in tangents]
        ways = [tuple(convert(t[i]) for i in kept) for t in flats]
        r, slopes = _pushed(via, module, flat, given, ways)
        found = back(r), [back(s) for s in slopes]
        if via == "jax":
            module.block_until_ready(found)
    return found


def _pushed(
    via: str, module: ModuleType, flat: Fun, given: Sequence[Array], ways: Sequence[Any]
) -> tuple[Array, list[Array]]:
    # The value, and how it changes along each way.
    if not ways:
        return flat(*given), []
    if via == "jax":
        r, along = module.linearize(flat, *given)
        return r, [along(*way) for way in ways]
    # Backward twice: J^H u is linear in u, and the derivative of its product with a way is J times
    # the way. torch's own forward mode does not know every function.
    ours = [x.detach().requires_grad_() for x in given]
    r = flat(*ours)
    if not r.requires_grad:
        return r, [module.zeros_like(r) for _ in ways]
    u = module.zeros_like(r, requires_grad=True)
    grad = partial(module.autograd.grad, allow_unused=True, materialize_grads=True)
    back = grad(r, ours, u, create_graph=True)
    slopes = []
    for way in ways:
        along = sum((v.conj() * g).real.sum() for v, g in zip(way, back, strict=True))
        slopes.append(grad(along, u, retain_graph=True)[0])
    return r, slopes


def _double(module: ModuleType, own: bool) -> AbstractContextManager[object]:
    # JAX computes in double where the arrays that it borrows are.
    if own:
        return nullcontext()
    if module.__name__ == "torch":
        enabled: AbstractContextManager[object] = module.enable_grad()
        return enabled
    home = module if hasattr(module, "enable_x64") else import_module("jax.experimental")
    doubled: AbstractContextManager[object] = home.enable_x64(True)
    return doubled
