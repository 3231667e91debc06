"""What of an Optimizer can be changed between two steps: rules, options and arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import _arrays
from .._arrays import _checks, _trees
from .._arrays._types import Array, Json, Number, Tree
from ..rules import Rule
from ._binding import Binding, rules
from ._carry import transformed
from ._checkpoint import FACTORS
from ._factors import gathered
from ._snapshots import Snapshots

_KEEP: Tree = object()


class Changes(Snapshots):
    """The part of an Optimizer that changes what it is bound to.

    A change makes a whole new binding, which may fail, and then takes it over.
    """

    __slots__ = ()

    def _tree(self, leaves: Iterable[object]) -> Tree:
        return self._bound.structure.unflatten(list(leaves))

    def _check_whole(self) -> None:
        if self._unfinished:
            msg = "an earlier step was interrupted while it wrote; restore with load_state_dict"
            raise RuntimeError(msg)

    def _ready(self) -> Binding:
        # What is bound, with the arrays that the container holds now, and all counts known.
        self._check_whole()
        self._memory.settle()
        self._bound = self._bound.adopted()
        return self._bound

    # -- rules and options ----------------------------------------------------------------------

    @property
    def rule(self) -> Tree:
        """The rules, as a tree like `params`; assign a tree of rules to change them.

        A leaf keeps its state if the class of one rule is a subclass of that of the other, as of
        Adam and AdamW. State that the new rule lacks is dropped, and what it adds starts afresh.
        Where that depends on the count of steps, as an average with a bias correction does, the
        count and all else that depends on it start afresh too. Between other rules, all state
        starts afresh. `None` freezes a leaf and keeps its state.
        """
        return _trees.frozen(self._tree(leaf.rule for leaf in self._bound.leaves))

    @rule.setter
    def rule(self, rule: Tree) -> None:
        """Change rules."""
        old = self._ready()
        new = rules(old.structure, old.params, rule)
        same = all(leaf.rule == one for leaf, one in zip(old.leaves, new, strict=True))
        self._bound = old.with_rules(new, self._memory.steps)
        # The rules of now, given back leaf by leaf, say nothing new about leaves to come.
        leaf_by_leaf = not callable(rule) and not isinstance(rule, Rule)
        self._spec = self._spec if same and leaf_by_leaf else rule

    @property
    def learning_rate(self) -> Tree:
        """The learning rate last used: one number, or a tree like `params` where leaves differ."""
        found = [row and row.get("learning_rate") for row in self._numbers()]
        rates = {rate for rate in found if rate is not None}
        return rates.pop() if len(rates) == 1 else self._tree(found)

    @learning_rate.setter
    def learning_rate(self, value: object) -> None:
        msg = f"learning_rate: is read-only, got {value!r}; assign opt.rule to change it"
        raise AttributeError(msg)

    def hyperparameters(self) -> Json:
        """Return the numbers last used, keyed like params: a dict for each leaf, or `None`."""
        return self._tree(self._numbers())

    def _numbers(self) -> list[dict[str, Number] | None]:
        self._memory.settle()
        last = self._memory.last
        return [
            leaf.rule.hyperparameters(last) if leaf.rule else None for leaf in self._bound.leaves
        ]

    @property
    def penalty(self) -> Tree:
        """The penalty, as it was given; assign another to change it."""
        return self._bound.options.penalty

    @penalty.setter
    def penalty(self, penalty: Tree) -> None:
        self._set_options(penalty=penalty)

    @property
    def constraint(self) -> Tree:
        """The constraint, as it was given; assign another to change it."""
        return self._bound.options.constraint

    @constraint.setter
    def constraint(self, constraint: Tree) -> None:
        self._set_options(constraint=constraint)

    @property
    def rate_factors(self) -> Tree:
        """The factors of the learning rate; assign others to change them."""
        return self._bound.options.rate_factors

    @rate_factors.setter
    def rate_factors(self, factors: Tree) -> None:
        self._set_options(rate_factors=factors)

    @property
    def decay_factors(self) -> Tree:
        """The factors of the weight decay; assign others to change them."""
        return self._bound.options.decay_factors

    @decay_factors.setter
    def decay_factors(self, factors: Tree) -> None:
        self._set_options(decay_factors=factors)

    def _set_options(self, **changes: Tree) -> None:
        old = self._ready()
        kept = [leaf.rule for leaf in old.leaves]
        self._bound = old.with_rules(kept, self._memory.steps, old.options.replaced(**changes))

    # -- changing arrays ----------------------------------------------------------------------

    def transform(
        self, f: Callable[[Array], Array], leaves: object = None, *, penalty: Tree = _KEEP,
        constraint: Tree = _KEEP,
    ) -> Tree:  # fmt: skip
        """Apply a function to parameters and to all state of their shape.

        Parameters
        ----------
        f : callable
            Takes an array and returns one of the same dtype, rolled, cropped or padded for
            instance. It is called with real state of complex parameters too, and with factors of
            rates and decays. State that stands for whole rows or columns is spread over the shape
            of the parameter before, and averaged back after.
        leaves : key, path or list of these, optional
            The leaves at or below a key (``"object"``) or a path (``("a", 0)``); by default all.
        penalty, constraint : optional
            New ones, such as a mask of the new shape; by default those given last.

        Returns
        -------
        array or tree of arrays
            `params`. Arrays whose shape changes are replaced in their dicts and lists.
        """
        bound = self._ready()
        options = bound.options.replaced(**_given(penalty=penalty, constraint=constraint))
        arrays, states = [leaf.p for leaf in bound.leaves], bound.states
        factors = {name: [getattr(leaf.terms, name) for leaf in bound.leaves] for name in FACTORS}
        new: dict[int, Array] = {}
        for index in bound.structure.select(leaves, "leaves"):
            leaf = bound.leaves[index]
            if leaf.p is None:
                continue
            with leaf.guard():
                new[index], states[index], moved = transformed(f, leaf)
            for name, factor in moved.items():
                factors[name][index] = factor
            if leaf.immutable or new[index].shape != leaf.shape or not _arrays.is_writable(leaf.p):
                arrays[index] = new[index]
        trees = {}
        for name, values in factors.items():
            option = f"{name}_factors"
            trees[option] = gathered(bound.structure, values, getattr(options, option))
        kept = [leaf.rule for leaf in bound.leaves]
        after = bound.rebound(
            bound.params, bound.structure, kept, states, self._memory.steps,
            options=options.replaced(**trees), arrays=arrays,
            before=[leaf.rule for leaf in bound.leaves],
        )  # fmt: skip
        self._unfinished = True
        replaced = {}
        for index, p in new.items():
            leaf = bound.leaves[index]
            if arrays[index] is p:
                replaced[index] = p
            else:
                with leaf.guard():
                    _arrays.write(leaf.p, p)
        after.replace(replaced)
        self._bound = after
        self._unfinished = False
        return after.params

    def rebind(
        self, params: Tree, *, state: str = "keep", rule: Tree = _KEEP, penalty: Tree = _KEEP,
        constraint: Tree = _KEEP, rate_factors: Tree = _KEEP, decay_factors: Tree = _KEEP,
    ) -> None:  # fmt: skip
        """Go on with other parameters: leaves may be new, resized, removed or on another device.

        Parameters
        ----------
        params : array or tree of arrays
            The new parameters. Leaves are matched by path.
        state : {"keep", "pad", "reset"}
            What becomes of the state of leaves that were there before. ``"keep"`` keeps it, and
            raises if the shape changed; ``"pad"`` also pads or crops it to the new shape, at the
            ends of the axes; ``"reset"`` starts afresh. Kept state is moved to the device and
            dtype of its leaf. The state of a frozen leaf whose shape changed is dropped.
        rule : rule, tree of rules, or callable, optional
            New rules; by default those given last are applied to the new tree.
        penalty, constraint, rate_factors, decay_factors : optional
            New ones; by default those given last.
        """
        if state not in ("keep", "pad", "reset"):
            raise _checks.unknown_name("state", str(state), ("keep", "pad", "reset"))
        self._check_whole()
        self._memory.settle()
        changes = _given(
            penalty=penalty, constraint=constraint, rate_factors=rate_factors,
            decay_factors=decay_factors,
        )  # fmt: skip
        structure = _trees.Structure(params)
        spec = self._spec if rule is _KEEP else rule
        new = rules(structure, params, spec)
        old = self._bound
        self._bound = old.with_params(
            params, structure, new, state, self._memory.steps, old.options.replaced(**changes)
        )
        self._spec = spec


def _given(**options: Tree) -> dict[str, Tree]:
    return {name: value for name, value in options.items() if value is not _KEEP}
