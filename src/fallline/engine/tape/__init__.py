"""Many steps in one call: what a step does is recorded once and replayed as a list of loops."""

from ._nodes import Source, UnrecordableError
from ._recorder import Recorder
from ._tape import Outcome, Tape

__all__ = ["Outcome", "Recorder", "Source", "Tape", "UnrecordableError"]
