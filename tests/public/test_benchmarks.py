"""Benchmarks: every one is listed, contenders are measured in turn, and goals name contenders."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import sys

import numpy as np
import pytest

from tests.helpers import ROOT

FOLDER = ROOT / "asv_benchmarks"
MODULES = sorted(
    path.stem for path in (FOLDER / "benchmarks").glob("*.py") if path.stem != "__init__"
)


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("benchmarks", "ratios", "record"):
            del sys.modules[name]


@pytest.fixture
def ratios():
    return importlib.import_module("ratios")


@pytest.fixture
def common():
    return importlib.import_module("benchmarks.common")


def classes():
    for name in MODULES:
        module = importlib.import_module(f"benchmarks.{name}")
        for key, found in vars(module).items():
            if inspect.isclass(found) and not inspect.isabstract(found) and not key.startswith("_"):
                yield name, found


def test_every_benchmark_is_listed():
    # As asv finds them: by the names of methods, wherever a class was imported.
    kinds = ("time_", "timeraw_", "track_", "mem_", "peakmem_")
    found = {
        f"{module}.{cls.__name__}.{name}"
        for module, cls in classes()
        for name in dir(cls)
        if name.startswith(kinds)
    }
    assert sorted(found) == (FOLDER / "names.txt").read_text().split()


def test_parameters_do_not_depend_on_what_is_installed_and_sizes_are_integers():
    for _, cls in classes():
        names = getattr(cls, "param_names", ())
        for name, values in zip(names, getattr(cls, "params", ()), strict=True):
            if name in ("size", "rows", "parameters", "problems", "outputs"):
                assert all(isinstance(value, int) for value in values)
            assert len(set(values)) == len(values)


def test_steps_are_timed_alone_and_after_a_product(common):
    step = importlib.import_module("benchmarks.step")
    found = [cls for _, cls in classes() if issubclass(cls, step.Step)]
    assert len(found) >= 5
    for cls in found:
        assert cls.params[1] == common.PLACES


@pytest.mark.parametrize("place", ["alone", "after a product"])
def test_only_the_call_is_timed(common, monkeypatch, place):
    now = itertools.count()
    products = []
    monkeypatch.setattr(common.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(np, "matmul", lambda *_, out: products.append(next(now)))
    assert common.burst(lambda: None, place, budget=0, least=4) == 1.0
    assert len(products) == (4 if place != "alone" else 0)
    assert common.burst(lambda: 4, place, budget=0) == 0.25


def test_what_is_absent_is_nan_and_not_an_error(common, monkeypatch):
    class Absent(common.Timed):
        def make(self):
            common.load("no_such_library")

    bench = Absent()
    bench.setup()
    assert math.isnan(bench.track_seconds())
    monkeypatch.setitem(sys.modules, "optax", None)
    assert "optax" in common.absent()


def jobs(ratios):
    # Importing is measured by running another interpreter for an old commit.
    parts = (ratios.step_jobs, ratios.network_jobs, ratios.fit_jobs, ratios.solver_jobs)
    return [job for part in (*parts, ratios.import_jobs) for job in part()]


def test_goals_name_contenders_and_jobs_have_names_of_their_own(ratios):
    found = jobs(ratios)
    goals = [(job, pair) for job in found for pair in job.goals]
    assert len(goals) > 40
    for job, (ours, peers) in goals:
        assert {ours, *([peers] if isinstance(peers, str) else peers)} <= set(job.who)
    names = [job.work for job in found if job.facts.get("table") != "rules"]
    assert len(set(names)) == len(names)


def test_contenders_are_measured_in_turn(ratios, monkeypatch):
    order = []
    monkeypatch.setattr(ratios, "PAUSE", 0.0)

    def make(who):
        if who == "gone":
            raise ratios.Skip("is not here")

        def once():
            order.append(who)
            return {"a": 2.0, "b": 1.0, "c": 4.0}[who] + len(order) // 100

        return once

    job = ratios.Job("work", ("a", "b", "gone", "c"), make, repeats=3)
    seconds, absent = ratios.measured(job)
    assert "".join(order) == "abcbcacab"
    assert seconds == {"a": [2.0] * 3, "b": [1.0] * 3, "c": [4.0] * 3}
    assert absent == {"gone": "is not here"}


def test_the_median_of_ratios(ratios):
    job = ratios.Job("work", (), None, repeats=3, less="zero")
    seconds = {"a": [2.0, 6.0, 1.0], "b": [1.0, 2.0, 4.0], "c": [1.0, 6.0, 1.0]}
    assert ratios.ratio(job, seconds, "a", "b") == [2.0, 0.25, 3.0]
    assert ratios.ratio(job, seconds, "a", "gone") is None
    # Over the faster of two: the larger ratio.
    assert ratios.ratio(job, seconds, "a", ("c", "b")) == [2.0, 0.25, 3.0]
    beside = seconds | {"zero": [0.5, 1.0, 0.0]}
    assert ratios.ratio(job, beside, "a", "b")[0] == 3.0


def test_forced_threads_and_streams_are_steps(ratios):
    pytest.importorskip("numba", reason="Numba is not installed")
    for who in ("one thread", "several threads", "stream", "numpy by hand"):
        call = ratios.runners.steps(who, 2, 50)
        call()
        call()


@pytest.mark.parametrize("outputs", [1, 5])
def test_all_find_the_same_objective(ratios, outputs, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    fitting = ratios.fitting
    monkeypatch.setattr(fitting, "SHAPES", {outputs: (512, 7)})
    found = {}
    for who in ("fallline", "torch fused"):
        job = fitting.JOBS[who](outputs, "float64")
        job.train(2)
        found[who] = job.value()
    assert found["fallline"] == pytest.approx(found["torch fused"], rel=1e-9)


def test_a_network_learns_the_same_by_all_updates(ratios):
    networks = ratios.networks
    last = {}
    for who in ("fallline auto", "fallline blocked", "numpy by hand"):
        network = networks.Network((9,))
        update = networks.UPDATES[who](network)
        for _ in range(3):
            update(network.gradients())
        last[who] = network.layers[-1]
    assert last["fallline auto"].tobytes() == last["fallline blocked"].tobytes()
    np.testing.assert_allclose(last["numpy by hand"], last["fallline auto"], rtol=1e-4, atol=1e-6)
