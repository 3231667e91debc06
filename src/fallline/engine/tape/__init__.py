"""Many steps in one call: a formula is written down once and replayed as a list of loops."""

from ._recorder import Recorder, Source, UnrecordableError
from ._tape import Outcome, Tape

__all__ = ["Outcome", "Recorder", "Source", "Tape", "UnrecordableError"]
