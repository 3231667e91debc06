"""The base class of the rules: hyperparameters, slots, the two clocks and the pure form."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Self, dataclass_transform

from .. import _arrays
from .._arrays import _checks
from .._arrays._pairs import abs2, weighted_abs2
from .._arrays._trees import Structure
from .._arrays._types import Array, Namespace, Number, Scalars, Tree
from ._abstract import AbstractRule, Read, RuleMemory, Slot

# A float, or a schedule: any callable from the global step (0 first) to a float. It is `Any`
# to type checkers because `scalars` always reads floats.
Hyperparameter = Any

__all__ = [
    "Hyperparameter",
    "Read",
    "Rule",
    "Slot",
    "State",
    "abs2",
    "bias_correction",
    "hyper",
    "option",
    "weighted_abs2",
]


class State(NamedTuple):
    """State of the pure form: the global step, and a tree with a dict for each leaf of params."""

    step: Number
    leaves: Tree


def hyper(
    default: float, *, low: float = 0.0, high: float = math.inf, below: bool = False
) -> Hyperparameter:
    """Declare a hyperparameter in ``[low, high]``, or in ``[low, high)`` if `below`."""
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "open_high": below}
    )


def option(default: object) -> Any:
    """Declare a field that is not a number; the rule checks it in `_check`."""
    return dataclasses.field(default=default, metadata={"option": True})


def bias_correction(beta: Number, t: Number) -> Number:
    """Return ``1 - beta**t``, the total weight of the terms of an average that started at zero."""
    return 1 - beta**t if isinstance(t, int) else _arrays.log1mexp_correction(beta, t)


@dataclass_transform(frozen_default=True, field_specifiers=(hyper, dataclasses.field))
class Rule(AbstractRule):
    """Base of the update rules.

    A rule is a frozen dataclass of hyperparameters with three parts: `slots`, `scalars` and
    `formula`. Subclasses become dataclasses by themselves; `learning_rate` may be given by
    position, all other fields by name only. Numeric hyperparameters may be schedules. Flags, and
    whether a number is zero, decide which terms the formula has.
    """

    __signature__: ClassVar[inspect.Signature]  # hides that of __new__
    _schedules: ClassVar[tuple[str, ...]]
    _options: ClassVar[dict[str, tuple[str, ...]]] = {"complex_moment": ("modulus", "components")}

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Refuse unknown hyperparameters and suggest the right ones."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = [field.name for field in fields]
        first = [field.name for field in fields if not field.kw_only]
        if len(args) > len(first):
            rest = ", ".join(f"{name}=" for name in names if name not in first)
            msg = f"{cls.__name__}() takes {', '.join(first) or 'nothing'} without a name"
            msg += f"; give the others by name: {rest}" if rest else ""
            raise TypeError(msg)
        for name in kwargs:
            if name not in names:
                raise _checks.unknown_argument(cls.__name__, name, names)
        return super().__new__(cls)

    def __init_subclass__(cls, *, kw_only: bool = True, **kwargs: object) -> None:
        """Make every subclass a frozen dataclass with keyword-only fields but `learning_rate`."""
        super().__init_subclass__(**kwargs)
        declared = inspect.get_annotations(cls)
        # A class that marks its keyword-only fields itself, by ``_: KW_ONLY``, is left as it is.
        kw_only = kw_only and "_" not in declared
        if kw_only and "learning_rate" in declared:
            rate = cls.__dict__.get("learning_rate", dataclasses.MISSING)
            if not isinstance(rate, dataclasses.Field):
                rate = dataclasses.field(default=rate)
            rate.kw_only = False
            cls.learning_rate = rate  # type: ignore[attr-defined]
        dataclasses.dataclass(frozen=True, repr=False, kw_only=kw_only)(cls)
        signature = inspect.signature(cls.__init__)
        own = [p for p in signature.parameters.values() if p.name != "self"]
        cls.__signature__ = signature.replace(parameters=own, return_annotation=cls)

    def __post_init__(self) -> None:
        """Check every hyperparameter and convert numbers to floats."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name in self._options:
                if value not in self._options[field.name]:
                    raise _checks.unknown_name(field.name, str(value), self._options[field.name])
            elif isinstance(field.default, bool):
                _checks.flag(self._place(field.name), value)
            elif not callable(value) and "low" in field.metadata:
                value = self._checked(self._place(field.name), field, value)
                object.__setattr__(self, field.name, value)
        schedules = tuple(
            field.name
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if "low" in field.metadata and callable(getattr(self, field.name))
        )
        object.__setattr__(self, "_schedules", schedules)
        self._check()

    def _check(self) -> None:
        """Check how hyperparameters fit together; rules override it."""

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}({name}=)"

    def _checked(
        self, place: str, field: dataclasses.Field[Hyperparameter], value: Number
    ) -> Number:
        return _checks.number(place, value, **field.metadata, what="a number or a schedule")

    def __repr__(self) -> str:
        """Return the call that makes this rule, without defaults."""
        parts = [
            f"{field.name}={getattr(self, field.name)!r}"
            for i, field in enumerate(dataclasses.fields(self))  # type: ignore[arg-type]
            if i == 0 or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    # -- what an Optimizer asks a rule -----------------------------------------------------------

    @property
    def wrapped(self) -> Rule | None:
        """The inner rule, if this one wraps another."""
        return None

    @property
    def memory(self) -> RuleMemory | None:
        """What the rule remembers of earlier steps outside of its slots, or `None`.

        It has the methods ``state_dict()``, ``load_state_dict(state)``, for which an empty state
        means a fresh start, and ``commit(steps)``, which is called after every step.
        """
        return None

    def owned(self) -> Self:
        """Return this rule with a new, empty memory of its own."""
        return self

    def lengths(self, xp: Namespace, s: Scalars, *slots: Array) -> Array:
        """Return the step length of each element: how far a unit of gradient moves it.

        Penalties and constraints act in this metric. By default it is ``s.learning_rate`` for all
        elements; rules that scale each element return an array, computed from the new slots.
        """
        return s.learning_rate

    @property
    def gains(self) -> bool:
        """Whether momentum adds up, so that `gain` is not 1."""
        return False

    def gain(self, scalars: Mapping[str, Number]) -> float:
        """Return how many times its `lengths` a constant gradient moves an element in the long run.

        A proximal step must be as long, or both balance elsewhere than at the minimizer.

        Parameters
        ----------
        scalars : mapping
            The numbers of a step.
        """
        return 1.0

    @property
    def scales(self) -> bool:
        """Whether `lengths` returns a different length for each element."""
        return type(self).lengths is not Rule.lengths

    @property
    def ascends(self) -> bool:
        """Whether steps go up the gradient."""
        return bool(getattr(self, "maximize", False))

    def suited(self, place: str, p: Array) -> Self | Rule:
        """Return the rule for a leaf: this one, or its companion if it does not suit the leaf."""
        return self

    # -- clocks ---------------------------------------------------------------------------------

    def at(self, step: Number) -> Self:
        """Return this rule with its schedules replaced by their values at a global step."""
        if not self._schedules:
            return self
        fixed = object.__new__(type(self))
        fixed.__dict__.update(self.__dict__, _schedules=())
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if field.name in self._schedules:
                fixed.__dict__[field.name] = self._read(field, step)
        return fixed

    def _read(self, field: dataclasses.Field[Hyperparameter], step: Number) -> Number:
        # The value of a schedule; errors name the schedule and the step.
        schedule, place = getattr(self, field.name), f"{self._place(field.name)} at step {step}"
        try:
            value = schedule(step)
        except ArithmeticError as error:
            msg = f"{place}: is not a number, since {schedule!r} fails: {error}"
            raise ValueError(msg) from error
        return self._checked(place, field, value)

    def hyperparameters(self, step: Number = 0) -> dict[str, Number]:
        """Return the numeric fields by name, with schedules evaluated at a global step."""
        return {
            field.name: self._read(field, step)
            if field.name in self._schedules
            else getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if "low" in field.metadata
        }

    # -- the pure form ----------------------------------------------------------------------------

    def init(self, params: Tree) -> State:
        """Return the state of params before their first update.

        Parameters
        ----------
        params : tree of arrays
            One array, or any nesting of arrays. `None` leaves are skipped.

        Returns
        -------
        State
            The global step 0, and for each leaf a dict of its slots and its ``step``.
        """
        structure = Structure(params)
        leaves = []
        for path, p in zip(structure.paths, structure.flatten(params, "params"), strict=True):
            if p is not None:
                _checks.leaf(_checks.where("params", path), p)
            place = _checks.where("params", path)
            leaves.append(None if p is None else self.suited(place, p)._init_leaf(p))
        return State(0, structure.unflatten(leaves))

    def update(self, *, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """Return the params and the state after one step; nothing is written.

        Parameters
        ----------
        params, grads : tree of arrays
            Trees of equal structure. Where a gradient is `None`, the leaf and its state stay.
        state : State
            What `init` or the last `update` returned.

        Returns
        -------
        params : tree of arrays
            New arrays of the same dtypes.
        state : State
            The new state.
        """
        return self._advance(params, grads, state, lambda new, _: new, keep=True)

    def direction(self, *, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """Return the step, which is the new params minus the old ones, and the state after it.

        Use it to choose the step length yourself. The parameters are those of `update`. The step
        of a leaf without a gradient is `None`.
        """
        return self._advance(params, grads, state, lambda new, old: new - old, keep=False)

    def _advance(
        self,
        params: Tree,
        grads: Tree,
        state: State,
        result: Callable[[Array, Array], Array],
        *,
        keep: bool,
    ) -> tuple[Tree, State]:
        structure = Structure(params)
        leaves = structure.flatten(params, "params")
        gradients = structure.flatten(grads, "grads")
        states = structure.flatten(state.leaves, "state")
        out, after = [], []
        for path, p, g, slots in zip(structure.paths, leaves, gradients, states, strict=True):
            if p is None or g is None:
                out.append(p if keep else None)
                after.append(slots)
                continue
            g = _arrays.unscalar(g)
            _checks.pure_gradient(_checks.where("grads", path), p, g)
            rule = self.suited(_checks.where("params", path), p)
            _checks.slots(_checks.where("state", path), slots, [s.name for s in rule.slots])
            count = _arrays.counted(slots["step"])
            scalars = rule.at(state.step).scalars(count)
            new, slots = rule._leaf(scalars, p, g, slots, result)
            out.append(new)
            after.append({**slots, "step": count})
        step = _arrays.counted(state.step)
        return structure.unflatten(out), State(step, structure.unflatten(after))

    def _leaf(
        self,
        scalars: dict[str, Number],
        p: Array,
        g: Array,
        state: dict[str, Tree],
        result: Callable[[Array, Array], Array],
    ) -> tuple[Array, dict[str, Array]]:
        names = [slot.name for slot in self.slots]
        old = [state[name] for name in names]
        with _arrays.guard(p)():
            s = SimpleNamespace(**scalars)
            reads = self._measured(s, p, g, *old) if self.reads else ()
            new, *slots = self._kernel(p)(_arrays.namespace(p), s, p, g, *old, *reads)
            new = result(new, p)
            slots = [_arrays.cast(x, like) for x, like in zip(slots, old, strict=True)]
            return _arrays.cast(new, p), dict(zip(names, slots, strict=True))
