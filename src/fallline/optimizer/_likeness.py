"""What arrays are compared by in every step, all at once: a loop over them would take longer."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from .. import _arrays
from .._arrays._memory import Memory
from .._arrays._types import Array
from ._leaf import Leaf


class Likeness:
    """Attributes of some arrays, to be compared with their own later or with those of others."""

    def __init__(self, arrays: Sequence[Array], names: Sequence[str]) -> None:
        self.look = attrgetter(*names)
        self.expected = list(map(self.look, arrays))

    def holds(self, arrays: Sequence[Array]) -> bool:
        """Tell whether arrays have these attributes; `None` and others have none."""
        try:
            return list(map(self.look, arrays)) == self.expected
        except AttributeError:
            return False


class Unchanged:
    """Tells whether the arrays of leaves still have the shapes and dtypes of when they were bound.

    Those of JAX and others cannot change in place, and tensors on a device need not be asked.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = [x for x in leaves if x.host or _arrays.numpy_can_view(x.p)]
        self.arrays = [leaf.p for leaf in self.leaves]
        self.likeness = Likeness(self.arrays, ("shape", "dtype"))

    def check(self) -> None:
        """Raise ValueError if not."""
        if self.likeness.holds(self.arrays):
            return
        leaf = next(x for x in self.leaves if x.p.shape != x.shape or x.p.dtype != x.dtype)
        what = "its shape or dtype was changed in place since it was bound"
        raise ValueError(f"{leaf.name('params')}: {what}; call rebind")


class Suits:
    """Tells quickly that gradients need no other check.

    Parameters
    ----------
    leaves : sequence of Leaf
        All leaves.
    memory : Memory
        What a step writes to.

    Attributes
    ----------
    cheap : bool
        Whether to remember gradients would not make it any faster.
    """

    def __init__(self, leaves: Sequence[Leaf], memory: Memory) -> None:
        self.memory = memory
        self.likeness: Likeness | None = None
        self.cheap = all(isinstance(leaf.p, np.ndarray) for leaf in leaves)
        if all(leaf.p is not None and leaf.rule is not None for leaf in leaves):
            names = {_arrays.telling(leaf.p) for leaf in leaves}
            if len(names) == 1 and (common := names.pop()):
                self.likeness = Likeness([leaf.p for leaf in leaves], common)

    def hold(self, gradients: Sequence[Array]) -> bool:
        """Tell whether gradients surely suit; if not, each may suit nevertheless."""
        if self.likeness is None or not self.likeness.holds(gradients):
            return False
        return not self.memory.may_hold_any(gradients)
