"""The engines of NumPy on tensors of torch in host memory."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _arrays
from .._arrays._types import Array, HostArray
from ._runner import Arrays, Begin, Indices, Replaced, Runner, ScalarsByName
from .blocked import BlockedRunner
from .numba_ import NumbaRunner
from .program import Program


class ThroughNumPy(Runner):
    """Runs a program by a runner of NumPy, on views of tensors.

    Parameters
    ----------
    kind : type
        The class of that runner.
    program : Program
        The program.
    leaves : sequence of list of tensors
        As for every runner.
    """

    name = "through NumPy"

    def __init__(
        self,
        kind: type[BlockedRunner | NumbaRunner],
        program: Program,
        leaves: Sequence[list[Array]],
    ) -> None:
        super().__init__(leaves)
        self.kind, self.program = kind, program
        self.dtype = leaves[0][0].dtype
        self.params = [leaf[0] for leaf in leaves]
        self.slots = [leaf[i] for leaf in leaves for i in program.changed if i]
        self.written = [*self.params, *self.slots]
        self._look()

    def _look(self) -> None:
        # Make the views, and copies where there is none, which go back after each step.
        self.where = _arrays.whereabouts(self.written, self.params)
        self.copies: list[tuple[Array, HostArray]] = []
        self.runner = self.kind(self.program, [list(map(self._view, leaf)) for leaf in self.leaves])
        self.runner.sharing = self.sharing
        self.listed = self.runner.listed if isinstance(self.runner, NumbaRunner) else []
        self.others = sorted(set(range(len(self.leaves))).difference(self.listed))
        self.sizes = [self.runner.leaves[i][0].size for i in self.listed]

    def _view(self, x: Array) -> HostArray:
        found = _arrays.view(x)
        if found is None:
            found = _arrays.to_numpy(x)
            self.copies.append((x, found))
        return found

    def run(self, scalars: ScalarsByName, which: Indices, grads: Arrays, begin: Begin) -> Replaced:
        """Update the leaves `which`."""
        if _arrays.whereabouts(self.written, self.params) != self.where:
            self._look()
        complete = len(which) == len(self.leaves)

        def begun() -> None:
            begin()
            _arrays.tell_written(self.written if complete else self._written(which))

        for x, copy in self.copies:
            copy[...] = _arrays.to_numpy(x)
        if self.listed and complete and self._run_listed(scalars, grads, begun):
            which, grads, begun = self.others, [grads[i] for i in self.others], _nothing
        if which:
            self.runner.run(scalars, which, list(map(_arrays.seen, grads)), begun)
        for x, copy in self.copies:
            with _arrays.guard(x)():
                _arrays.write(x, _arrays.from_numpy(copy, x))
        return {}

    def _run_listed(self, scalars: ScalarsByName, grads: Arrays, begin: Begin) -> bool:
        # Update many small leaves by the addresses of gradients, if all can be walked through:
        # NumPy's views of them would take longer to make.
        assert isinstance(self.runner, NumbaRunner)
        taken = [grads[i] for i in self.listed] if self.others else grads
        addresses = _arrays.addresses(taken, self.dtype, self.sizes)
        if addresses is not None:
            self.runner.run_listed(scalars, addresses, begin)
        return addresses is not None

    def _written(self, which: Indices) -> list[Array]:
        each = len(self.slots) // len(self.leaves)
        slots = [x for i in which for x in self.slots[i * each : (i + 1) * each]]
        return [*(self.params[i] for i in which), *slots]


def _nothing() -> None:
    pass
