"""Docstrings of public names: there is one, it begins with a sentence, and its parameters exist.

The lint of numpydoc reads source files one by one: it sees neither the fields of dataclasses nor
the docstring that a method has from its base. This looks at the objects themselves.
"""

from __future__ import annotations

import inspect
import re

import pytest

import fallline as fl
from fallline import selftest

MODULES = [
    fl, fl.rules, fl.losses, fl.penalties, fl.constraints, fl.solvers, fl.stop, fl.gradients,
    fl.schedules, fl.callbacks, fl.plotting, fl.testing, fl.models, selftest,
]  # fmt: skip


def public():
    """Return public classes, functions and their public methods, each by one name."""
    found, seen = {}, set()
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)) or thing in seen:
                continue
            seen.add(thing)
            place = f"{module.__name__}.{name}"
            found[place] = thing
            if inspect.isclass(thing):
                found |= {
                    f"{place}.{key}": getattr(thing, key)
                    for key, value in vars(thing).items()
                    if not key.startswith("_")
                    and (inspect.isroutine(value) or isinstance(value, property))
                }
    return found


PUBLIC = public()


def documented(thing):
    """Return the names in the section of parameters of a docstring; None without a section."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n---|\Z)", text(thing), re.S | re.M)
    if not section:
        return None
    heads = re.findall(r"^\S.*$", section[1], re.M)
    return [name.strip() for head in heads for name in re.split(r" ?: ", head)[0].split(",")]


def text(thing):
    """Return the docstring, that of the base where a method has none of its own."""
    return inspect.getdoc(thing) or ""


@pytest.mark.parametrize("place", PUBLIC)
def test_a_docstring_begins_with_a_sentence(place):
    summary = text(PUBLIC[place]).partition("\n\n")[0]
    assert summary, "there is no docstring"
    assert not summary[0].islower()
    assert re.search(r"[.:]$", summary), "no sentence that ends"


@pytest.mark.parametrize("place", [p for p, x in PUBLIC.items() if documented(x) is not None])
def test_parameters_are_those_of_the_signature(place):
    names, found = documented(PUBLIC[place]), inspect.signature(PUBLIC[place]).parameters
    taken = {
        {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + name
        for name, p in found.items()
        # A docstring may leave keywords to another one: "**options: as in ...".
        if p.kind != p.KEYWORD_ONLY or name in names or not any(n.startswith("**") for n in names)
    }
    assert {name for name in names if name} == taken - {"self", "cls"}


def test_the_check_reads_parameters():
    assert documented(fl.L1) == ["alpha"]
    assert {"params", "rule", "engine"} <= set(documented(fl.Optimizer))
    assert documented(fl.Adam) != documented(fl.SGD)
    assert documented(lambda: 0) is None
