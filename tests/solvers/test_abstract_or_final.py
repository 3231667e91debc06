"""A method is overridden only where its parent leaves it open: abstract, or a hook."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from abc import ABC, abstractmethod

import pytest

from fallline import solvers, stop


def classes():
    """Return every class of the rooms, private ones too."""
    found = set()
    for room in (solvers, stop):
        for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
            members = vars(importlib.import_module(module.name)).values()
            found |= {c for c in members if inspect.isclass(c) and c.__module__ == module.name}
    return sorted(found, key=lambda c: (c.__module__, c.__name__))


def is_hook(function):
    """Tell whether a function does nothing: it returns a constant, or an argument."""
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body
    neutral = ast.Constant, ast.Name, ast.Tuple
    return all(
        (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        or (isinstance(line, ast.Return) and isinstance(line.value, neutral))
        for line in body
    )


def overridden(cls):
    """Yield the concrete methods of parents that a class overrides."""
    for name, own in vars(cls).items():
        if name.startswith("__") or not (inspect.isfunction(own) or isinstance(own, property)):
            continue
        for parent in cls.__mro__[1:]:
            if (given := vars(parent).get(name)) is not None:
                given = given.fget if isinstance(given, property) else given
                is_open = getattr(given, "__isabstractmethod__", False)
                if inspect.isfunction(given) and not is_open and not is_hook(given):
                    yield f"{cls.__name__}.{name} overrides {parent.__name__}"
                break


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_no_concrete_method_is_overridden(cls):
    assert list(overridden(cls)) == []


def test_the_check_sees_concrete_methods():
    class Parent(ABC):
        @abstractmethod
        def left_open(self):
            """Do something."""

        def hook(self, x):
            """Return what becomes of x."""
            return x

        def concrete(self, x):
            return x + 1

    class Child(Parent):
        def left_open(self):
            return 1

        def hook(self, x):
            return 2 * x

        def concrete(self, x):
            return x

    assert list(overridden(Child)) == ["Child.concrete overrides Parent"]
    assert len(classes()) > 40
