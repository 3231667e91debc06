"""The record of a run: what ran, on what, and how it went, as plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
import platform
import sys

import numpy as np

from .. import _arrays
from .._arrays import _files, is_sparse
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Json, Method, RunView, Tree
from ..objectives._linear_model import dense_like
from ..stop import Condition

LIBRARIES = ("numpy", "array_api_compat", "optree", "numba", "cupy", "torch", "jax", "scipy")


class RunRecord(dict[str, Json]):
    """Plain data that tell how to repeat a run and what came of it.

    They hold no arrays of data, no paths, and no names of users or machines. What is not a number,
    text, list or dict, such as a function, is described by its `repr` without addresses.
    """

    @classmethod
    def of(cls, what: dict[str, Json], run: RunView, seconds: float) -> RunRecord:
        """Return the record of a run that has ended."""
        history = {name: run.history[name].tolist() for name in run.history if name != "step_loss"}
        engine = None if run.optimizer is None else run.optimizer.engine
        return cls(
            {
                "format": "fallline run",
                "version": 1,
                **what,
                "engine": engine,
                "parameters": _leaves(run.params),
                "outcome": {
                    "message": run.message, "status": run.status, "success": run.success,
                    "epochs": run.epoch, "steps": run.step, "seconds": seconds,
                },
                "history": history,
            }
        )  # fmt: skip

    def save(self, path: FilePath) -> None:
        """Write this as JSON; if that is interrupted, the old file stays as it was.

        Parameters
        ----------
        path : str or path
            The file.
        """
        text = json.dumps(_plain(self), indent=2, allow_nan=False)
        with _files.whole(path) as file:
            file.write(f"{text}\n".encode())


def described(
    objective: object, method: Method, penalty: Tree, constraint: Tree, stop: Condition | None,
    data: Tree, rng: int | np.random.Generator | None, batch_size: int | None,
) -> dict[str, Json]:  # fmt: skip
    """Return what is about to run, on what."""
    return {
        "objective": _plain(objective),
        "method": _plain(method),
        "penalty": _plain(penalty),
        "constraint": _plain(constraint),
        "stop": None if stop is None else repr(stop),
        "seed": rng if isinstance(rng, int) else None if rng is None else "a generator",
        "batch_size": batch_size,
        "data": [_described(x) for x in data] if isinstance(data, tuple) else "a stream of batches",
        "versions": _versions(),
        "platform": {"system": platform.system(), "machine": platform.machine()},
    }


def fingerprint(*arrays: Array) -> str:
    """Return a digest of the content of arrays, to be compared with that of a later run.

    Parameters
    ----------
    *arrays : array
        Of any library; device arrays are brought to the host.

    Returns
    -------
    str
        64 hexadecimal digits, the same for equal dtypes, shapes and elements.
    """
    digest = hashlib.sha256()
    for x in arrays:
        host = np.ascontiguousarray(_arrays.to_numpy(x))
        host = host.astype(host.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{host.dtype.str} {host.shape};".encode())
        digest.update(host.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _described(x: Array) -> dict[str, Json]:
    like = dense_like(x)
    return {
        "shape": list(map(int, x.shape)),
        "dtype": _arrays.dtype_name(like),
        "library": _arrays.library(like),
        "device": str(_arrays.device(like)),
        "sparse": is_sparse(x),
    }


def _leaves(params: Tree) -> dict[str, Json]:
    structure = Structure(params)
    leaves = structure.flatten(params, "params")
    return {
        "".join(f"[{key!r}]" for key in path) or "params": _described(p)
        for path, p in zip(structure.paths, leaves, strict=True)
        if p is not None
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    found["fallline"] = importlib.import_module("fallline").__version__
    for name in LIBRARIES:
        if name in sys.modules:
            found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return found


def _plain(x: object) -> Json:
    # As JSON has it: dataclasses by their fields, numbers that are not finite as text.
    if x is None or isinstance(x, bool | int | str):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else str(x)
    if isinstance(x, dict):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = {f.name: _plain(getattr(x, f.name)) for f in dataclasses.fields(x)}
        return {"name": type(x).__name__, **fields}
    if _arrays.is_array(x):
        return _described(x)
    if callable(x):
        name = getattr(x, "__qualname__", type(x).__qualname__)
        return f"function {getattr(x, '__module__', '')}.{name}".replace("__main__.", "")
    if isinstance(x, np.generic):
        return _plain(x.item())
    return type(x).__name__


__all__ = ["RunRecord", "described", "fingerprint"]
