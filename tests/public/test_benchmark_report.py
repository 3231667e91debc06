"""Records of benchmarks do not tell whose machine it was; tables are made of the newest."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest

from tests.helpers import ROOT

FOLDER = ROOT / "asv_benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULTS = {
    "engines.FirstStep.track_first_step": (
        [0.7, 0.4],
        [["'numba'"], ["'empty cache'", "'filled cache'"]],
    ),
    "engines.Memory.track_peak": ([1e6, 2e6], [["'numba'", "'blocked'"]]),
    "step.Adam.track_seconds": ([1e-5, math.nan], [["'fallline numba'", "'fallline cupy'"]]),
}


def record(commit, date):
    """Return a record as asv writes it."""
    python = "/home/somebody/bench/bin/python"
    return {
        "commit_hash": commit,
        "env_name": f"existing-py{python.replace('/', '_')}",
        "date": date,
        "params": {"cpu": "one", "machine": "4-cores", "python": python},
        "python": python,
        "result_columns": ["result", "params", "version", "started_at"],
        "results": {name: [*row, "1", date] for name, row in RESULTS.items()},
    }


def step(table, place, size, who, rule="Adam"):
    facts = {"table": table, "place": place, "rule": rule, "dtype": "float32", "size": size}
    return {"work": f"{rule}, {size}", "count": 1, **facts, "seconds": who, "goals": []}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    (folder / "asv" / "4-cores").mkdir(parents=True)
    (folder / "ratios").mkdir()
    for commit, date in (("a" * 40, 2000), ("b" * 40, 1000)):
        found = record(commit, date)
        path = folder / "asv" / "4-cores" / f"{commit[:8]}-{found['env_name']}.json"
        path.write_text(json.dumps(found))
    (folder / "asv" / "4-cores" / "machine.json").write_text('{"machine": "4-cores"}')
    numba, torch = {"fallline numba": [2e-6, 3e-6, 4e-6]}, {"torch fused": [4e-6, 6e-6, 2e-6]}
    goal = {"ours": "fallline", "peer": "scipy", "ratio": [1.6, 1.5, 1.7], "goal": 1.5}
    jobs = [
        step("sizes", "alone", 1000, numba | torch | {"fallline torch": [1e-6] * 3}),
        step("sizes", "after a product", 1000, numba | torch),
        step("rules", "alone", 10**7, numba | {"stream": [4e-6, 2e-6, 4e-6]}, "Lion"),
        {"work": "a valley", "seconds": {"fallline": [3.0], "scipy": [2.0]}, "goals": [goal]},
    ]
    known = {"machine": {"cpu": "one", "num_cpu": "4"}, "versions": {"numpy": "2.4"}}
    for date, absent in (("2026-01-02T10:00", ["cupy"]), ("2026-01-01T10:00", [])):
        found = {"date": date, "absent": absent, "jobs": jobs, **known}
        (folder / "ratios" / f"{date[:10]}.json").write_text(json.dumps(found))
    return folder


def test_a_record_names_no_folder_and_no_user(results):
    load("record").clean(results / "asv")
    paths = [path for path in (results / "asv").rglob("*.json") if path.name != "machine.json"]
    assert {path.name.partition("-")[0] for path in paths} == {"a" * 8, "b" * 8}
    for path in paths:
        text = path.name + path.read_text()
        assert "somebody" not in text
        assert "/" not in text
    before = [path.read_text() for path in paths]
    load("record").clean(results / "asv")
    assert [path.read_text() for path in paths] == before


def test_a_machine_has_a_neutral_name():
    found = load("record").machine()
    assert found["machine"].endswith(f"-{found['num_cpu']}-cores")
    assert found["os"] in ("Linux", "Darwin", "Windows")


def test_the_newest_results_are_taken(results):
    found, ratios = load("report").recorded(results)
    assert found["engines.Memory.track_peak"] == {("numba",): 1e6, ("blocked",): 2e6}
    assert ratios["absent"] == ["cupy"]


def test_what_failed_or_vanished_is_told(results):
    report = load("report")
    found, _ = report.recorded(results)
    names = [*found, "gone"]
    wrong = report.check(found | {"new": None, "step": {("numba",): None}}, names)
    assert wrong == [
        "vanished: gone", "not in names.txt: new", "not in names.txt: step", "failed: new",
        "failed: step ('numba',)",
    ]  # fmt: skip
    found["step.Adam.track_seconds"] = {("fallline numba",): math.nan, ("torch",): math.nan}
    assert report.check(found, [*found]) == [
        "left out, but must run: step.Adam.track_seconds ('fallline numba',)"
    ]


def test_tables(results):
    report = load("report")
    found, ratios = report.recorded(results)
    text = "\n".join(report.readme(found, ratios))
    # The median of the ratios of each repetition, not the ratio of medians.
    assert "| 1e3 |  | 0.50 | - | - | - | 0.25 |" in text
    assert "| 1e3 | after a product | 0.50 | - | - | - | - |" in text
    assert "| a valley | 3 s | scipy: 1.60 |" in text
    assert "at most 1.00 times the streaming limit" in text
    assert "takes 700 ms with Numba" in text
    assert "at most 2.0 MB" in text
    assert "2026-01-02, one, 4 cores; numpy 2.4; `nox -s bench`." in text
    text = "\n".join(report.docs(found, ratios))
    assert "| a valley | fallline | scipy | 1.60 (1.50 to 1.70) | 1.50 | missed |" in text
    assert "Absent: cupy." in text
    assert "| Lion | 1e7 | 3 µs | - | - | - | 1.00 |" in text


def test_a_picture_is_the_same_from_the_same_numbers(results, tmp_path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    report = load("report")
    _, ratios = report.recorded(results)
    pictures = []
    for name in ("a.svg", "b.svg"):
        report.picture(ratios, tmp_path / name)
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    assert "torch, fused" in pictures[0]
