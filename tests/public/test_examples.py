"""The examples run, learn, and give the same result on every array library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import fallline as fl
from tests import backends
from tests.helpers import ROOT

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
EXAMPLES = ROOT / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    digits = load("digits")
    rule = fl.Adam(0.01)
    return digits.train(digits.namespace("numpy", "float64"), rule, epochs=20, report=str)


def test_digits_learns(reference):
    assert reference[-1][1] >= 0.95
    assert reference[-1][0] < reference[0][0] / 3


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict", "cupy", "dpnp"])
def test_digits_agree_on_every_library(name, reference, monkeypatch):
    backends.required(name)
    digits = load("digits")
    xp = digits.namespace(name, "float64")
    try:
        history = digits.train(xp, fl.Adam(0.01), epochs=20, report=str)
    finally:
        if name == "jax":
            digits.namespace(name, "float32")
    for (ours, _, _), (value, _, _) in zip(history, reference, strict=True):
        assert ours == pytest.approx(value, rel=1e-9)
    assert history[-1][1] == reference[-1][1]


def test_digits_are_learned_from_the_command_line(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    load("digits").main(["--epochs", "2", "--rule", "rmsprop", "--plot", str(path)])
    out = capsys.readouterr().out
    assert "RMSprop(learning_rate=0.01) on numpy" in out
    assert len(out.splitlines()) == 5
    assert path.read_bytes().startswith(b"\x89PNG")


OTHERS = [
    ("own_arrays", "y = 2.99 x + -1.01", ()),
    ("network", "held-out 0.97", ()),
    ("phase_retrieval", "no pixel amplifies: 301 evaluations, relative error 1.6", ("matplotlib",)),
    ("deconvolution", "and total variation           0.08", ("matplotlib",)),
    ("rosenbrock", "the paths are in rosenbrock.png", ("matplotlib",)),
    ("plots", "picture: plots.png", ("matplotlib",)),
    ("spots", "2000 of 2000 converged", ("matplotlib",)),
    ("decays", "tissue: T2 known to   4.1 ms, error / standard error 1.00", ("matplotlib",)),
    ("breast_cancer", "0.06", ("matplotlib",)),
    ("sparse_text", "Adagrad : held-out accuracy 0.9", ("matplotlib", "scipy")),
    ("missing_features", "joint               0.4", ("matplotlib",)),
    ("compare_rules", "picture: compare_rules.png", ("matplotlib",)),
    ("porting_from_torch", "largest difference", ("torch",)),
]


@pytest.mark.parametrize(("name", "words", "needs"), OTHERS)
def test_every_other_example_prints_what_it_claims(name, words, needs, tmp_path):
    for module in needs:
        pytest.importorskip(module)
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert words in run.stdout
    assert "wrong" not in run.stdout


def test_every_example_is_run():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"digits", *(name for name, _, _ in OTHERS)}
    assert len((EXAMPLES / "own_arrays.py").read_text().splitlines()) <= 20
