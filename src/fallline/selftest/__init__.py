"""Whether fallline works on this machine: ``python -m fallline.selftest``.

Every rule that acts on each element by itself is stepped by every engine that is present, and the
bits are compared with those of the formula itself on NumPy. The time of a few steps is measured.
What is found is printed, and written as JSON that can be posted: it names versions and devices, but
no folders and no users.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .._arrays._types import Json
from ..engine import cuda, numba_
from ._bits import bits
from ._cases import BACKENDS, DTYPES, Library
from ._measured import launches, times

__all__ = ["main", "run"]


def _environment(library: Library) -> dict[str, Json]:
    # Versions and devices.
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions["fallline"] = importlib.import_module("fallline").__version__
    versions[library.xp.__name__] = str(library.xp.__version__)
    if numba_.installed():
        versions["numba"] = importlib.import_module("numba").__version__
    found = {"system": platform.system(), "machine": platform.machine(), "versions": versions}
    return found | ({"device": cuda.described()} if library.backend == "cupy" else {})


def run(backend: str, tell: Callable[[str], object] = print) -> dict[str, Json]:
    """Compare bits, count launches and measure times on the arrays of a library.

    Parameters
    ----------
    backend : {"numpy", "cupy", "torch"}
        The library; torch's tensors are those in host memory.
    tell : callable, optional
        Takes each line of the table.

    Returns
    -------
    dict
        What was found, as JSON can hold it; ``"failures"`` is a list of texts.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    library = Library(backend)
    report = {"version": 1, "backend": backend, **_environment(library)}
    failures: list[str] = []
    start = time.perf_counter()
    tell(f"{backend}, the same bits as the formula on NumPy:")
    tell(_row("", "engine", *DTYPES))
    report["bits"] = []
    for row in bits(library):
        report["bits"].append(row)
        differs = row["differs"]
        words = {dtype: "DIFFERS" if what else "same" for dtype, what in differs.items()}
        tell(_row(row["case"], row["engine"], *(words.get(dtype, "-") for dtype in DTYPES)))
        failures += [
            f"{row['case']}, {row['engine']}, {dtype}: {what}"
            for dtype, what in differs.items()
            if what
        ]
    if "cuda" in library.engines:
        report["launches"] = found = launches(library)
        tell(f"{found['arrays']} arrays: {found['launches']} launches in a step")
        if found["launches"] > found["most"]:
            failures.append(f"{found['launches']} launches, expected at most {found['most']}")
    tell("microseconds of a step of Adam in float32:")
    report["times"] = []
    for row in times(library):
        report["times"].append(row)
        arrays = f"{row['arrays']} x {row['elements']:,}"
        tell(_row(arrays, row["engine"], f"{row['seconds'] * 1e6:.1f}"))
    report["seconds"] = round(time.perf_counter() - start, 1)
    report["failures"] = failures
    return report


def _row(first: str, *cells: str) -> str:
    return f"{first:<20}" + "".join(f"{cell:>11}" for cell in cells)


def _present() -> list[str]:
    # What is tested if nothing is asked for: NumPy, and CuPy where it has a device.
    found = ["numpy"]
    if importlib.util.find_spec("cupy") is not None:
        found += ["cupy"] * bool(importlib.import_module("cupy").cuda.is_available())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Test what is asked for, print a table and write a file.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line.

    Returns
    -------
    int
        The exit status: 0 if all is well, else 1.
    """
    parser = argparse.ArgumentParser("python -m fallline.selftest", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="may be repeated")
    parser.add_argument("--out", type=Path, default=Path("fallline-selftest.json"))
    options = parser.parse_args(arguments)
    reports = [run(backend) for backend in options.backend or _present()]
    failures = [text for report in reports for text in report["failures"]]
    options.out.write_text(json.dumps(reports, indent=1) + "\n")
    print(*[f"FAILED: {text}" for text in failures], sep="\n", end="\n" * bool(failures))
    print(f"{len(failures)} failures; written into {options.out.name}")
    return 1 if failures else 0
