"""Names for what annotations cannot tell apart.

The Array API standard names no class that all arrays have, so a type checker takes each of these
for ``Any``; to a reader they say what is meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

# An array of any library of the standard, and the module whose functions act on it.
Array: TypeAlias = Any
Namespace: TypeAlias = Any
Dtype: TypeAlias = Any
Device: TypeAlias = Any
# An array of NumPy, and its dtype.
HostArray: TypeAlias = np.ndarray[Any, Any]
HostDtype: TypeAlias = np.dtype[Any]
# An array, or dicts, lists and tuples of what is described.
Tree: TypeAlias = Any
# A key of a dict or an index of a list or tuple in a tree, and those that lead to a leaf.
Key: TypeAlias = Any
KeyPath: TypeAlias = tuple[Key, ...]
# A number of Python, or an array without axes.
Number: TypeAlias = Any
# The numbers of a formula, as attributes.
Scalars: TypeAlias = Any
# What JSON can hold.
Json: TypeAlias = Any
# Where a file is.
FilePath: TypeAlias = str | os.PathLike[str]
# A constraint of `constraints`, or a function that maps an array to the nearest one allowed.
Projection: TypeAlias = Any
# Axes of Matplotlib.
Axes: TypeAlias = Any
# A function of parameters, and what `fit` and `minimize` take as a method.
Fun: TypeAlias = Callable[..., Any]
Method: TypeAlias = Any
# What callbacks see of a run of `fit` or `minimize`.
RunView: TypeAlias = Any


class Remembers(Protocol):
    """What remembers something between steps, beside arrays, and knows its state as JSON has it."""

    def state_dict(self) -> Json: ...
    def load_state_dict(self, state: Json, /) -> object: ...
