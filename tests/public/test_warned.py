"""Warnings point at the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fallline as fl
from fallline import callbacks


class Remembers(callbacks.Callback):
    def state_dict(self):
        return {"n": 1}


def quartic(x):
    return np.sum(x**4, axis=-1), 4 * x**3


def told(call):
    """Return the messages of a call, after a check that each points here."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    assert {w.filename for w in seen} == {__file__}
    return " ".join(str(w.message) for w in seen)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("method", ["lbfgs", fl.Adam(0.1)], ids=repr)
def test_a_run_of_minimize_that_goes_on(batched, method, tmp_path):
    path, x0 = tmp_path / "run.npz", np.ones((2, 3)) if batched else np.ones(3)
    options = {"method": method, "batched": batched, "max_iterations": 4}
    hooks = [Remembers(), callbacks.Checkpoint(path)]
    fl.minimize(quartic, x0, callbacks=hooks, **options)
    assert "Remembers" in told(lambda: fl.minimize(quartic, x0, resume=path, **options))
    if method != "lbfgs":
        options = {**options, "method": fl.Adam(0.2)}
        text = told(lambda: fl.minimize(quartic, x0, resume=path, **options))
        assert "other numbers were saved" in text


@pytest.mark.parametrize("method", ["lbfgs", fl.Adam(0.1)], ids=repr)
def test_a_fit_that_goes_on(method, tmp_path):
    X = np.random.default_rng(0).standard_normal((30, 3))
    path, model = tmp_path / "run.npz", fl.LinearModel(fl.losses.SquaredError())
    options = {"method": method, "epochs": 3, "rng": 0}
    hooks = [Remembers(), callbacks.Checkpoint(path)]
    fl.fit(model, (X, X @ [1.0, 2, 3]), callbacks=hooks, **options)
    again = {**options, "resume": path}
    assert "Remembers" in told(lambda: fl.fit(model, (X, X @ [1.0, 2, 3]), **again))
    if method != "lbfgs":
        text = told(lambda: fl.fit(model, (X, X @ [1.0, 2, 4]), **again))
        assert "the data are not those of" in text


def test_callbacks_that_return_something():
    X = np.random.default_rng(0).standard_normal((30, 3))
    model = fl.LinearModel(fl.losses.SquaredError())
    for batched in (False, True):
        x0 = np.ones((2, 3)) if batched else np.ones(3)
        for more in ({"callback": lambda record: 1}, {"callbacks": [lambda run: 1]}):
            text = told(
                lambda more=more, x0=x0, b=batched: fl.minimize(quartic, x0, batched=b, **more)
            )
            assert "which stops nothing" in text
    for method in ("lbfgs", fl.Adam(0.1)):
        options = {"method": method, "epochs": 2, "rng": 0, "callbacks": [lambda run: 1]}
        text = told(lambda o=options: fl.fit(model, (X, X @ [1.0, 2, 3]), **o))
        assert "which stops nothing" in text


def test_files_of_other_numbers(tmp_path):
    x = np.ones(3)
    fl.Optimizer(x, fl.Adam(0.1)).save(tmp_path / "opt.npz")
    other = fl.Optimizer(x.copy(), fl.Adam(0.2))
    assert "other numbers" in told(lambda: other.load(tmp_path / "opt.npz"))


def test_parameters_that_nothing_determines():
    text = told(lambda: fl.least_squares(lambda x: x[:1] + x[1:] - 1, np.zeros(2)))
    assert "covariance is infinite" in text
    line = fl.models.Line()
    text = told(lambda: fl.curve_fit(line, np.ones(3), np.ones((2, 3)), batched=True))
    assert "of 2 of 2 problems" in text
