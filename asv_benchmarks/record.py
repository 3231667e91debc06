"""What is known of a machine, and a record of asv without names and paths of that machine.

python asv_benchmarks/record.py name           print the machine's name
python asv_benchmarks/record.py machine        tell asv of the machine, by a neutral name
python asv_benchmarks/record.py clean FOLDER   strip the records in a folder of results
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def machine():
    """Return what may be known of a machine: its kind, not its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": f"{platform.machine()}-{cores}-cores".lower(),
        "arch": platform.machine(),
        "cpu": _processor(),
        "num_cpu": str(cores),
        "os": platform.system(),
        "ram": "",
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def clean(folder):
    """Strip the records in a folder: the path of the interpreter is in them and in their names."""
    for path in Path(folder).glob("*/*.json"):
        if path.name == "machine.json":
            continue
        record = json.loads(path.read_text())
        if "results" not in record:
            continue
        python = "py" + ".".join(platform.python_version_tuple()[:2])
        if "/" in record["python"]:
            record["python"] = record["params"]["python"] = python
            record["env_name"] = python
        path.unlink()
        text = json.dumps(record, separators=(",", ":"))
        (path.parent / f"{record['commit_hash'][:8]}-{record['env_name']}.json").write_text(text)


def main(task, *arguments):
    """Do a task."""
    known = machine()
    if task == "name":
        print(known["machine"])
    elif task == "machine":
        options = [f"--{name}={value}" for name, value in known.items()]
        subprocess.run(["asv", "machine", "--yes", *options, *arguments], check=True)
    else:
        clean(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
