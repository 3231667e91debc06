"""Engines: how a rule runs on the arrays of an Optimizer.

All engines give the same bits. ``eager`` calls the formula itself, on arrays of any library. The
others run the program that was traced from it: ``blocked`` with NumPy's ufuncs, block by block;
``numba`` as one compiled loop; ``cuda`` as one kernel launch for many CuPy arrays. ``blocked`` and
``numba`` also step tensors of torch in host memory, through NumPy's views of them, and ``cuda``
tensors on a GPU, where CuPy is installed.

``trace`` makes a `program.Program` of a formula. For each compiled engine one file writes code from
a program (``_blocked_source``, ``_numba_source``, ``_cuda_source``), and one runs it.
"""

from __future__ import annotations

import importlib.util

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Array
from ..rules._abstract import AbstractRule
from . import cuda, numba_
from ._runner import Runner
from ._through_numpy import ThroughNumPy
from .blocked import BlockedRunner
from .cuda import CudaRunner
from .eager import EagerRunner
from .numba_ import NumbaRunner
from .program import Program
from .trace import UntraceableError, trace

__all__ = ["LIBRARIES", "NAMES", "Runner", "choose", "make"]

NAMES = ("auto", "eager", "blocked", "numba", "cuda")
LIBRARIES = {"blocked": "numpy", "numba": "numpy", "cuda": "cupy"}

_RUNNERS = {runner.name: runner for runner in (BlockedRunner, NumbaRunner, CudaRunner)}


def choose(engine: str, place: str, p: Array, rule: AbstractRule) -> tuple[str, Program | None]:
    """Return the name of the engine that runs a rule on leaves like `p`, and the rule's program.

    Raises
    ------
    TypeError, ValueError, ImportError
        If the requested engine cannot run the rule on `p`; the message names the leaf.
    """
    if engine not in NAMES:
        raise _checks.unknown_name("engine", str(engine), NAMES)
    if engine == "eager":
        return "eager", None
    dtype, library = _arrays.dtype_name(p), _arrays.library(p)
    memory = "numpy" if _arrays.numpy_can_view(p) else library
    if engine == "auto":
        return _fastest(memory, dtype, p, rule)
    reached = engine == "cuda" and _arrays.kernels_can_reach(p)
    if memory != LIBRARIES[engine] and not reached:
        kind = {"numpy": "NumPy arrays", "cupy": "CuPy arrays"}[LIBRARIES[engine]]
        got = library
        if library == "torch":
            more = {"numpy": "tensors that NumPy can view", "cupy": "tensors on a GPU"}
            kind += f" and {more[LIBRARIES[engine]]}"
            got += f" of {dtype} on {p.device}"
        msg = f"{place}: engine {engine!r} runs {kind}, got {got}"
        raise TypeError(msg)
    if reached and importlib.util.find_spec("cupy") is None:
        msg = "engine 'cuda' launches its kernels by CuPy, which is not installed"
        raise ImportError(msg)
    if not rule.elementwise:
        msg = f"{place}: {rule.name} does not act on each element by itself; it runs eagerly only"
        raise TypeError(msg)
    if engine == "numba" and dtype not in numba_.DTYPES:
        msg = f"{place}: engine 'numba' runs {', '.join(numba_.DTYPES)}, got {dtype}"
        raise TypeError(msg)
    if engine == "numba" and not numba_.installed():
        msg = "engine 'numba' needs Numba: pip install 'fallline[numba]'"
        raise ImportError(msg)
    if engine == "cuda" and not cuda.runs(p):
        msg = f"{place}: engine 'cuda' needs an NVIDIA device of compute capability 7.0 or more"
        raise TypeError(msg)
    return engine, trace(rule, dtype)


def _fastest(memory: str, dtype: str, p: Array, rule: AbstractRule) -> tuple[str, Program | None]:
    if not rule.elementwise:
        return "eager", None
    if memory == "numpy" and (_arrays.on_host(p) or not _arrays.is_half(p)):
        engine = "numba" if dtype in numba_.DTYPES and numba_.installed() else "blocked"
    elif memory == "cupy" and cuda.runs(p):
        engine = "cuda"
    else:
        return "eager", None
    try:
        return engine, trace(rule, dtype)
    except UntraceableError:
        return "eager", None


def make(
    engine: str, rule: AbstractRule, program: Program | None, leaves: list[list[Array]]
) -> Runner:
    """Return a runner of a rule on leaves ``[parameter, *slots]`` of one library and dtype."""
    if program is None:
        return EagerRunner(rule, leaves)
    if _arrays.numpy_can_view(leaves[0][0]):
        kind = NumbaRunner if engine == "numba" else BlockedRunner
        return ThroughNumPy(kind, program, leaves)
    return _RUNNERS[engine](program, leaves)
