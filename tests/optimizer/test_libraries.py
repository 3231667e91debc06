"""Trees whose leaves belong to different libraries."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fallline as fl


def refused(place, kind, expected):
    return pytest.raises(
        TypeError, match=re.escape(f"{place}: is a {kind} array, expected {expected}")
    )


def test_a_tree_of_two_libraries_is_refused_when_bound():
    torch = pytest.importorskip("torch")
    there = torch.zeros(1, dtype=torch.float64)
    with refused("params['b']", "torch", "NumPy as params['a']"):
        fl.Optimizer({"a": np.zeros(1), "b": there}, fl.SGD())
    with refused("params[2]['w']", "NumPy", "torch as params[1]"):
        fl.Optimizer([None, there, {"w": np.zeros(1)}], fl.SGD())
    with refused("params['b']", "torch", "NumPy as params['a']"):
        fl.EMA({"a": np.zeros(1), "b": there})


def test_two_libraries_on_one_memory_are_refused():
    torch = pytest.importorskip("torch")
    x = np.zeros(2)
    with refused("params['b']", "torch", "NumPy as params['a']"):
        fl.Optimizer({"a": x, "b": torch.from_numpy(x)}, fl.SGD(1.0))


def test_a_leaf_of_another_library_may_be_frozen_and_not_thawed():
    torch = pytest.importorskip("torch")
    params = {"a": np.ones(1), "b": torch.zeros(1, dtype=torch.float64)}
    opt = fl.Optimizer(params, {"a": fl.SGD(1.0), "b": None})
    with refused("params['b']", "torch", "NumPy as params['a']"):
        opt.rule = fl.SGD(1.0)
    opt.step({"a": np.ones(1), "b": None})
    assert params["a"] == 0.0
    with refused("params['c']", "torch", "NumPy as params['a']"):
        opt.rebind({"a": params["a"], "c": params["b"]}, rule=fl.SGD(1.0))
