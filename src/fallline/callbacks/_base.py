"""What every callback has, and functions as callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from .._arrays._types import Fun, Json, RunView
from .._arrays._warned import warn

# What the hooks are called elsewhere, where another name of ours would look nearer.
_ELSEWHERE = {
    "on_train_begin": "on_start",
    "on_train_start": "on_start",
    "on_fit_start": "on_start",
    "on_train_end": "on_end",
    "on_fit_end": "on_end",
    "on_batch_end": "on_step",
    "on_train_batch_end": "on_step",
}


class Callback:
    """Base of the callbacks; every method does nothing.

    Each gets the run: ``run.params`` (to be read; read-only where the library has that, else a
    copy), ``run.optimizer`` (`None` for solvers), ``run.epoch`` and ``run.step`` (how many are
    done), ``run.loss`` (of the last step, on its device), ``run.history``, and
    ``run.stop(message)``.

    What a callback knows is written to files of the run by `state_dict`, and comes back by
    `load_state_dict` when a run goes on, after `on_start`.

    A subclass with a method ``on_...`` of another name is refused with a TypeError when it is
    defined, because nothing would ever call that method.
    """

    def __init_subclass__(cls, **options: object) -> None:
        """Refuse methods that look like hooks and are none."""
        super().__init_subclass__(**options)
        hooks = [name for name in vars(Callback) if name.startswith("on_")]
        for name, x in vars(cls).items():
            method = callable(x) or isinstance(x, classmethod)
            if name.startswith("on_") and method and name not in hooks:
                nearest = _ELSEWHERE.get(name) or get_close_matches(name, hooks, n=1, cutoff=0)[0]
                raise TypeError(
                    f"{cls.__name__}.{name}: is a method that nothing calls, expected {nearest}; "
                    f"the hooks are {', '.join(hooks)}"
                )

    @property
    def watches_steps(self) -> bool:
        """Whether `on_step` does anything; steps that nobody watches may run many at a time."""
        return type(self).on_step is not Callback.on_step

    def on_start(self, run: RunView) -> None:
        """Called before the first step.

        Parameters
        ----------
        run : object
            Has the attributes that are listed above.
        """

    def on_step(self, run: RunView) -> None:
        """Called after a step of a rule.

        Parameters
        ----------
        run : object
            Has the attributes that are listed above.
        """

    def on_epoch(self, run: RunView) -> None:
        """Called after an epoch of a rule, or an iteration of a solver.

        Parameters
        ----------
        run : object
            Has the attributes that are listed above.
        """

    def on_end(self, run: RunView) -> None:
        """Called after the last step, however the run ended.

        Parameters
        ----------
        run : object
            Has the attributes that are listed above.
        """

    def state_dict(self) -> dict[str, Json]:
        """Return what a run that goes on needs: numbers, text, arrays, dicts and lists of them."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Json]) -> None:
        """Go on from a state.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """


def is_true(said: object) -> bool | None:
    """Return a truth of Python or NumPy as Python's; `None` for what is not one."""
    if isinstance(said, bool | np.bool_):
        return bool(said)
    if isinstance(said, np.ndarray) and said.dtype == bool and said.ndim == 0:
        return bool(said)
    return None


def ends(
    function: Fun, run: object, *, who: object, name: Callable[[], str], warned: set[int]
) -> bool:
    """Tell whether a callback ends a run: it returns a truth that is true, or raises StopIteration.

    What else it returns stops nothing, which it is told once.

    Parameters
    ----------
    function : callable
        What is called.
    run : object
        Its argument.
    who : object
        The callback that it is of.
    name : callable
        Returns how the callback is called in a warning.
    warned : set of int
        Those that were told, by `id`.
    """
    try:
        said = function(run)
    except StopIteration:
        return True
    truth = is_true(said)
    if truth is None and said is not None and id(who) not in warned:
        warned.add(id(who))
        msg = f"{name()} returned {type(said).__name__}, which stops nothing"
        warn(f"{msg}; return True to stop the run")
    return bool(truth)


class FromFunction(Callback):
    """A function as a callback."""

    def __init__(self, function: Callable[[RunView], object]) -> None:
        self.function = function

    def on_epoch(self, run: RunView) -> Any:
        """Return what the function returns."""
        return self.function(run)


def made(callbacks: Iterable[Callback | Callable[[RunView], object]]) -> list[Callback]:
    """Return callbacks for a sequence of callbacks and functions.

    Parameters
    ----------
    callbacks : sequence
        Instances of `Callback`, and functions of the run.

    Returns
    -------
    list of Callback
        In their order.
    """
    result = []
    for i, one in enumerate(callbacks):
        if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
            msg = f"callbacks[{i}]: is {one!r}, expected a function or an instance of a Callback"
            raise TypeError(msg)
        result.append(one if isinstance(one, Callback) else FromFunction(one))
    return result
