"""What the steps of a rule minimize: an objective whose mini-batches add up to the whole."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Sequence

import numpy as np

from .. import _arrays, rules
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, Fun, Method, Number, Tree
from ..objectives._linear_model import LinearModel

# Rules that a constant gradient moves by their `lengths` and `gain` times it, so that the proximal
# steps of a penalty, which are as long, lead to the minimizer. Steps by the sign do not: their
# proximal steps would be too short or too long, and end elsewhere. Lookahead does what its inner
# rule does.
PROPORTIONAL = (
    rules.GradientDescent, rules.SGD, rules.ASGD, rules.Adagrad, rules.Adadelta, rules.RMSprop,
    rules.Adam, rules.AdamW, rules.Adamax, rules.NAdam, rules.RAdam, rules.AdaBelief, rules.Yogi,
    rules.FTRL,
)  # fmt: skip


def evaluator(objective: object) -> Fun:
    """Return the function of (params, batch) that an objective is, or has."""
    if hasattr(objective, "value_and_gradient"):
        method: Fun = objective.value_and_gradient
        return method
    if callable(objective) and not isinstance(objective, type):

        def evaluate(params: Tree, *batch: Array, weights: Array = None) -> object:
            if weights is not None:
                msg = "weights: a plain function takes none; pass them as one more array of data"
                raise TypeError(msg)
            return objective(params, *batch)

        return evaluate
    msg = f"objective: is {objective!r}, expected a function or value_and_gradient"
    raise TypeError(msg)


def hessian(objective: object, batch: Sequence[Array], weights: Array) -> Fun:
    """Return the second derivatives of an objective on some data, as a function of parameters."""
    found = getattr(objective, "hessian", None)
    if found is None:
        msg = f"objective: {objective!r} has no hessian, which Newton's method needs"
        raise TypeError(msg)
    more = {} if weights is None else {"weights": weights}
    return lambda params: found(params, *batch, **more)


def checked(found: object) -> tuple[Array, Tree]:
    """Return what an objective returned, if that is a value and a gradient."""
    if not isinstance(found, tuple) or len(found) != 2:
        msg = f"objective: returned a {type(found).__name__}, expected (value, gradient)"
        raise TypeError(msg)
    return found


class Batchwise:
    """An objective as the steps of a rule evaluate it.

    A batch of rows with weights gives the sum of its weighted terms, divided by its rows times the
    mean weight of all rows: the expectation over batches is the whole, in which integer weights
    count like repeated rows. Where that mean is not known, a batch that ends with what the
    objective takes as ``weights`` gives its own mean by these, and no gradient without weight.

    Parameters
    ----------
    objective : object or callable
        As in `fit`; with weights, it returns the mean by these.
    params : tree of arrays
        The parameters.
    mean_weight : float, optional
        Of all rows; batches end with an array of weights then.
    aside : bool, default False
        Whether only the value of the smooth penalty of a `LinearModel` is taken here.
    """

    def __init__(
        self, objective: object, params: Tree, *, mean_weight: float | None = None,
        aside: bool = False,
    ) -> None:  # fmt: skip
        self.objective, self.aside, self.mean_weight = objective, aside, mean_weight
        self._structure = Structure(params)
        leaves = filter(_arrays.is_array, self._structure.flatten(params, "params"))
        dtypes = (_arrays.COMPUTE.get(_arrays.dtype_name(p)) for p in leaves)
        self._precision = next(filter(None, dtypes), "float64")  # of the weights
        # The penalty is no part of what the weights of a batch divide.
        self._beside, rest = None, objective
        if type(rest) is LinearModel and rest.penalty is not None and rest.penalty.smooth:
            self._beside, rest = rest.penalty, dataclasses.replace(rest, penalty=None)
        self._evaluate = evaluator(rest)
        self._place = _place_of_weights(self._evaluate)
        self._averages = not isinstance(rest, LinearModel) or (
            rest.loss.reduction == "mean" and rest.loss.averages
        )

    def value_and_gradient(self, params: Tree, *batch: Array) -> tuple[Array, Tree]:
        """Return the loss and the gradient of a batch."""
        if self.mean_weight is None and not self.weighs(batch):
            value, gradient = checked(self._evaluate(params, *batch))
        elif self._averages:
            value, gradient = self._shared(params, batch[:-1], batch[-1])
        else:
            value, gradient = checked(self._evaluate(params, *batch[:-1], weights=batch[-1]))
        if self._beside is not None:
            value = value + self._beside.value(params["weights"])
            if not self.aside:
                slope = self._beside.gradient(params["weights"])
                gradient = {**gradient, "weights": gradient["weights"] + slope}
        return value, gradient

    def weighs(self, batch: Sequence[Array]) -> bool:
        """Tell whether a batch whose weights are not those of `fit` ends with some of its own."""
        own = self._place == len(batch) - 1 and _arrays.is_array(batch[-1])
        return own and self.mean_weight is None and self._averages

    def share(self, batch: Sequence[Array], value: Number) -> Number:
        """Return how much a batch counts in a mean: its rows, or the sum of its own weights.

        What has no rows, such as a dict of arrays, counts once.
        """
        if not self.weighs(batch):
            return int((*getattr(batch[0], "shape", ()), 1)[0])
        xp = _arrays.namespace(batch[-1])
        with _arrays.guard(batch[-1])():
            total = xp.sum(xp.astype(batch[-1], getattr(xp, self._precision), copy=False))
            return _arrays.cast(total, value) if _arrays.is_array(value) else float(total)

    def _shared(self, params: Tree, batch: Sequence[Array], weights: Array) -> tuple[Array, Tree]:
        # The mean by the weights, times the mean weight of the batch over that of all rows, where
        # this is known; else times one, or zero if there is no weight at all.
        xp = _arrays.namespace(weights)
        with _arrays.guard(weights)():
            weights = xp.astype(weights, getattr(xp, self._precision), copy=False)
            total = xp.sum(weights)
            # A batch without weight counts nothing; its mean is that of the bare rows.
            weights = xp.where(total == 0, xp.ones_like(weights), weights)
            if self.mean_weight is None:
                share = _arrays.unscalar(xp.astype(total != 0, total.dtype))
            else:
                share = _arrays.unscalar(total / (math.prod(weights.shape) * self.mean_weight))
        value, gradient = checked(self._evaluate(params, *batch, weights=weights))
        slopes = self._structure.flatten(gradient, "grads")
        with _arrays.guard(share)():
            slopes = [None if g is None else _times(g, share) for g in slopes]
            value = _times(value, share) if _arrays.is_array(value) else value * share
        return value, self._structure.unflatten(slopes)


def _place_of_weights(evaluate: Fun) -> int | None:
    # Which array of a batch an objective takes as weights.
    try:
        parameters = inspect.signature(evaluate).parameters.values()
    except (TypeError, ValueError):
        return None
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names.index("weights") - 1 if "weights" in names else None


def _times(x: Array, share: Number) -> Array:
    return _arrays.cast(_arrays.unscalar(x * share), x)


def aside(
    objective: object, method: Method, penalty: Tree, constraint: Tree, params: Tree
) -> tuple[bool, Tree]:
    """Tell whether the penalty of a model acts by proximal steps, and return all that do.

    Parameters
    ----------
    objective : object or callable
        As in `fit`.
    method : Rule or tree of rules
        The rule.
    penalty, constraint : trees or None
        What was asked for beside the objective.
    params : tree of arrays
        The parameters.

    Returns
    -------
    aside : bool
        Whether the model's own does; it is left to its gradient otherwise.
    penalties : tree of penalties or None
        For the Optimizer.
    """
    own = objective.penalty if type(objective) is LinearModel else None
    if own is None:
        return False, penalty
    structure = Structure(params)
    given = structure.broadcast(penalty, "penalty")
    place = structure.paths.index(("weights",))
    if own.smooth and own.elementwise and given[place] is None:
        rule = _rule(method, structure, params, place)
        # After a proximal step, element by element, a projection of the whole is another point
        # than that of both together, where step lengths differ.
        bound = structure.broadcast(constraint, "constraint")[place]
        whole = bound is not None and not getattr(bound, "elementwise", False)
        is_complex = _arrays.is_complex(params["weights"])
        if _proportional(rule) and not (is_complex and rule._by_components) and not whole:
            given[place] = own
            return True, structure.unflatten(given)
    return False, penalty


def beside(objective: object, penalty: Tree, params: Tree) -> Tree:
    """Return the penalties asked for, and those that an objective leaves to the method.

    Parameters
    ----------
    objective : object or callable
        As in `fit`.
    penalty : tree of penalties or None
        What was asked for.
    params : tree of arrays
        The parameters.

    Returns
    -------
    tree of penalties or None
        All of them.
    """
    own = getattr(objective, "beside", None)
    if own is None or penalty is None:
        return own if penalty is None else penalty
    structure = Structure(params)
    columns = structure.broadcast(penalty, "penalty"), structure.broadcast(own, "penalty")
    found = []
    for path, given, mine in zip(structure.paths, *columns, strict=True):
        if given is not None and mine is not None:
            place = _checks.where("penalty", path)
            msg = f"{place}: is {given!r}, but the objective has {mine!r} there; give one of them"
            raise ValueError(msg)
        found.append(mine if given is None else given)
    return structure.unflatten(found)


def _rule(method: Method, structure: Structure, params: Tree, place: int) -> Tree:
    if callable(method) and not isinstance(method, rules.Rule):
        return method(("weights",), params["weights"])
    return structure.broadcast(method, "rule")[place]


def _proportional(rule: Tree) -> bool:
    while isinstance(rule, rules.Lookahead):
        rule = rule.wrapped
    return type(rule) in PROPORTIONAL


def mean_weight(weights: Array) -> float:
    """Return the mean of the weights of all rows, after a check: a read from their device."""
    if _arrays.is_complex(weights):
        raise TypeError(_checks.mismatch("weights", "dtype", _arrays.dtype_name(weights), "real"))
    if isinstance(weights, np.ndarray):
        _checks.not_negative("weights", weights)
        mean = float(np.mean(weights, dtype=np.float64)) if weights.size else 1.0
    else:
        xp = _arrays.namespace(weights)
        wide = weights if _arrays.is_real(weights) else xp.astype(weights, xp.float32)
        mean = _arrays.to_float(xp.mean(wide)) if math.prod(weights.shape) else 1.0
    if not (mean > 0 and math.isfinite(mean)):
        raise ValueError(_checks.mismatch("weights", "mean", mean, "a positive number"))
    return mean
