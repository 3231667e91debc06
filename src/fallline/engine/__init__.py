"""Engines: how a rule is run on the arrays of an Optimizer."""
