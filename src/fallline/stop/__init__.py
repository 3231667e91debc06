"""When to stop: conditions on the records of a run, combined with ``|`` and ``&``.

A condition is a frozen dataclass without memory. `fallline.minimize` and `fallline.fit` take one as
``stop=``; in a loop of your own `Condition.start` makes what remembers its values.

Examples
--------
>>> from fallline import stop
>>> stop.GradientNorm(1e-8) | stop.MaxTime(60)
GradientNorm(tolerance=1e-08) | MaxTime(seconds=60)
"""

from ._conditions import (
    Condition,
    GradientNorm,
    MaxEvaluations,
    MaxTime,
    NonFinite,
    NotImproved,
    ParameterChange,
    Target,
    Verdict,
)
from ._fit import FitTolerance
from ._relative import RelativeDecrease, RelativeGradient
from ._watch import Watch

__all__ = [
    "Condition",
    "FitTolerance",
    "GradientNorm",
    "MaxEvaluations",
    "MaxTime",
    "NonFinite",
    "NotImproved",
    "ParameterChange",
    "RelativeDecrease",
    "RelativeGradient",
    "Target",
    "Verdict",
    "Watch",
]
