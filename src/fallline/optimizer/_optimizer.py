"""The Optimizer: params, rules and state bound together, stepped in place."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock, get_ident

import numpy as np

from .._arrays import _checks, _trees
from .._arrays._types import Array, KeyPath, Number, Tree
from ..gradients import Transform
from . import _hints, _step
from ._binding import Binding, rules
from ._changes import Changes
from ._leaf import Leaf
from ._options import StepOptions
from ._state_view import StateView


class Optimizer(Changes):
    """Updates your arrays in place with your gradients, in a loop of your own.

    Parameters
    ----------
    params : array or tree of arrays
        One array, or any nesting of dicts, lists and tuples of arrays, real or complex, of any
        Array API library. `None` leaves are left alone. The arrays are updated in place; JAX's,
        which cannot be written, are replaced in their dicts and lists and in `params`.
    rule : Rule, tree of rules, or callable
        One rule for all leaves. Or a tree of rules, which may end above the leaves, so that one
        rule serves a whole branch; `None` in place of a rule freezes what is there. Or a function
        of ``(path, leaf)`` that returns a rule or `None`; the path is a tuple of keys, such as
        ``("layers", 0, "weights")``.
    gradients : sequence of Transform, optional
        What is done to the gradients before the rule, in order; see `fallline.gradients`.
    penalty : penalty or tree of penalties, optional
        A penalty on the parameters, applied after the rule as a proximal step. Its length is the
        step length of the rule for each element; with momentum that adds up it is
        ``1 / (1 - momentum)`` times as long, so that both balance at the minimizer. A
        `TotalVariation` has no proximal point in closed form; its gradient is added instead.
    constraint : constraint, callable, or tree of these, optional
        The parameters are projected onto it at the end of a step, in the metric of the rule.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that contain NaN or infinities. ``"propagate"`` uses them.
        ``"skip"`` leaves parameters, state and counts unchanged; the device decides it, and the
        host reads the decision in the next step. ``"raise"`` raises FloatingPointError, for which
        it waits for the device.
    master_weights : bool, default False
        Whether to keep a copy of half-precision parameters in single precision, as ``master`` in
        the state. The copy is updated, and rounded into the parameter after each step.
    rate_factors, decay_factors : float, array, or tree of these, optional
        Factors of the learning rate and of the weight decay, one for each leaf, or an array that
        broadcasts to the leaf, for single elements or channels. They belong to the Optimizer and
        not to its rules: `transform` moves them, and they are saved. Rules that measure whole
        leaves, and FTRL, Rprop and ASGD, refuse factors of the learning rate.
    engine : {"auto", "eager", "blocked", "numba", "cuda"}
        How rules are run. ``"eager"`` evaluates the formula with any array library. ``"blocked"``
        runs its traced program on NumPy arrays, and tensors of torch on the CPU, block by block;
        ``"numba"`` runs it as one compiled loop.
        ``"cuda"`` makes one kernel launch for all CuPy arrays of one rule, device and dtype, and,
        where CuPy is installed, for tensors of torch on a GPU, for which ``"auto"`` is eager.
        ``"auto"`` takes the fastest that is installed and fits the leaf. All give the same bits.

    Raises
    ------
    TypeError, ValueError
        If a leaf is not a floating-point array, cannot be written, or shares memory with another,
        or if the rules do not fit. The message names the leaf.

    Notes
    -----
    Everything is checked before the first array is written. If a step is interrupted while it
    writes (by Ctrl-C, or for lack of memory), the next one raises until `load` or
    `load_state_dict` has restored a consistent state. Use one Optimizer from one thread at a time.
    If your container holds another array of the same shape, dtype and device at the next step,
    that array is updated from then on.

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

    __slots__ = ()

    def __init__(
        self,
        params: Tree,
        rule: Tree,
        *,
        gradients: Sequence[Transform] = (),
        penalty: Tree = None,
        constraint: Tree = None,
        nonfinite: str = "propagate",
        master_weights: bool = False,
        rate_factors: Tree = None,
        decay_factors: Tree = None,
        engine: str = "auto",
    ) -> None:
        _hints.check_no_groups(params)
        structure = _trees.Structure(params)
        options = StepOptions(
            gradients=gradients, penalty=penalty, constraint=constraint, nonfinite=nonfinite,
            master_weights=master_weights, rate_factors=rate_factors, decay_factors=decay_factors,
        )  # fmt: skip
        self._start(rule, _step.StepMemory())
        found = rules(structure, params, rule)
        self._bound = Binding(params, structure, found, engine=engine, options=options)

    def _start(self, spec: Tree, memory: _step.StepMemory, *, unfinished: bool = False) -> None:
        self._spec, self._memory, self._unfinished = spec, memory, unfinished
        self._lock, self._owner = Lock(), 0

    def __getattr__(self, name: str) -> object:
        if name in _hints.ATTRIBUTES:
            raise _hints.attribute(name)
        return object.__getattribute__(self, name)  # with Python's own error

    # -- what is bound ------------------------------------------------------------------------

    @property
    def params(self) -> Tree:
        """The container, or the array, that was given at the start: itself, not a copy."""
        return self._bound.params

    @property
    def state(self) -> Tree:
        """The state, as in ``opt.state["w"]["m"]``; the entries of a leaf can be replaced."""
        self._memory.settle()
        views = (
            None if leaf.state is None else StateView(leaf.path, self._leaf_at, self._assign)
            for leaf in self._bound.leaves
        )
        return _trees.frozen(self._tree(views))

    def _leaf_at(self, path: KeyPath) -> Leaf:
        self._memory.settle()
        for leaf in self._bound.leaves:
            if leaf.path == path:
                return leaf
        raise KeyError(_checks.where("params", path))

    def _assign(self, path: KeyPath, name: str, value: Array) -> None:
        # Another binding, whole, or nothing.
        leaf = self._leaf_at(path)
        if name == "step" and leaf.state is not None:
            leaf.check_state(name, value)
            leaf.state.count = int(value)
        else:
            self._bound = self._bound.with_entry(leaf.index, name, value)

    @property
    def step_count(self) -> int:
        """The number of steps made, by which schedules go. Skipped steps do not count."""
        self._memory.settle()
        return self._memory.steps

    @property
    def skipped(self) -> int:
        """The number of steps skipped by ``nonfinite="skip"``.

        Reading it, as reading any count, waits until a device has decided about the last step.
        """
        self._memory.settle()
        return self._memory.skipped

    @property
    def gradient_norm(self) -> Number:
        """The norm that `ClipByGlobalNorm` found in the last step, a 0-d array on its device.

        It is `None` before the first step and without such a transform.
        ``float(opt.gradient_norm)`` waits for the device.
        """
        norm = self._memory.norm
        return np.asarray(norm) if isinstance(norm, float) else norm

    @property
    def engine(self) -> str:
        """The names of the engines that run the rules."""
        names = {group.engine for group in self._bound.groups}
        return ", ".join(sorted(names)) or "eager"

    @property
    def program(self) -> str:
        """The rules as text, traced into the operations that are run on each element.

        Raises
        ------
        TypeError
            If a rule cannot be traced; the message names its line.
        """
        return self._bound.program

    def __repr__(self) -> str:
        """Return a summary of what is bound."""
        leaves = [leaf for leaf in self._bound.leaves if leaf.p is not None]
        rules, count = {repr(leaf.rule) for leaf in leaves}, len(leaves)
        engines = ", ".join(sorted({group.ran for group in self._bound.groups})) or "eager"
        return (
            f"<Optimizer of {count} {'array' if count == 1 else 'arrays'}, "
            f"{', '.join(sorted(rules))}, step {self.step_count}, {engines}>"
        )

    # -- stepping -----------------------------------------------------------------------------

    def step(self, grads: Tree) -> Tree:
        """Update the parameters once.

        Parameters
        ----------
        grads : array or tree of arrays
            The gradient of each leaf, with the structure of `params` and the shape, dtype and
            device of the leaf. That of a complex leaf is dL/dRe + i dL/dIm. Where it is `None`,
            the leaf, its state and its count stay as they are. The gradient of a frozen leaf is
            not read.

        Returns
        -------
        array or tree of arrays
            `params`.

        Raises
        ------
        TypeError, ValueError
            If a gradient does not fit, or shares memory with what is written. Nothing has changed
            then.
        RuntimeError
            If an earlier step was interrupted while it wrote, or another one is running.
        """
        if not self._lock.acquire(False):
            raise self._busy()
        try:
            self._owner = get_ident()
            if self._unfinished:
                self._check_whole()
            bound = self._bound
            if bound.structure.is_leaf:
                gradients = [grads]
            else:
                gradients = bound.structure.flatten(grads, "grads")
            bound = self._bound = bound.adopted()
            bound.check_gradients(gradients)
            memory = self._memory
            if bound.surrounded:
                _step.step(bound, memory, gradients, self._begin)
            else:
                _step.run(bound, gradients, None, memory.steps, self._begin)
                memory.last = memory.steps
                memory.steps += 1
            self._unfinished = False
            return bound.params
        finally:
            self._owner = 0
            self._lock.release()

    def flush(self) -> Tree:
        """Make a step with the mean of the gradients that `Accumulate` holds, fewer than its k.

        Returns
        -------
        array or tree of arrays
            `params`, unchanged if no gradients were held.
        """
        if not self._lock.acquire(False):
            raise self._busy()
        try:
            self._owner = get_ident()
            bound = self._ready()
            if self._memory.calls:
                bound.check_written()
                _step.flush(bound, self._memory, self._begin)
                self._unfinished = False
            return bound.params
        finally:
            self._owner = 0
            self._lock.release()

    def discard(self) -> None:
        """Forget the gradients that `Accumulate` holds."""
        bound = self._ready()
        self._begin()
        _step.discard(bound, self._memory)
        self._unfinished = False

    def _begin(self) -> None:
        self._unfinished = True

    def _busy(self) -> RuntimeError:
        if self._owner == get_ident():
            what = "is called by a constraint, a penalty or a transform within a step"
        else:
            what = "is running in another thread"
        return RuntimeError(f"step: {what} of the same Optimizer, expected one at a time")
