"""Times of ours over those of others, measured alternately in one process.

python asv_benchmarks/ratios.py [--only REGEX] [--out FILE]

Of each job every contender is timed in turn, seven times, and the median of the seven ratios is
kept: what slows the machine for a while slows all of them. Whatever is not installed is named in
one line. The tables and the picture of the documentation are made from the file (report.py).
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import common, fitting, importing, least_squares, networks, runners, solvers
from benchmarks.common import SMOKE, Skip, burst, few
from record import machine

ROOT = Path(__file__).parents[1]
REPEATS = 1 if SMOKE else 7
PAUSE = 0.0 if SMOKE else 0.03  # seconds, in which threads that spin after work fall asleep
LIBRARIES = ("numpy", "numba", "torch", "jax", "optax", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Job:
    """Something that several contenders do.

    `make` takes a contender, and returns what measures it once and returns seconds. `goals` are
    the largest ratios to reach, by contender and peer; of several peers the fastest counts.
    """

    work: str
    who: tuple[str, ...]
    make: Callable[[str], Callable[[], float]]
    goals: dict = field(default_factory=dict)
    less: str | None = None  # whose seconds are subtracted from those of all others
    facts: dict = field(default_factory=dict)
    repeats: int = REPEATS


def timed(make, place="alone", budget=0.03, least=3):
    """Return the `make` of a job of which calls are timed."""
    budget, least = (0, 1) if SMOKE else (budget, least)

    def prepare(who):
        call = make(who)
        # Until compiled, and until an Optimizer has settled on a number of threads.
        burst(call, place, 5 * budget, least)
        return partial(burst, call, place, budget, least)

    return prepare


# -- steps ------------------------------------------------------------------------------------

NUMBA, BLOCKED, TENSORS = "fallline numba", "fallline blocked", "fallline torch"
HAND, FUSED, JIT, STREAM = "numpy by hand", "torch fused", "optax jit", "stream"
ALONE, LOOP = common.PLACES
THREADS = tuple(runners.FORCED)
STEPS = (NUMBA, BLOCKED, TENSORS, HAND, FUSED, JIT, STREAM)
SIZES = (1000, 10, 100, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
LOOP_SIZES = (1000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
STEP_GOALS = {
    (10, NUMBA, HAND): 1.1, (1000, NUMBA, HAND): 1.0, (10_000, NUMBA, HAND): 0.7,
    (10, BLOCKED, HAND): 2.0, (1000, BLOCKED, HAND): 1.3, (10_000, BLOCKED, HAND): 1.0,
    (100_000, BLOCKED, HAND): 1.0, (300_000, BLOCKED, HAND): 1.0, (1_000_000, BLOCKED, HAND): 1.0,
    (10_000_000, BLOCKED, HAND): 0.57, (10_000_000, NUMBA, FUSED): 0.95,
    (10_000_000, NUMBA, STREAM): 1.1, (1000, TENSORS, FUSED): 0.6, (100_000, TENSORS, FUSED): 0.85,
    (10_000_000, TENSORS, FUSED): 1.05,
}  # fmt: skip
DOUBLE_GOALS = {100_000: 0.10, 1_000_000: 0.45}
SHARED_FROM = 1_000_000  # numbers, from which our threads may share an array


def step(
    size,
    who,
    place=ALONE,
    count=1,
    goals=(),
    dtype="float32",
    rule="Adam",
    table="sizes",
    **options,
):
    """Return the job of a step of arrays of one size, and the table it belongs to."""
    facts = {"table": table, "place": place, "rule": rule, "dtype": dtype}
    facts |= {"size": size, "count": count}
    arrays = f"{size:,}" if count == 1 else f"{count} x {size:,}"
    work = f"{rule}, {arrays}, {dtype}" + (f", {place}" if place != ALONE else "")
    make = partial(runners.steps, count=count, size=size, rule=rule, dtype=dtype)
    return Job(work, who, timed(make, place), dict(goals), facts=facts, **options)


def step_jobs():
    """Return the steps: every size alone and after a product, many arrays, every rule."""
    for size in few(SIZES, 2):
        goals = {(a, b): goal for (n, a, b), goal in STEP_GOALS.items() if n == size}
        yield step(size, STEPS, goals=goals)
    for size in few(LOOP_SIZES):
        several = THREADS if size >= SHARED_FROM or SMOKE else ()
        goals = {(NUMBA, THREADS): 1.1} if several else {}
        yield step(size, (*STEPS, *several), LOOP, goals=goals)
    for size in few(DOUBLE_GOALS):
        goals = {(NUMBA, FUSED): DOUBLE_GOALS[size]}
        yield step(size, (NUMBA, BLOCKED, HAND, FUSED), LOOP, goals=goals, dtype="float64")
    for place in common.PLACES:
        goals = {(NUMBA, FUSED): 0.3, (TENSORS, FUSED): 0.3} if place == ALONE else {}
        yield step(1000, STEPS, place, 300, goals)
    who = (NUMBA, BLOCKED, "torch foreach", JIT, STREAM)
    for rule in few(runners.RULES, 2):
        size = 1000 if SMOKE else 3_000_000
        yield step(size, who, rule=rule, table="rules", repeats=min(3, REPEATS))


def network_jobs():
    """Return the training of networks."""
    auto, serial, blocked = "fallline auto", "fallline one thread", "fallline blocked"
    goals = {(auto, HAND): 1.0, (auto, FUSED): 0.7, (auto, serial): 1.05, (blocked, HAND): 1.0}
    for parameters in few(networks.HIDDEN):
        yield Job(
            f"training a network of {parameters:,} parameters, a whole step",
            (auto, serial, blocked, HAND, FUSED),
            timed(partial(networks.training, parameters=parameters), budget=0.15, least=7),
            goals,
            facts={"size": parameters},
        )


# -- fits -------------------------------------------------------------------------------------

OURS, SKLEARN, SCAN = "fallline", "scikit-learn", "optax scan"


def minibatch(outputs, dtype):
    """Return a job of `make` that also sees to it that all reach the same objective."""
    values = []

    def make(who):
        job = fitting.JOBS[who](outputs, dtype)
        job.train(fitting.EPOCHS)
        values.append(job.value())
        # In single precision the objective itself has rounding errors of this size.
        limit = 1e-6 if dtype == "float64" else 1e-5
        assert abs(values[-1] / values[0] - 1) < limit, f"{who}: {values[-1]}, not {values[0]}"
        return job

    return timed(make, budget=0, least=1)


def fit_jobs():
    """Return whole fits."""
    for dtype in fitting.DTYPES:
        for outputs, goals in ((1, {(OURS, SCAN): 0.6}), (5, {(OURS, SCAN): 0.9})):
            n, features = fitting.SHAPES[outputs]
            kind = "binary" if outputs == 1 else f"softmax of {outputs}"
            who = (OURS, SCAN)
            if outputs == 5:
                who, goals[OURS, FUSED] = (*who, FUSED), 0.25
            work = (
                f"fit, Adam, batch {fitting.BATCH}, {n:,} x {features}, {kind}, {dtype}, an epoch"
            )
            yield Job(work, who, minibatch(outputs, dtype), goals)
    for dtype, goal in (("float64", 0.55), ("float32", 0.40)):
        n, features = fitting.SHAPES[1]
        work = f"fit, L-BFGS, {n:,} x {features}, {dtype}"
        make = timed(partial(fitting.full_batch, dtype=dtype), budget=0, least=1)
        yield Job(work, (OURS, SKLEARN), make, {(OURS, SKLEARN): goal})
    for name, fit, goal in (
        ("LinearClassifier.fit, breast cancer, 569 x 30", fitting.breast_cancer, 1.0),
        ("fit, one row at a time, 10,000 x 30, a row", fitting.one_row_at_a_time, 5.0),
    ):
        yield Job(name, (OURS, SKLEARN), timed(fit, budget=0.1), {(OURS, SKLEARN): goal})


def solver_jobs():
    """Return `minimize` on few variables."""
    for size in few((2, 10)):
        yield Job(
            f"minimize, L-BFGS, Rosenbrock, {size} variables, an evaluation",
            (OURS, "scipy"),
            timed(partial(solvers.valley, size=size)),
            {(OURS, "scipy"): 1.5},
        )


# -- curves -----------------------------------------------------------------------------------


def curve_jobs():
    """Return many small fits in one call, of which all must reach the same cost."""
    loop, vmap = least_squares.LOOP, least_squares.VMAP
    for dtype, limit in few((("float64", 1e-6), ("float32", 1e-5))):
        costs = []

        def make(who, dtype=dtype, limit=limit, costs=costs):
            fit = least_squares.fit_peaks(who, dtype)
            costs.append(float(fit().mean()))
            assert abs(costs[-1] / costs[0] - 1) < limit, f"{who}: {costs[-1]}, not {costs[0]}"
            return fit

        yield Job(
            f"curve_fit, 10,000 peaks of 4 parameters and 40 points, {dtype}",
            (OURS, loop, vmap),
            timed(make, budget=0, least=1),
            dict.fromkeys(((OURS, loop), (OURS, vmap)))
            | ({(OURS, loop): 0.09, (OURS, vmap): 0.7} if dtype == "float64" else {}),
            repeats=min(3, REPEATS),
        )


# -- importing --------------------------------------------------------------------------------

BEFORE, EARLIER = "048d47f^", "fallline before"  # importing was made faster


def import_jobs():
    """Return imports, in processor time beside that of NumPy; that of an older commit is a peer."""
    folder = tempfile.TemporaryDirectory()

    def make(who):
        environment = None
        if who == EARLIER:
            archive = subprocess.run(
                ["git", "-C", str(ROOT), "archive", BEFORE, "src"], capture_output=True, check=False
            )
            if archive.returncode:
                msg = "the commit is not in this clone"
                raise Skip(msg)
            subprocess.run(["tar", "-x", "-C", folder.name], input=archive.stdout, check=True)
            environment = {**os.environ, "PYTHONPATH": f"{folder.name}/src"}
        text = importing.TEXTS["fallline" if who == EARLIER else who]
        importing.cpu_seconds(text, environment)
        return partial(importing.cpu_seconds, text, environment)

    ours, whole = "fallline", "fallline, all of it"
    goals = {(ours, EARLIER): 0.5, (whole, EARLIER): None}
    who = ("numpy", ours, whole, EARLIER)
    yield Job("import, processor time beside that of NumPy", who, make, goals, less="numpy")
    folder.cleanup()


# -- measuring --------------------------------------------------------------------------------


def measured(job):
    """Return the seconds of each contender in each repetition, and why others are absent."""
    found, absent = {}, {}
    for who in job.who:
        try:
            found[who] = job.make(who)
        except Skip as skip:
            absent[who] = str(skip)
    seconds = {who: [] for who in found}
    order = list(found)
    for _ in range(job.repeats):
        for who in order:
            time.sleep(PAUSE)
            seconds[who].append(float(f"{found[who]():.4g}"))
        order.append(order.pop(0))
    return seconds, absent


def ratio(job, seconds, ours, peers):
    """Return the median, the least and the largest ratio to a peer, or to the fastest of some."""
    less = seconds.get(job.less, [0.0] * job.repeats)
    found = []
    for peer in (peers,) if isinstance(peers, str) else peers:
        if ours not in seconds or peer not in seconds:
            return None
        rows = zip(seconds[ours], seconds[peer], less, strict=True)
        ratios = [(a - c) / (b - c) for a, b, c in rows]
        found.append([statistics.median(ratios), min(ratios), max(ratios)])
    return [round(x, 3) for x in max(found)]


def run(only=""):
    """Measure all jobs, or those whose names match; return what is written into the file."""
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    jobs, start = [], time.perf_counter()
    for jobs_of in (step_jobs, network_jobs, fit_jobs, solver_jobs, curve_jobs, import_jobs):
        for job in jobs_of():
            if not re.search(only, job.work):
                continue
            begin = time.perf_counter()
            seconds, _ = measured(job)
            goals = []
            for (ours, peer), goal in job.goals.items():
                if (found := ratio(job, seconds, ours, peer)) is not None:
                    row = {"ours": ours, "peer": peer, "ratio": found, "goal": goal}
                    goals.append(row)
                    against = peer if isinstance(peer, str) else f"the faster of {peer}"
                    print(f"  {ours} / {against}: {found}, goal {goal}", flush=True)
            known = job.facts | ({"less": job.less} if job.less else {})
            jobs.append({"work": job.work, **known, "seconds": seconds, "goals": goals})
            print(f"{job.work}: {time.perf_counter() - begin:.1f} s", flush=True)
            gc.collect()
    print(f"all: {time.perf_counter() - start:.0f} s")
    versions = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "version": 1,
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "versions": versions,
        "absent": common.absent(),
        "jobs": jobs,
    }


def main():
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a regular expression of names of jobs")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    print("absent:", ", ".join(common.absent()) or "nothing", flush=True)
    found = run(arguments.only)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
