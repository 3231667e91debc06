"""Documents that are made from the code are up to date; the README's Python runs."""

from __future__ import annotations

import doctest
import inspect
import re

import numpy as np
import pytest

import fallline as fl
from tests.helpers import ROOT, load_tables


def test_tables_are_fresh():
    pytest.importorskip("torch", reason="the table of defaults is read from torch")
    for path, text in load_tables().generated().items():
        assert path.read_text() == text, f"{path.name} is stale: python docs/tables.py"


def test_tables_list_everything():
    tables = load_tables()
    for name in fl.rules.__all__:
        rule = getattr(fl.rules, name)
        if inspect.isclass(rule) and issubclass(rule, fl.rules.Rule) and rule is not fl.rules.Rule:
            assert f"`{name}`" in tables.rules_table()
            assert tables.notes(rule)
    for name in set(fl.losses.__all__) - {"Loss", "Domain"}:
        assert f"`{name}`" in tables.losses_table()
        assert tables.notes(getattr(fl.losses, name))


def test_the_reference_lists_everything():
    listed = set((ROOT / "docs" / "reference.md").read_text().split())
    modules = (fl.rules, fl.losses, fl.penalties, fl.constraints, fl.solvers, fl.stop)
    modules += (fl.gradients, fl.schedules, fl.models)
    for module in modules:
        names = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
        assert names - {"Domain", "Hyperparameter", "Read", "Slot", "State"} <= listed
    assert {name for name in fl.__all__ if inspect.isclass(getattr(fl, name))} <= listed


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name):
    links = re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", (ROOT / name).read_text())
    assert links
    for path, _ in links:
        assert path.startswith("https:") or (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "guide").glob("*.md")), ids=lambda p: p.stem
)
def test_the_guide_s_python_runs(path):
    if path.stem == "estimators":
        pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
    found = doctest.testfile(str(path), module_relative=False, globs={"np": np, "fl": fl})
    assert found.failed == 0


def test_the_rule_of_the_guide_runs(capsys):
    text = (ROOT / "docs" / "guide" / "own_rule.md").read_text()
    names = {"np": np, "fl": fl, "__name__": __name__}
    with pytest.MonkeyPatch.context() as patch:
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(block, "own_rule.md", "exec", dont_inherit=True), names)
            if "CappedMomentum" in names:  # pickle looks for it here
                patch.setitem(globals(), "CappedMomentum", names["CappedMomentum"])
    assert "CappedMomentum, computed in float64" in capsys.readouterr().out


def test_the_readme_s_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        if "grads=grads" in block:
            names["grads"] = {key: np.ones_like(x) for key, x in names["params"].items()}
        exec(compile(block, "README.md", "exec"), names)
    assert np.isfinite(float(names["value"]))
