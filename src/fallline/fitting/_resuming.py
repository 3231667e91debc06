"""Files of runs: all that the rest of a run depends on, written down and taken up again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files, is_sparse
from .._arrays._trees import Structure
from ..data import Batches
from ..objectives._linear_model import dense_like
from ..optimizer import _restoring, _saving
from ..optimizer._checkpoint import Stored
from ..solvers._resume import matched
from ..stop._watch import fill
from ._run import End, told
from ._run_record import fingerprint

ROWS = 64  # of the data, by whose digest they are known again


def save(run: Any, path: Any) -> None:
    """Write a file from which `fit` goes on."""
    arrays = {f"history/{name}": x for name, x in run.history.state().items()}

    def kept(name: str, x: Any) -> str:
        arrays[name] = x
        return name

    structure, end = Structure(run._params), run._ends[0] if run._ends else None
    value, best, epoch = run._best
    more = {
        "epoch": run.epoch, "step": run.step, "batch": run._batch, "rng": run._rng_state,
        "history": list(run.history), "rows": _arrays.to_float(run._rows),
        "total": _arrays.to_float(run._total), "data": run.described,
        "best": {
            "value": value, "epoch": epoch, "params": packed(structure, "run/best", best, kept),
        },
        "stop": {"condition": told(run._condition), "memory": run._memory},
        "callbacks": [
            {"name": type(hook).__name__,
             "state": packed(structure, f"run/callbacks/{i}", hook.state_dict(), kept)}
            for i, hook in enumerate(run._hooks)
        ],
        "end": None if end is None else end._asdict(),
        "average": None,
    }  # fmt: skip
    if run._average is not None:
        state = run._average.state_dict()
        more["average"] = {
            "params": packed(structure, "run/average", state["params"], kept),
            "step_count": state["step_count"], "average": state["average"],
        }  # fmt: skip
    opt = run.optimizer
    _saving.save(path, opt._ready(), opt._memory, more={"run": more}, arrays=arrays)


def resume(run: Any, path: Any) -> list[tuple[Any, Any]]:
    """Put a run where a file says; return the callbacks whose states are in it, with these."""
    opt = run.optimizer
    with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
        snapshot, more = _saving.snapshot(file), file.header.get("run")
        if more is None:
            msg = f"resume: {str(path)!r} is of an Optimizer, not of a run; use Optimizer.load"
            raise _files.FileError(msg)
        with file.blamed("what it says of a run is damaged"):
            history = more["history"]
            if isinstance(history, list):
                history = {name: file.array(f"history/{name}") for name in history}
            counts = [_checks.count(f"resume[{n!r}]", more[n]) for n in ("epoch", "step", "batch")]
            read = _reader(run, file)
            found = {
                name: read(more[name][part]) if more.get(name) else None
                for name, part in (("best", "params"), ("average", "params"))
            }
            states = [(x["name"], read(x["state"])) for x in more.get("callbacks", ())]
        _compare(run, path, more)
        pairs = matched(run._hooks, states)
        memory = _memory(run, more.get("stop"))
        state = _rng(run, path, more)
        opt._restore(opt._ready(), snapshot)  # of other numbers it warns
    if state is not None:
        run._batches.rng.bit_generator.state = state
    run._params = opt.params
    run.epoch, run.step, run._batch = counts
    run._total, run._rows = more["total"], more["rows"]
    run.history.load(history)
    fill(run._memory, memory)
    if found["best"] is not None:
        run._best = more["best"]["value"], found["best"], more["best"]["epoch"]
    if run._average is not None and found["average"] is not None:
        saved = {**more["average"], "params": found["average"]}
        run._average.load_state_dict({**run._average.state_dict(), **saved})
    end = more.get("end")
    if end is not None and end["by"] and end["by"] in map(told, [*run._hooks, run._condition]):
        run._ends.append(End(**end))
    return pairs


def _compare(run: Any, path: Any, more: Mapping[str, Any]) -> None:
    # The data and their batches; other numbers in rules are told of by the Optimizer.
    saved, now = more.get("data"), run.described
    if saved is None or now is None:
        return
    for name in ("batch_size", "arrays"):
        if saved[name] != now[name]:
            what = "the data" if name == "arrays" else name
            msg = _checks.mismatch(f"resume: {str(path)!r}", what, saved[name], now[name])
            raise ValueError(f"{msg} as in this call")
    if saved["digest"] != now["digest"]:
        msg = f"resume: the data are not those of {str(path)!r}: some of {ROWS} rows differ"
        warnings.warn(msg, stacklevel=6)
    has, here = more.get("average") is not None, run._average is not None
    if has != here:
        msg = f"average: is {'given' if here else 'not given'}, unlike in {str(path)!r}"
        raise ValueError(msg)


def described(batches: Any) -> dict[str, Any] | None:
    """Return what tells data from others: sizes, dtypes, and a digest of some rows."""
    if type(batches) is not Batches:
        return None
    n = int(batches.arrays[0].shape[0])
    places = np.unique(np.linspace(0, max(n - 1, 0), ROWS).astype(np.int64))[:n]
    rows = []
    for x in batches.arrays:
        here = _arrays.from_numpy(places, dense_like(x))
        if is_sparse(x):
            part = x[here]
            rows += [part.indptr, part.indices, part.data]
        else:
            rows.append(_arrays.rows(x, here))
    arrays = [
        {"shape": list(map(int, x.shape)), "dtype": _arrays.dtype_name(dense_like(x))}
        for x in batches.arrays
    ]
    return {"batch_size": batches.batch_size, "arrays": arrays, "digest": fingerprint(*rows)}


def _memory(run: Any, saved: Any) -> Mapping[str, Any]:
    # What the condition knew, if it is the same one.
    if saved is None or saved["condition"] != told(run._condition):
        return {}
    found: Mapping[str, Any] = _checks.like_numbers("resume['stop']", run._memory, saved["memory"])
    return found


def _rng(run: Any, path: Any, more: Mapping[str, Any]) -> Any:
    # The state of the generator, if it is one of the same kind.
    if not isinstance(run._batches, Batches):
        return None
    generator = run._batches.rng.bit_generator
    before = generator.state
    try:
        state = generator.state = _unjson(more["rng"])
    except (TypeError, ValueError, KeyError) as error:
        msg = f"resume: {str(path)!r} used another kind of random numbers"
        raise ValueError(msg) from error
    generator.state = before
    return state


def _unjson(state: Any) -> Any:
    if isinstance(state, dict):
        if set(state) == {"array"}:
            return np.asarray(state["array"], np.uint32)
        return {key: _unjson(value) for key, value in state.items()}
    return state


# -- states of callbacks ---------------------------------------------------------------------------


def packed(structure: Structure, name: str, x: Any, keep: Callable[[str, Any], str]) -> Any:
    """Return a state as JSON has it; arrays are kept, by names.

    Parameters
    ----------
    structure : Structure
        Of the parameters, trees of which a state may hold.
    name : str
        Where the state stands.
    x : object
        Numbers, text, arrays, and dicts, lists and tuples of them.
    keep : callable
        Keeps an array under a name, which it returns.

    Returns
    -------
    object
        For JSON.
    """
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if isinstance(x, np.generic):
        return x.item()
    if _arrays.is_array(x):
        return {"array": keep(name, x)}
    if not structure.is_leaf:
        try:
            leaves = structure.flatten(x, name)
        except (TypeError, ValueError):
            leaves = []
        if leaves and all(leaf is None or _arrays.is_array(leaf) for leaf in leaves):
            parts = enumerate(leaves)
            return {"tree": [packed(structure, f"{name}/{i}", p, keep) for i, p in parts]}
    if isinstance(x, dict) and all(isinstance(key, str) for key in x):
        return {"dict": {k: packed(structure, f"{name}/{k}", v, keep) for k, v in x.items()}}
    if isinstance(x, list | tuple):
        kind = "list" if isinstance(x, list) else "tuple"
        return {kind: [packed(structure, f"{name}/{i}", v, keep) for i, v in enumerate(x)]}
    msg = f"{name}: is {_checks.described(x)}, expected numbers, text, arrays, dicts or lists"
    raise TypeError(msg)


def _reader(run: Any, file: Any) -> Callable[[Any], Any]:
    structure = Structure(run._params)
    like = next(p for p in structure.flatten(run._params, "params") if p is not None)

    def array(name: str) -> Any:
        stored = Stored(file.shape(name), file.dtype(name), lambda near: near)
        near = _restoring._like(name, like, stored)
        found = _arrays.from_numpy(_saving.from_stored(file.array(name), near), near)
        return _arrays.moved(found, near, near.dtype)

    def read(x: Any) -> Any:
        if not isinstance(x, dict):
            return x
        ((kind, value),) = x.items()
        if kind == "array":
            return array(value)
        if kind == "dict":
            return {key: read(part) for key, part in value.items()}
        parts = [read(part) for part in value]
        return (
            structure.unflatten(parts) if kind == "tree" else (parts, tuple(parts))[kind == "tuple"]
        )

    return read
