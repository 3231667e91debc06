"""Time of an import in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

from .common import Timed

TEXTS = {
    "numpy": "import numpy",
    "fallline": "import numpy, fallline as fl; fl.Optimizer, fl.Adam",
    "fallline, all of it": "import numpy; from fallline import *",
}
CPU = "; import time; print(time.process_time())"


def cpu_seconds(text, environment=None):
    """Return the processor time of a fresh interpreter that executes a text."""
    command = [sys.executable, "-c", text + CPU]
    run = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    return float(run.stdout)


class Import(Timed):
    """NumPy alone, what a step needs, and everything."""

    params = (tuple(TEXTS),)
    param_names = ("what",)

    def make(self, what):
        """Return the import."""
        return lambda: subprocess.run([sys.executable, "-c", TEXTS[what]], check=True)
