"""Files of runs: all that the rest of a run depends on, written down and taken up again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .. import _arrays
from .._arrays import _checks, _files, _settings, is_sparse
from .._arrays._trees import Structure
from .._arrays._types import FilePath, Json, RunView, Tree
from .._arrays._warned import warn
from ..callbacks import Callback
from ..data import Batches
from ..objectives._linear_model import dense_like
from ..optimizer import _describe, _saving
from ..optimizer._inner import Inner
from ..optimizer._values import Reader, Writer
from ..solvers._resume import matched, packed
from ..stop._watch import fill
from ._run import End, told
from ._run_record import fingerprint

ROWS = 64  # of the data, by whose digest they are known again


# -- for both kinds of methods ---------------------------------------------------------------------


def written(run: RunView) -> tuple[dict[str, Json], Writer]:
    """Return what a file says of a run beside its method: for the header, and what has the arrays.

    Parameters
    ----------
    run : Run
        Of a rule or of a solver.

    Returns
    -------
    entry : dict
        For JSON.
    writer : Writer
        With the arrays, which takes more.
    """
    writer, history = Writer(run._first), run.history.state()
    for name, x in history.items():
        writer.keep(f"history/{name}", x)
    value, best, epoch = run._best
    end = run._ends[0] if run._ends else None
    entry = {
        "epoch": run.epoch, "step": run.step, "history": list(history), **run.described,
        "best": {"value": value, "epoch": epoch, "params": writer.pack("run/best", best)},
        "callbacks": packed(writer, "run", run._hooks),
        "end": None if end is None else end._asdict(),
    }  # fmt: skip
    return entry, writer


@dataclass
class Saved:
    """What a file says of a run beside its method.

    Attributes
    ----------
    file, reader : _files.Reader, Reader
        The open file.
    more : dict
        The entry of the header.
    pairs : list
        Callbacks, with what the file knows of each.
    """

    file: _files.Reader
    reader: Reader
    more: dict[str, Json]
    counts: list[int]
    history: dict[str, Json]
    best: tuple[float, Tree, int] | None
    pairs: list[tuple[Callback, Json]]

    def put(self, run: RunView) -> None:
        """Put the run where the file says."""
        run.epoch, run.step = self.counts
        run.history.load(self.history)
        run._best = self.best or run._best
        end, judges = self.more.get("end"), [*run._hooks, run._condition]
        if end is not None and end["by"] and end["by"] in map(told, judges):
            run._ends.append(End(**end))


@contextmanager
def opened(run: RunView, path: FilePath) -> Iterator[Saved]:
    """Open a file of a run of the same kind, on the same data; nothing is written yet.

    Parameters
    ----------
    run : Run
        That is to go on.
    path : str or path
        The file.

    Raises
    ------
    ValueError
        If the file does not fit; the message names it.
    """
    place = f"resume: {str(path)!r}"
    with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
        more, minimized = file.header.get("run"), "minimize" in file.header
        if more is None:
            of = "minimize, not of fit" if minimized else "an Optimizer, not of a run"
            msg = f"{place} is of {of}; use {'minimize' if minimized else 'Optimizer.load'}"
            raise _files.FileError(msg)
        if minimized != (run.optimizer is None):
            both = ("a solver", "a rule")[:: 1 if minimized else -1]
            raise _files.FileError(_checks.mismatch(place, "method", *both))
        with file.blamed("what it says of a run is damaged"):
            leaves = [row["leaf"] for row in file.header["leaves"]]
        ours = [_checks.where("params", leaf) for leaf in Structure(run._first).paths]
        if leaves != ours:
            raise _files.FileError(_checks.mismatch(place, "the list of its leaves", leaves, ours))
        _compare(run, place, more)
        with file.blamed("what it says of a run is damaged"):
            history = more["history"]
            if isinstance(history, list):
                history = {name: file.array(f"history/{name}") for name in history}
            counts = [_checks.count(f"resume[{n!r}]", more[n]) for n in ("epoch", "step")]
            reader, best = Reader(file, run._first), more.get("best")
            if best is not None:
                best = best["value"], reader.read(best["params"]), best["epoch"]
            states = [(x["name"], reader.read(x["state"])) for x in more.get("callbacks", ())]
        pairs = matched(run._hooks, states)
        yield Saved(file, reader, more, counts, history, best, pairs)


def _compare(run: RunView, place: str, more: Mapping[str, Json]) -> None:
    # The data, their batches, and what is minimized.
    saved, now = more.get("data"), run.described["data"]
    if saved is not None and now is not None:
        for name in ("arrays", "batch_size"):
            if saved[name] != now[name]:
                what = "the data" if name == "arrays" else name
                msg = _checks.mismatch(place, what, saved[name], now[name])
                raise ValueError(f"{msg} as in this call")
        if saved["digest"] != now["digest"]:
            msg = f"the data are not those of {place[8:]}: some of {ROWS} rows differ"
            _differ(run, f"resume: {msg}")
    before, problem = more.get("problem", {}), run.described["problem"]
    pairs = ((name, before.get(name, x), x) for name, x in problem.items())
    if found := [text for pair in pairs for text in _describe.differences(*pair)]:
        _differ(run, f"{place}: {'; '.join(found)}")


def _differ(run: RunView, msg: str) -> None:
    # A rule may go on with other numbers; what a solver knows are values of the old objective.
    if run.optimizer is None:
        raise ValueError(f"{msg}; a solver starts anew from params=")
    warn(msg)


def described(
    batches: Iterable[Tree], objective: object, params: Tree, penalty: Tree, constraint: Tree
) -> dict[str, Json]:
    """Return what tells the data and the problem of a run from others, for files.

    Parameters
    ----------
    batches : iterable
        Of the data.
    objective, params, penalty, constraint : object
        As in `fit`.

    Returns
    -------
    dict
        ``"data"``, sizes, dtypes and a digest of some rows, `None` for a stream; and ``"problem"``.
    """
    structure = Structure(params)
    problem = {"objective": _describe.described(objective)}
    for name, tree in (("penalty", penalty), ("constraint", constraint)):
        for path, x in zip(structure.paths, structure.broadcast(tree, name), strict=True):
            problem[_checks.where(name, path)] = _describe.described(x)
    return {"data": _data(batches), "problem": problem}


def _data(batches: Iterable[Tree]) -> dict[str, Json] | None:
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


# -- for rules -------------------------------------------------------------------------------------


def save(run: RunView, path: FilePath) -> None:
    """Write a file from which `fit` goes on with a rule."""
    more, writer = written(run)
    more |= {
        "batch": run._batch, "rng": run._rng_state,
        "total": _arrays.to_float(run._total), "rows": _arrays.to_float(run._rows),
        "stop": {"condition": told(run._condition), "memory": run._memory},
        "average": None,
    }  # fmt: skip
    if run._average is not None:
        state = run._average.state_dict()
        more["average"] = {
            "params": writer.pack("run/average", state["params"]),
            "step_count": state["step_count"], "average": state["average"],
        }  # fmt: skip
    Inner(run.optimizer).save(path, {"run": more}, writer.arrays)


def resume(run: RunView, path: FilePath) -> list[tuple[Callback, Json]]:
    """Put a run where a file says; return the callbacks whose states are in it, with these."""
    opt = run.optimizer
    with opened(run, path) as saved:
        more, average = saved.more, saved.more.get("average")
        has, here = average is not None, run._average is not None
        if has != here:
            msg = f"average: is {'given' if here else 'not given'}, unlike in {str(path)!r}"
            raise ValueError(msg)
        with saved.file.blamed("what it says of a run is damaged"):
            batch = _checks.count("resume['batch']", more["batch"])
            if average is not None:
                params = saved.reader.read(average["params"])
                average = {**run._average.state_dict(), **average, "params": params}
        memory = _memory(run, more.get("stop"))
        state = _rng(run, path, more)
        Inner(opt).restore(saved.file)  # it warns of other numbers
    if state is not None:
        run._batches.rng.bit_generator.state = state
    run._params = opt.params
    saved.put(run)
    run._batch, run._total, run._rows = batch, more["total"], more["rows"]
    fill(run._memory, memory)
    if average is not None:
        run._average.load_state_dict(average)
    return saved.pairs


def _memory(run: RunView, saved: Json) -> Mapping[str, Json]:
    # What the condition knew, if it is the same one.
    if saved is None or saved["condition"] != told(run._condition):
        return {}
    found: Mapping[str, Json] = _settings.like_numbers(
        "resume['stop']", run._memory, saved["memory"]
    )
    return found


def _rng(run: RunView, path: FilePath, more: Mapping[str, Json]) -> Json:
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


def _unjson(state: Json) -> Json:
    if isinstance(state, dict):
        if set(state) == {"array"}:
            return np.asarray(state["array"], np.uint32)
        return {key: _unjson(value) for key, value in state.items()}
    return state
