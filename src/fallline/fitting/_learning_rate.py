"""`find_learning_rate`: which rates a problem bears."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _arrays, solvers
from .._arrays import _checks
from .._arrays._types import Array, HostArray, Method, Tree
from ..optimizer import Optimizer
from ..rules import Rule
from ..schedules import Exponential
from . import _inputs, _objective
from ._run import copy, mapped

EXPLODED = 4.0  # how far above its best a loss may rise, relative to where it began
EXPLODED_AT = "the loss exploded at a rate of"
NEVER_FELL = "the loss never fell clearly"


@dataclasses.dataclass(frozen=True, eq=False)
class RateTest:
    """The result of `find_learning_rate`.

    Attributes
    ----------
    rates : array, shape (n,)
        The rates that were tried, an array of NumPy like the others.
    losses : array, shape (n,)
        The loss of the next batch after the step with each rate.
    smoothed : array, shape (n,)
        Means of the losses around each rate.
    suggestion : float
        A tenth of the rate at which `smoothed` is lowest; NaN if it never fell
        by more than the noise.
    message : str
        Why the test ended, and what that means.
    """

    rates: HostArray
    losses: HostArray
    smoothed: HostArray
    suggestion: float
    message: str

    def __repr__(self) -> str:
        """Return the finding in words."""
        return f"<RateTest of {len(self.rates)} rates, suggestion {self.suggestion:.2g}>"


def find_learning_rate(
    objective: Any,
    data: Tree,
    *,
    method: Method = "adam",
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    batch_size: int | None = None,
    rng: int | np.random.Generator | None = None,
    params: Tree = None,
    weights: Array = None,
) -> RateTest:
    r"""Try growing learning rates, and suggest one: the learning rate range test.

    .. math:: \eta_k = \text{low} \, (\text{high} / \text{low})^{k / (\text{steps} - 1)}

    Parameters
    ----------
    objective, data
        As in `fit`; batches that are used up are gone through again, if they can be.
    method : str or Rule, default "adam"
        The rule whose learning rate is tried, or a name that `fit` takes. What one rule bears
        says little about another, and a solver has no learning rate.
    low, high : float, default 1e-7 and 1
        The first and the last rate.
    steps : int, default 100
        The number of rates, each tried in one step of the rule; 2 or more.
    batch_size, rng, params, weights
        As in `fit`; so is a penalty of a `LinearModel`.

    Returns
    -------
    RateTest
        The entries ``rates, losses, smoothed, suggestion, message``, which
        `fallline.plotting.rate_test` draws.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the loss is not finite before the first step.

    Notes
    -----
    The rule runs once, on copies of the parameters, with one step and one batch for each rate. It
    ends early when the loss is not finite, or when its mean over three steps has risen from the
    lowest by more than four times the loss at the start. `smoothed` is the mean over a centred
    window of a tenth of the steps, so that it does not lag behind.

    The suggestion is a tenth of the rate where the smoothed loss is lowest: beyond that rate steps
    do harm, and a run of many steps should keep away from it. The rate of the steepest fall, which
    other libraries suggest, depends on the number of steps. If the loss still falls at `high`, or
    never falls, the message says so. Each step reads one number from the device.

    References
    ----------
    L. N. Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3))
    >>> y = X @ np.asarray([1.0, -2.0, 0.5])
    >>> model = fl.LinearModel(fl.losses.SquaredError())
    >>> found = fl.find_learning_rate(model, (X, y), method=fl.SGD(), batch_size=20, rng=0)
    >>> bool(0.01 < found.suggestion < 0.3)
    True
    """
    chosen: Any = solvers.get(method)
    if not isinstance(chosen, Rule) or not hasattr(chosen, "learning_rate"):
        msg = f"method: is {method!r}, expected one rule with a learning_rate"
        raise TypeError(msg)
    _checks.positive("low", low)
    _checks.positive("high", high)
    if low >= high:
        raise ValueError(_checks.mismatch("low", "value", low, f"less than high, {high}"))
    steps = _checks.count("steps", steps, 2)
    _objective.evaluator(objective)  # or say what is wrong with it, before all else
    arrays, batches = _inputs.batches_of(data, weights, batch_size, rng)
    if arrays is not None:
        _inputs.check_model(objective, ["data[0]"], arrays)
    params = mapped(copy, _inputs.start_of(objective, params, arrays))
    penalty = _objective.beside(objective, None, params)
    aside, penalty = _objective.aside(objective, chosen, penalty, None, params)
    mean_weight = None if weights is None else _objective.mean_weight(weights)
    batchwise = _objective.Batchwise(objective, params, mean_weight=mean_weight, aside=aside)
    rates = Exponential(low, decay=(high / low) ** (1 / (steps - 1)))
    opt = Optimizer(
        params,
        dataclasses.replace(chosen, learning_rate=rates),  # type: ignore[type-var]
        penalty=penalty,
    )

    def loss_and_gradient(batch: Array) -> tuple[float, Any]:
        batch = batch if isinstance(batch, tuple | list) else (batch,)
        with np.errstate(over="ignore", invalid="ignore"):  # an explosion is expected
            value, gradient = batchwise.value_and_gradient(opt.params, *batch)
        return _arrays.to_float(value), gradient

    found = _again(batches)
    first = next(found, None)
    if first is None:
        msg = "data: gave no batches"
        raise ValueError(msg)
    start, gradient = loss_and_gradient(first)
    if not math.isfinite(start):
        msg = f"objective: the loss is {start} before the first step"
        raise ValueError(msg)
    losses: list[float] = []
    best = start
    message = f"{steps} rates were tried"
    while len(losses) < steps:
        opt.step(gradient)
        batch = next(found, None)
        if batch is None:
            message = f"the data ended after {len(losses)} rates"
            break
        value, gradient = loss_and_gradient(batch)
        losses.append(value)
        recent = float(np.mean(losses[-3:]))
        if not recent - best <= EXPLODED * max(abs(start), start - best):
            message = f"{EXPLODED_AT} {rates(len(losses) - 1):.2g}"
            break
        best = min(best, recent)
    return _result(rates, losses, max(1, steps // 20), message)


def _again(batches: Tree) -> Iterator[Any]:
    # Epoch after epoch; an iterator serves one.
    for _ in itertools.count():
        some = False
        for batch in batches:
            some = True
            yield batch
        if not some:
            return


def _result(rates: Any, losses: list[float], half: int, message: str) -> RateTest:
    tried = np.asarray([rates(k) for k in range(len(losses))])
    values = np.asarray(losses)
    means = [np.mean(values[max(0, k - half) : k + half + 1]) for k in range(len(values))]
    smoothed = np.nan_to_num(np.asarray(means, float), nan=math.inf)
    if not losses or not math.isfinite(smoothed[0]):
        return RateTest(tried, values, smoothed, math.nan, f"{message}; {NEVER_FELL}")
    lowest = int(np.argmin(smoothed))
    known = np.isfinite(smoothed)
    # A typical distance, which a few exploding steps do not move.
    noise = float(np.median(np.abs(values[known] - smoothed[known])))
    if smoothed[0] - smoothed[lowest] <= 2 * noise:
        return RateTest(tried, values, smoothed, math.nan, f"{message}; {NEVER_FELL}")
    if lowest == len(smoothed) - 1 and EXPLODED_AT not in message:
        message += "; it was lowest at the last: a larger high may tell more"
    return RateTest(tried, values, smoothed, float(tried[lowest]) / 10, message)
