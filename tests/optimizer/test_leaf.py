"""The checks on one leaf."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.optimizer._leaf import stepped
from tests.helpers import COMPILED


def test_a_parameter_that_was_made_read_only_is_found_by_its_path():
    params = {"w": [np.ones(3), np.ones((2, 2))], "frozen": np.ones(2), "none": None}
    params["frozen"].flags.writeable = False
    rule = {"w": fl.SGD(0.1), "frozen": None, "none": None}
    bound = fl.Optimizer(params, rule)._bound
    assert len(bound.stepped) == 2
    bound.check_written()
    params["w"][1].flags.writeable = False
    with pytest.raises(ValueError, match=r"params\['w'\]\[1\]: is read-only"):
        bound.check_written()
    params["w"][1].flags.writeable = True
    bound.check_written()


def test_only_numpy_s_arrays_are_asked(backend):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes its arrays")
    leaves = fl.Optimizer(backend.array(np.ones(3)), fl.SGD(0.1))._bound.leaves
    assert len(stepped(leaves)) == (backend.name == "numpy")


OPTIONS = {
    "plain": {},
    "summed": {"gradients": [fl.gradients.Accumulate(2)]},
    "penalty": {"penalty": fl.TotalVariation(0.1)},
    "constraint": {"constraint": fl.NonNegative()},
}


@pytest.mark.parametrize("engine", ["eager", *COMPILED])
@pytest.mark.parametrize("options", OPTIONS)
def test_no_engine_writes_what_was_made_read_only(engine, options):
    params = {"a": np.ones(3), "b": np.ones((2, 2)), **{f"{i}": np.ones(2) for i in range(9)}}
    opt = fl.Optimizer(params, fl.Adam(0.1), engine=engine, **OPTIONS[options])
    grads = {key: np.ones_like(x) for key, x in params.items()}
    for _ in range(2):
        opt.step(grads)
    before = {key: x.copy() for key, x in params.items()}
    for name in ("b", "5"):
        params[name].flags.writeable = False
        for g in (grads, {key: np.ones_like(x) for key, x in params.items()}):
            with pytest.raises(ValueError, match=rf"params\['{name}'\]: is read-only"):
                opt.step(g)
        for key, x in before.items():
            np.testing.assert_array_equal(params[key], x)
        params[name].flags.writeable = True
    opt.step(grads)
    opt.step(grads)
    assert opt.step_count == (2 if options == "summed" else 4)
    assert not np.array_equal(params["b"], before["b"])


@pytest.mark.parametrize("engine", ["eager", *COMPILED])
def test_no_flush_writes_what_was_made_read_only(engine):
    params = {"a": np.ones(3), "b": np.ones(3)}
    accumulate = fl.gradients.Accumulate(2)
    opt = fl.Optimizer(params, fl.SGD(0.5), engine=engine, gradients=[accumulate])
    opt.step({key: np.ones(3) for key in params})
    params["b"].flags.writeable = False
    with pytest.raises(ValueError, match=r"params\['b'\]: is read-only"):
        opt.flush()
    np.testing.assert_array_equal(params["a"], np.ones(3))
    params["b"].flags.writeable = True
    opt.flush()
    np.testing.assert_array_equal(params["b"], np.full(3, 0.5))


@pytest.mark.parametrize("engine", ["auto", "eager", *COMPILED])
def test_no_fit_writes_what_was_made_read_only(engine):
    rng, held = np.random.default_rng(0), []
    X = rng.standard_normal((40, 3))

    class Lock(fl.callbacks.Callback):
        def on_epoch(self, run):
            w = run.optimizer.params["weights"]
            if run.epoch == 2:
                w.flags.writeable = False
                held.append((w, w.copy()))

    with pytest.raises(ValueError, match=r"params\['weights'\]: is read-only"):
        fl.fit(
            fl.LinearModel(fl.losses.SquaredError()), (X, X @ np.ones(3)), method=fl.SGD(1e-2),
            batch_size=8, epochs=5, rng=0, callbacks=[Lock()], engine=engine,
        )  # fmt: skip
    ((w, before),) = held
    assert w.any()
    np.testing.assert_array_equal(w, before)
