"""Pictures of runs, schedules and paths, by matplotlib: ``pip install 'fallline[plot]'``.

Every function draws on the axes it is given, or on new ones, and returns them; nothing global is
changed, and nothing is shown or saved.
"""

from ._figures import path, rate_test, schedule
from ._runs import compare, loss_curves

__all__ = ["compare", "loss_curves", "path", "rate_test", "schedule"]
