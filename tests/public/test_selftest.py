"""`python -m fallline.selftest` passes what is right, and finds what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import fallline as fl
from fallline import selftest
from fallline.engine import eager, numba_
from fallline.selftest import _bits, _cases, _measured
from tests import cuda_host
from tests.cuda_host import host_device, on_cupy, on_numpy  # noqa: F401
from tests.helpers import patch_arrays

SOME = ("SGD", "Adam", "Adam, clipped, L1")


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Leave all but a few cases and times out, and write where it does not stay."""
    some = [case for case in _cases.cases() if str(case) in SOME]
    monkeypatch.setattr(_bits, "cases", lambda: some)
    monkeypatch.setattr(_measured, "SIZES", (10,))
    monkeypatch.setattr(_measured, "SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_rule_is_compared():
    found = {type(case.rule).__name__ for case in _cases.cases()}
    rules = [fl.rules.get(name) for name in fl.rules.names()]
    assert found == {type(rule).__name__ for rule in rules if rule.elementwise and not rule.reads}
    names = [str(case) for case in _cases.cases()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex128"])
@pytest.mark.parametrize("case", _cases.cases(), ids=str)
def test_the_blocked_engine_has_the_same_bits(case, dtype):
    assert _bits.same_bits(_cases.Library("numpy"), "blocked", case, dtype) == ""


def test_a_table_and_a_file(quick, capsys):
    assert selftest.main(["--backend", "numpy"]) == 0
    text = (quick / "fallline-selftest.json").read_text()
    (report,) = json.loads(text)
    assert report["failures"] == []
    assert report["versions"]["fallline"] == fl.__version__
    engines = ["blocked", *["numba"] * numba_.installed()]
    assert [(row["case"], row["engine"]) for row in report["bits"]] == [
        (name, engine) for engine in engines for name in SOME
    ]
    assert {"float16", "float64", "complex64"} <= set(report["bits"][0]["differs"])
    assert {row["engine"] for row in report["times"]} == {*engines, "eager"}
    assert all(row["seconds"] > 0 for row in report["times"])
    shown = capsys.readouterr().out
    assert re.search(r"Adam, clipped, L1 +blocked +same", shown)
    assert "0 failures" in shown
    # What is posted names no folder and no user.
    assert "/" not in text
    assert str(quick) not in shown


def test_a_library_that_is_not_here(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="torch"):
        selftest.run("torch")


def test_tensors(quick):
    pytest.importorskip("torch", reason="torch is not installed")
    report = selftest.run("torch", tell=lambda line: None)
    assert report["failures"] == []
    assert "float32" in report["bits"][0]["differs"]


def test_a_wrong_bit_is_a_failure(quick, monkeypatch, capsys):
    right = eager.EagerRunner.run

    def wrong(self, scalars, which, grads, begin):
        found = right(self, scalars, which, grads, begin)
        p = self.leaves[which[-1]][0]
        if p.dtype == "float64":
            p[5] = np.nextafter(p[5], 1.0)
        return found

    monkeypatch.setattr(eager.EagerRunner, "run", wrong)
    assert selftest.main(["--backend", "numpy"]) == 1
    shown = capsys.readouterr().out
    found = "FAILED: SGD, blocked, float64: the parameter of every second, step 1: 1 of 33 elements"
    assert found in shown
    assert re.search(r"SGD +blocked +same +\S+ +same +DIFFERS +same +same", shown)
    (report,) = json.loads((quick / "fallline-selftest.json").read_text())
    assert len(report["failures"]) == shown.count("FAILED: ") == shown.count("DIFFERS")


def test_wrong_state_and_errors_are_failures(quick, monkeypatch):
    right = fl.Adam.formula

    def wrong(self, xp, s, p, g, *slots):
        p, m, *rest = right(self, xp, s, p, g, *slots)
        # Traced arrays are of a class of their own.
        return (p, m if isinstance(m, np.ndarray) else m + m, *rest)

    monkeypatch.setattr(fl.Adam, "formula", wrong)
    library = _cases.Library("numpy")
    (case,) = (case for case in _cases.cases() if str(case) == "Adam")
    assert _bits.same_bits(library, "blocked", case, "float32").startswith("state 'm' of one")

    def fails(*_):
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(fl.Adam, "formula", fails)
    rows = {row["case"]: row["differs"] for row in _bits.bits(library)}
    assert rows["Adam"]["float64"] == "ZeroDivisionError: no such thing"
    assert rows["SGD"]["float64"] == ""


@pytest.fixture
def device(quick, host_device, monkeypatch):  # noqa: F811
    """Take CuPy's arrays over host memory for those of a device."""
    patch_arrays(monkeypatch, "to_numpy", lambda x: x if isinstance(x, np.ndarray) else on_numpy(x))
    monkeypatch.setattr(_cases.Library, "array", lambda self, x: on_cupy(x.copy()))
    monkeypatch.setattr(selftest.cuda, "described", lambda: {"name": "the host"})
    # Formulas of single calls do not run there.
    monkeypatch.setattr(selftest, "times", lambda library: iter(()))
    return quick


def test_kernels_on_the_host(device, capsys):
    assert selftest.main(["--backend", "cupy"]) == 0
    (report,) = json.loads((device / "fallline-selftest.json").read_text())
    assert report["device"] == {"name": "the host"}
    assert report["launches"] == {"arrays": 300, "launches": 1, "most": 1}
    assert {row["engine"] for row in report["bits"]} == {"cuda"}
    assert "300 arrays: 1 launches in a step" in capsys.readouterr().out


def test_too_many_launches_are_a_failure(device, monkeypatch):
    monkeypatch.setattr(selftest.cuda, "_argument_bytes", lambda: selftest.cuda.OLD_ARGUMENTS)
    found = _measured.launches(_cases.Library("cupy"))
    assert found["launches"] == found["most"] == len(cuda_host.launches) // 2 > 1
    monkeypatch.setattr(selftest, "launches", lambda library: found | {"most": 1})
    report = selftest.run("cupy", tell=lambda line: None)
    assert report["failures"] == [f"{found['launches']} launches, expected at most 1"]


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "fallline.selftest", "--help"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--backend {numpy,cupy,torch}" in found.stdout
