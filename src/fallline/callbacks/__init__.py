"""What may happen while `fallline.fit` runs: callbacks.

A callback is a function of the run, called after each epoch; or a `Callback` with methods for the
start, each step, each epoch and the end. It ends the run by returning True (Python's or NumPy's),
by raising StopIteration, or by ``run.stop(message)``; what else it returns stops nothing.
"""

from ._base import Callback
from ._base import made as made
from ._logs import CSVLog, JSONLog, Log, Progress
from ._watching import Checkpoint, EarlyStopping, LearningRateLog

__all__ = [
    "CSVLog", "Callback", "Checkpoint", "EarlyStopping", "JSONLog", "LearningRateLog", "Log",
    "Progress",
]  # fmt: skip
