"""The tables and the picture of the documentation, made of the newest results.

python asv_benchmarks/report.py check [--results FOLDER]
    fail on benchmarks that failed or vanished
python asv_benchmarks/report.py write [--results FOLDER] [--into ROOT]
    write the tables of README, docs/_generated/benchmarks.md and the picture beside it
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = HERE / "names.txt"
COMMAND = "nox -s bench"
MARKS = "<!-- speed: made by asv_benchmarks/report.py -->\n", "<!-- end -->"
NUMBA, BLOCKED, TENSORS = "fallline numba", "fallline blocked", "fallline torch"
HAND, FUSED, JIT, STREAM = "numpy by hand", "torch fused", "optax jit", "stream"
LOOP = "after a product"
OURS = (NUMBA, BLOCKED, TENSORS, "fallline", "numba", "blocked", "numpy")
TITLES = {
    NUMBA: "fallline, with Numba", BLOCKED: "fallline, NumPy alone",
    TENSORS: "fallline, torch's tensors", HAND: "NumPy by hand", FUSED: "torch, fused",
    JIT: "optax, jax.jit", STREAM: "streaming limit",
}  # fmt: skip


# -- what was recorded ------------------------------------------------------------------------


def recorded(results):
    """Return the newest record of asv, {name: {parameters: result}}, and the newest ratios."""
    records = [json.loads(path.read_text()) for path in results.glob("asv/*/*.json")]
    records = [record for record in records if "results" in record]
    ratios = [json.loads(path.read_text()) for path in results.glob("ratios/*.json")]
    if not records or not ratios:
        sys.exit(f"no results; run: {COMMAND}")
    found = {}
    record = max(records, key=lambda record: (record["date"], max(_starts(record))))
    for name, row in record["results"].items():
        cells = dict(zip(record["result_columns"], row, strict=False))
        keys = itertools.product(*([x.strip("'") for x in p] for p in cells["params"]))
        values = cells["result"]
        found[name] = None if values is None else dict(zip(keys, values, strict=True))
    return found, max(ratios, key=lambda record: record["date"])


def _starts(record):
    where = record["result_columns"].index("started_at")
    return [row[where] or 0 for row in record["results"].values() if len(row) > where] or [0]


def check(found, expected):
    """Return what is wrong: benchmarks that failed, vanished, or are not listed."""
    wrong = [f"vanished: {name}" for name in expected if name not in found]
    wrong += [f"not in {NAMES.name}: {name}" for name in found if name not in expected]
    for name, values in found.items():
        if values is None:
            wrong.append(f"failed: {name}")
            continue
        wrong += [f"failed: {name} {key}" for key, value in values.items() if value is None]
        for key, value in values.items():
            if key and key[0] in OURS and value is not None and math.isnan(value):
                wrong.append(f"left out, but must run: {name} {key}")
    return wrong


# -- tables -----------------------------------------------------------------------------------


def table(head, rows):
    """Return a Markdown table as lines."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def median(job, who):
    """Return the median of the seconds that a contender took, or NaN."""
    found = job["seconds"].get(who) or [math.nan]
    less = job["seconds"].get(job.get("less")) or [0.0] * len(found)
    return statistics.median(a - b for a, b in zip(found, less, strict=True))


def over(job, ours, peer):
    """Return ours over a peer's, the median of the ratios of all repetitions, as text."""
    pair = job["seconds"].get(ours), job["seconds"].get(peer)
    if not all(pair):
        return "-"
    found = statistics.median(a / b for a, b in zip(*pair, strict=True))
    return f"{found:.2f}" if found >= 0.1 else f"{found:.2g}"


def time(seconds):
    """Return a duration as text, with its unit."""
    if math.isnan(seconds):
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def when(ratios):
    """Return when, where and by which command the ratios were measured."""
    machine, versions = ratios["machine"], ratios["versions"]
    peers = ("numpy", "torch", "jax", "optax", "scikit-learn")
    known = ", ".join(f"{name} {versions[name]}" for name in peers if name in versions)
    return (
        f"{ratios['date'][:10]}, {machine['cpu']}, {machine['num_cpu']} cores; {known}; `{COMMAND}`"
    )


def steps(ratios, place):
    """Return the steps of Adam in float32, by how many arrays of which size."""
    jobs = [job for job in ratios["jobs"] if job.get("table") == "sizes"]
    jobs = [job for job in jobs if (job["place"], job["dtype"]) == (place, "float32")]
    return {(job["count"], job["size"]): job for job in jobs}


def arrays(count, size):
    """Return a name of some arrays."""
    power = len(str(size)) - 1
    round_ = size >= 1000 and size % 10**power == 0
    text = f"{size // 10**power}e{power}" if round_ else f"{size:,}"
    return text if count == 1 else f"{count} x {text}"


SHORT = [(1, 10), (1, 1000), (1, 100_000), (1, 1_000_000), (1, 10_000_000), (300, 1000)]
PAIRS = (
    (NUMBA, FUSED), (NUMBA, JIT), (NUMBA, HAND), (BLOCKED, HAND), (TENSORS, FUSED),
)  # fmt: skip


def readme(found, ratios):
    """Return the short tables: steps of Adam, and whole training jobs."""
    first = found["engines.FirstStep.track_first_step"]
    peak = max(found["engines.Memory.track_peak"].values())
    worst = max(float(over(job, NUMBA, STREAM)) for job in of_rules(ratios))
    names = {NUMBA: "Numba", BLOCKED: "NumPy", TENSORS: "tensors"}
    head = [f"{names[ours]} / {peer.replace('numpy ', '')}" for ours, peer in PAIRS]
    large = arrays(1, max(job["size"] for job in of_rules(ratios)))
    lines = []
    for place in ("alone", LOOP):
        jobs = steps(ratios, place)
        for key in SHORT:
            if key in jobs and not (place == LOOP and key == (1, 10)):
                cells = [over(jobs[key], *pair) for pair in PAIRS]
                lines.append([arrays(*key), "" if place == "alone" else place, *cells])
    others = (job for job in ratios["jobs"] if job["goals"] and "table" not in job)
    rows = [[job["work"], *_compared(job)] for job in others]
    return [
        *table(["arrays", "", *head], lines),
        "",
        *table(["other work", "time", "over that of"], rows),
        "",
        "With Numba, every rule takes at most "
        f"{worst:.2f} times the streaming limit for one array of {large} in float32. The first "
        f"step takes {time(first['numba', 'empty cache'])} with Numba, imports included, and "
        f"{time(first['numba', 'filled cache'])} once its kernel is cached. A step allocates at "
        f"most {peak / 1e6:.1f} MB, whatever the size of the arrays. {when(ratios)}.",
    ]


def _compared(job):
    # The time of the first of ours, and its ratios to peers.
    ours = job["goals"][0]["ours"]
    texts = [f"{x['peer']}: {x['ratio'][0]:.2f}" for x in job["goals"] if x["ours"] == ours]
    return time(median(job, ours)), ", ".join(texts)


def goals(ratios):
    """Return what was to be reached."""
    rows = []
    for job in ratios["jobs"]:
        for goal in job["goals"]:
            if goal["goal"] is None:
                continue
            peer = goal["peer"]
            against = peer if isinstance(peer, str) else f"the faster of {' and '.join(peer)}"
            middle, low, high = goal["ratio"]
            reached = "" if middle <= goal["goal"] else "missed"
            span = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            rows.append([job["work"], goal["ours"], against, span, f"{goal['goal']:.2f}", reached])
    return table(["work", "who", "over", "ratio", "at most", ""], rows)


def sizes(ratios):
    """Return the times of Adam at every size."""
    who = tuple(TITLES)
    rows = [
        [arrays(*key), "" if place == "alone" else place, *(time(median(job, x)) for x in who)]
        for place in ("alone", LOOP)
        for key, job in sorted(steps(ratios, place).items())
    ]
    return table(["arrays", "", *who], rows)


def of_rules(ratios):
    """Return the jobs that are steps of every rule on one large array."""
    return [job for job in ratios["jobs"] if job.get("table") == "rules"]


def rules(ratios):
    """Return the times of every rule on one large array."""
    peers = ("torch foreach", JIT, STREAM)
    rows = [
        [
            job["rule"], arrays(1, job["size"]),
            *(time(median(job, who)) for who in (NUMBA, BLOCKED)),
            *(over(job, NUMBA, peer) for peer in peers),
        ]
        for job in of_rules(ratios)
    ]  # fmt: skip
    head = ["rule", "numbers", NUMBA, BLOCKED, *(f"Numba / {peer}" for peer in peers)]
    return table(head, rows)


def tracked(found):
    """Return what only asv tracks: first steps, memory, and iterations of solvers."""
    lines = []
    for title, name, form in (
        ("first step, imports included", "engines.FirstStep.track_first_step", time),
        ("bytes that a step allocates", "engines.Memory.track_peak", "{:.3g}".format),
        ("iteration of L-BFGS", "solvers.Iteration.track_overhead", time),
        ("import, wall time", "importing.Import.track_seconds", time),
    ):
        rows = [[", ".join(key), form(x)] for key, x in (found.get(name) or {}).items()]
        lines += ["", *table([title, ""], rows)]
    return lines


def docs(found, ratios):
    """Return the long tables."""
    missing = ", ".join(ratios["absent"])
    return [
        f"{when(ratios)}." + (f" Absent: {missing}." if missing else ""),
        "", "## What was to be reached", "",
        "The median, the least and the largest of the ratios of seven repetitions; "
        "below 1 the first is faster.", "",
        *goals(ratios),
        "", "## Adam at every size", "", *sizes(ratios),
        "", "## Every rule", "", *rules(ratios),
        "", "## Single figures", *tracked(found),
    ]  # fmt: skip


def picture(ratios, path):
    """Draw the time of a step over the number of parameters, alone and after a product."""
    import matplotlib as mpl

    # The same picture from the same numbers, with text as text.
    with mpl.rc_context({"svg.hashsalt": "fallline", "svg.fonttype": "none", "font.size": 9}):
        drawn(ratios).savefig(path, metadata={"Date": None})


def drawn(ratios):
    """Return the figure of `picture`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, place in zip(figure.subplots(1, 2, sharey=True), ("alone", LOOP), strict=True):
        jobs = {size: job for (count, size), job in steps(ratios, place).items() if count == 1}
        for k, (who, title) in enumerate(TITLES.items()):
            points = [(n, median(job, who) * 1e6) for n, job in sorted(jobs.items())]
            line = "--" if who == STREAM else "-" if who.startswith("fallline") else ":"
            axes.loglog(*zip(*points, strict=True), line, color=f"C{k}", marker=".", label=title)
        axes.set(xlabel="parameters", title=f"a step of Adam in float32, {place}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("µs")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def main():
    """Check, or write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("check", "write"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--into", type=Path, default=HERE.parent, help="where README and docs are")
    options = parser.parse_args()
    found, ratios = recorded(options.results)
    if options.task == "check":
        sys.exit("\n".join(check(found, NAMES.read_text().split())) or None)
    path = options.into / "README.md"
    before, _, rest = path.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    short = "\n".join(readme(found, ratios))
    path.write_text(f"{before}{MARKS[0]}{short}\n{MARKS[1]}{after}")
    folder = options.into / "docs" / "_generated"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text("\n".join(docs(found, ratios)) + "\n")
    picture(ratios, folder / "speed.svg")
    print(short, "", *goals(ratios), sep="\n")


if __name__ == "__main__":
    main()
