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
    found = backends.required(request.param)
    with found.context(monkeypatch):
        yield found


@pytest.fixture
def cuda_backend():
    """CuPy on a device; absent, a visible skip, or a failure where it is required."""
    return backends.required("cupy")


@pytest.fixture
def torch_in_double():
    """Have torch keep its counts and products in double too."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
