"""The door by which `fit`, `minimize` and compiled epochs drive an Optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._arrays import _files
from .._arrays._types import Array, FilePath, Json
from . import _saving
from ._binding import Binding
from ._optimizer import Optimizer


class Inner:
    """What other rooms may see of an Optimizer, and do with it, beside its public methods.

    Parameters
    ----------
    optimizer : Optimizer
        The Optimizer.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def bound(self) -> Binding:
        """The leaves, with their rules and state, and how they are run; another after a change."""
        return self._optimizer._bound

    @property
    def gathers(self) -> bool:
        """Whether gradients were added up since the last step."""
        return bool(self._optimizer._memory.calls)

    @property
    def whole(self) -> bool:
        """Whether no step was cut off while it wrote."""
        return not self._optimizer._unfinished

    def ready(self) -> Binding:
        """Return what is bound, after a check that nothing was cut off or changed in place."""
        return self._optimizer._ready()

    def begin(self) -> None:
        """Note that arrays are written from now on."""
        self._optimizer._begin()

    def made(self, steps: int, *, whole: bool) -> None:
        """Set the clock to a number of steps, and note whether the last of them is complete."""
        opt = self._optimizer
        opt._memory.advance(steps - opt._memory.steps)
        opt._unfinished = not whole

    def check_whole(self) -> None:
        """Check that no step was cut off while it wrote."""
        self._optimizer._check_whole()

    def save(
        self,
        path: FilePath,
        more: Mapping[str, Json],
        arrays: Mapping[str, Array],
        params: Sequence[Array] | None = None,
    ) -> None:
        """Write the file that `Optimizer.save` writes, with other entries and arrays in it.

        Leaves may be given that stand there for the params.
        """
        opt = self._optimizer
        _saving.save(path, opt._ready(), opt._memory, more=more, arrays=arrays, params=params)

    def restore(self, file: _files.Reader) -> None:
        """Take over what such a file says of the Optimizer; other numbers cause a warning."""
        opt = self._optimizer
        opt._restore(opt._ready(), _saving.snapshot(file))
