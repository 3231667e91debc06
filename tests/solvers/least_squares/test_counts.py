"""Spots of few photons: the errors are those that the Cramér-Rao bound allows."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

SPOTS, SIDE = 2000, 11
TRUTH = {"total": 1000.0, "center_x": 5.2, "center_y": 4.7, "width": 1.3, "offset": 3.0}


def bound(model, points, params):
    """Return the least standard deviations of unbiased estimates from counts."""
    rate, jacobian = model.value_and_jacobian(points, params)
    columns = np.stack(list(jacobian.values()), axis=1)
    covariance = np.linalg.inv(columns.T @ (columns / rate[:, None]))
    return dict(zip(jacobian, np.sqrt(np.diagonal(covariance)), strict=True))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_scatter_is_that_of_the_cramer_rao_bound(dtype):
    model = fl.models.PixelGaussian2D()
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1).astype(dtype)
    rate = model((x.astype(float), y.astype(float)), TRUTH)
    counts = np.random.default_rng(0).poisson(rate, (SPOTS, rate.size)).astype(dtype)
    start = model.guess((x, y), counts)
    res = fl.curve_fit(
        model, (x, y), counts, start, likelihood="poisson", jacobian=model.jacobian, batched=True
    )
    assert np.all(res.success)
    for name, least in bound(model, (x.astype(float), y.astype(float)), TRUTH).items():
        found = np.asarray(res.x[name], float)
        assert np.std(found) == pytest.approx(least, rel=0.05), name
        assert abs(np.mean(found) - TRUTH[name]) <= 0.1 * np.std(found), name
        assert np.median(res.stderr[name]) == pytest.approx(least, rel=0.05), name


def test_guesses_from_very_few_counts_lead_where_the_truth_leads():
    # Half a count of background: most pixels beside the spot have none.
    y, x = np.mgrid[:9, :9].reshape(2, -1).astype(float)
    model = fl.models.PixelGaussian2D()
    truth = {"total": 100.0, "center_x": 4.2, "center_y": 3.9, "width": 1.0, "offset": 0.5}
    counts = np.random.default_rng(1).poisson(model((x, y), truth), (500, x.size)).astype(float)
    guess = model.guess((x, y), counts)
    assert np.all(guess["offset"] > 0)
    start = {name: np.full(500, value) for name, value in truth.items()}
    found, best = (
        fl.curve_fit(model, (x, y), counts, p0, likelihood="poisson", batched=True)
        for p0 in (guess, start)
    )
    assert np.all(found.success)
    assert np.all(found.cost <= best.cost * (1 + 1e-6))
