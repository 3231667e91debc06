"""Solvers for many problems side by side."""

from ._driver import finish, start_batch
from ._rule_run import BatchedRuleRun

__all__ = ["BatchedRuleRun", "finish", "start_batch"]
