"""Random sequences of operations on random Optimizers, in lockstep on engines and libraries.

``nox -s fuzz`` runs many more sequences than the suite does: how many, and with which seed, is
told by ``FALLLINE_FUZZ_SEQUENCES`` and ``FALLLINE_FUZZ_SEED``.
"""

from __future__ import annotations

import os
import statistics

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

pytest.importorskip("torch", reason="the machine compares with torch's tensors")
pytest.importorskip("array_api_strict", reason="the machine compares with array-api-strict")

from .machine.base import Base
from .machine.machine import Machine

SEQUENCES = int(os.environ.get("FALLLINE_FUZZ_SEQUENCES", "0"))


def run(sequences, **options):
    """Run sequences of about 30 operations each, without a search for shorter ones."""
    Base.lengths.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=sequences, stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], **options,
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_all_systems_agree_after_every_operation():
    run(200, derandomize=True)
    assert statistics.median(Base.lengths) >= 15


@pytest.mark.slow
@pytest.mark.skipif(not SEQUENCES, reason="run by nox -s fuzz")
def test_all_systems_agree_in_many_sequences(capsys):
    number = int(os.environ.get("FALLLINE_FUZZ_SEED", "0"))
    with capsys.disabled():
        print(f"\n{SEQUENCES} sequences, seed {number}")
    seed(number)(Machine)
    try:
        run(SEQUENCES)
    finally:
        with capsys.disabled():
            print(f"{len(Base.lengths)} sequences, median length {statistics.median(Base.lengths)}")
            for operation, met in sorted(table().items()):
                print(operation, *(f"    {name}: {n}" for name, n in sorted(met.items())), sep="\n")


def table():
    """Return how often each operation met each option."""
    found: dict = {}
    for (operation, option), n in Base.met.items():
        found.setdefault(operation, {})[option] = n
    return found
