"""A schedule that lowers its value when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from .. import _arrays
from .._arrays import _checks
from .._arrays._types import Number
from ._base import Schedule

# The state, by its name in state_dict.
_STATE = ("value", "best", "bad", "waiting")


@dataclass(eq=False, repr=False)
class ReduceOnPlateau(Schedule):
    """A value that is lowered by a factor when a metric has stopped improving.

    This is the only schedule with a memory: pass the metric to `update`, for example once per
    epoch. The step it is called with does not matter. Instances are equal only if identical.

    Parameters
    ----------
    initial : float
        Value until the first reduction, 0 or more.
    mode : {"min", "max"}
        Whether lower or higher metrics are better.
    factor : float, default 0.1
        What the value is multiplied by, in (0, 1).
    patience : int, default 10
        Updates without improvement to tolerate; one more reduces the value.
    threshold : float, default 1e-4
        What counts as an improvement over the best metric, 0 or more.
    threshold_mode : {"rel", "abs"}
        Whether the threshold is a share of the best metric or a difference from it.
    cooldown : int, default 0
        Updates after a reduction that are not counted.
    minimum : float, default 0
        The value is not lowered below it, 0 or more.
    eps : float, default 1e-8
        Reductions by no more than this are skipped, 0 or more.

    Attributes
    ----------
    value : float
        The current value.
    best : float
        The best metric so far.
    bad : int
        Updates without improvement since then.
    waiting : int
        Remaining updates of the cooldown.

    Notes
    -----
    Matches ``torch.optim.lr_scheduler.ReduceLROnPlateau``. A metric that is NaN is not an
    improvement. A share of the best metric means little where metrics are negative or near zero;
    use ``threshold_mode="abs"`` there. ``jax.jit`` keeps the value at the time of tracing; pass
    ``plateau.value`` as an argument instead. If a rule of an `Optimizer` contains this schedule,
    its state is part of `Optimizer.state_dict` and of the files of `Optimizer.save`, and is
    restored with them.

    Examples
    --------
    >>> import fallline as fl
    >>> rate = fl.schedules.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    >>> [rate.update(loss) for loss in (3.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5]
    >>> rate(1000)
    0.5
    """

    initial: float
    _: KW_ONLY
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    minimum: float = 0.0
    eps: float = 1e-8
    value: float = field(init=False)
    best: float = field(init=False)
    bad: int = field(init=False)
    waiting: int = field(init=False)

    def __post_init__(self) -> None:
        """Check the numbers and start."""
        self._numbers("initial", "threshold", "minimum", "eps")
        self._positive("factor", below=1.0)
        self._choice("mode", ("min", "max"))
        self._choice("threshold_mode", ("rel", "abs"))
        self._counts("patience", "cooldown", low=0)
        self.value = self.initial
        self.best = math.inf if self.mode == "min" else -math.inf
        self.bad = self.waiting = 0

    def _value(self, step: Number) -> Number:
        return self.value

    def update(self, metric: Number) -> float:
        """Record a metric, and lower the value if the metric has stopped improving.

        Parameters
        ----------
        metric : float or array
            One number; an array synchronises with its device.

        Returns
        -------
        float
            The value from now on.
        """
        metric = _arrays.to_float(metric)
        if self._improves(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.waiting:
            self.waiting -= 1
            self.bad = 0
        if self.bad > self.patience:
            lower = max(self.value * self.factor, self.minimum)
            if self.value - lower > self.eps:
                self.value = lower
            self.waiting, self.bad = self.cooldown, 0
        return self.value

    def _improves(self, metric: float) -> bool:
        # Change the signs, not the comparisons: a higher metric is a lower negative one.
        sign = 1.0 if self.mode == "min" else -1.0
        if self.threshold_mode == "rel":
            return sign * metric < sign * (self.best * (1 - sign * self.threshold))
        return sign * metric < sign * self.best - self.threshold

    def state_dict(self) -> dict[str, float]:
        """Return the state as plain numbers.

        Returns
        -------
        dict
            `value`, `best`, `bad` and `waiting`.
        """
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Continue from a state.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned. The settings of this object do not change.

        Raises
        ------
        ValueError
            If its entries are not those that `state_dict` returns.
        """
        if set(state_dict) != set(_STATE):
            names = sorted(state_dict)
            raise ValueError(_checks.mismatch("state_dict", "entries", names, sorted(_STATE)))
        self.value, self.best = float(state_dict["value"]), float(state_dict["best"])
        self.bad, self.waiting = int(state_dict["bad"]), int(state_dict["waiting"])
