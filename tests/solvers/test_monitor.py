"""Callbacks see the run, and are told of its end."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks
from tests.problems import rosenbrock
from tests.solvers.watched import (
    MOST,
    CrashError,
    crash,
    solved,
)


@pytest.mark.parametrize("method", ["lbfgs", fl.Adam(0.1)], ids=repr)
def test_a_bar_shows_progress(method, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    text = io.StringIO()
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(file=text, **options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    found = solved([], method, {}, progress=True, check_every=5)
    assert [bar.n for bar in bars] == [found.nit]
    assert bars[0].total == MOST
    assert "loss=" in text.getvalue()


def test_callbacks_see_the_run(caplog, tmp_path):
    class Sees(callbacks.Callback):
        def on_start(self, run):
            seen.append(("start", run.epoch, run.step))

        def on_epoch(self, run):
            seen.append((run.loss, run.epoch, run.step))
            assert run.loss == run.history.last("loss") == rosenbrock(run.params)[0]
            assert run.history.last("gradient_norm") == np.max(np.abs(rosenbrock(run.params)[1]))
            assert run.optimizer is None
            if run.epoch == 6:
                run.stop("enough", status=0)

        def on_end(self, run):
            seen.append(("end", run.epoch, run.step))

    seen, log = [], tmp_path / "log.csv"
    with caplog.at_level(logging.INFO, "fallline"):
        found = solved([], "lbfgs", {}, callbacks=[Sees(), callbacks.Log(2), callbacks.CSVLog(log)])
    assert (found.message, found.status, found.success) == ("enough", 0, True)
    assert seen[0] == ("start", 0, 1)
    assert [entry[0] for entry in seen[1:-1]] == found.history["fun"][1:]
    assert seen[-1] == ("end", 6, found.nfev)
    assert len(caplog.records) == 3
    assert len(log.read_text().splitlines()) == 7

    def ends(run):
        if run.epoch == 2:
            raise StopIteration

    for hook in (ends, lambda run: run.epoch == 2):
        stopped = solved([], "lbfgs", {}, callbacks=[hook])
        assert (stopped.nit, stopped.status, stopped.success) == (2, 99, False)


def test_what_belongs_to_fit_is_refused(tmp_path):
    for hook, words in [
        (callbacks.Checkpoint(tmp_path / "x", steps=3), r"callbacks\[0\]: .*every="),
        (callbacks.EarlyStopping(3), r"callbacks\[0\]: .*stop=.*NotImproved"),
        (callbacks.Log, r"callbacks\[0\]: is .*expected"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            solved([], "lbfgs", {}, callbacks=[hook])


def test_hooks_are_told_of_the_end_whatever_happens():
    class Sees(callbacks.Callback):
        def on_end(self, run):
            ends.append(run.epoch)

    ends = []
    with pytest.raises(CrashError):
        solved([], "lbfgs", {}, callbacks=[Sees(), crash(3)])
    assert ends == [3]
