"""What the self-test steps: rules, and arrays of a library."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

import numpy as np

from .._arrays._types import Array, HostArray, HostDtype
from ..engine import numba_
from ..gradients import ClipByValue
from ..optimizer import Optimizer
from ..penalties import L1
from ..rules import SGD, Adam, RMSprop, Rule, get, names

BACKENDS = ("numpy", "cupy", "torch")
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@dataclass(frozen=True)
class Case:
    """A rule, and what surrounds it in a step."""

    rule: Rule
    about: str = ""
    gradients: tuple[ClipByValue, ...] = ()
    penalty: L1 | None = None

    def __str__(self) -> str:
        """Return what a table calls it."""
        return self.about or type(self.rule).__name__

    def optimizer(self, params: list[Array], engine: str) -> Optimizer:
        """Return an Optimizer of some arrays."""
        return Optimizer(
            params, self.rule, engine=engine, gradients=self.gradients, penalty=self.penalty
        )


def cases() -> list[Case]:
    """Return every rule that acts on each element by itself, and options with other formulas."""
    found = [get(name, learning_rate=0.1) for name in names()]
    plain = [Case(rule) for rule in found if rule.elementwise and not rule.reads]
    return [
        *plain,
        Case(SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1), "SGD with momentum"),
        Case(RMSprop(0.1, centered=True, momentum=0.9), "RMSprop, centered"),
        Case(Adam(0.1, amsgrad=True, weight_decay=0.1), "Adam, amsgrad"),
        Case(Adam(0.1), "Adam, clipped, L1", (ClipByValue(0.5),), L1(0.01)),
    ]


class Library:
    """An array library, and the engines that step its arrays.

    Parameters
    ----------
    backend : str
        Its name.

    Raises
    ------
    ImportError
        If it is not installed.
    """

    def __init__(self, backend: str) -> None:
        self.backend, self.xp = backend, importlib.import_module(backend)
        of_numpy = ["blocked", *["numba"] * numba_.installed()]
        self.engines = ["cuda"] if backend == "cupy" else of_numpy

    def array(self, x: HostArray) -> Array:
        """Return an array of NumPy as one of this library, with memory of its own."""
        return self.xp.asarray(x.copy())

    def suits(self, engine: str, dtype: str) -> bool:
        """Tell whether an engine steps arrays of a dtype, and this library has them."""
        if engine == "numba" and dtype not in numba_.DTYPES:
            return False
        if dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
            return False
        try:
            self.array(np.zeros(1, dtype_of(dtype)))
        except (TypeError, ValueError):
            return False
        return True


def dtype_of(name: str) -> HostDtype:
    """Return NumPy's dtype of a name; bfloat16 is that of ml_dtypes."""
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)
