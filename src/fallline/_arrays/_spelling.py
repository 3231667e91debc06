"""What a name that is not known was probably meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

# What other libraries call our fields; those in `PAIRS` stand for two.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "alpha": ("rho", "power", "learning_rate"),
    "betas": ("beta1", "beta2"),
    "etas": ("shrink", "grow"),
    "step_sizes": ("minimum", "maximum"),
    "lambd": ("decay",),
    "t0": ("start",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "b1": ("beta1",),
    "b2": ("beta2",),
    "b3": ("beta3",),
    "decay": ("rho", "weight_decay"),
    "epsilon": ("eps",),
    "lr_decay": ("learning_rate_decay",),
    "initial_accumulator_value": ("initial_accumulator",),
    "decoupled_weight_decay": ("decoupled",),
    "jac": ("jacobian",),
    "f_scale": ("loss_scale",),
    "max_nfev": ("max_iterations",),
    "maxfev": ("max_iterations",),
    "ftol": ("stop",),
    "xtol": ("stop",),
    "gtol": ("stop",),
    "ns_steps": ("iterations",),
    "ns_coefficients": ("coefficients",),
}
PAIRS = ("betas", "etas", "step_sizes")


def meant(argument: str, known: Sequence[str]) -> list[str]:
    """Return our names for what an argument is called elsewhere, or the name closest to it."""
    ours = [field for field in SYNONYMS.get(argument, ()) if field in known]
    return (ours if argument in PAIRS else ours[:1]) or closest(argument, known)


def closest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known name that is most like another, if one is like it at all."""
    # Two letters in the wrong order are the commonest slip.
    same = [word for word in known if sorted(word.lower()) == sorted(name.lower())]
    return same[:1] or get_close_matches(name, known, n=1)
