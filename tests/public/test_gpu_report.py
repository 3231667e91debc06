"""The report of a GPU, as far as a host can run it: with NumPy in the place of CuPy."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fallline import selftest
from tests import cuda_host
from tests.cuda_host import host_device, host_tensors, on_cupy  # noqa: F401
from tests.helpers import ROOT


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location(
        "gpu_report", ROOT / "asv_benchmarks" / "gpu_report.py"
    )
    module = sys.modules["gpu_report"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_report"]


@pytest.fixture
def scale(gpu):
    return gpu.Scale(
        elements=1000, many=(5, 20), layers=(8, 6, 3), rows=600, columns=4, repeat=2, batch=2
    )


class Host:
    """Functions of NumPy under the name of CuPy, of which some may be others."""

    def __init__(self, **others):
        self.__dict__ |= others
        self.cuda = SimpleNamespace(
            Device=lambda: SimpleNamespace(synchronize=lambda: None), Stream=None
        )

    def __getattr__(self, name):
        return getattr(np, name)


def test_a_report_of_what_numpy_can_do(gpu, scale, monkeypatch):
    host = Host()
    monkeypatch.setattr(gpu, "bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(gpu.cuda, "described", lambda: {"name": "the host"})
    monkeypatch.setattr(gpu, "torch_with_a_device", lambda: None)
    names = ["many", "global_norm", "training", "mixed_precision", "fitting", "torch_tensors"]
    found, failures = gpu.report(host, scale, names, tell=lambda line: None)
    assert failures == []
    json.dumps(found)
    assert [row["elements"] for row in found["many"]] == [5, 20]
    assert all(row["ratio_to_by_hand"] > 0 for row in found["many"])
    assert {"with", "without"} <= set(found["global_norm"][0])
    assert set(found["training"]) > {"products alone", "fallline", "by hand"}
    assert set(found["mixed_precision"][1]) > {"float32", "float16", "master weights", "skip"}
    assert found["fitting"]["adam"]["steps"] == 3
    assert 0 < found["fitting"]["lbfgs"]["loss"] < found["fitting"]["adam"]["loss"]
    assert found["torch_tensors"] == "torch has no device"


def test_tensors_of_torch(gpu, scale, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(gpu, "torch_with_a_device", lambda: torch)
    monkeypatch.setattr(gpu, "tensors", functools.partial(gpu.tensors, device="cpu"))
    found = gpu.torch_tensors(Host(), scale, engines=["eager"])
    assert [(row["arrays"], row["elements"]) for row in found] == [(1, 1000), (300, 5), (300, 20)]
    assert "torch_fused" in gpu.global_norm(Host(), scale)[0]
    assert "ratio_to_torch_fused" in gpu.many(Host(), scale)[0]


def test_tensors_by_kernels_on_the_host(gpu, scale, host_tensors, monkeypatch):  # noqa: F811
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(gpu, "torch_with_a_device", lambda: torch)
    monkeypatch.setattr(gpu, "tensors", functools.partial(gpu.tensors, device="cpu"))
    for row in gpu.torch_tensors(Host(), scale):
        assert set(row) == {"arrays", "elements", "eager", "cuda", "torch_fused"}
    assert cuda_host.launches


def test_kernels_on_the_host(gpu, scale, host_device, monkeypatch):  # noqa: F811
    def full(shape, value, dtype):
        return on_cupy(np.full(shape, value, dtype))

    host = Host(full=full, ones=lambda shape, dtype: full(shape, 1, dtype))
    monkeypatch.setattr(gpu, "peers", lambda *_: {"by_hand": 1.0})
    monkeypatch.setattr(gpu, "launches", lambda cupy, call: _launches(call))
    for row in gpu.many(host, scale):
        assert row["launches"] == 1
        assert row["by_hand"] == 1.0
    found = gpu.large(host, scale, 1e9)
    assert len(found["sweep"]) == len(gpu.THREADS) * len(gpu.CHUNKS)
    assert found["of_copy_bandwidth"] > 0


def _launches(call):
    before = len(cuda_host.launches)
    call()
    return len(cuda_host.launches) - before


def test_a_section_that_fails_does_not_end_the_report(gpu, scale, monkeypatch, capsys):
    def fails(*_):
        raise ZeroDivisionError("nothing there")

    monkeypatch.setattr(gpu, "bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(gpu.cuda, "described", lambda: {"name": "the host"})
    monkeypatch.setattr(gpu, "torch_with_a_device", lambda: None)
    monkeypatch.setitem(gpu.SECTIONS, "many", fails)
    monkeypatch.setattr(selftest, "run", lambda *_: {"failures": ["Adam: a bit"]})
    monkeypatch.setitem(gpu.SECTIONS, "large", fails)
    found, failures = gpu.report(Host(), scale, tell=lambda line: None)
    assert failures[:2] == ["Adam: a bit", "many: ZeroDivisionError: nothing there"]
    assert found["global_norm"][0]["arrays"] == 300
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_launches_are_left_out_where_they_cannot_be_counted(gpu):
    assert gpu.tried(gpu.launches, Host(), None).startswith("TypeError: ")
