"""A file can be read without an Optimizer, whatever the keys of its tree."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl


def test_a_file_can_be_read_without_an_optimizer(tmp_path):
    path = tmp_path / "run.npz"
    params = {
        "layers": [{"w": np.arange(6.0).reshape(2, 3)}, None],
        "a/b": np.ones(1),
        "..": np.full(1, 2.0),
        "ä": np.full(1, 3.0),
        "": np.full(1, 4.0),
        "0": np.full(1, 5.0),
        "a%2Fb": np.full(1, 6.0),
    }
    opt = fl.Optimizer(params, fl.Adam(0.25))
    opt.save(path)
    found = fl.read_checkpoint(path)
    assert found.params["layers", 0, "w"].shape == (2, 3)
    for key in ("a/b", "..", "ä", "", "0", "a%2Fb"):
        np.testing.assert_array_equal(found.params[key,], params[key])
        assert found.state[key,]["step"] == 0
        assert found.state[key,]["m"].shape == (1,)
    assert found.rules["ä",]["fields"]["learning_rate"] == 0.25
    assert ("layers", 1) not in found.params
    with np.load(path, allow_pickle=False) as file:
        names = set(file.files)
        assert {"params/layers/[0]/w", "state/layers/[0]/w/m", "params/0", "params/%"} <= names
        assert {"params/a%2Fb", "params/a%252Fb", "params/%2E%2E", "params/%C3%A4"} <= names
        assert not any(".." in name.split("/") or "\\" in name for name in names)
        np.testing.assert_array_equal(file["params/layers/[0]/w"], params["layers"][0]["w"])
    bare = fl.Optimizer(np.ones(2), fl.SGD(0.1, momentum=0.9))
    bare.save(path)
    with np.load(path) as file:
        assert {"params", "state/b"} <= set(file.files)
    assert fl.read_checkpoint(path).state[()]["b"].shape == (2,)


def test_keys_of_several_kinds_come_back(tmp_path):
    path = tmp_path / "run.npz"
    make = lambda v: {(1, 2): np.full(1, v), "(1, 2)": np.full(1, 2 * v), 3: (np.full(1, 3 * v),)}  # noqa: E731
    try:
        opt = fl.Optimizer(make(1.0), fl.SGD(0.1))
    except (TypeError, ValueError):
        pytest.skip("keys of several kinds cannot be sorted")
    opt.save(path)
    new = fl.Optimizer(make(0.0), fl.SGD(0.1))
    new.load(path)
    assert [x[0] for x in (new.params[1, 2], new.params["(1, 2)"], new.params[3][0])] == [1, 2, 3]
