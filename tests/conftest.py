"""Backends the suite runs on, and what a required one means."""

from __future__ import annotations

import pytest

from tests import backends


def pytest_addoption(parser):
    parser.addoption(
        "--backend", action="append", default=[], help="run only these backends (repeatable)"
    )


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--backend")
        names = [
            name
            for name in backends.NAMES
            if not chosen or any(name == c or name.startswith(f"{c}-") for c in chosen)
        ]
        metafunc.parametrize("backend", names, indirect=True)


@pytest.fixture
def backend(request, monkeypatch):
    """One array library on one device; absent ones are visible skips."""
    name = request.param
    try:
        found = backends.make(name)
    except backends.AbsentError as error:
        backends.absent(name, error)
    with found.context(monkeypatch):
        yield found


@pytest.fixture
def cuda_backend():
    """CuPy on a device; absent, a visible skip, or a failure where it is required."""
    try:
        return backends.make("cupy")
    except backends.AbsentError as error:
        backends.absent("cupy", error)
