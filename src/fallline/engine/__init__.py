"""Engines: how a rule is run on the arrays of an Optimizer.

All give the same bits: ``eager``, the formula as it is, on any array library; ``blocked``, its
traced program through NumPy's ufuncs, block by block; ``numba``, the program as one compiled loop.
"""

from __future__ import annotations

from typing import Any

from .. import _arrays, _checks
from ..rules import Rule
from . import blocked, eager, numba_
from .trace import Program, UntraceableError, trace

NAMES = ("auto", "eager", "blocked", "numba")

Runner = eager.Runner | blocked.Runner | numba_.Runner


def choose(engine: str, place: str, p: Any, rule: Rule) -> tuple[str, Program | None]:
    """Return the name of the engine that runs a rule on leaves like `p`, and its program.

    Raises
    ------
    TypeError, ValueError, ImportError
        If the engine that was asked for cannot; the message names the leaf.
    """
    if engine not in NAMES:
        raise _checks.unknown_name("engine", str(engine), NAMES)
    if engine == "eager" or (engine == "auto" and not _arrays.on_host(p)):
        return "eager", None
    dtype = _arrays.dtype_name(p)
    if not _arrays.on_host(p):
        msg = f"{place}: engine {engine!r} runs NumPy arrays, got {_arrays.library(p)}"
        raise TypeError(msg)
    if engine == "numba" and dtype not in numba_.DTYPES:
        msg = f"{place}: engine 'numba' runs {', '.join(numba_.DTYPES)}, got {dtype}"
        raise TypeError(msg)
    if engine == "numba" and not numba_.installed():
        msg = "engine 'numba' needs Numba: pip install 'fallline[numba]'"
        raise ImportError(msg)
    try:
        program = trace(rule, dtype)
    except UntraceableError:
        if engine == "auto":
            return "eager", None
        raise
    if engine == "auto":
        engine = "numba" if dtype in numba_.DTYPES and numba_.installed() else "blocked"
    return engine, program


def make(engine: str, rule: Rule, program: Program | None, leaves: list[list[Any]]) -> Runner:
    """Return a runner of a rule on leaves ``[parameter, *slots]`` of one library and dtype."""
    if program is None:
        return eager.Runner(rule, leaves)
    return numba_.Runner(program, leaves) if engine == "numba" else blocked.Runner(program, leaves)
