"""Time of an import in a fresh interpreter."""

from __future__ import annotations


class Import:
    """The package, and NumPy alone for comparison."""

    params = ("numpy", "fallline")
    param_names = ("module",)

    def timeraw_import(self, module):
        """Return the statement."""
        return f"import {module}"
