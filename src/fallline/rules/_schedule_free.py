"""Schedule-free SGD and AdamW."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple, Self

from .. import _arrays
from .._arrays import _checks, _trees
from .._arrays._types import Array, Json, Namespace, Number, Scalars, Tree
from ._base import Hyperparameter, Rule, Slot, bias_correction, hyper, weighted_abs2
from ._descent import descent

# Steps of a schedule that count under jax.jit; the largest rate is reached by then.
HORIZON = 1 << 14


class WeightSum(NamedTuple):
    """Weights of a schedule: steps, the largest rate so far, the sum of its squares over steps."""

    steps: int = 0
    largest: float = 0.0
    total: float = 0.0

    def after(self, schedule: Callable[[int], Number], steps: int) -> WeightSum:
        """Return the sum at a later number of steps."""
        _, largest, total = self
        for step in range(self.steps, steps):
            largest = max(largest, float(schedule(step)))
            total += largest * largest
        return WeightSum(steps, largest, total)

    @property
    def span(self) -> float:
        """The sum divided by its last term, or 1 while no rate was above 0."""
        return self.total / (self.largest * self.largest) if self.largest else 1.0


class Weights:
    """The sum of a schedule's weights up to the last completed step.

    Past rates cannot be computed again if a schedule follows a metric or reads anything else from
    outside, so an `Optimizer` keeps this sum, and its files do.
    """

    def __init__(self, schedule: Hyperparameter) -> None:
        self.schedule = schedule
        self.sum = self._asked = WeightSum()

    def span(self, step: int) -> float:
        """Return the sum of the weights up to and including a step, divided by the last of them."""
        self._asked = self._until(step).after(self.schedule, step + 1)
        return self._asked.span

    def _until(self, steps: int) -> WeightSum:
        # A sum that was asked for is valid only for the very next step.
        found = [x for x in (self.sum, self._asked) if x.steps == steps]
        return found[0] if found else self.sum if self.sum.steps < steps else WeightSum()

    def commit(self, steps: int) -> None:
        """Keep the sum up to a number of completed steps."""
        self.sum = self._until(steps).after(self.schedule, steps)

    def state_dict(self) -> dict[str, Json]:
        """Return the sum as plain numbers."""
        return self.sum._asdict()

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Continue from what `state_dict` returned, or start afresh if it is empty."""
        new = WeightSum()
        if state:
            if set(state) != set(new._fields):
                names = sorted(map(str, state))
                raise ValueError(_checks.mismatch("state", "entries", names, sorted(new._fields)))
            steps = _checks.count("state['steps']", state["steps"])
            names = ["largest", "total"]
            new = WeightSum(
                steps, *(_checks.number(f"state[{n!r}]", state[n], 0.0, math.inf) for n in names)
            )
        self.sum = self._asked = new


class ScheduleFreeSGD(Rule):
    r"""Schedule-free SGD: an average of the iterates takes the place of a falling rate.

    .. math::
        d &= \pm g + \lambda y \\
        z &\leftarrow z - \eta d \\
        x &\leftarrow (1 - c_t)\, x + c_t z, \qquad
            c_t = \frac{w_t}{\sum_{i \le t} w_i}, \quad w_t = \max_{i \le t} \eta_i^2 \\
        y &= \beta_1 x + (1 - \beta_1)\, z

    Parameters
    ----------
    learning_rate : float or schedule, default 1
        :math:`\eta \ge 0`; a schedule should do no more than warm up.
    beta1 : float or schedule, default 0.9
        :math:`\beta_1` in (0, 1).
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, added to the gradient.
    maximize : bool, default False
        Ascend instead of descend.

    Notes
    -----
    The parameter is :math:`y`, where gradients are taken; the answer is :math:`x`, which
    `evaluation` computes. State: one array, ``ahead`` :math:`= z - y`: it starts at zero, and any
    other change of the parameter moves all three points. Matches the authors' code, where beta1 is
    called momentum, and optax's, where the weights read a schedule one step later.

    With a constant rate :math:`c_t = 1/t`, where :math:`t` counts the updates of the leaf. With a
    schedule the weights are summed over all global steps. An `Optimizer` and its files keep this
    sum, with each rate as it was in its step. ``jax.jit`` uses a table of 16384 steps, whose
    largest rate is used from then on. For a leaf that joined late, :math:`c_t` is at least 1 over
    the number of its own updates.

    References
    ----------
    A. Defazio et al., The road less scheduled, arXiv:2405.15682.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> y = np.asarray([4.0])
    >>> opt = fl.Optimizer(y, fl.ScheduleFreeSGD(0.5, beta1=0.5))
    >>> for _ in range(3):
    ...     _ = opt.step(y.copy())
    >>> y, opt.rule.evaluation(opt.params, opt.state)
    (array([0.75]), array([1.125]))
    """

    learning_rate: Hyperparameter = hyper(default=1.0)
    beta1: Hyperparameter = hyper(default=0.9, low=1e-30, high=1.0, below=True)
    weight_decay: Hyperparameter = hyper(default=0.0)
    maximize: bool = False

    # The sum of the weights of a schedule divided by the present one, and the sum so far.
    _span: ClassVar[Number] = math.inf
    _weights: ClassVar[Weights]

    def _check(self) -> None:
        object.__setattr__(self, "_weights", Weights(self.learning_rate))

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("ahead", counted=False),)

    @property
    def memory(self) -> Weights | None:
        """The sum of the weights if the rate is a schedule."""
        return self._weights if callable(self.learning_rate) else None

    def owned(self) -> Self:
        """Return this rule with a new, empty sum of its own."""
        twin = copy.copy(self)
        twin._check()
        return twin

    def at(self, step: Number) -> Self:
        """Return this rule with its schedules replaced by numbers and the weights summed."""
        fixed = super().at(step)
        if not callable(self.learning_rate):
            return fixed
        if _arrays.is_traced(step):
            fixed.__dict__["_span"] = self._traced_span(step)
        else:
            fixed.__dict__["_span"] = self._weights.span(int(step))
        return fixed

    def _traced_span(self, step: Number) -> Number:
        sums = [WeightSum()]
        for n in range(HORIZON):
            sums.append(sums[-1].after(self.learning_rate, n + 1))
        last = _arrays.choose(step < HORIZON, step, HORIZON - 1)
        table = _arrays.namespace(step).asarray([x.span for x in sums[1:]])
        return table[last] + (step - last)

    def scalars(self, t: Number) -> dict[str, Number]:
        share = 1 / _arrays.choose(self._span < t, self._span, t)
        rate = self.learning_rate
        return {
            "share": share,
            "keep": 1 - share,
            # How far a unit of gradient moves y, and by how much more it moves z.
            "learning_rate": rate * (1 - self.beta1 * (1 - share)),
            "more": rate * self.beta1 * (1 - share),
            "weight_decay": self.weight_decay,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, ahead: Array
    ) -> tuple[Array, ...]:
        d = descent(self, s, p, g)
        return p + s.share * ahead - s.learning_rate * d, s.keep * ahead - s.more * d

    def evaluation(self, params: Tree, state: Tree) -> Tree:
        """Return the average x, at which the model should be used.

        Parameters
        ----------
        params : array or tree of arrays
            The parameters: `Optimizer.params`, or those of the pure form.
        state : dict or tree of dicts
            Their state: `Optimizer.state`, or the leaves of a `State`.

        Returns
        -------
        array or tree of arrays
            ``y - (1 - beta1) / beta1 * (z - y)``, new arrays in the dtypes of the parameters.
            Leaves that this rule does not update come back as they are.
        """
        structure = _trees.Structure(params)
        leaves = structure.flatten(params, "params")
        states = structure.flatten(_trees.thawed(state), "state")
        result = []
        for p, slots in zip(leaves, states, strict=True):
            if p is None or "ahead" not in (slots or ()):
                result.append(p)
                continue
            beta = self.beta1
            if callable(beta):
                count = slots["step"]
                beta = beta(_arrays.choose(count > 0, count - 1, 0))
            with _arrays.guard(p)():
                y = _arrays.widened(slots.get("master", p))
                x = y - (1 - beta) / beta * slots["ahead"]
                result.append(_arrays.cast(x, p))
        return structure.unflatten(result)


class ScheduleFreeAdamW(ScheduleFreeSGD):
    r"""Schedule-free AdamW: `ScheduleFreeSGD` on gradients over their running root mean square.

    .. math::
        v &\leftarrow \beta_2 v + (1 - \beta_2) |g|^2 \\
        d &= \frac{\pm g}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \epsilon} + \lambda y,
            \quad\text{then as } \texttt{ScheduleFreeSGD}

    Parameters
    ----------
    learning_rate : float or schedule, default 2.5e-3
        :math:`\eta \ge 0`; a schedule should do no more than warm up.
    beta1, beta2 : float or schedule, default 0.9 and 0.999
        :math:`\beta_1` in (0, 1) and :math:`\beta_2` in [0, 1).
    eps : float or schedule, default 1e-8
        :math:`\epsilon \ge 0`, outside the root.
    weight_decay : float or schedule, default 0
        :math:`\lambda \ge 0`, times the rate, of the parameter :math:`y`.
    maximize : bool, default False
        Ascend instead of descend.
    complex_moment : {"modulus", "components"}
        For complex leaves: one real :math:`v` per element, or one per part.

    See Also
    --------
    ScheduleFreeSGD : The meaning and the weights of the three points.

    Notes
    -----
    State: two arrays (``ahead``, ``v``). Matches the authors' code and optax's; keras weighs all
    steps equally and shrinks y alone.

    References
    ----------
    A. Defazio et al., The road less scheduled, arXiv:2405.15682.

    Examples
    --------
    >>> import fallline as fl
    >>> warm = fl.schedules.LinearWarmup(fl.schedules.Constant(1e-2), steps=100)
    >>> fl.ScheduleFreeAdamW(warm).beta1
    0.9
    """

    learning_rate: Hyperparameter = hyper(default=2.5e-3)
    beta2: Hyperparameter = hyper(default=0.999, high=1.0, below=True)
    eps: Hyperparameter = hyper(default=1e-8)
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("ahead", counted=False), Slot("v", real=True))

    def scalars(self, t: Number) -> dict[str, Number]:
        root = _arrays.square_root(bias_correction(self.beta2, t))
        found = super().scalars(t)
        return {
            **found,
            "size": found["learning_rate"] * root,
            "beta2": self.beta2,
            "new2": 1 - self.beta2,
            "root": root,
            "eps_hat": self.eps * root,
        }

    def formula(
        self, xp: Namespace, s: Scalars, p: Array, g: Array, *slots: Array
    ) -> tuple[Array, ...]:
        ahead, v = slots
        g = -g if self.maximize else g
        v = s.beta2 * v + weighted_abs2(s.new2, g)
        d = s.root * (g / self._divisor(xp, s, v))
        d = d + s.weight_decay * p if self.weight_decay else d
        return p + s.share * ahead - s.learning_rate * d, s.keep * ahead - s.more * d, v

    def _divisor(self, xp: Namespace, s: Scalars, v: Array) -> Array:
        return xp.sqrt(v) + s.eps_hat

    def lengths(self, xp: Namespace, s: Scalars, *slots: Array) -> Array:
        return s.size / self._divisor(xp, s, slots[1])
