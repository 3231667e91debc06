"""When a least-squares fit is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._arrays import _checks
from ._conditions import Condition, Epsilon, Findings, Judge, Memory, Verdict
from ._seen import Seen


@dataclass(frozen=True)
class FitTolerance(Condition):
    r"""A least-squares fit changes no more: its cost, its point, or its gradient, each relative.

    Any of these ends a run of `least_squares` or `curve_fit` well:

    .. math::
        F_k - F_{k+1} \le \text{cost} \cdot F_k \quad &\text{and so does the quadratic model}, \\
        \|D (x_{k+1} - x_k)\| &\le \text{step} \cdot \|D x_k\|, \\
        \max_j |J_j^T r| / (\|J_j\| \|r\|) &\le \text{gradient},

    where D has the largest norms so far of the columns of J.

    Parameters
    ----------
    cost : float, optional
        By default 2e-12 in double, and 16 times the precision below.
    step : float, optional
        By default 4e-11 in double, and 16 times the precision below.
    gradient : float, optional
        The cosine of the angle between the residuals and a column of J; without active bounds. By
        default as `step`.
    """

    cost: float | None = None
    step: float | None = None
    gradient: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("cost", "step", "gradient"):
            given = getattr(self, name)
            if given is not None:
                _checks.number(name, given, 0.0, math.inf)

    def _judge(self, epsilon: Epsilon, memory: Memory) -> Judge:
        def judge(record: Seen) -> Findings:
            fit = record.fit()
            if fit is None:
                msg = "stop: FitTolerance is for least_squares and curve_fit, whose runs it knows"
                raise TypeError(msg)
            precision = epsilon()
            low = precision > 1e-12
            least_cost, least = (16 * precision,) * 2 if low else (2e-12, 4e-11)
            cost = least_cost if self.cost is None else self.cost
            step = least if self.step is None else self.step
            gradient = least if self.gradient is None else self.gradient
            part = cost * fit.before
            small = (fit.fall <= part) & (fit.predicted <= part) & (fit.fall <= 2 * fit.predicted)
            return [
                (fit.cosine <= gradient, Verdict(f"the cosine of the gradient is {gradient:.2g}")),
                (small, Verdict(f"the cost fell by a fraction of at most {cost:.2g}")),
                (
                    fit.step <= step * fit.size,
                    Verdict(f"the point changed by a fraction of at most {step:.2g}"),
                ),
            ]

        return judge
