"""Conditions in loops of your own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from .. import _arrays
from .._arrays import _checks, _looks, _reductions, _settings
from .._arrays._trees import Structure
from .._arrays._types import Array, Json, Number, Tree
from ._seen import Seen

if TYPE_CHECKING:
    from ._conditions import Condition, Verdict


class Watch:
    """A condition in a loop of your own, made by `Condition.start`: true once it holds.

    Attributes
    ----------
    verdict : Verdict or None
        Why to stop; `None` as long as there is no reason.
    calls : int
        How often it was called; iterations and evaluations are counted by this.

    Notes
    -----
    Only every `every`-th call checks the condition, and reads nothing but what the condition needs.
    For `ParameterChange` the parameters of the call before a check are copied on their device. The
    precision for `RelativeDecrease` is that of the arrays given, and double if there are none.

    Examples
    --------
    >>> import fallline as fl
    >>> watch = (fl.stop.Target(0.1) | fl.stop.MaxEvaluations(100)).start()
    >>> value = 1.0
    >>> while not watch(value):
    ...     value = value / 2
    >>> value, watch.calls, watch.verdict.message, watch.verdict.success
    (0.0625, 5, 'the objective is at most 0.1', True)
    """

    def __init__(self, condition: Condition, every: int = 1) -> None:
        self.condition, self.every = condition, _checks.count("every", every, 1)
        self.verdict: Verdict | None = None
        self.calls = 0
        self._before: list[Array] | None = None
        self._epsilon, self._memory = 2.0**-52, dict[str, Json]()
        self._judge = condition._judge(lambda: self._epsilon, self._memory)

    def __repr__(self) -> str:
        """Return what is watched for, and what was found."""
        found = f", {self.verdict.message}" if self.verdict else ""
        return f"<Watch for {self.condition!r}, {self.calls} calls{found}>"

    def __reduce__(self) -> tuple[object, ...]:
        """Return how a copy is made: its judges have a memory of their own."""
        return _made, (self.condition, self.every, self.state_dict(), self.verdict)

    def __call__(
        self, value: Number = None, *, gradient: Array = None, params: Tree = None
    ) -> bool:
        """Record an iteration, and return whether to stop.

        Parameters
        ----------
        value : float or 0-d array, optional
            The objective.
        gradient, params : array or tree of arrays, optional
            The gradient, which `GradientNorm` needs, and the point, which `ParameterChange` needs;
            `RelativeGradient` needs both.

        Returns
        -------
        bool
            Whether there is a `verdict`.

        Raises
        ------
        TypeError
            If something is missing that the condition needs.
        """
        given = {"value": value, "gradient": gradient, "params": params}
        parts = self.condition._parts()
        for part in parts:
            for name in part._needs:
                if given[name] is None:
                    msg = f"{name}: is None, expected what {part!r} looks at"
                    raise TypeError(msg)
        if self.verdict is None:
            self.calls += 1
            look = Iteration(value, gradient, params, self.calls, self._before)
            if self.calls % self.every == 0:
                self._epsilon = look.epsilon
                self.verdict = next((v for holds, v in self._judge(look) if holds), None)
            if any("params" in part._needs for part in parts):
                ahead = (self.calls + 1) % self.every == 0
                self._before = look.copied() if ahead else None
        return self.verdict is not None

    def state_dict(self) -> dict[str, Json]:
        """Return what the condition remembers, as plain numbers."""
        return {"calls": self.calls, "memory": copied(self._memory)}

    def load_state_dict(self, state_dict: Mapping[str, Json]) -> None:
        """Continue from a state; time counts up to the last check before it was saved.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned, of the same condition.

        Raises
        ------
        TypeError, ValueError
            If it belongs to another condition; nothing has changed then.
        """
        mine = {"calls": self.calls, "memory": self._memory}
        saved = _settings.like_numbers("state_dict", mine, state_dict)
        self.calls = _checks.count("state_dict['calls']", saved["calls"])
        fill(self._memory, saved["memory"])
        self.verdict = self._before = None


def _made(
    condition: Condition, every: int, state: dict[str, Json], verdict: Verdict | None
) -> Watch:
    watch = Watch(condition, every)
    watch.load_state_dict(state)
    watch.verdict = verdict
    return watch


def copied(memory: dict[str, Json]) -> dict[str, Json]:
    """Return a copy of the memory of judges: nested dicts of numbers, which nothing writes."""
    return {key: copied(x) if isinstance(x, dict) else x for key, x in memory.items()}


def fill(memory: dict[str, Json], saved: Mapping[str, Json]) -> None:
    """Put saved numbers into the memory of judges, in place: they hold these dicts."""
    for key, x in saved.items():
        if isinstance(x, dict):
            fill(memory[key], x)
        else:
            memory[key] = x


class Iteration(Seen):
    """An iteration of a loop of your own, as the judges of conditions see it.

    Parameters
    ----------
    value, gradient, params : object
        What the loop passed, checked when it is needed.
    calls : int
        Iterations so far, this one included.
    before : list of arrays or None
        The leaves of params in the iteration before.
    """

    def __init__(
        self, value: Number, gradient: Array, params: Tree, calls: int, before: list[Array] | None
    ) -> None:
        self._given, self._before = {"gradient": gradient, "params": params}, before
        self._value, self.iteration, self.evaluations = value, calls - 1, calls

    @cached_property
    def value(self) -> float:
        """The objective, which synchronises with its device."""
        x = self._value
        if not _arrays.is_array(x):
            return _checks.real("value", x)
        if math.prod(x.shape) != 1:
            raise ValueError(_checks.mismatch("value", "shape", tuple(x.shape), ()))
        if _arrays.is_complex(x):
            raise TypeError(_checks.mismatch("value", "dtype", _arrays.dtype_name(x), "real"))
        return _arrays.to_float(x)

    @cached_property
    def gradient_norm(self) -> float:
        """The largest magnitude of an element of the gradient; this synchronises."""
        return _largest([g for _, g in self.leaves("gradient")])

    def scaled_gradient(self) -> float:
        """Return the largest product of the gradient and the point, which counts as at least 1."""
        structure = Structure(self._given["params"])
        structure.flatten(self._given["gradient"], "gradient")  # of the same structure
        pairs = zip(self.leaves("gradient"), self.leaves("params"), strict=True)
        return _largest([_scaled(place, g, p) for (place, g), (_, p) in pairs])

    def change(self) -> tuple[float, float]:
        """Return the Euclidean norms of the last step and of the point; this synchronises."""
        now = [p for _, p in self.leaves("params")]
        if self._before is None:
            return math.inf, _norm(now)
        return _norm([_minus(p, old) for p, old in zip(now, self._before, strict=True)]), _norm(now)

    @property
    def broken(self) -> bool:
        """Whether the value or the gradient, if there is one, is not finite."""
        return bool(self.not_finite())

    def not_finite(self) -> str:
        """Return in words what is not finite; empty if all is."""
        names = {"value": self.value}
        if self._given["gradient"] is not None:
            names["gradient"] = self.gradient_norm
        found = (name for name, x in names.items() if not math.isfinite(x))
        return next(
            (f"the {name} is not finite in iteration {self.iteration}" for name in found), ""
        )

    @property
    def epsilon(self) -> float:
        """The precision of the arrays that were passed; that of double if there are none."""
        arrays = [x for name in self._given for _, x in self.leaves(name)]
        arrays += [self._value] if _arrays.is_array(self._value) else []
        found = [_arrays.EPSILON.get(_arrays.dtype_name(x), 0.0) for x in arrays]
        return max([2.0**-52, *found])

    def leaves(self, name: str) -> Iterator[tuple[str, Array]]:
        """Yield the arrays of the gradient or the params with their names, after a check."""
        if self._given[name] is None:
            return
        structure = Structure(self._given[name])
        leaves = structure.flatten(self._given[name], name)
        for path, x in zip(structure.paths, leaves, strict=True):
            if x is not None:
                place, x = _checks.where(name, path), _arrays.unscalar(x)
                _checks.floating(place, x)
                yield place, _arrays.detached(x)

    def copied(self) -> list[Array]:
        """Return copies of the leaves of params, on their device."""
        return [_arrays.moved(p, p, p.dtype) for _, p in self.leaves("params")]


def _minus(x: Array, y: Array) -> Number:
    with _arrays.guard(x)():
        return _arrays.unscalar(_arrays.widened(x) - _arrays.widened(y))


def _scaled(place: str, g: Array, p: Array) -> Number:
    _checks.equal_shapes(place, g, p)
    with _arrays.guard(p)():
        xp = _arrays.namespace(p)
        parts = (_arrays.parts(x) if _arrays.is_complex(x) else (x,) for x in (g, p))
        products = [
            a * xp.where(xp.abs(b) > 1, b, xp.ones_like(b)) for a, b in zip(*parts, strict=True)
        ]
        return _arrays.unscalar(xp.stack(products))


def _largest(leaves: list[Array]) -> float:
    # The largest part of several arrays, put together on the device of the first.
    found = [_looks.largest_part(x) for x in leaves]
    if not found:
        return 0.0
    with _arrays.guard(found[0])():
        xp = _arrays.namespace(found[0])
        largest = xp.max(xp.stack([_arrays.beside(x, found[0]) for x in found]))
        return _arrays.to_float(_arrays.unscalar(largest))


def _norm(leaves: list[Array]) -> float:
    return _reductions.hypotenuse([_arrays.to_float(_reductions.norm(x)) for x in leaves])
