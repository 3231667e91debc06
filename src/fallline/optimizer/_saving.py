"""Snapshots in files: an ``.npz`` whose members bear the paths of the leaves, and a description.

``np.load`` shows ``params/layers/[0]/w`` and ``state/layers/[0]/w/m``: text keys as they are, with
what is neither a letter, a digit nor one of ``_.-`` as ``%`` and hexadecimal digits; other keys in
brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from .. import _arrays
from .._arrays import _files
from .._arrays._types import Array, FilePath, HostArray, Json, Key, KeyPath
from ._binding import Binding
from ._checkpoint import Snapshot, Stored, _saved_leaf, _snapshot, flow, of_leaf
from ._describe import described
from ._step import StepMemory

KIND = "checkpoint"
VERSION = 2


def save(
    path: FilePath,
    bound: Binding,
    memory: StepMemory,
    *,
    more: Mapping[str, Json] | None = None,
    arrays: Mapping[str, Array] | None = None,
    params: Sequence[Array] | None = None,
) -> None:
    """Write a snapshot to a file, and what else belongs to it.

    Parameters
    ----------
    path : str or path
        The file.
    bound : Binding
        Params, rules and states.
    memory : StepMemory
        The clocks.
    more : dict, optional
        Further entries of the header.
    arrays : dict of arrays, optional
        Further members, by name.
    params : sequence of arrays, optional
        Leaves that are written in the place of those bound.
    """
    members: dict[str, tuple[HostArray, str]] = {}

    def stored(name: str, x: Array) -> str:
        free = name
        while free in members:  # keys that print alike
            free += "~"
        members[free] = to_stored(x), _arrays.dtype_name(x)
        return free

    rows = []
    points = [leaf.p for leaf in bound.leaves] if params is None else params
    for leaf, point in zip(bound.leaves, points, strict=True):
        if leaf.p is not None and leaf.sharded:
            msg = f"{leaf.name('params')}: is a DTensor, of which this process has a part; keep "
            raise TypeError(msg + "what state_dict returns with torch.distributed.checkpoint")
        below = "/".join(map(member, leaf.path))

        def named(kind: str, x: Array, below: str = below, point: Array = point) -> str:
            first, _, rest = kind.partition("/")
            name = "/".join(part for part in (first, below, rest) if part)
            return stored(name, point if kind == "params" else x)

        row = of_leaf(leaf, named)
        rows.append({"leaf": leaf.name("params"), "path": list(map(key, leaf.path)), **row})
    for name, x in (arrays or {}).items():
        stored(name, x)
    header = {
        "step_count": memory.steps,
        "flow": flow(bound, memory),
        "gradients": [described(x) for x in bound.options.gradients],
        "leaves": rows,
        **(more or {}),
    }
    _files.write(path, KIND, VERSION, header, members)


def member(key: Key) -> str:
    """Return the name of a key of a tree in the names of members."""
    if not isinstance(key, str):
        return f"[{quote(repr(key), safe='')}]"
    if not key:
        return "%"
    text = quote(key, safe="").replace("~", "%7E")
    return text.replace(".", "%2E") if set(key) == {"."} else text


def key(k: Key) -> Json:
    """Return a key of a tree as the header has it: what is neither text nor an integer, printed."""
    plain = isinstance(k, str) or (isinstance(k, int) and not isinstance(k, bool))
    return k if plain else {"key": repr(k)}


def snapshot(file: _files.Reader) -> Snapshot:
    """Return the snapshot in an open file of this or of an earlier version."""
    header, place = file.header, repr(str(file.path))

    def stored(name: str, key: str) -> Stored:
        return Stored(
            file.shape(key),
            file.dtype(key),
            lambda like: _arrays.from_numpy(from_stored(file.array(key), like), like),
        )

    with file.blamed("its header is not that of a checkpoint"):
        rows = {}
        for row in header["leaves"]:
            rule = row["rule"]
            row = {**row, "rule": None if rule == "None" else rule}
            where = row["leaf"].replace("params", "state", 1)
            rows[row["leaf"]] = _saved_leaf(where, row, stored)
        return _snapshot(place, header, rows, header.get("gradients"))


def to_stored(x: Array) -> HostArray:
    """Return an array on the host as a file keeps it: bfloat16 as the integers of its bits."""
    host = x if isinstance(x, np.ndarray) else _arrays.to_numpy(x)
    if _arrays.dtype_name(x) != "bfloat16":
        return host
    if host.dtype.itemsize == 2:
        return host.view(np.uint16)
    return (np.ascontiguousarray(host).view(np.uint32) >> 16).astype(np.uint16).reshape(host.shape)


def from_stored(x: HostArray, like: Array) -> HostArray:
    """Return what `to_stored` gave, with the values of the dtype of `like`."""
    if _arrays.dtype_name(like) != "bfloat16":
        return x
    if _arrays.on_host(like):
        return x.view(like.dtype.newbyteorder("="))
    return widened(x)


def widened(x: HostArray) -> HostArray:
    """Return the integers of the bits of bfloat16 as single precision."""
    return (x.astype(np.uint32) << 16).view(np.float32).reshape(x.shape)


@dataclass(frozen=True)
class CheckpointContents:
    """The contents of a file of an Optimizer, an average or a run of `fit`.

    Attributes
    ----------
    params : dict
        NumPy arrays by the path of their leaf, a tuple of keys; bfloat16 is read as float32.
    state : dict
        For each path a dict of the state: its arrays by the names of their slots, and the count
        of the leaf as ``"step"``.
    step_count : int
        The number of steps made.
    rules : dict
        For each path the class and the fields of the rule, as the file has them.
    header : dict
        Everything in the file that is not an array.
    """

    params: dict[KeyPath, Array]
    state: dict[KeyPath, dict[str, Array]]
    step_count: int
    rules: dict[KeyPath, Json]
    header: dict[str, Json]


def read_checkpoint(path: FilePath) -> CheckpointContents:
    """Read a file that `Optimizer.save`, `EMA.save` or `callbacks.Checkpoint` wrote.

    No Optimizer is needed, and nothing in the file is executed.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    CheckpointContents
        The arrays by the paths of their leaves, and a description of the rules.

    Raises
    ------
    ValueError
        If this is not such a file, or if it is damaged.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> import fallline as fl
    >>> opt = fl.Optimizer({"w": np.ones(2)}, fl.SGD(0.5, momentum=0.9))
    >>> _ = opt.step({"w": np.ones(2)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     opt.save(os.path.join(folder, "run.npz"))
    ...     found = fl.read_checkpoint(os.path.join(folder, "run.npz"))
    >>> found.params["w",], found.state["w",]["b"], found.rules["w",]["class"]
    (array([0.5, 0.5]), array([1., 1.]), 'SGD')
    """
    with _files.Reader(path, KIND, VERSION) as file:
        header = file.header

        def array(key: str) -> HostArray:
            x = file.array(key)
            return widened(x) if file.dtype(key) == "bfloat16" else x

        params, state, rules = {}, {}, {}
        with file.blamed("its header is not that of a checkpoint"):
            for row in header["leaves"]:
                where = _path(row)
                if row["params"] is not None:
                    params[where] = array(row["params"])
                if row["state"] is not None:
                    slots = row["state"].items()
                    state[where] = {name: x if name == "step" else array(x) for name, x in slots}
                rules[where] = row["rule"]
            return CheckpointContents(params, state, header["step_count"], rules, header)


def _path(row: dict[str, Json]) -> KeyPath:
    # In version 1 only the printed form of a path was kept.
    keys: Sequence[Json] = row.get("path", [row["leaf"]])
    return tuple(key["key"] if isinstance(key, dict) else key for key in keys)
