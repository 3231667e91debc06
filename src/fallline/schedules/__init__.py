"""Schedules: a number for each step, for any hyperparameter of a rule.

A schedule is any callable from the step, which starts at 0, to a float; plain functions work, too.
The schedules of this module are frozen dataclasses: they can be compared, printed and pickled, and
they work under ``jax.jit``. Only `ReduceOnPlateau` has a memory.

Examples
--------
>>> import fallline as fl
>>> rate = fl.schedules.LinearWarmup(fl.schedules.Cosine(0.1, steps=90), steps=10)
>>> fl.Adam(rate).hyperparameters(10)["learning_rate"]
0.1
"""

from ._base import Schedule
from ._composed import Join, LinearWarmup, Piecewise, Product
from ._cycles import CosineRestarts, Cyclic, OneCycle
from ._decay import Constant, Exponential, InverseSqrt, InverseTime, MultiStep, Step
from ._plateau import ReduceOnPlateau
from ._transitions import Cosine, Polynomial

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "InverseSqrt",
    "InverseTime",
    "Join",
    "LinearWarmup",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
]
