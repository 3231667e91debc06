"""Solvers for many problems side by side."""

from ._driver import finish, start_batch

__all__ = ["finish", "start_batch"]
