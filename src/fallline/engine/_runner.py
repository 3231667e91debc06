"""What every engine does: update leaves by a rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from .._arrays._types import Array, Number
from ._threads import Faster

ScalarsByName = Mapping[str, Number]
Indices = Sequence[int]
Arrays = Sequence[Array]
Begin = Callable[[], None]
Replaced = dict[int, list[Array]]


class Runner(ABC):
    """Runs a rule, or its program, on some leaves of one library, device and dtype.

    Parameters
    ----------
    leaves : sequence of list of arrays
        For each leaf the parameter, the slots, and the arrays that are only read.

    Attributes
    ----------
    sharing : Faster
        Whether threads share large leaves, of engines whose threads can.
    """

    name: ClassVar[str]

    def __init__(self, leaves: Sequence[list[Array]]) -> None:
        self.leaves = leaves
        self.sharing = Faster()

    @abstractmethod
    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update some leaves.

        Parameters
        ----------
        scalars : mapping
            The numbers of the step by name, as the rule's `scalars` returns them.
        which : sequence of int
            Indices of the leaves.
        grads : sequence of arrays
            A gradient for each of these leaves.
        begin : callable
            Called before the first write.

        Returns
        -------
        dict from int to list of arrays
            The new arrays of leaves that cannot be written.
        """
