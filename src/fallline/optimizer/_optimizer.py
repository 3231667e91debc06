"""The Optimizer: params, rules and state bound together, stepped in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from .. import _arrays
from .._arrays import _checks, _trees
from ..gradients import Transform
from . import _checkpoint
from ._binding import Binding, rules
from ._leaf import transformed
from ._options import Pipeline
from ._step import Flow

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
    gradients : sequence of Transform, optional
        What is done to gradients first, in order: see `fallline.gradients`.
    penalty : penalty or tree of penalties, optional
        Added to the objective, by its proximal point after the rule, in the rule's own metric:
        the step length of each element. A `TotalVariation`, which has no proximal point in closed
        form, joins the gradient instead.
    constraint : constraint, callable, or tree of these, optional
        Projected on at the end of a step, in the same metric.
    nonfinite : {"propagate", "skip", "raise"}
        Gradients with NaN or infinities go on; leave everything as it is, without a look at the
        device; or raise FloatingPointError, which on a device waits for it.
    master_weights : bool, default False
        Keep a copy of half-precision parameters in single, in the state as ``master``, and round
        it into the parameter after each step.
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

    def __init__(
        self,
        params: Any,
        rule: Any,
        *,
        gradients: Sequence[Transform] = (),
        penalty: Any = None,
        constraint: Any = None,
        nonfinite: str = "propagate",
        master_weights: bool = False,
        engine: str = "auto",
    ) -> None:
        self._step_count = 0
        self._last = 0
        self._unfinished = False
        self._spec = rule
        self._flow = Flow()
        structure = _trees.Structure(params)
        transforms = _checks.sequence("gradients", gradients, "transforms")
        pipeline = Pipeline(transforms, penalty, constraint, nonfinite, master_weights)
        found = rules(structure, params, rule)
        self._bound = Binding(params, structure, found, engine=engine, pipeline=pipeline)

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
    def skipped(self) -> int:
        """Steps left out under ``nonfinite="skip"``: a read where gradients are on a device.

        On NumPy's arrays the count of each leaf, ``state[...]["step"]``, stays as well; on a
        device the host cannot know, and it goes on.
        """
        return round(_arrays.to_float(self._flow.skipped))

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
        return self._bound.program

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
        self._bound = old.with_rules(new, self._step_count)
        self._spec = rule

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
        if bound.surrounded:
            stepped = self._flow.step(bound, gradients, self._step_count, self._begin)
        else:
            bound.replace(bound.run(gradients, None, self._step_count, self._begin)[0])
            stepped = True
        if stepped:
            self._last = self._step_count
            self._step_count += 1
        self._unfinished = False
        return bound.params

    def _begin(self) -> None:
        self._unfinished = True

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
        self._bound = bound.rebound(bound.params, bound.structure, rules, states, self._step_count)
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
        self._bound = self._bound.with_params(params, structure, new, state, self._step_count)
        self._spec = spec

    # -- saving, copying ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot (copies) of params, state and step count."""
        self._check_whole()
        self._bound.adopt()
        bound = self._bound
        flow = self._flow.state(bound)
        return _checkpoint.snapshot(bound.structure, bound.leaves, self._step_count, flow)

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
        count, pairs = _checkpoint.matched(bound.structure, bound.leaves, state_dict)
        self._restore(count, state_dict["flow"], pairs)

    def save(self, path: Any) -> None:
        """Write params, state and counts to a file, with a description of the rules.

        The file is an ``.npz`` with a JSON header. It appears whole: an interruption at any moment
        leaves the old one. Arrays of every library are brought to the host.

        Parameters
        ----------
        path : str or path
            Where; an existing file is replaced.
        """
        self._check_whole()
        self._bound.adopt()
        flow = self._flow.state(self._bound)
        _checkpoint.save(path, self._bound.leaves, self._step_count, flow)

    def load(self, path: Any) -> None:
        """Restore what `save` wrote, into the arrays of this Optimizer.

        Parameters
        ----------
        path : str or path
            A file of an Optimizer with the same leaves, dtypes and slots, of any library.

        Raises
        ------
        ValueError, TypeError
            If it is no such file, is damaged or altered, or does not fit; nothing has changed then.
        """
        self._restore(*_checkpoint.load(path, self._bound.leaves)[:3])

    def _restore(self, count: int, flow: Any, pairs: Any) -> None:
        bound = self._bound
        self._flow.check(bound, flow)
        self._unfinished = True
        replaced = _checkpoint.restore(pairs)
        bound.replace(replaced)
        if replaced:
            bound.forget()
        self._flow.load(bound, flow)
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
            "options": bound.options,
            "flow": self._flow,
            "counts": (self._step_count, self._last, self._unfinished),
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        """Bind the arrays again."""
        self._step_count, self._last, self._unfinished = saved["counts"]
        params, rules, self._flow = saved["params"], saved["rules"], saved["flow"]
        structure = _trees.Structure(params)
        self._spec = structure.unflatten(rules)
        self._bound = Binding(params, structure, rules, **saved["options"])

    def __copy__(self) -> Self:
        """Return an Optimizer of the same arrays with a state of its own."""
        twin = object.__new__(type(self))
        saved, states = self.__getstate__(), _checkpoint.copied(self._bound.leaves)
        saved["options"]["states"] = states
        twin.__setstate__({**saved, "flow": copy.deepcopy(self._flow)})
        return twin
