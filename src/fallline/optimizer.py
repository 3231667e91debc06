"""The Optimizer: params, rules and state bound together, stepped in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from . import _arrays, _checks, _trees, checkpoint
from ._binding import Binding, Group, rules
from ._leaf import carried, resized, transformed
from .engine.trace import trace
from .rules import Rule

_KEEP_RULES: Any = object()


class Optimizer:
    """Updates your arrays in place, by your gradients, in your loop.

    Parameters
    ----------
    params : array or tree of arrays
        One array or any nesting of dicts, lists and tuples of them, real or complex, of any
        Array API library. `None` leaves are left alone. The arrays are updated in place; JAX's,
        which cannot be, are replaced in their dicts and lists and in `params`.
    rule : Rule, tree of rules, or callable
        One rule for all leaves; a prefix of the tree of params with a rule (or `None`, which
        freezes) at each end; or a function of ``(path, leaf)`` that returns one, where path is
        the tuple of keys, such as ``("layers", 0, "weights")``.
    engine : {"auto", "eager", "blocked", "numba", "cuda"}
        How rules are run: the formula as it is on any array library; on NumPy, its traced program
        block by block through NumPy's ufuncs, or as one compiled loop with Numba; on CuPy, as one
        kernel launch for all leaves of a rule, device and dtype. All give the same bits.
        ``"auto"`` takes the fastest that is installed and fits each leaf.

    Raises
    ------
    TypeError, ValueError
        If a leaf is no floating array, cannot be written, or shares memory with another; if the
        rules do not fit. The message names the leaf.

    Notes
    -----
    Everything is checked before the first array is written. If a step is interrupted while it
    writes (Ctrl-C, out of memory), the next one raises until `load_state_dict` has restored a
    consistent state. If your container holds another array of equal shape, dtype and device at
    the next step, that one is updated from then on.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> params = {"w": np.ones(2), "b": np.zeros(())}
    >>> opt = fl.Optimizer(params, fl.SGD(0.5))
    >>> _ = opt.step({"w": np.asarray([1.0, 2.0]), "b": None})
    >>> params["w"]
    array([0.5, 0. ])
    """

    def __init__(self, params: Any, rule: Any, *, engine: str = "auto") -> None:
        self._step_count = 0
        self._last = 0
        self._unfinished = False
        self._spec = rule
        structure = _trees.Structure(params)
        self._bound = Binding(params, structure, rules(structure, params, rule), engine=engine)

    # -- what is bound ------------------------------------------------------------------------

    @property
    def params(self) -> Any:
        """The caller's own container, or array."""
        return self._bound.params

    @property
    def state(self) -> Any:
        """State, leaf first: ``opt.state["w"]["m"]``; entries of a leaf can be replaced."""
        return _trees.frozen(self._tree(leaf.state for leaf in self._bound.leaves))

    def _tree(self, leaves: Iterable[Any]) -> Any:
        return self._bound.structure.unflatten(list(leaves))

    @property
    def step_count(self) -> int:
        """Number of steps made: the clock of the schedules."""
        return self._step_count

    @property
    def engine(self) -> str:
        """How rules are run."""
        names = {group.engine for group in self._bound.groups}
        return ", ".join(sorted(names)) or "eager"

    @property
    def program(self) -> str:
        """What the machine does, as text: the rules traced into operations on elements.

        Raises
        ------
        TypeError
            If a rule cannot be traced; the message names its line.
        """
        programs: dict[str, None] = {}
        for group in self._bound.groups:
            dtype = _arrays.dtype_name(group.leaves[0].p)
            program = group.program or trace(group.rule, dtype)
            programs[str(program)] = None
        return "\n\n".join(programs)

    @property
    def rule(self) -> Any:
        """Rules, keyed like params; assign a tree of rules to change them.

        A leaf keeps its state if one of its two rules is of a subclass of the other (Adam and
        AdamW, say); slots that the new rule lacks are dropped, those it adds start afresh.
        Otherwise its state and count start afresh. `None` freezes a leaf and keeps its state.
        """
        return _trees.frozen(self._tree(leaf.rule for leaf in self._bound.leaves))

    @rule.setter
    def rule(self, rule: Any) -> None:
        """Change rules."""
        old = self._bound
        old.adopt()
        new = rules(old.structure, old.params, rule)
        states = [
            carried(leaf, r, self._step_count) for leaf, r in zip(old.leaves, new, strict=True)
        ]
        self._bound = self._rebound(old.params, old.structure, new, states)
        self._spec = rule

    def _rebound(
        self, params: Any, structure: _trees.Structure, rules: Sequence[Rule | None], states: Any
    ) -> Binding:
        return Binding(
            params,
            structure,
            rules,
            engine=self._bound.engine,
            step=self._step_count,
            states=states,
            makers=self._bound.makers,
        )

    def hyperparameters(self) -> Any:
        """Return the numbers last used, keyed like params: a dict for each leaf, or `None`."""
        return self._tree(
            leaf.rule.hyperparameters(self._last) if leaf.rule else None
            for leaf in self._bound.leaves
        )

    def __repr__(self) -> str:
        """Return a summary of what is bound."""
        leaves = [leaf for leaf in self._bound.leaves if leaf.p is not None]
        rules, count = {repr(leaf.rule) for leaf in leaves}, len(leaves)
        return (
            f"<Optimizer of {count} {'array' if count == 1 else 'arrays'}, "
            f"{', '.join(sorted(rules))}, step {self._step_count}, {self.engine}>"
        )

    # -- stepping -----------------------------------------------------------------------------

    def step(self, grads: Any) -> Any:
        """Update the parameters once.

        Parameters
        ----------
        grads : array or tree of arrays
            The gradient of each leaf: same structure, shape, dtype and device. For complex
            leaves dL/dRe + i dL/dIm. Where it is `None`, the leaf, its state and its count stay.
            A frozen leaf's gradient is not looked at.

        Returns
        -------
        array or tree of arrays
            `params`.

        Raises
        ------
        TypeError, ValueError
            If a gradient does not fit or overlaps what is written; nothing has changed then.
        RuntimeError
            If an earlier step was interrupted while it wrote.
        """
        self._check_whole()
        bound = self._bound
        if bound.structure.is_leaf:
            gradients = [grads]
        else:
            gradients = bound.structure.flatten(grads, "grads")
            bound.adopt()
        bound.check_gradients(gradients)
        replaced: dict[int, Any] = {}
        for group, scalars, which in self._calls(gradients):
            leaves = [group.leaves[i] for i in which]
            taken = [gradients[leaf.index] for leaf in leaves]
            new = group.runner.run(scalars, which, taken, self._begin)
            for leaf in leaves:
                leaf.state.count += 1  # type: ignore[union-attr]
            for i, arrays in new.items():
                group.leaves[i].take(arrays)
                replaced[group.leaves[i].index] = arrays[0]
        bound.replace(replaced)
        self._last = self._step_count
        self._step_count += 1
        self._unfinished = False
        return bound.params

    def _begin(self) -> None:
        self._unfinished = True

    def _calls(self, gradients: Sequence[Any]) -> list[tuple[Group, dict[str, Any], list[int]]]:
        # The leaves of each group that share a count, and the scalars of this step.
        calls = []
        for group in self._bound.groups:
            fixed = group.rule.at(self._step_count)
            counts: dict[int, list[int]] = {}
            for i, leaf in enumerate(group.leaves):
                if gradients[leaf.index] is not None:
                    counts.setdefault(leaf.state.count, []).append(i)  # type: ignore[union-attr]
            for count, which in counts.items():
                calls.append((group, fixed.scalars(count + 1), which))
        return calls

    def _check_whole(self) -> None:
        if self._unfinished:
            msg = "an earlier step was interrupted while it wrote; restore with load_state_dict"
            raise RuntimeError(msg)

    # -- changing arrays ----------------------------------------------------------------------

    def transform(self, f: Callable[[Any], Any], leaves: Any = None) -> Any:
        """Apply a function to parameters and to all state of their shape.

        Parameters
        ----------
        f : callable
            From an array to an array of the same dtype: roll, crop, pad. Real state of complex
            parameters is passed too.
        leaves : key, path or list of these, optional
            Which leaves: those at or below a key (``"object"``) or a path (``("a", 0)``).

        Returns
        -------
        array or tree of arrays
            `params`. Arrays whose shape changes are replaced in their dicts and lists.
        """
        self._check_whole()
        bound = self._bound
        bound.adopt()
        new, states = {}, bound.states
        for index in bound.structure.select(leaves, "leaves"):
            leaf = bound.leaves[index]
            if leaf.p is not None:
                with leaf.guard():
                    new[index], states[index] = transformed(f, leaf)
        # New arrays where the shape changed; elsewhere the caller's own are written.
        replaced = {}
        self._unfinished = True
        for index, p in new.items():
            leaf = bound.leaves[index]
            if leaf.immutable or p.shape != leaf.shape or not _arrays.is_writable(leaf.p):
                replaced[index] = p
            else:
                with leaf.guard():
                    _arrays.write(leaf.p, p)
        bound.replace(replaced)
        rules = [leaf.rule for leaf in bound.leaves]
        self._bound = self._rebound(bound.params, bound.structure, rules, states)
        self._unfinished = False
        return self.params

    def rebind(self, params: Any, *, state: str = "keep", rule: Any = _KEEP_RULES) -> None:
        """Bind other parameters: new, resized, added, removed or moved leaves.

        Parameters
        ----------
        params : array or tree of arrays
            The new parameters. Leaves are matched by path.
        state : {"keep", "pad", "reset"}
            For leaves that existed: keep the state (an error if the shape changed); keep it and
            pad or crop it to the new shape, at the ends of the axes; or start afresh. Kept state
            is moved to the leaf's device and dtype.
        rule : rule, tree of rules, or callable, optional
            New rules; without it those given last are applied to the new tree.
        """
        if state not in ("keep", "pad", "reset"):
            raise _checks.unknown_name("state", str(state), ("keep", "pad", "reset"))
        self._check_whole()
        structure = _trees.Structure(params)
        spec = self._spec if rule is _KEEP_RULES else rule
        new = rules(structure, params, spec)
        before = {leaf.path: leaf for leaf in self._bound.leaves}
        states = []
        for path, p, r in zip(
            structure.paths, structure.flatten(params, "params"), new, strict=True
        ):
            leaf, data = before.get(path), None
            if leaf is not None and p is not None and r is not None and state != "reset":
                data = carried(leaf, r, self._step_count)
            if data is not None and r is not None:
                place = _checks.where("params", path)
                data = resized(place, r._init_leaf(p, self._step_count), data, state)
            states.append(data)
        self._bound = self._rebound(params, structure, new, states)
        self._spec = spec

    # -- saving, copying ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot (copies) of params, state and step count."""
        self._check_whole()
        self._bound.adopt()
        return checkpoint.snapshot(self._bound.structure, self._bound.leaves, self._step_count)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, into the arrays of this Optimizer.

        Parameters
        ----------
        state_dict : dict
            Its arrays may be of another library or device; they are copied.

        Raises
        ------
        TypeError, ValueError
            If it does not fit these params and rules; nothing has changed then.
        """
        bound = self._bound
        count, pairs = checkpoint.matched(bound.structure, bound.leaves, state_dict)
        self._unfinished = True
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
        bound.replace(replaced)
        if replaced:
            bound.forget()
        self._step_count = count
        self._last = max(count - 1, 0)
        self._unfinished = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what deepcopy and pickle keep."""
        bound = self._bound
        bound.adopt()
        return {
            "params": bound.params,
            "rules": [leaf.rule for leaf in bound.leaves],
            "states": bound.states,
            "makers": bound.makers,
            "engine": bound.engine,
            "counts": (self._step_count, self._last, self._unfinished),
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        """Bind the arrays again."""
        self._step_count, self._last, self._unfinished = saved["counts"]
        params, rules = saved["params"], saved["rules"]
        structure = _trees.Structure(params)
        self._spec = structure.unflatten(rules)
        self._bound = Binding(
            params,
            structure,
            rules,
            engine=saved["engine"],
            states=saved["states"],
            makers=saved["makers"],
        )

    def __copy__(self) -> Self:
        """Return an Optimizer of the same arrays with a state of its own."""
        twin = object.__new__(type(self))
        states = checkpoint.copied(self._bound.leaves)
        twin.__setstate__({**self.__getstate__(), "states": states})
        return twin
