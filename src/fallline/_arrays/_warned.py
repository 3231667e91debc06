"""Warnings that point at the line which called this package, however deep they arise."""

from __future__ import annotations

import sys
import warnings

_PACKAGE = __name__.partition(".")[0]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called this package.

    Parameters
    ----------
    message : str
        The text.
    category : type, default UserWarning
        Of the warning.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    # Context managers are entered by way of the standard library.
    return module.partition(".")[0] in (_PACKAGE, "contextlib")
