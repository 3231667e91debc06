"""How an Optimizer is saved, loaded, copied and pickled."""

from __future__ import annotations

import copy
from typing import Self

from .. import _arrays
from .._arrays import _checks, _files, _trees
from .._arrays._types import FilePath, Json, Tree
from .._arrays._warned import warn
from ..rules import Rule
from . import _checkpoint, _describe, _factors, _remember, _restoring, _saving
from ._binding import Binding
from ._checkpoint import Snapshot
from ._leaf import Leaf, LeafState
from ._restoring import Restored
from ._step import StepMemory


class Snapshots:
    """The part of an Optimizer that saves and loads, copies and pickles it."""

    __slots__ = (
        "__weakref__", "_bound", "_lock", "_memory", "_owner", "_spec", "_unfinished",
    )  # fmt: skip

    _bound: Binding
    _memory: StepMemory
    _spec: Tree
    _unfinished: bool

    def _ready(self) -> Binding:
        raise NotImplementedError

    def _start(self, spec: Tree, memory: StepMemory, *, unfinished: bool = False) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Json]:
        """Return copies of params, state and counts, with a description of the rules."""
        return _checkpoint.state_dict(self._ready(), self._memory)

    def load_state_dict(self, state_dict: dict[str, Json], *, rules: str = "bound") -> None:
        """Restore what `state_dict` returned, into the arrays of this Optimizer.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned. Its arrays may be of another library or device; they are
            copied.
        rules : {"bound", "saved"}
            As in `load`.

        Raises
        ------
        TypeError, ValueError
            If it does not fit these params and rules; nothing has changed then.
        """
        bound = self._current()
        self._restore(bound, _checkpoint.from_dict(bound, state_dict), rules)

    def save(self, path: FilePath) -> None:
        """Write params, state and counts to a file, with a description of the rules.

        The file is an ``.npz`` with a JSON header; its members are named by the paths of the
        leaves. It is written atomically: if that is interrupted, the old file stays as it was.
        Arrays of every library are brought to the host.

        Parameters
        ----------
        path : str or path
            The file; an existing one is replaced.
        """
        _saving.save(path, self._ready(), self._memory)

    def load(self, path: FilePath, *, rules: str = "bound") -> None:
        """Restore what `save` wrote, into the arrays of this Optimizer.

        Parameters
        ----------
        path : str or path
            A file of an Optimizer with the same leaves, dtypes and slots, of any library.
        rules : {"bound", "saved"}
            Which hyperparameters are used from now on. ``"bound"`` keeps those of the rules of
            this Optimizer, and warns where the file has others. ``"saved"`` takes those of the
            file, for rules and schedules of fallline and of classes that this Optimizer uses
            already. Functions, and objects that remember something, stay those of this Optimizer.

        Raises
        ------
        ValueError, TypeError
            If this is not such a file, if it is damaged or altered, or if its rules are of
            another class or do not fit. Nothing has changed then.
        """
        bound = self._current()
        with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
            self._restore(bound, _saving.snapshot(file), rules)

    def _current(self) -> Binding:
        # What is bound, also after an interrupted step, with the arrays of the container.
        self._memory.settle()
        return self._bound.adopted()

    def _restore(self, bound: Binding, snapshot: Snapshot, which: str = "bound") -> None:
        if which not in ("bound", "saved"):
            raise _checks.unknown_name("rules", str(which), ("bound", "saved"))
        spec = self._spec
        if which == "saved":
            found = _saved_rules(bound, snapshot)
            spec = bound.structure.unflatten(found)
            bound = bound.with_rules(found, self._memory.steps)
        restored = _restoring.restored(bound, snapshot)
        after = _with(bound, restored)
        if restored.differ:
            msg = (
                f"{snapshot.place}: other numbers were saved; those that are bound are used: "
                f"{'; '.join(restored.differ)}"
            )
            warn(msg)
        here = _remember.remembering(after.options, after.leaves)
        _remember.load(snapshot.place, here, restored.remembered)
        self._unfinished = True
        for target, value in restored.writes:
            with _arrays.guard(target)():
                _arrays.write(target, value)
        after.replace(restored.params)
        self._bound, self._spec = after, spec
        memory = self._memory
        memory.steps, memory.last = restored.steps, max(restored.steps - 1, 0)
        memory.calls, memory.skipped = restored.calls, restored.skipped
        memory.awaited = memory.norm = None
        self._unfinished = False

    # -- copies -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Json]:
        """Return what pickle keeps."""
        self._memory.settle()
        bound = self._bound.adopted()
        memory = self._memory
        return {
            "params": bound.params,
            "rules": [leaf.rule for leaf in bound.leaves],
            "spec": self._spec if _importable(self._spec) else None,
            "engine": bound.engine,
            "options": bound.options,
            "states": bound.states,
            "memory": (memory.steps, memory.last, memory.calls, memory.skipped),
            "unfinished": self._unfinished,
        }

    def __setstate__(self, saved: dict[str, Json]) -> None:
        """Bind the arrays again."""
        structure = _trees.Structure(saved["params"])
        spec = saved["spec"]
        memory = StepMemory()
        memory.steps, memory.last, memory.calls, memory.skipped = saved["memory"]
        self._start(
            structure.unflatten(saved["rules"]) if spec is None else spec,
            memory,
            unfinished=saved["unfinished"],
        )
        self._bound = Binding(
            saved["params"], structure, saved["rules"], engine=saved["engine"],
            options=saved["options"], states=saved["states"], before=saved["rules"],
        )  # fmt: skip

    def __deepcopy__(self, known: dict[int, object]) -> Self:
        """Return an Optimizer of copies of everything; functions are the same."""
        twin = object.__new__(type(self))
        twin.__setstate__(copy.deepcopy({**self.__getstate__(), "spec": self._spec}, known))
        return twin

    def __copy__(self) -> Self:
        """Return an Optimizer of the same arrays with a state of its own."""
        twin = object.__new__(type(self))
        saved = {**self.__getstate__(), "spec": self._spec}
        saved["states"] = [None if x is None else _copied(x) for x in saved["states"]]
        twin.__setstate__(saved)
        return twin


def _copied(state: LeafState) -> LeafState:
    slots = {name: _arrays.moved(x, x, x.dtype) for name, x in state.slots.items()}
    return LeafState(slots, state.count, state.maker, given=state.given)


def _importable(spec: Tree) -> bool:
    # Whether pickle can find a function again; rules and trees of rules are no functions.
    name = getattr(spec, "__qualname__", "")
    return not callable(spec) or isinstance(spec, type) or "<" not in name


def _with(bound: Binding, restored: Restored) -> Binding:
    # What is bound, with states and factors of a snapshot.
    leaves = []
    for leaf, state in zip(bound.leaves, restored.states, strict=True):
        p = restored.params.get(leaf.index, leaf.p)
        leaves.append(Leaf(leaf.index, leaf.path, p, leaf.rule, leaf.plan, leaf.terms, state))
    if not any(restored.factors):
        return bound.twin(leaves)
    trees = {}
    for name in _checkpoint.FACTORS:
        option, values = f"{name}_factors", [row.get(name) for row in restored.factors]
        trees[option] = _factors.gathered(bound.structure, values, getattr(bound.options, option))
    return bound.rebound(
        bound.params, bound.structure, [leaf.rule for leaf in leaves],
        [leaf.state for leaf in leaves], restored.steps, options=bound.options.replaced(**trees),
        arrays=[leaf.p for leaf in leaves], before=[leaf.rule for leaf in leaves],
    )  # fmt: skip


def _saved_rules(bound: Binding, snapshot: Snapshot) -> list[Rule | None]:
    kept: list[str] = []
    found: list[Rule | None] = []
    for leaf in bound.leaves:
        name, saved = leaf.name("rule"), snapshot.leaves.get(leaf.name("params"))
        rule = None if saved is None else saved.rule
        if isinstance(rule, str):
            msg = f"{name}: {snapshot.place} does not hold the numbers of its rules; use 'bound'"
            raise ValueError(msg)
        found.append(None if rule is None else _describe.rebuilt(name, rule, leaf.rule, kept))
    if kept:
        msg = f"{snapshot.place}: kept as they are bound: {', '.join(kept)}"
        warn(msg)
    return found
