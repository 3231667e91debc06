"""Fits of the models from their own guesses."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.models.tables import TABLE, UNITS, batch, made, scaled

kinds = pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
UNIT_PAIRS = [(1.0, 1.0), (1e-12, 1e12), (1e12, 1e-12), (1e12, 1e12)]
# Squares of derivatives stay in the range of single precision.
SINGLE = [(1.0, 1.0), (1e-8, 1e8), (1e8, 1e-8), (1e12, 1e12)]


def noisy(kind, noise, n=8):
    """Return points, data of some problems, and the parameters behind them."""
    points, params = TABLE[kind][0], batch(kind, n)
    clean = made(kind)(points, params)
    away = np.random.default_rng(5).standard_normal(clean.shape)
    return points, clean + noise * np.ptp(clean, axis=1, keepdims=True) * away, params


def in_units(params, unit_x, unit_y):
    """Return parameters in units."""
    return {k: v * unit_x ** UNITS[k][0] * unit_y ** UNITS[k][1] for k, v in params.items()}


@kinds
@pytest.mark.parametrize(("unit_x", "unit_y"), UNIT_PAIRS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_guess_leads_to_the_fit_that_the_truth_leads_to(kind, noise, unit_x, unit_y):
    points, y, params = noisy(kind, noise)
    points, y, model = scaled(points, unit_x), y * unit_y, made(kind, unit_x)
    res = fl.curve_fit(model, points, y, batched=True)
    assert np.all(res.success), res.message
    best = fl.curve_fit(model, points, y, in_units(params, unit_x, unit_y), batched=True)
    least = 1e-16 * np.sum(y * y, axis=1)
    assert np.all(res.cost <= best.cost * (1 + 1e-6) + least)
    if noise == 0 and kind is not fl.models.TwoExponentialDecays:
        found, true = model(points, res.x), model(points, in_units(params, unit_x, unit_y))
        np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-8 * unit_y)


@kinds
@pytest.mark.parametrize(("unit_x", "unit_y"), SINGLE)
def test_in_single_precision_too(kind, unit_x, unit_y):
    points, y, _ = noisy(kind, 0.02)
    res = fl.curve_fit(made(kind), points, y, batched=True)
    single = scaled(points, unit_x)
    single = tuple(p.astype("float32") for p in single) if isinstance(single, tuple) else single
    model = made(kind, unit_x)
    found = fl.curve_fit(model, single, (y * unit_y).astype("float32"), batched=True)
    assert np.all(found.success), found.message
    assert all(x.dtype == np.float32 for x in found.x.values())
    np.testing.assert_allclose(np.float64(found.chi2) / unit_y**2, res.chi2, rtol=1e-3)


@kinds
def test_what_is_held_stays_where_it_is(kind):
    points, y, params = noisy(kind, 0.02)
    name = made(kind).names[-2]
    value = float(np.mean(params[name]))
    res = fl.curve_fit(made(kind, **{name: value}), points, y, batched=True)
    assert name not in res.x
    assert np.all(res.success), res.message
    free = fl.curve_fit(made(kind), points, y, batched=True)
    assert np.all(free.cost <= res.cost * (1 + 1e-9))


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_every_library_fits_spots(backend, likelihood):
    kind = fl.models.PixelGaussian2D
    points, model = TABLE[kind][0], made(kind)
    counts = np.random.default_rng(2).poisson(model(points, batch(kind, 2))).astype(float)
    expected = fl.curve_fit(model, points, counts, likelihood=likelihood, batched=True)
    theirs = tuple(map(backend.array, points)), backend.array(counts)
    found = fl.curve_fit(model, *theirs, likelihood=likelihood, batched=True)
    assert found.message.startswith("2 of 2 converged")
    for name in model.names:
        for ours, numpy in ((found.x, expected.x), (found.stderr, expected.stderr)):
            np.testing.assert_allclose(backend.numpy(ours[name]), numpy[name], rtol=1e-6)
