"""Random Optimizers and random sequences of what can be done with one, for `test_machine.py`."""
