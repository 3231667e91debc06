"""Snapshots of an Optimizer: params, state and step count, in memory and in files.

A file never chooses a class or a function: it is loaded into an Optimizer that is there already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files
from .._arrays._trees import Structure
from ._leaf import Leaf

VERSION = 1
KIND = "checkpoint"


def copied(leaves: Sequence[Leaf]) -> list[dict[str, Any] | None]:
    """Return copies of the states of leaves."""
    return [
        {name: x if name == "step" else _copy(x) for name, x in leaf.state.items()}
        if leaf.state is not None
        else None
        for leaf in leaves
    ]


def snapshot(
    structure: Structure, leaves: Sequence[Leaf], step_count: int, flow: dict[str, Any]
) -> dict[str, Any]:
    """Return copies of everything that later steps depend on, but for the rules."""
    return {
        "version": VERSION,
        "step_count": step_count,
        "flow": flow,
        "params": structure.unflatten([_copy(leaf.p) for leaf in leaves]),
        "state": structure.unflatten(copied(leaves)),
    }


def matched(
    structure: Structure, leaves: Sequence[Leaf], saved: Any
) -> tuple[int, list[tuple[Leaf, str, Any]]]:
    """Check a snapshot against leaves: return its step count and (leaf, slot or "", value)."""
    if not isinstance(saved, Mapping) or saved.get("version") != VERSION:
        msg = f"state_dict: is not a version {VERSION} state of an Optimizer"
        raise ValueError(msg)
    for key in ("step_count", "flow", "params", "state"):
        if key not in saved:
            msg = f"state_dict: has no entry {key!r}"
            raise ValueError(msg)
    count = _checks.count("state_dict['step_count']", saved["step_count"])
    params = structure.flatten(saved["params"], "state_dict['params']")
    states = structure.flatten(saved["state"], "state_dict['state']")
    found: list[tuple[Leaf, str, Any]] = []
    for leaf, p, data in zip(leaves, params, states, strict=True):
        place = leaf.name("state_dict['params']")
        if (p is None) != (leaf.p is None):
            what = "None" if p is None else "an array"
            msg = f"{place}: is {what}, unlike the parameter"
            raise ValueError(msg)
        if p is not None:
            _check(place, leaf.p, p)
            found.append((leaf, "", p))
        found += _matched_state(leaf, data)
    return count, found


def restore(pairs: Sequence[tuple[Leaf, str, Any]]) -> dict[int, Any]:
    """Write what `matched` found; return new arrays of leaves that cannot be written."""
    replaced = {}
    for leaf, name, x in pairs:
        if name == "step":
            leaf.state.put(name, x)  # type: ignore[union-attr]
            continue
        target = leaf.state[name] if name else leaf.p  # type: ignore[index]
        value = _arrays.moved(x, target, target.dtype)
        if not leaf.immutable:
            with leaf.guard():
                _arrays.write(target, value)
        elif name:
            leaf.state.put(name, value)  # type: ignore[union-attr]
        else:
            leaf.p = replaced[leaf.index] = value
    return replaced


def _matched_state(leaf: Leaf, data: Any) -> list[tuple[Leaf, str, Any]]:
    place = leaf.name("state_dict['state']")
    if data is not None and not isinstance(data, Mapping):
        msg = f"{place}: is a {type(data).__name__}, expected a dict of slots or None"
        raise TypeError(msg)
    data = data or {}
    ours = leaf.state.data if leaf.state is not None else {}
    if set(ours) != set(data):
        got = ", ".join(sorted(map(str, data))) or "none"
        raise ValueError(_checks.mismatch(place, "slots", got, ", ".join(sorted(ours)) or "none"))
    for name, x in data.items():
        if name == "step":
            _checks.count(f"{place}['step']", x)
        else:
            _check(f"{place}[{name!r}]", ours[name], x)
    return [(leaf, name, x) for name, x in data.items()]


def _copy(x: Any) -> Any:
    return None if x is None else _arrays.moved(x, x, x.dtype)


def _check(place: str, like: Any, x: Any) -> None:
    # A saved array may come from another library or device, but not in another shape or dtype.
    if not _arrays.is_array(x):
        msg = f"{place}: is a {type(x).__name__}, expected an array"
        raise TypeError(msg)
    if tuple(x.shape) != tuple(like.shape):
        raise ValueError(_checks.mismatch(place, "shape", tuple(x.shape), tuple(like.shape)))
    if _arrays.dtype_name(x) != _arrays.dtype_name(like):
        names = _arrays.dtype_name(x), _arrays.dtype_name(like)
        raise TypeError(_checks.mismatch(place, "dtype", *names))
    _checks.same_layout(place, like, x)


# -- files -------------------------------------------------------------------------------------


def save(
    path: Any, leaves: Sequence[Leaf], step_count: int, flow: dict[str, Any], more: Any = None
) -> None:
    """Write a snapshot to a file, and what else a run needs to go on."""
    arrays: dict[str, tuple[Any, str]] = {}

    def stored(x: Any) -> str:
        name = f"array{len(arrays)}"
        arrays[name] = _to_stored(x), _arrays.dtype_name(x)
        return name

    rows = []
    for leaf in leaves:
        if leaf.p is not None and leaf.sharded:
            msg = f"{leaf.name('params')}: is a DTensor, of which this process has a part; keep "
            raise TypeError(msg + "what state_dict returns with torch.distributed.checkpoint")
        state = None
        if leaf.state is not None:
            state = {n: x if n == "step" else stored(x) for n, x in leaf.state.items()}
        rows.append(
            {
                "leaf": leaf.name("params"),
                "rule": repr(leaf.rule),
                "params": None if leaf.p is None else stored(leaf.p),
                "state": state,
            }
        )
    header = {"step_count": step_count, "flow": flow, "leaves": rows, "run": more}
    _files.write(path, KIND, VERSION, json.loads(json.dumps(header)), arrays)


def load(path: Any, leaves: Sequence[Leaf]) -> tuple[int, Any, list[tuple[Leaf, str, Any]], Any]:
    """Read a file against leaves: return step count, flow, (leaf, slot or "", value), and the rest.

    Raises
    ------
    FileError
        If it is no checkpoint, damaged, altered, or of a newer version.
    TypeError, ValueError
        If it does not fit these leaves.
    """
    with _files.Reader(path, KIND, VERSION) as file:
        header = file.header
        rows = {row["leaf"]: row for row in header["leaves"]}
        ours = [leaf.name("params") for leaf in leaves]
        if set(rows) != set(ours):
            missing = ", ".join(sorted(set(ours) - set(rows))) or "nothing"
            other = ", ".join(sorted(set(rows) - set(ours))) or "nothing"
            msg = f"{str(path)!r}: lacks {missing} and has {other} besides"
            raise ValueError(msg)
        wanted: list[tuple[Leaf, str, Any, Any]] = []
        for leaf, name in zip(leaves, ours, strict=True):
            row = rows[name]
            if (row["params"] is None) != (leaf.p is None):
                msg = (
                    f"{name}: in {str(path)!r} it is {'None' if leaf.p is not None else 'an array'}"
                )
                raise ValueError(msg)
            if leaf.p is not None:
                wanted.append((leaf, "", leaf.p, row["params"]))
            mine, theirs = leaf.state.data if leaf.state is not None else {}, row["state"] or {}
            place = leaf.name("state")
            if set(mine) != set(theirs):
                found = ", ".join(sorted(theirs)) or "none"
                raise ValueError(
                    _checks.mismatch(f"{place} in {str(path)!r}", "slots", found, sorted(mine))
                )
            wanted += [(leaf, slot, mine[slot], theirs[slot]) for slot in mine]
        for leaf, slot, like, key in wanted:  # everything, before anything large is read
            place = f"{leaf.name('state')}[{slot!r}]" if slot else leaf.name("params")
            if slot == "step":
                _checks.count(place, key)
                continue
            if file.shape(key) != tuple(like.shape):
                raise ValueError(_checks.mismatch(place, "shape", file.shape(key), like.shape))
            if file.dtype(key) != _arrays.dtype_name(like):
                names = file.dtype(key), _arrays.dtype_name(like)
                raise TypeError(_checks.mismatch(place, "dtype", *names))
        pairs = [
            (leaf, slot, key if slot == "step" else _from_stored(file.array(key), like))
            for leaf, slot, like, key in wanted
        ]
        count = _checks.count("step_count", header["step_count"])
        return count, header["flow"], pairs, header.get("run")


def _to_stored(x: Any) -> np.ndarray[Any, Any]:
    """Return an array on the host as a file keeps it: bfloat16 as the integers of its bits."""
    if _arrays.dtype_name(x) != "bfloat16":
        return _arrays.to_numpy(x)
    host = _arrays.to_numpy(x)
    if host.dtype.itemsize == 2:
        return host.view(np.uint16)
    return (np.ascontiguousarray(host).view(np.uint32) >> 16).astype(np.uint16).reshape(host.shape)


def _from_stored(x: np.ndarray[Any, Any], like: Any) -> np.ndarray[Any, Any]:
    """Return what `_to_stored` gave, with the values of the dtype of `like`."""
    if _arrays.dtype_name(like) != "bfloat16":
        return x
    if _arrays.on_host(like):
        return x.view(like.dtype.newbyteorder("="))
    return (x.astype(np.uint32) << 16).view(np.float32).reshape(x.shape)
