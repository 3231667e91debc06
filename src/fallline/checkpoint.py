"""Snapshots of an Optimizer: params, state and step count as plain containers of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _arrays, _checks
from ._leaf import Leaf
from ._trees import Structure

VERSION = 1


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
