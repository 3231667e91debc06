"""Gradients by torch or JAX, for arrays of NumPy or CuPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from .. import _arrays
from .._arrays import _checks
from .._arrays._memory import lendable
from .._arrays._trees import Structure
from .._arrays._types import Array, Fun, Number, Tree


def value_and_gradient(loss: Fun, via: str = "torch") -> Callable[..., tuple[Array, Tree]]:
    """Return a function of the value and the gradient, by automatic differentiation.

    Parameters
    ----------
    loss : callable
        ``loss(x, *args)`` returns a real number as a 0-d array. It gets arrays of `via`, and must
        work with them: take the namespace from the array, and data from `args`, which are moved
        too.
    via : {"torch", "jax"}
        The library that differentiates.

    Returns
    -------
    callable
        ``fun(x, *args)`` returns (value, gradient) for an array or a tree of arrays of NumPy or
        CuPy, as `minimize` wants it: arrays of the library of `x`, the gradient of a complex leaf
        as dL/dRe + i dL/dIm, that of a leaf without influence zero.

    Raises
    ------
    ImportError
        If the library is not installed.
    ValueError
        If `via` is neither.
    TypeError
        When called, if a leaf is not an array of NumPy or CuPy, or the value is not a real number.

    Notes
    -----
    torch works on the memory of `x` itself, so the loss must not write; it gets copies of arrays
    that are read-only, flipped, or of a foreign byte order. JAX gets copies, since it assumes that
    its arrays are constant. Double precision stays double with both. The loss is not compiled: pass
    ``jax.jit(loss)`` for that. Arrays of CuPy are converted in the same way, which has not been
    run on a GPU yet.
    """
    table = {"torch": _torch, "jax": _jax}
    if via not in table:
        raise _checks.unknown_name("via", str(via), table)
    try:
        module = import_module(via)
    except ImportError as error:
        msg = f"via: {via} is not installed; pip install 'fallline[{via}]'"
        raise ImportError(msg) from error
    differentiate = table[via]

    def fun(x: Array, *args: Tree) -> tuple[Array, Tree]:
        structure = Structure(x)
        leaves = structure.flatten(x, "x")
        for path, leaf in zip(structure.paths, leaves, strict=True):
            if leaf is not None:
                place = _checks.where("x", path)
                _checks.leaf(place, leaf)
                if _arrays.family(leaf) not in ("numpy", "cupy"):
                    library = _arrays.library(leaf)
                    raise TypeError(
                        _checks.mismatch(place, "array library", library, "numpy or cupy")
                    )
        like = next((leaf for leaf in leaves if leaf is not None), None)
        if like is None:
            msg = "x: has no arrays"
            raise ValueError(msg)
        value, gradients = differentiate(module, loss, structure, leaves, args)
        back = _arrays.namespace(like).from_dlpack
        return back(value), structure.unflatten([g if g is None else back(g) for g in gradients])

    return fun


def converted(convert: Callable[[Array], Array], tree: Tree) -> Tree:
    """Return a tree with its arrays converted; the rest stays."""
    structure = Structure(tree)
    leaves = structure.flatten(tree, "args")
    return structure.unflatten([convert(x) if _arrays.is_array(x) else x for x in leaves])


def _torch(
    torch: ModuleType,
    loss: Fun,
    structure: Structure,
    leaves: Sequence[Array],
    args: Sequence[Tree],
) -> tuple[Array, list[Array]]:
    def convert(x: Array) -> Array:
        return torch.from_dlpack(lendable(x))

    ours = [None if x is None else convert(x).requires_grad_() for x in leaves]
    with torch.enable_grad():
        value = loss(structure.unflatten(ours), *(converted(convert, a) for a in args))
    _check(torch.is_tensor(value), value)
    wanted = [x for x in ours if x is not None]
    if value.requires_grad:
        found = iter(torch.autograd.grad(value, wanted, allow_unused=True))
    else:
        found = iter([None] * len(wanted))
    gradients = []
    for x in ours:
        g = None if x is None else next(found)
        g = torch.zeros_like(x) if x is not None and g is None else g
        gradients.append(g if g is None else g.detach().resolve_conj().resolve_neg())
    return value.detach().reshape(()), gradients


def _jax(
    jax: ModuleType, loss: Fun, structure: Structure, leaves: Sequence[Array], args: Sequence[Tree]
) -> tuple[Array, list[Array]]:
    def convert(x: Array) -> Array:
        if _arrays.on_host(x):
            return jax.numpy.array(lendable(x), copy=True)
        return jax.numpy.from_dlpack(x.copy())

    def value_of(given: list[Array]) -> Array:
        parts = iter(given)
        tree = structure.unflatten([None if x is None else next(parts) for x in leaves])
        value = loss(tree, *moved)
        _check(isinstance(value, jax.Array), value)
        return value.reshape(())

    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    with home.enable_x64(True):
        moved = [converted(convert, a) for a in args]
        given = [convert(x) for x in leaves if x is not None]
        value, slopes = jax.value_and_grad(value_of)(given)
        found = iter(slopes)
        gradients = [None if x is None else next(found).conj() for x in leaves]
        jax.block_until_ready((value, gradients))
    return value, gradients


def _check(is_array: bool, value: Number) -> None:
    if not is_array:
        msg = f"loss: returned a {type(value).__name__}, expected a 0-d array"
        raise TypeError(msg)
    if any(n != 1 for n in value.shape):
        raise ValueError(_checks.mismatch("loss: its value", "shape", tuple(value.shape), "()"))
    if "complex" in str(value.dtype):
        msg = "loss: its value is complex, expected a real number"
        raise TypeError(msg)
