"""Distributed tensors of torch, on one process and on two of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
if not torch.distributed.is_available() or sys.platform != "linux":
    pytest.skip("torch has no process groups here", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_processes_step_their_parts_as_one_process_steps_the_whole(world, tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.optimizer.sharded_worker", str(rank), str(world),
             str(tmp_path / "store")],
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]  # fmt: skip
    errors = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(errors)
