"""The base of Adam-like rules: averages of gradients and of their squares, bias-corrected."""

from __future__ import annotations

from .. import _arrays
from .._arrays._types import Array, Namespace, Number, Scalars
from ._base import Hyperparameter, Rule, Slot, bias_correction, hyper
from ._descent import decay_scalars


class MomentRule(Rule):
    """Base of rules that divide an average of gradients by the root of an average of squares.

    A subclass adds `formula`, and replaces `_divisor` where it divides by something else.
    """

    learning_rate: Hyperparameter = hyper(default=1e-3)
    beta1: Hyperparameter = hyper(default=0.9, high=1.0, below=True)
    beta2: Hyperparameter = hyper(default=0.999, high=1.0, below=True)
    eps: Hyperparameter = hyper(default=1e-8)
    weight_decay: Hyperparameter = hyper(default=0.0)
    decoupled: bool = False
    maximize: bool = False
    complex_moment: str = "modulus"

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (Slot("m"), Slot("v", real=True))

    def scalars(self, t: Number) -> dict[str, Number]:
        return self._moment_scalars(t, bias_correction(self.beta2, t))

    def _moment_scalars(self, t: Number, correction: Number) -> dict[str, Number]:
        """Return the scalars, given the bias correction of the second moment.

        The root of that correction is part of ``size`` and ``eps_hat``, so that elements are
        divided once.
        """
        root = _arrays.square_root(correction)
        return {
            "beta1": self.beta1,
            "new1": 1 - self.beta1,
            "beta2": self.beta2,
            "new2": 1 - self.beta2,
            "size": self.learning_rate * root / bias_correction(self.beta1, t),
            "root": root,
            "eps": self.eps,
            "eps_hat": self.eps * root,
            **decay_scalars(self, self.learning_rate),
        }

    def _divisor(self, xp: Namespace, s: Scalars, *v: Array) -> Array:
        """Return what the first moment is divided by, from the slots after it."""
        return xp.sqrt(v[0]) + s.eps_hat

    def lengths(self, xp: Namespace, s: Scalars, m: Array, *v: Array) -> Array:
        return s.size / self._divisor(xp, s, *v)
