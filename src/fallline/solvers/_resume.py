"""Files from which a run of `minimize` goes on, with all that its method has learned.

They are checkpoints like those of an `Optimizer`, with one more entry in the header. A file never
chooses a class: what it holds is put into a run that was made already, name by name.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files
from .._arrays._trees import Structure
from ..optimizer import _describe, _saving
from ._base import Solver
from ._record import Record
from ._rule_run import RuleRun
from ._search import Trial

_KINDS: dict[str, type[Any]] = {"Trial": Trial, "Record": Record}
# What is as long as x0 wherever it stands.
_VECTORS = {"x", "gradient", "pseudo", "_x", "_gradient", "_before", "_d", "_previous"}
_ENTRIES = ("method", "evaluations", "stop", "history", "callbacks", "best", "last", "state")


def save(path: Any, run: Any, method: Any, look: Any) -> None:
    """Write a file.

    Parameters
    ----------
    path : str or path
        Where; an old file is replaced, whole or not at all.
    run : Run or RuleRun
        What is at work.
    method : Solver, Rule or tree of rules
        What it was made of.
    look : Look
        What it found so far.
    """
    writer = _Writer(run.space)
    entry = {
        "method": _described(method),
        "evaluations": run.objective.evaluations,
        "stop": {"condition": _describe.described(look.stop), "memory": look.memory},
        "history": {name: writer.series(name, x) for name, x in look.history.items()},
        "callbacks": [
            {"name": type(hook).__name__, "state": writer.pack(hook.state_dict())}
            for hook in look.hooks
        ],
        "best": writer.pack(look.best),
        "last": writer.pack(look.last),
        "state": {name: writer.pack(getattr(run, name)) for name in run.remembers},
    }
    if isinstance(run, RuleRun):
        opt = run.optimizer
        more, arrays = {"minimize": entry}, writer.arrays
        _saving.save(path, opt._ready(), opt._memory, more=more, arrays=arrays)
        return
    leaves = _leaves(run.space.structure, run.space.unpack(run.at.x))
    members = {name: x for name, _, x in leaves if x is not None} | writer.arrays
    header = {
        "step_count": run.iteration,
        "leaves": [
            {"leaf": _checks.where("params", path), "path": list(map(_saving.key, path)),
             "params": None if x is None else name, "state": None, "rule": None}
            for name, path, x in leaves
        ],
        "minimize": entry,
    }  # fmt: skip
    stored = {name: (_saving.to_stored(x), _arrays.dtype_name(x)) for name, x in members.items()}
    _files.write(path, _saving.KIND, _saving.VERSION, header, stored)


def load(path: Any, run: Any, method: Any, look: Any) -> list[tuple[Any, Any]]:
    """Go on from a file: put what it holds into a run that has not begun.

    Returns the callbacks of which the file knows something, with that.

    Parameters
    ----------
    path : str or path
        The file.
    run, method, look
        As in `save`.

    Raises
    ------
    ValueError
        If the file is damaged, or of another method or other arrays.
    """
    with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
        saved = file.header.get("minimize")
        if saved is None:
            msg = f"resume: {str(path)!r} is not of a run of minimize"
            raise _files.FileError(msg)
        with file.blamed("its header is not that of a run of minimize"):
            if {*saved} != {*_ENTRIES}:
                raise file.error("the entries of its run are others")
            _compare(path, file, saved, run, method, look)
            reader = _Reader(file, run.space)
            best, last = reader.unpack(saved["best"]), reader.unpack(saved["last"])
            state = reader.unpack(saved["state"])
            if not (isinstance(best, Record) and isinstance(last, Record)):
                raise file.error("its records are damaged")
            if set(state) != set(run.remembers):
                raise file.error("what its method remembers is damaged")
            history = {name: reader.series(name, x) for name, x in saved["history"].items()}
            states = [(x["name"], reader.unpack(x["state"])) for x in saved["callbacks"]]
            evaluations = _checks.count("evaluations", saved["evaluations"])
        memory = _memory(saved["stop"], look)
        if isinstance(run, RuleRun):
            run.optimizer._restore(run.optimizer._ready(), _saving.snapshot(file))
            run.stand(last)
    run.objective.evaluations = evaluations
    for name in run.remembers:
        setattr(run, name, state[name])
    look.best, look.last, look.memory, look.history = best, last, memory, history
    return matched(look.hooks, states)


def matched(hooks: Sequence[Any], states: Sequence[tuple[str, Any]]) -> list[tuple[Any, Any]]:
    """Return callbacks with their states, those of one class in their order."""
    left = [(name, state) for name, state in states if state]
    pairs = []
    for hook in hooks:
        place = next((i for i, x in enumerate(left) if x[0] == type(hook).__name__), None)
        if place is not None:
            pairs.append((hook, left.pop(place)[1]))
    if left:
        names = ", ".join(name for name, _ in left)
        msg = f"resume: the run had {names}, which is not among the callbacks now"
        warnings.warn(msg, stacklevel=6)
    return pairs


def _described(method: Any) -> Any:
    # The rules of an Optimizer are described in the file anyway.
    return _describe.described(method) if isinstance(method, Solver) else None


def _compare(path: Any, file: Any, saved: Any, run: Any, method: Any, look: Any) -> None:
    # Check that a file is of the same method, of the same arrays, and records the same numbers.
    place, described = f"resume: {str(path)!r}", _described(method)
    if saved["method"] != described:
        theirs = _describe.shown(saved["method"]) if saved["method"] else "a rule"
        raise _files.FileError(_checks.mismatch(place, "method", theirs, repr(method)))
    if list(saved["history"]) != list(look.history):
        names = list(saved["history"])
        raise _files.FileError(_checks.mismatch(place, "record", names, list(look.history)))
    rows = {row["leaf"].replace("params", "x0", 1): row["params"] for row in file.header["leaves"]}
    structure = run.space.structure
    like = run.space._like
    names = [_checks.where("x0", path) for path in structure.paths]
    if list(rows) != names:
        raise _files.FileError(f"{place}: its leaves are {list(rows)}, expected those of x0")
    for name, p in zip(names, like, strict=True):
        member = rows[name]
        if (member is None) != (p is None):
            raise _files.FileError(f"{place}: {name} is None on one side only")
        if p is None:
            continue
        given = {"shape": tuple(p.shape), "dtype": _arrays.dtype_name(p)}
        kept = {"shape": file.shape(member), "dtype": file.dtype(member)}
        for what in given:
            if given[what] != kept[what]:
                what = _checks.mismatch(name, what, given[what], kept[what])
                raise _files.FileError(f"{place}: {what}")


def _memory(saved: Any, look: Any) -> Any:
    # What the conditions knew, if they are the same; others begin afresh.
    if saved["condition"] != _describe.described(look.stop):
        return look.memory
    return _checks.like_numbers("resume: stop", look.memory, saved["memory"])


def _leaves(structure: Structure, tree: Any) -> list[tuple[str, tuple[Any, ...], Any]]:
    # The name of a member, the path and the array of each leaf.
    leaves = structure.flatten(tree, "x")
    return [
        ("/".join(["params", *map(_saving.member, path)]), path, x)
        for path, x in zip(structure.paths, leaves, strict=True)
    ]


class _Writer:
    # Turns values into JSON and arrays; arrays that are one array stay one.

    def __init__(self, space: Any) -> None:
        self._space = space
        self.arrays: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def _member(self, x: Any) -> str:
        if id(x) not in self._names:
            name = self._names[id(x)] = f"run/{len(self.arrays)}"
            self.arrays[name] = x
        return self._names[id(x)]

    def pack(self, x: Any) -> Any:
        if x is None or isinstance(x, bool | str):
            return x
        if isinstance(x, int | np.integer):
            return int(x)
        if isinstance(x, float | np.floating):
            return float(x)
        if isinstance(x, dict):
            return {"kind": "dict", "of": {name: self.pack(v) for name, v in x.items()}}
        if isinstance(x, np.ndarray) and not self._space.host:
            return {"kind": "host", "name": self._member(x)}
        if _arrays.is_array(x):
            return {"kind": "array", "name": self._member(x)}
        if isinstance(x, deque):
            return {"kind": "deque", "most": x.maxlen, "of": [self.pack(v) for v in x]}
        if isinstance(x, tuple):
            return {"kind": "tuple", "of": [self.pack(v) for v in x]}
        if isinstance(x, list):
            return [self.pack(v) for v in x]
        values = {n: self.pack(getattr(x, n)) for n in _fields(type(x))}
        return {"kind": type(x).__name__, "fields": values}

    def series(self, name: str, values: list[Any]) -> Any:
        # What the history keeps of one name: numbers, or trees.
        if name == "x":
            return [self.pack(self._space.pack(x, "x")) for x in values]
        if not values:
            return []
        return {"kind": "host", "name": self._member(np.asarray(values))}


class _Reader:
    # Turns them back; what a file says of itself is compared with the vectors of the run.

    def __init__(self, file: Any, space: Any) -> None:
        self._file, self._space = file, space
        self._found: dict[str, Any] = {}

    def unpack(self, x: Any) -> Any:
        if isinstance(x, list):
            return [self.unpack(value) for value in x]
        if not isinstance(x, dict):
            return x
        kind = x.get("kind")
        if kind is None:
            return {name: self._named(name, value) for name, value in x.items()}
        if kind in ("host", "array"):
            return self._array(x["name"], ours=kind == "array")
        if kind == "dict":
            return {name: self.unpack(value) for name, value in x["of"].items()}
        if kind == "tuple":
            return tuple(self.unpack(x["of"]))
        if kind == "deque":
            return deque(self.unpack(x["of"]), maxlen=x["most"])
        cls = _KINDS[kind]
        values = {name: self._named(name, x["fields"][name]) for name in _fields(cls)}
        return cls(**values, **({"_space": self._space} if cls is Record else {}))

    def _named(self, name: str, x: Any) -> Any:
        value = self.unpack(x)
        if value is not None and name in _VECTORS and tuple(value.shape) != (self._space.size,):
            raise self._file.error(f"its {name.strip('_')} is not of the size of x0")
        return value

    def _array(self, name: str, *, ours: bool) -> Any:
        if name not in self._found:
            x = self._file.array(name)
            self._found[name] = _arrays.from_numpy(x, self._space.like) if ours else x
        return self._found[name]

    def series(self, name: str, x: Any) -> list[Any]:
        if name == "x":
            return [self._space.shown(self.unpack(row)) for row in x]
        values: list[Any] = x if isinstance(x, list) else self.unpack(x).tolist()
        return values


def _fields(cls: type[Any]) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if f.name != "_space"]
