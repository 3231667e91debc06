"""The checks on one leaf."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.optimizer._leaf import check_still_writable, stepped


def test_a_parameter_that_was_made_read_only_is_found_by_its_path():
    params = {"w": [np.ones(3), np.ones((2, 2))], "frozen": np.ones(2), "none": None}
    params["frozen"].flags.writeable = False
    rule = {"w": fl.SGD(0.1), "frozen": None, "none": None}
    leaves = fl.Optimizer(params, rule)._bound.leaves
    arrays = stepped(leaves)
    assert len(arrays) == 2
    check_still_writable(leaves, arrays)
    params["w"][1].flags.writeable = False
    with pytest.raises(ValueError, match=r"params\['w'\]\[1\]: is read-only"):
        check_still_writable(leaves, arrays)
    params["w"][1].flags.writeable = True
    check_still_writable(leaves, arrays)


def test_only_numpy_s_arrays_are_asked(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes its arrays")
    leaves = fl.Optimizer(backend.array(np.ones(3)), fl.SGD(0.1))._bound.leaves
    arrays = stepped(leaves)
    assert len(arrays) == (backend.name == "numpy")
    check_still_writable(leaves, arrays)
