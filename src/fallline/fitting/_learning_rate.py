"""`find_learning_rate`: which rates a problem bears."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .. import _arrays, callbacks, solvers
from .._arrays import _checks
from .._arrays._types import Array, HostArray, Method, RunView, Tree
from ..rules import Rule
from ..schedules import Exponential
from ._fit import fit

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
    objective: object,
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
    chosen = solvers.get(method)
    if not isinstance(chosen, Rule) or not hasattr(chosen, "learning_rate"):
        msg = f"method: is {method!r}, expected one rule with a learning_rate"
        raise TypeError(msg)
    _checks.positive("low", low)
    _checks.positive("high", high)
    if low >= high:
        raise ValueError(_checks.mismatch("low", "value", low, f"less than high, {high}"))
    steps = _checks.count("steps", steps, 2)
    rates = Exponential(low, decay=(high / low) ** (1 / (steps - 1)))
    rule: Rule = dataclasses.replace(chosen, learning_rate=rates)  # type: ignore[type-var]
    tried = _Tried(rates, steps)
    with np.errstate(over="ignore", invalid="ignore"):  # an explosion is expected
        run = fit(
            objective, data, method=rule, params=params, weights=weights, batch_size=batch_size,
            epochs=steps + 1, rng=rng, callbacks=[tried], nonfinite="propagate",
        )  # fmt: skip
    if run.status == 98:
        raise KeyboardInterrupt
    message = tried.message or f"the data ended after {len(tried.losses)} rates"
    return _result(rates, tried.losses, max(1, steps // 20), message)


class _Tried(callbacks.Callback):
    # Takes down the losses after the rates, and ends the run.

    def __init__(self, rates: Exponential, steps: int) -> None:
        self._rates, self._steps = rates, steps
        self.losses: list[float] = []
        self.message = ""

    def on_step(self, run: RunView) -> None:
        # The loss is that before this step, which is the loss after the step before.
        loss = _arrays.to_float(run.loss)
        if run.step == 1:
            if not math.isfinite(loss):
                msg = f"objective: the loss is {loss} before the first step"
                raise ValueError(msg)
            self._start = self._best = loss
            return
        self.losses.append(loss)
        recent = float(np.mean(self.losses[-3:]))
        fallen = self._start - self._best
        if not recent - self._best <= EXPLODED * max(abs(self._start), fallen):
            self.message = f"{EXPLODED_AT} {self._rates(len(self.losses) - 1):.2g}"
        elif len(self.losses) == self._steps:
            self.message = f"{self._steps} rates were tried"
        self._best = min(self._best, recent)
        if self.message:
            run.stop(self.message)


def _result(rates: Exponential, losses: list[float], half: int, message: str) -> RateTest:
    tried = np.asarray([rates(k) for k in range(len(losses))])
    values = np.asarray(losses)
    means = [np.mean(values[max(0, k - half) : k + half + 1]) for k in range(len(values))]
    smoothed = np.nan_to_num(np.asarray(means, float), nan=math.inf)
    known, suggestion, why = np.isfinite(smoothed), math.nan, f"; {NEVER_FELL}"
    if losses and known[0]:
        lowest = int(np.argmin(smoothed))
        # A typical distance, which a few exploding steps do not move.
        noise = float(np.median(np.abs(values[known] - smoothed[known])))
        if smoothed[0] - smoothed[lowest] > 2 * noise:
            last = lowest == len(smoothed) - 1 and EXPLODED_AT not in message
            suggestion = float(tried[lowest]) / 10
            why = "; it was lowest at the last: a larger high may tell more" if last else ""
    return RateTest(tried, values, smoothed, suggestion, message + why)
