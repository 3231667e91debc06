"""Terms of weight zero are left out, whatever is in them."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests import cases

WEIGHTS = np.asarray([0.0, 1.0, 3.0, 1.5, 2.0, 0.0])
USED = WEIGHTS > 0
losses = pytest.mark.parametrize(
    ("kind", "draw"), cases.LOSSES, ids=[f"{k.__name__}-{d.__name__}" for k, d in cases.LOSSES]
)


def spoilt(x, value):
    """Return a copy with a value in the rows without weight, if it can have such."""
    x = x.copy()
    if x.dtype.kind in "fc":
        x[~USED] = value
    return x


@losses
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -7.5])
def test_a_row_without_weight_adds_nothing(backend, kind, draw, reduction, value):
    pred, target = draw(np.random.default_rng(2))
    loss = kind(reduction=reduction)
    bad_pred, bad_target = spoilt(pred, value), spoilt(target, value)
    if np.isnan(value) and pred.dtype.kind == "c":
        bad_pred[~USED] = np.nan + 1j * np.nan
    expected, slope = loss.value_and_gradient(pred[USED], target[USED], WEIGHTS[USED])
    for p, t in ((bad_pred, target), (pred, bad_target), (bad_pred, bad_target)):
        found, gradient = map(
            backend.numpy, loss.value_and_gradient(*map(backend.array, (p, t, WEIGHTS)))
        )
        found = found[USED] if reduction == "none" else found
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        np.testing.assert_allclose(gradient[USED], slope, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(gradient[~USED], 0)
    if reduction == "none":
        whole = backend.numpy(loss(*map(backend.array, (bad_pred, bad_target, WEIGHTS))))
        np.testing.assert_array_equal(whole[~USED], 0)


def test_an_element_without_weight_adds_nothing():
    pred, target = np.ones((3, 2)), np.zeros((3, 2))
    weights = np.ones((3, 2))
    weights[1, 0] = 0
    pred[1, 0] = np.nan
    value, gradient = fl.losses.SquaredError().value_and_gradient(pred, target, weights)
    assert value == 1
    np.testing.assert_array_equal(gradient == 0, weights == 0)


def test_what_has_a_weight_is_still_seen():
    loss = fl.losses.Poisson()
    pred, target, weights = np.zeros(3), np.asarray([1.0, -1.0, 2.0]), np.asarray([1.0, 0.0, 1.0])
    loss(pred, target, weights)
    with pytest.raises(ValueError, match=r"target: some elements are outside \[0, inf\)"):
        loss(pred, target, weights[::-1].cumsum())
    assert np.isnan(loss(np.asarray([np.nan, 0.0, 0.0]), abs(target), weights))
    # Labels are places, which are not looked up where there are none.
    with pytest.raises(ValueError, match=r"target: some elements are outside \[0, 2\]"):
        fl.losses.SoftmaxCrossEntropy()(np.ones((3, 3)), np.asarray([0, -1, 1]), weights)


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("loss", [fl.losses.SquaredError(), fl.losses.Poisson()], ids=str)
def test_missing_targets_are_left_out_of_a_fit(loss, engine):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = rng.poisson(np.exp(X @ [0.3, -0.2, 0.1])).astype(float)
    weights = rng.integers(0, 3, 60).astype(float)
    used, model = weights > 0, fl.LinearModel(loss)
    gaps = np.where(used, y, np.nan)
    found = fl.fit(model, (X, gaps), weights=weights, method="lbfgs")
    expected = fl.fit(model, (X[used], y[used]), weights=weights[used], method="lbfgs")
    assert found.success
    np.testing.assert_allclose(found.params["weights"], expected.params["weights"], atol=1e-6)
    options = {"method": fl.SGD(0.05), "batch_size": 20, "epochs": 4, "rng": 0, "engine": engine}
    with_gaps = fl.fit(model, (X, gaps), weights=weights, **options)
    whole = fl.fit(model, (X, y), weights=weights, **options)
    assert with_gaps.status == whole.status == 1
    np.testing.assert_array_equal(with_gaps.params["weights"], whole.params["weights"])
    np.testing.assert_array_equal(with_gaps.history["step_loss"], whole.history["step_loss"])
