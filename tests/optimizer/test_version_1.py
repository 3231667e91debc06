"""Files of version 1 load for ever."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests import version_1


def assert_holds(found, expected):
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert version_1.plain(found[name]).dtype == x.dtype, name
        np.testing.assert_array_equal(version_1.plain(found[name]), x, err_msg=name)


@pytest.mark.parametrize("name", version_1.MADE)
def test_an_optimizer_takes_all_that_a_file_held(name):
    pytest.importorskip("ml_dtypes")
    opt = version_1.MADE[name](start=30)
    grads = version_1.MADE[name](start=31).params
    opt.load(version_1.FOLDER / f"{name}.npz")
    expected = version_1.held(name)
    assert_holds(version_1.leaves(opt), expected)
    opt.step(grads)
    after = version_1.leaves(opt)
    assert not np.array_equal(after[list(after)[1]], expected[list(after)[1]])


def test_what_is_no_array_comes_back_too():
    pytest.importorskip("ml_dtypes")
    nested, mixed, scaled = (version_1.MADE[name](start=30) for name in version_1.MADE)
    start = {key: np.array(x) for key, x in version_1.leaves(nested).items()}
    nested.load(version_1.FOLDER / "nested.npz")
    before = version_1.held("nested")
    nested.step(version_1.nested(start=31).params)  # the second of two calls makes a step
    assert nested.step_count == before["step_count"] + 1
    assert set(start) == set(before)
    mixed.load(version_1.FOLDER / "mixed.npz")
    plateau = mixed.rule["a"].learning_rate
    assert plateau(0) == pytest.approx(1e-3)  # reduced twice from 0.1
    scaled.load(version_1.FOLDER / "scaled.npz")
    assert scaled.skipped == 1
    # One step was left out and halved the scale, two good ones doubled it, and one more was good.
    assert scaled.state_dict()["flow"]["gradients"] == [{"value": 64.0, "good": 1.0}]


def test_an_average_comes_back():
    average = version_1.average(start=30)
    average.load(version_1.FOLDER / "average.npz")
    found = {f"params[{key!r}]": x for key, x in average.params.items()}
    assert_holds(found, version_1.held("average"))
    assert average.step_count == 3


def test_a_run_goes_on_in_the_middle_of_an_epoch():
    # The file was written after the fifth step. The numbers after it are those of the version that
    # wrote it, up to rounding, which may change; a penalty was part of the gradient then, as it is
    # of objectives that are not linear models.
    class Whole:
        initialize = version_1.MODEL.initialize
        value_and_gradient = version_1.MODEL.value_and_gradient

    path = version_1.FOLDER / "run.npz"
    found = fl.fit(Whole(), version_1.DATA, resume=path, **version_1.RUN)
    assert fl.fit(version_1.MODEL, version_1.DATA, resume=path, **version_1.RUN).steps == 12
    found, expected = version_1.described(found), version_1.held("run")
    assert set(found) == set(expected)
    assert found["steps"] == expected["steps"] == 12
    np.testing.assert_array_equal(found["step_loss"][:5], expected["step_loss"][:5])
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-9, err_msg=name)


def test_a_file_is_refused_with_a_reason_where_it_does_not_fit():
    opt = fl.Optimizer([np.zeros(3), np.zeros((2, 2), "float32")], fl.Adam(1e-2))
    with pytest.raises(ValueError, match=r"is Adam, but .* was saved with RMSprop"):
        opt.load(version_1.FOLDER / "scaled.npz")
