"""What is said during a fit, and of how it ended."""

from __future__ import annotations

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import callbacks
from .._arrays._types import RunView
from .._arrays._warned import warn
from ..fitting._fit import FitResult


class Printed(callbacks.Callback):
    """A line of numbers for each of so many epochs, where print goes."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_epoch(self, run: RunView) -> None:
        """Print a line."""
        if run.epoch % self.every == 0:
            names = [name for name in ("loss", "validation_loss") if name in run.history]
            numbers = ", ".join(f"{name} {run.history.last(name):.6g}" for name in names)
            print(f"epoch {run.epoch}: {numbers}")


def judge(found: FitResult, made: int, tol: float | None, *, endless: bool, kinked: bool) -> None:
    """Raise, or warn the caller of `fit`, if a run did not end well.

    Parameters
    ----------
    found : FitResult
        Of the run.
    made : int
        Iterations or epochs in all.
    tol : float or None
        With it a rule that reaches the limit has not converged.
    endless : bool
        Whether there is no minimum, wherever the run ended.
    kinked : bool
        Whether a solver met a loss with kinks as it is.
    """
    if found.status == 98:
        raise KeyboardInterrupt
    by_rule, advice = "step_loss" in found.history, "lower the learning rate"
    if found.status == 3:
        msg = f"{found.message}: scale the features, or {advice}"
        raise ValueError(msg)
    what = found.message.partition(" ")[2]
    ended = what.endswith("were made")  # by the limit
    rise = _rise(found) if by_rule else ""
    waits = tol is not None or not by_rule
    if endless:
        msg = "the fit separates the classes, so larger coefficients lower the loss without end"
        warn(f"{msg}; give a penalty", ConvergenceWarning)
        return
    if not rise and (not waits if ended else found.success):
        return
    msg = rise or (f"{made} {what} without convergence" if ended else found.message)
    if kinked:
        msg += "; method='auto' rounds the kinks of this loss"
    else:
        msg += f"; scale the features, or {advice if rise else 'raise max_iter or tol'}"
    warn(msg, ConvergenceWarning)


def _rise(found: FitResult) -> str:
    """Return in words that a run by a rule took the loss up; empty if it did not.

    The mean over the last epoch is compared with the largest loss of a batch in the first, so that
    the chance of batches alone does not count.
    """
    seen, steps = found.history["loss"], found.history["step_loss"]
    first, last = float(np.max(steps[: len(steps) // len(seen)])), float(seen[-1])
    if len(seen) < 2 or last <= first:
        return ""
    return f"the loss ended at {last:.3g}, above its first values, of at most {first:.3g}"
