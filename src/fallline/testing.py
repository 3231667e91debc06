"""Checks for people who write rules of their own."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Sequence

import numpy as np

from . import _arrays
from ._arrays._types import Array, HostArray
from .engine import numba_
from .engine.trace import TraceError, trace
from .optimizer import Optimizer
from .rules import Rule

__all__ = ["check_rule"]

DTYPES = ("float32", "float64", "complex64", "complex128", "float16")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e30)


def check_rule(rule: Rule, dtypes: Sequence[str] = DTYPES) -> list[str]:
    """Check that a rule keeps to what the Optimizer and the engines rely on.

    Parameters
    ----------
    rule : Rule
        An instance; it must suit arrays of one axis.
    dtypes : sequence of str, optional
        Those of the parameters; without complex ones, for a rule that is for reals only.

    Returns
    -------
    list of str
        What was checked, and what was left out for want of a library.

    Raises
    ------
    AssertionError
        If something does not hold; the message says what, for which dtype, and where it can, in
        which line of the formula.

    Notes
    -----
    It must be a value (equal, hashable, picklable, with a `repr` of its fields); keep the dtypes
    of parameters and state; write nothing it is handed; give the same result twice; be traceable,
    if it acts element by element; have the same bits eagerly, in blocks and through Numba; take
    another step after a round trip of its state as it would have without; and work on arrays of
    another library than NumPy (array_api_strict, if installed) without moving them to the host.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.testing.check_rule(fl.Adam(0.1))[0]
    'a value: equal, hashable, picklable'
    """
    _check(isinstance(rule, Rule), f"{rule!r} is no instance of a Rule")
    done = [_value(rule), *(_traceable(rule, dtype) for dtype in dtypes)]
    done += [_dtypes(rule, dtype) for dtype in dtypes]
    twice = [dtype for dtype in dtypes if dtype in ("float64", "complex128")]
    done += [_purity(rule, dtype) for dtype in twice]
    done += [_same_bits(rule, dtype) for dtype in dtypes]
    done.append(_round_trip(rule))
    done += [_elsewhere(rule, dtype) for dtype in twice]
    return done


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _draw(seed: int, dtype: str, n: int = 33, special: bool = False) -> HostArray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    if special:
        x[: len(SPECIAL)] = SPECIAL
    if dtype.startswith("complex"):
        x = x + 1j * rng.standard_normal(n)
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def _value(rule: Rule) -> str:
    twin = pickle.loads(pickle.dumps(rule))
    _check(twin == rule, f"{rule!r} is not equal to itself after pickling")
    _check(hash(twin) == hash(rule), f"the hash of {rule!r} changes with pickling")
    _check(type(rule).__name__ in repr(rule), f"repr(rule) is {rule!r}")
    return "a value: equal, hashable, picklable"


def _dtypes(rule: Rule, dtype: str) -> str:
    p, g = _draw(0, dtype), _draw(1, dtype)
    state = rule.init(p)
    new, after = rule.update(params=p, grads=g, state=state)
    _check(
        new.dtype == p.dtype and new.shape == p.shape,
        f"{dtype}: the new parameter is {new.dtype} of shape {new.shape}",
    )
    real = _arrays.COMPUTE[dtype]
    for name, x in after.leaves.items():
        if name == "step":
            _check(x == 1, f"{dtype}: the count after one step is {x}")
            continue
        before = state.leaves[name]
        _check(
            x.dtype == before.dtype and x.shape == before.shape,
            f"{dtype}: state {name!r} turned from {before.dtype} {before.shape} to {x.dtype}",
        )
        _check(x.dtype.name in (real, dtype), f"{dtype}: state {name!r} is {x.dtype}")
    _check(
        bool(np.all(np.isfinite(new))),
        f"{dtype}: an ordinary step gives numbers that are not finite",
    )
    return f"{dtype}: dtypes and shapes are kept"


def _purity(rule: Rule, dtype: str) -> str:
    p, g = _draw(0, dtype), _draw(1, dtype)
    state = rule.init(p)
    for x in [p, g, *(x for name, x in state.leaves.items() if name != "step")]:
        x.flags.writeable = False
    results = []
    for _ in range(2):
        try:
            results.append(rule.update(params=p, grads=g, state=state)[0])
        except ValueError as error:
            msg = f"{dtype}: the formula writes into an array it was handed ({error})"
            raise AssertionError(msg) from error
    _check(_same(*results), f"{dtype}: two equal calls of the formula differ")
    return f"{dtype}: pure, nothing it is handed is written"


def _bits(x: Array) -> HostArray:
    # As integers, the parts of complex numbers one after another, any NaN as the same.
    x = np.ascontiguousarray(x).copy()
    x = x.view(x.real.dtype) if x.dtype.kind == "c" else x
    x[np.isnan(x)] = np.nan
    found: HostArray = x.view(f"u{x.itemsize}")
    return found


def _same(x: Array, y: Array) -> bool:
    return np.array_equal(_bits(x), _bits(y))


def _traceable(rule: Rule, dtype: str) -> str:
    rule = rule.suited("params", np.ones(3, dtype))
    if not rule.elementwise:
        return f"{dtype}: not elementwise, run eagerly only"
    try:
        trace(rule, dtype)
    except TraceError as error:
        msg = f"{dtype}: the formula cannot be traced: {error}"
        raise AssertionError(msg) from error
    return f"{dtype}: traceable"


def _same_bits(rule: Rule, dtype: str) -> str:
    if not rule.suited("params", np.ones(3, dtype)).elementwise:
        return f"{dtype}: not elementwise, no other engines"
    engines = ["blocked"]
    if numba_.installed() and dtype in numba_.DTYPES:
        engines.append("numba")
    for engine in engines:
        _agree(rule, dtype, engine)
    return f"{dtype}: same bits eagerly and by {', '.join(engines)}"


def _agree(rule: Rule, dtype: str, engine: str) -> None:
    ours, theirs = _draw(0, dtype), _draw(0, dtype)
    one = Optimizer(ours, rule, engine=engine)
    other = Optimizer(theirs, rule, engine="eager")
    for t in range(4):
        g = _draw(10 + t, dtype, special=t == 2)
        one.step(g)
        other.step(g)
        pairs = {"the parameter": (ours, theirs)}
        for name in one.state:
            if name != "step":
                pairs[f"state {name!r}"] = one.state[name], other.state[name]
        for what, (x, y) in pairs.items():
            _check(
                _same(x, y), f"{dtype}: {what} differs between {engine} and eager in step {t + 1}"
            )


def _round_trip(rule: Rule) -> str:
    x, y = _draw(0, "float64"), _draw(5, "float64")
    one, other = Optimizer(x, rule), Optimizer(y, rule)
    for t in range(3):
        one.step(_draw(10 + t, "float64"))
    other.load_state_dict(one.state_dict())
    for opt in (one, other):
        opt.step(_draw(20, "float64"))
    _check(_same(x, y), "a run goes on differently after a round trip of its state")
    return "state: a run goes on the same after a round trip"


def _elsewhere(rule: Rule, dtype: str) -> str:
    if importlib.util.find_spec("array_api_strict") is None:
        return "another library: left out, array_api_strict is not installed"
    xp = importlib.import_module("array_api_strict")
    p, g = (xp.asarray(_draw(seed, dtype), device=xp.Device("device1")) for seed in (0, 1))
    try:
        found, _ = rule.update(params=p, grads=g, state=rule.init(p))
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        msg = f"{dtype}: on array_api_strict the formula fails: {error}"
        raise AssertionError(msg) from error
    expected = _draw(0, dtype)
    expected, _ = rule.update(params=expected, grads=_draw(1, dtype), state=rule.init(expected))
    close = np.allclose(_arrays.to_numpy(found), expected, rtol=1e-10, atol=1e-12)
    _check(close, f"{dtype}: array_api_strict gives another result than NumPy")
    return f"{dtype}: array_api_strict on a second device"
