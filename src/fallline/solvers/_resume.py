"""Files from which a run of `minimize` goes on, with all that its method has learned.

They are checkpoints like those of an `Optimizer`, with one more entry in the header. A file never
chooses a class: what it holds is put into a run that was made already, name by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files, _settings
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Json, Method, Number, RunView, Tree
from .._arrays._warned import warn
from ..callbacks import Callback
from ..optimizer import _describe, _saving
from ..optimizer._inner import Inner
from ..optimizer._values import Reader, Writer
from ._base import Solver

# What is as long as x0 wherever it stands.
_VECTORS = {"x", "gradient", "pseudo", "_x", "_gradient", "_before", "_d", "_previous"}
_VECTORS |= {"s", "y", "_slopes"}
_NEWER = {"_straight"}  # what files from before it was remembered do not hold
_ENTRIES = ("method", "evaluations", "stop", "history", "callbacks", "state")


def save(
    path: FilePath,
    run: RunView,
    method: Method,
    look: Any,
    *,
    more: Mapping[str, Json] | None = None,
    arrays: Mapping[str, Array] | None = None,
) -> None:
    """Write a file.

    Parameters
    ----------
    path : str or path
        Where; an old file is replaced, whole or not at all.
    run : Run or RuleRun, or such a run of a batch
        What is at work.
    method : Solver, Rule or tree of rules
        What it was made of.
    look : Monitor or BatchMonitor
        What it found so far.
    more : mapping, optional
        Further entries of the header.
    arrays : mapping of arrays, optional
        Further members, by name.
    """
    writer = Writer(_like(run.space), _kinds(run, look), {"_space"})
    entry = {
        "method": _described(method),
        "evaluations": run.objective.evaluations,
        "stop": {
            "condition": _describe.described(look.stop),
            "memory": _packed("minimize/stop", look.memory, writer),
        },
        "history": {n: _series(writer, run.space, n, x) for n, x in look.history.items()},
        "callbacks": packed(writer, "minimize", look.hooks),
        **{n: writer.pack(f"minimize/{n}", getattr(look, n)) for n in look.remembers},
        "state": {n: writer.pack(f"minimize/state/{n}", getattr(run, n)) for n in run.remembers},
    }  # fmt: skip
    further = {**(more or {}), "minimize": entry}
    kept = {**(arrays or {}), **writer.arrays}
    if run.optimizer is not None:
        Inner(run.optimizer).save(path, further, kept, run.points)
        return
    leaves = _leaves(run.space.structure, run.space.unpack(run.at.x))
    members = {name: x for name, _, x in leaves if x is not None} | kept
    header = {
        "step_count": look.view.epoch,
        "leaves": [
            {"leaf": _checks.where("params", path), "path": list(map(_saving.key, path)),
             "params": None if x is None else name, "state": None, "rule": None}
            for name, path, x in leaves
        ],
        **further,
    }  # fmt: skip
    stored = {name: (_saving.to_stored(x), _arrays.dtype_name(x)) for name, x in members.items()}
    _files.write(path, _saving.KIND, _saving.VERSION, header, stored)


def load(path: FilePath, run: RunView, method: Method, look: Any) -> list[tuple[Any, Any]]:
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
            _compare_many(path, "judged" in saved, "judged" in look.remembers)
            if {*saved} != {*_ENTRIES, *look.remembers}:
                raise file.error("the entries of its run are others")
            _compare(path, file, saved, run, method, look)
            reader, checked = _reader(file, run, look)
            found = {name: reader.read(saved[name]) for name in look.remembers}
            state = {name: checked(name, reader.read(x)) for name, x in saved["state"].items()}
            if any(type(found[name]) is not kind for name, kind in look.remembers.items()):
                raise file.error("its records are damaged")
            if set(state) | _NEWER & set(run.remembers) != set(run.remembers):
                raise file.error("what its method remembers is damaged")
            history = {n: _listed(reader, run.space, n, x) for n, x in saved["history"].items()}
            states = [(x["name"], reader.read(x["state"])) for x in saved["callbacks"]]
            evaluations = _checks.count("evaluations", saved["evaluations"])
        memory = _memory(saved["stop"], look, reader, checked)
        if run.optimizer is not None:
            Inner(run.optimizer).restore(file)
    run.objective.evaluations = evaluations
    for name, value in state.items():
        setattr(run, name, value)
    for name, value in found.items():
        setattr(look, name, value)
    look.memory, look.history = memory, history
    if run.optimizer is not None:
        run.stand(look.last)
    return matched(look.hooks, states)


def _kinds(run: RunView, look: Any) -> dict[str, type]:
    # The classes that may be in a file.
    return {kind.__name__: kind for kind in (*run.kinds, *look.remembers.values())}


def _reader(file: Any, run: RunView, look: Any) -> tuple[Reader, Callable[[str, Array], Array]]:
    # What a file says of itself is compared with the vectors of the run.
    space, kinds = run.space, _kinds(run, look)

    def checked(name: str, value: Number) -> Any:
        if value is None or not (name in _VECTORS or _arrays.is_array(value)):
            return value
        shape, problems = tuple(value.shape), space.shape[1:]
        if shape != space.shape if name in _VECTORS else problems and shape[-1:] != problems:
            raise file.error(f"its {name.strip('_')} is not of the size of x0")
        return value

    native = _arrays.full(space.like, 0.0, space.dtype, shape=())
    given = {"_space": space}
    reader = Reader(file, _like(space), like=native, kinds=kinds, given=given, checked=checked)
    return reader, checked


def _like(space: Any) -> Array:
    return space.structure.unflatten(space._like)


def packed(writer: Writer, place: str, hooks: Sequence[Callback]) -> list[Json]:
    """Return what a file of a run of this kind keeps of callbacks."""
    return [
        {"name": type(x).__name__, "state": writer.pack(f"{place}/callbacks/{i}", x.state_dict())}
        for i, x in enumerate(hooks)
    ]


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
        warn(msg)
    return pairs


def _described(method: Method) -> Any:
    # The rules of an Optimizer are described in the file anyway.
    return _describe.described(method) if isinstance(method, Solver) else None


def _compare_many(path: FilePath, saved: bool, now: bool) -> None:
    # Check that a file is of one problem, or of many, as the run is.
    if saved != now:
        theirs, ours = (("one problem", "many problems")[many] for many in (saved, now))
        msg = f"resume: {str(path)!r} is of a run of {theirs}, expected one of {ours}"
        raise _files.FileError(msg)


def _compare(
    path: FilePath, file: Any, saved: Json, run: RunView, method: Method, look: Any
) -> None:
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


def _packed(name: str, memory: Json, writer: Writer) -> Json:
    # What conditions remember: nested dicts of numbers, for a batch of arrays.
    if isinstance(memory, dict):
        return {key: _packed(f"{name}/{key}", x, writer) for key, x in memory.items()}
    return writer.pack(name, memory)


def _memory(saved: Json, look: Any, reader: Reader, checked: Callable[[str, Array], Array]) -> Any:
    # What the conditions knew, if they are the same; others begin afresh.
    if saved["condition"] != _describe.described(look.stop):
        return look.memory

    def numbers(place: str, x: Json) -> Json:
        # For a batch an array with one for each problem.
        found = reader.read(x)
        return (
            checked("", found) if _arrays.is_array(found) else _settings.plain_number(place, found)
        )

    return _settings.like_numbers("resume: stop", look.memory, saved["memory"], numbers)


def _leaves(structure: Structure, tree: Tree) -> list[tuple[str, tuple[Any, ...], Any]]:
    # The name of a member, the path and the array of each leaf.
    leaves = structure.flatten(tree, "x")
    return [
        ("/".join(["params", *map(_saving.member, path)]), path, x)
        for path, x in zip(structure.paths, leaves, strict=True)
    ]


def _series(writer: Writer, space: Any, name: str, values: list[Any]) -> Any:
    # What the history keeps of one name: numbers, or trees.
    place = f"minimize/history/{name}"
    if name == "x":
        return writer.pack(place, [space.pack(x, "x") for x in values])
    if values and _arrays.is_array(values[0]):
        return writer.pack(place, space.xp.stack(values))
    return writer.pack(place, np.asarray(values) if values else [])


def _listed(reader: Reader, space: Any, name: str, x: Array) -> list[Array]:
    found = reader.read(x)
    if name == "x":
        return [space.shown(row) for row in found]
    if isinstance(found, list):
        return found
    if found.ndim > 1:
        return [found[i, ...] for i in range(found.shape[0])]
    values: list[Array] = found.tolist()
    return values
