"""The rooms of the house: who may import whom, and how large a file may grow."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fallline as fl

ROOT = Path(__file__).parents[2] / "src" / "fallline"
TESTS = Path(__file__).parents[1]
FILES = sorted(ROOT.rglob("*.py"))
# Test files that are still too long; whoever splits one takes it off.
LONG = {
    "arrays/test_files.py", "engine/test_cuda.py", "fitting/test_compiled_epoch.py",
    "fitting/test_fit.py", "solvers/more_garbow_hillstrom.py",
}  # fmt: skip
GROUND = ("losses", "schedules", "rules", "penalties", "constraints", "gradients", "stop")
GROUND += ("callbacks", "data", "models", "plotting")
# What a room may import beside itself.
ARROWS = {
    "_arrays": set(),
    **{name: {"_arrays"} for name in GROUND},
    "engine": {"_arrays", "rules"},
    "objectives": {"_arrays", "losses", "penalties"},
    "optimizer": {"_arrays", "rules", "schedules", "gradients", "penalties", "engine"},
    "solvers": {"_arrays", "rules", "penalties", "constraints", "stop", "callbacks", "optimizer"}
    | {"objectives"},
    "testing": {"_arrays", "rules", "engine", "optimizer"},
    "selftest": {"_arrays", "rules", "gradients", "penalties", "engine", "optimizer", "testing"},
    "fitting": {"_arrays", "rules", "schedules", "losses", "penalties", "stop", "callbacks", "data"}
    | {"engine", "optimizer", "objectives", "solvers"},
    "estimators": {"_arrays", "rules", "losses", "penalties", "constraints", "stop", "callbacks"}
    | {"data", "optimizer", "objectives", "solvers", "fitting"},
}
ARROWS["__init__"] = set(ARROWS) - {"estimators", "selftest"}
# Files of a room that others may import, where not all of it is meant for them.
ENTRANCES = {("engine", "rules"): {"_abstract"}}
# The one place that may import a foreign package: a room, or a file of it.
FOREIGN = {
    "array_api_compat": {"_arrays/_facts", "_arrays/_making", "_arrays/_reading"},
    "optree": {"_arrays/_trees"},
    "torch": {"_arrays"},
    "cupy": {"_arrays", "engine"},
    "jax": {"_arrays"},
    "numba": {"engine"},
    "sklearn": {"estimators"},
    "scipy": {"estimators/_sparse"},
    "matplotlib": {"plotting"},
}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Return modules of ours, as paths from the top, and foreign packages, wherever in a file."""
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
            ours |= {(*parts, alias.name) for alias in node.names}
    return ours, foreign


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_go_down(path):
    ours, foreign = imports(path)
    here = room(path)
    for there, *within in ours:
        assert there in ARROWS[here] | {here}
        if entrances := ENTRANCES.get((here, there)):
            assert set(within[:1]) <= entrances
    place = str(path.relative_to(ROOT).with_suffix(""))
    for package, allowed in FOREIGN.items():
        assert package not in foreign or {here, place} & allowed
    assert "pickle" not in foreign or here == "testing"


def test_the_check_sees_imports():
    ours, foreign = imports(ROOT / "optimizer" / "_optimizer.py")
    assert {there for there, *_ in ours} == {"_arrays", "gradients", "optimizer"}
    assert "threading" in foreign
    ours, _ = imports(ROOT / "rules" / "_moments.py")
    assert {there for there, *_ in ours} == {"_arrays", "rules"}
    assert ("rules", "_base", "Rule") in ours


def test_no_room_imports_in_a_circle():
    # Floors by the table: a room stands above all that it may import.
    floors = {}
    while len(floors) < len(ARROWS):
        ready = {n for n in ARROWS if n not in floors and ARROWS[n] <= set(floors)}
        assert ready, "the table has a circle"
        floors |= dict.fromkeys(ready, max(floors.values(), default=0) + 1)
    assert max(floors.values()) <= 8


def drawing():
    """Return the imports between rooms for GitHub to draw, without short cuts past a room."""
    arrows = {name: set() for name in ARROWS}
    for path in FILES:
        arrows[room(path)] |= {there for there, *_ in imports(path)[0]} - {room(path)}

    def below(name):
        return arrows[name].union(*map(below, arrows[name]))

    lines = ["```mermaid", "flowchart TD"]
    for name in sorted(arrows):
        direct = arrows[name] - set().union(*map(below, arrows[name]))
        if direct:
            start = 'face["fallline"]' if name == "__init__" else name
            lines.append(f"  {start} --> {' & '.join(sorted(direct))}")
    return "\n".join([*lines, "```"])


def test_the_drawing_of_the_rooms_shows_the_imports():
    text = (TESTS.parent / "CONTRIBUTING.md").read_text()
    assert drawing() in text, f"the drawing in CONTRIBUTING.md should be\n{drawing()}"


def test_the_house_is_small():
    names = {path.name for path in ROOT.iterdir()} - {"__pycache__"}
    assert {name.removesuffix(".py") for name in names} == {*ARROWS, "py.typed"}
    assert len(names) <= 22


def test_rules_do_not_import_each_other():
    names = {path.stem for path in (ROOT / "rules").glob("*.py")}
    names -= {"__init__", "_base", "_abstract", "_descent", "_moments"}
    assert {"_sgd", "_schedule_free"} <= names
    for name in names:
        tree = ast.parse((ROOT / "rules" / f"{name}.py").read_text())
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not modules & names


def lines(path):
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path):
    # Public lists of small classes may be longer.
    lists = ("penalties.py", "gradients.py", "constraints.py")
    assert lines(path) <= (450 if path.name in lists else 340)


def test_test_files_stay_small():
    long = {str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py") if lines(path) > 400}
    assert not long - LONG, "split these by subject"
    assert not LONG - long, "take these off the list: they are short now"


def test_import_brings_in_numpy_only():
    foreign = {"cupy", "torch", "jax", "numba", "scipy", "matplotlib", "array_api_strict"}
    foreign |= {"sklearn", "dask"}
    if hasattr(np, "cumulative_sum"):  # NumPy 2.0 needs what the others do not, and it takes long
        foreign |= {"array_api_compat.numpy", "numpy.f2py", "numpy.testing"}
    code = (
        f"import sys; from fallline import *; found = {foreign} & set(sys.modules)\n"
        "assert not found, found; assert {'fallline.solvers', 'fallline.rules'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_is_imported_when_it_is_used():
    code = (
        "import sys, fallline as fl; assert not {'numpy', 'fallline.solvers'} & set(sys.modules)\n"
        "assert set(fl.__all__) <= set(dir(fl)); fl.minimize\n"
        "assert 'fallline.solvers' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_program_sees_the_names_that_a_checker_sees():
    nodes = ast.walk(ast.parse((ROOT / "__init__.py").read_text()))
    lines = [x for x in nodes if isinstance(x, ast.ImportFrom) and x.level]
    seen = {alias.name: line.module for line in lines for alias in line.names}
    assert sorted(seen) == sorted(fl.__all__)
    for name, module in seen.items():
        home = importlib.import_module(f"fallline.{module or name}")
        assert getattr(fl, name) is (getattr(home, name) if module else home)
    with pytest.raises(AttributeError, match="module 'fallline' has no attribute 'Adm'"):
        fl.Adm  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Adm'"):
        exec("from fallline import Adm")
