"""What a recorded run of the benchmarks says: ratios of ours to each peer, and a check.

python asv_benchmarks/report.py table [FILE]   print the table, or write it into FILE
python asv_benchmarks/report.py readme FILE    write the short table between its marks in FILE
python asv_benchmarks/report.py check          fail on benchmarks that failed or vanished
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent
RESULTS = ROOT.parent / ".asv" / "results"
NAMES = ROOT / "names.txt"
OURS = ("fallline numba", "fallline blocked")
PEERS = ("numpy by hand", "torch", "torch foreach", "torch fused", "optax jit", "stream")
COMMAND = "nox -s bench"


def latest():
    """Return the newest record: its metadata, and {name: {parameters: result}}."""
    files = [p for p in RESULTS.glob("*/*.json") if p.name != "machine.json"]
    if not files:
        sys.exit(f"no results; run: {COMMAND}")
    record = json.loads(max(files, key=lambda p: p.stat().st_mtime).read_text())
    found = {}
    for name, row in record["results"].items():
        cells = dict(zip(record["result_columns"], row, strict=False))
        combinations = itertools.product(*([x.strip("'") for x in p] for p in cells["params"]))
        values = cells["result"]
        found[name] = None if values is None else dict(zip(combinations, values, strict=True))
    return record, found


def check(found, expected):
    """Return what is wrong: benchmarks that failed, vanished, or are not listed."""
    wrong = [f"vanished: {name}" for name in expected if name not in found]
    wrong += [f"not in {NAMES.name}: {name}" for name in found if name not in expected]
    for name, values in found.items():
        if values is None:
            wrong.append(f"failed: {name}")
            continue
        wrong += [f"failed: {name} {key}" for key, value in values.items() if value is None]
        if all(value is None or math.isnan(value) for value in values.values()):
            wrong.append(f"nothing but skips: {name}")
        for key, value in values.items():
            if (
                key
                and key[0] in (*OURS, "numpy", "numba", "blocked")
                and value is not None
                and math.isnan(value)
            ):
                wrong.append(f"skipped, but must run: {name} {key}")
    return wrong


LOOP = "step.AdamInALoop.time_product_and_step"


def ratio(values, ours, theirs):
    """Return ours / theirs as text."""
    a, b = values.get(ours), values.get(theirs)
    if a is None or b is None or math.isnan(a) or math.isnan(b):
        return "-"
    return f"{a / b:.2f}"


def table(record, found):
    """Return the ratios as a Markdown table."""
    date = datetime.fromtimestamp(record["date"] / 1000, UTC).date()
    machine = record["params"]
    lines = [
        "Time of one whole `opt.step` over that of each peer: below 1 is faster. "
        f"{date}, {machine['cpu']}, {machine['num_cpu']} cores, {machine['os']}; `{COMMAND}`.",
        "",
        f"| engine | rule | shape | gradients | dtype | us | {' | '.join(PEERS)} |",
        f"|---|---|---|---|---|---|{'---|' * len(PEERS)}",
    ]
    for name in ("step.Adam.time_step", "step.Rules.time_step"):
        values = found[name]
        for key, value in values.items():
            if key[0] not in OURS or value is None or math.isnan(value):
                continue
            cells = [ratio(values, key, (peer, *key[1:])) for peer in PEERS]
            row = [key[0].split()[1], *key[1:], *(["float32"] if len(key) == 4 else [])]
            lines.append(f"| {' | '.join(row)} | {value * 1e6:.1f} | {' | '.join(cells)} |")
    lines += ["", *iteration(found), "", *fitting(found)]
    lines += ["", *in_a_loop(found)]
    for title, name in (
        ("first step, seconds, imports included", "engines.FirstStep.track_first_step"),
        ("bytes allocated by a step at its peak", "engines.Memory.track_peak"),
    ):
        lines += ["", f"| engine | | {title} |", "|---|---|---|"]
        for key, value in found[name].items():
            lines.append(f"| {' | '.join(key)} | {value:.3g} |")
    return "\n".join(lines) + "\n"


def in_a_loop(found):
    """Return the table of a step after a matrix product."""
    values = found[LOOP]
    peers = ("numpy by hand", "torch fused")
    lines = [
        "A product of two float32 matrices of 400 x 400 and then a step of Adam in float32:",
        "",
        f"| engine | numbers | us | {' | '.join(peers)} |",
        "|---|---|---|" + "---|" * len(peers),
    ]
    for key, value in values.items():
        if key[0] not in OURS:
            continue
        cells = [ratio(values, key, (peer, *key[1:])) for peer in peers]
        row = f"{key[0].split()[1]} | {key[2]} | {value * 1e6:.1f}"
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def iteration(found):
    """Return the table of what an iteration of L-BFGS costs beside the function."""
    values = found["solvers.Iteration.track_overhead"]
    sizes = [size for who, size in values if who == "fallline"]
    rows = [(size, values["fallline", size], values["scipy", size]) for size in sizes]
    return [
        "| variables | L-BFGS, us per iteration beside the function | over SciPy's L-BFGS-B |",
        "|---|---|---|",
        *(f"| {size} | {ours:.1f} | {ours / theirs:.2f} |" for size, ours, theirs in rows),
    ]


FITS = (
    ("fitting.FullBatch.time_fit", "L-BFGS, 200,000 x 100", ("scikit-learn",), 1),
    (
        "fitting.MiniBatches.time_epochs",
        "an epoch of Adam, 200,000 x 100, batch 256",
        ("optax scan", "torch fused"),
        4,
    ),
    (
        "fitting.Sparse.time_epochs",
        "an epoch of SGD, 100,000 x 50,000 sparse, batch 512",
        ("scikit-learn",),
        4,
    ),
)


def fitting(found):
    """Return the table of whole training jobs of logistic regression."""
    lines = ["| `fit` | dtype | ms | over |", "|---|---|---|---|"]
    for name, title, peers, epochs in FITS:
        values = found[name]
        for key in [key for key in values if key[0] == "fallline"]:
            cells = [f"{peer}: {ratio(values, key, (peer, *key[1:]))}" for peer in peers]
            dtype = key[1] if len(key) > 1 else "float64"
            ms = f"{values[key] * 1e3 / epochs:.1f}"
            lines.append(f"| {title} | {dtype} | {ms} | {', '.join(cells)} |")
    return lines


SHORT = [("10", "fresh"), ("1e3", "fresh"), ("1e5", "fresh"), ("1e6", "fresh"), ("1e7", "fresh")]
SHORT += [("300 x 1e3", "fresh"), ("300 x 1e3", "same")]
MARKS = "<!-- speed: made by asv_benchmarks/report.py -->\n", "<!-- end -->"


def short(record, found):
    """Return Adam's ratios to the most relevant peers as a Markdown table."""
    date = datetime.fromtimestamp(record["date"] / 1000, UTC).date()
    values = found["step.Adam.time_step"]
    columns = [(OURS[0], "torch fused"), (OURS[0], "optax jit"), (OURS[0], "numpy by hand")]
    columns += [(OURS[1], "torch fused"), (OURS[1], "numpy by hand")]
    names = [f"{us.split()[1]} / {peer}" for us, peer in columns]
    lines = [f"| arrays | gradients | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for shape, gradients in SHORT:
        keys = [[(who, "Adam", shape, gradients) for who in column] for column in columns]
        cells = [ratio(values, *pair) for pair in keys]
        lines.append(f"| {shape} | {gradients} | {' | '.join(cells)} |")
    for shape in ("1e3", "1e5", "1e6"):
        keys = [[(who, "Adam", shape, "fresh") for who in column] for column in columns]
        cells = [ratio(found[LOOP], *pair) for pair in keys]
        lines.append(f"| {shape} after a product | fresh | {' | '.join(cells)} |")
    rules = found["step.Rules.time_step"]
    worst = max(
        value / rules["stream", *key[1:]] for key, value in rules.items() if key[0] == OURS[0]
    )
    first = found["engines.FirstStep.track_first_step"]
    peak = max(found["engines.Memory.track_peak"].values())
    machine = record["params"]
    lines += [
        "",
        f"Every rule on one array of 1e7, float32 and float64, takes at most {worst:.2f} times "
        "what Numba takes to add the gradient to each array that the rule writes. The first step "
        f"takes {first['numba', 'empty cache']:.2f} s with Numba, imports included, and "
        f"{first['numba', 'filled cache']:.2f} s once its kernel is cached. A step allocates at "
        "most "
        f"{peak / 1e6:.1f} MB, whatever the size of the arrays. "
        f"An epoch of `fit` over 200,000 x 100 numbers in batches of 256 takes {epochs(found)} "
        "times what optax takes, with the loop compiled by JAX (float64, float32). "
        f"{date}, {machine['cpu']}, {machine['num_cpu']} cores; `{COMMAND}`.",
    ]
    return "\n".join(lines) + "\n"


def epochs(found):
    """Return our ratios to optax over an epoch as text."""
    values = found["fitting.MiniBatches.time_epochs"]
    dtypes = ("float64", "float32")
    return " and ".join(ratio(values, ("fallline", t), ("optax scan", t)) for t in dtypes)


def main(task, path=None):
    """Run a task."""
    record, found = latest()
    if task == "check":
        wrong = check(found, NAMES.read_text().split())
        sys.exit("\n".join(wrong) or None)
    if task == "readme":
        before, _, rest = Path(path).read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        text = before + MARKS[0] + short(record, found) + MARKS[1] + after
    else:
        text = table(record, found)
    if path:
        Path(path).write_text(text)
    print(table(record, found))


if __name__ == "__main__":
    main(*sys.argv[1:])
