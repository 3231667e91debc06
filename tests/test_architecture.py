"""The rooms of the house: who may import whom, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "fallline"
FILES = sorted(ROOT.rglob("*.py"))
FOUNDATION = {"_arrays", "_memory", "_reductions", "_trees", "_checks"}
# What a room may import, itself included.
ARROWS = {
    "_arrays": set(),
    "_memory": {"_arrays"},
    "_reductions": {"_arrays"},
    "_trees": {"_checks"},
    "_checks": {"_arrays"},
    "_pairs": {"_arrays"},
    "rules": FOUNDATION | {"_pairs"},
    "losses": {"_arrays", "_checks"},
    "penalties": {"_arrays", "_checks", "_pairs"},
    "constraints": {"_arrays", "_checks", "_pairs"},
    "schedules": {"_arrays", "_checks"},
    "data": {"_arrays", "_checks"},
    "_gradcheck": FOUNDATION,
    "engine": FOUNDATION | {"rules", "_pairs"},
    "gradients": FOUNDATION | {"_pairs"},
    "_composed": FOUNDATION | {"_pairs", "rules"},
    "_sparse": FOUNDATION,
    "_leaf": FOUNDATION | {"rules", "_sparse"},
    "_pipeline": FOUNDATION | {"rules", "gradients", "_composed", "_leaf"},
    "_group": FOUNDATION | {"_sparse", "_composed", "_leaf", "engine"},
    "_binding": FOUNDATION
    | {"_sparse", "rules", "_composed", "_leaf", "_pipeline", "engine", "_group"},
    "_flow": FOUNDATION | {"_sparse", "gradients", "_leaf", "_binding"},
    "_torch": FOUNDATION | {"rules", "checkpoint", "optimizer"},
    "_model": FOUNDATION | {"losses", "penalties"},
    "_history": FOUNDATION,
    "_record": FOUNDATION | {"_model", "_npz"},
    "callbacks": FOUNDATION,
    "_scan": FOUNDATION | {"_model", "data", "engine", "losses", "optimizer"},
    "_run": FOUNDATION
    | {"_npz", "checkpoint", "_history", "_scan", "callbacks", "data", "optimizer"},
    "_fit": FOUNDATION
    | {"_minimize", "_model", "_record", "_run", "callbacks", "data", "penalties"}
    | {"solvers", "stop"},
    "estimators": FOUNDATION
    | {"_fit", "_history", "_model", "callbacks", "data", "losses", "optimizer", "penalties"}
    | {"rules", "solvers", "stop"},
    "_rate_test": FOUNDATION | {"_fit", "optimizer", "rules", "schedules"},
    "_curves": {"_arrays", "_checks"},
    "plotting": {"_arrays", "_checks", "_curves"},
    "testing": FOUNDATION | {"rules", "engine", "optimizer"},
    "averages": FOUNDATION | {"rules", "optimizer"},
    "stop": {"_arrays", "_checks"},
    "solvers": FOUNDATION | {"rules", "stop", "optimizer", "penalties", "constraints"},
    "_bounds": FOUNDATION | {"constraints"},
    "_minimize": FOUNDATION | {"rules", "stop", "solvers", "_bounds"},
    "_autodiff": FOUNDATION,
    "_scipy": {"solvers", "stop", "_minimize"},
    "_npz": set(),
    "checkpoint": FOUNDATION | {"_leaf", "_npz"},
    "optimizer": FOUNDATION
    | {"gradients", "_leaf", "_pipeline", "_binding", "_flow", "checkpoint"},
}
FOREIGN = {"array_api_compat": {"_arrays"}, "optree": {"_trees"}, "torch": {"_arrays"}}
FOREIGN |= {"cupy": {"_arrays", "engine"}, "jax": {"_arrays"}, "numba": {"engine"}}
FOREIGN |= {"sklearn": {"estimators"}, "matplotlib": {"plotting"}}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Return the rooms and the foreign packages that a file imports, wherever in it."""
    package = path.relative_to(ROOT).parts[:-1]
    ours, foreign = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            foreign |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            foreign.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            parts = [*package[: len(package) - node.level + 1]]
            parts += node.module.split(".") if node.module else []
            ours |= {parts[0]} if parts else {alias.name for alias in node.names}
    return ours, foreign


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_go_down(path):
    ours, foreign = imports(path)
    here = room(path)
    if here != "__init__":
        assert ours <= ARROWS[here] | {here}
    for package, allowed in FOREIGN.items():
        assert package not in foreign or here in allowed
    assert "pickle" not in foreign or here == "testing"


def test_the_check_sees_imports():
    ours, foreign = imports(ROOT / "optimizer.py")
    assert ours == ARROWS["optimizer"] - {"_memory", "_reductions"}
    assert "typing" in foreign
    assert imports(ROOT / "rules" / "_adam.py")[0] == {"_arrays", "rules"}


def test_rules_do_not_import_each_other():
    names = {path.stem for path in (ROOT / "rules").glob("*.py")}
    names -= {"__init__", "_base", "_face", "_decay"}
    assert {"_sgd", "_schedule_free"} <= names
    for name in names:
        tree = ast.parse((ROOT / "rules" / f"{name}.py").read_text())
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not modules & names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_import_brings_in_numpy_only():
    code = (
        "import sys, fallline; found = {'cupy','torch','jax','numba','scipy','matplotlib',"
        "'array_api_strict','sklearn','dask'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
