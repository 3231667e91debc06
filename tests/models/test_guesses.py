"""Guesses from data: near the parameters, in every unit, for dips, noise and nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.models.tables import LINE, PLANE, TABLE, UNITS, batch, made, parameters, scaled

kinds = pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)


def noisy(kind, n=4, noise=0.02, dtype="float64"):
    """Return points and data of some problems."""
    points, params = TABLE[kind][0], batch(kind, n)
    clean = made(kind)(points, params)
    y = clean + noise * np.random.default_rng(1).standard_normal(clean.shape)
    return points, y.astype(dtype)


def taken(points, index):
    """Return some of the points."""
    return tuple(p[index] for p in points) if isinstance(points, tuple) else points[index]


@kinds
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_guesses_the_same(backend, kind, dtype):
    points, y = noisy(kind, dtype=dtype)
    expected = made(kind).guess(points, y)
    theirs = (
        tuple(map(backend.array, points)) if isinstance(points, tuple) else backend.array(points)
    )
    found = made(kind).guess(theirs, backend.array(y))
    assert list(found) == list(made(kind).names)
    for name, value in found.items():
        value = backend.numpy(value)
        assert value.dtype == np.dtype(dtype)
        assert value.shape == (4,)
        tolerance = 1e-3 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(value, expected[name], rtol=tolerance, err_msg=name)


@kinds
def test_a_batch_is_guessed_as_its_problems_are(kind):
    points, y = noisy(kind)
    many = made(kind).guess(points, y)
    for i in range(4):
        for name, value in made(kind).guess(points, y[i]).items():
            assert isinstance(value, np.ndarray)
            assert value.shape == ()
            np.testing.assert_allclose(value, many[name][i], rtol=1e-9)


@kinds
def test_the_order_of_the_points_does_not_matter(kind):
    points, y = noisy(kind)
    order = np.random.default_rng(3).permutation(y.shape[-1])
    shuffled = made(kind).guess(taken(points, order), y[:, order])
    for name, value in made(kind).guess(points, y).items():
        np.testing.assert_allclose(shuffled[name], value, rtol=1e-9)


@kinds
@pytest.mark.parametrize(("unit_x", "unit_y"), [(1e-12, 1e12), (1e12, 1e-12), (1e12, 1e12)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_guesses_are_in_the_units_of_the_data(kind, unit_x, unit_y, dtype):
    points, y = noisy(kind, dtype=dtype)
    expected = made(kind).guess(points, y)
    found = made(kind, unit_x).guess(scaled(points, unit_x), (y * unit_y).astype(dtype))
    for name, value in found.items():
        power_x, power_y = UNITS[name]
        unit = unit_x**power_x * unit_y**power_y
        tolerance = 1e-2 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(value / unit, expected[name], rtol=tolerance, err_msg=name)


@kinds
def test_parameters_are_near_those_of_the_data(kind):
    points, y = noisy(kind, noise=0.0)
    guess, params = made(kind).guess(points, y), batch(kind, 4)
    for name, value in guess.items():
        if name in ("fraction", "angle") or kind is fl.models.TwoExponentialDecays:
            continue
        size = np.ptp(y, axis=1) if name == "offset" else np.abs(params[name])
        assert np.all(np.abs(value - params[name]) <= 0.25 * size), name
    clean, reach = made(kind)(points, guess), np.ptp(y, axis=1)
    assert np.all(np.sqrt(np.mean((clean - y) ** 2, axis=1)) <= 0.06 * reach)


PEAKS = [kind for kind in TABLE if {"center", "center_x"} & set(made(kind).names)]


@pytest.mark.parametrize("kind", PEAKS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("held", [{}, {"offset": 2.0}])
def test_a_dip_is_found_upside_down(kind, held):
    points, y = TABLE[kind][0], made(kind)(TABLE[kind][0], {**parameters(kind), "offset": 2.0})
    height = made(kind).names[0]
    up, down = (made(kind, **held).guess(points, values) for values in (y, 4.0 - y))
    assert float(up[height]) > 0
    for name, value in down.items():
        expected = {height: -up[height]}.get(name, up[name])
        expected = 4.0 - expected if name == "offset" else expected
        np.testing.assert_allclose(value, expected, rtol=1e-9, err_msg=name)


def test_a_wide_peak_is_not_taken_for_a_dip():
    params = {"amplitude": 1.0, "center": 5.0, "width": 3.0, "offset": 10.0}
    y = fl.models.Gaussian()(LINE, params)
    assert float(fl.models.Gaussian().guess(LINE, y)["amplitude"]) > 0.4


def test_a_rise_has_a_negative_amplitude():
    start = fl.models.ExponentialDecay().guess(LINE, 3 - 2 * np.exp(-LINE / 2))
    assert float(start["amplitude"]) == pytest.approx(-2, rel=0.2)


def test_the_angle_of_a_spot_is_that_of_its_first_axis():
    x, y = PLANE
    for angle in (-1.2, -0.4, 0.0, 0.3, 0.9, 1.5):
        params = {"amplitude": 1.0, "center_x": 7.0, "center_y": 6.0, "width_x": 2.6}
        params |= {"width_y": 1.3, "angle": angle, "offset": 0.0}
        start = fl.models.RotatedGaussian2D().guess(
            (x, y), fl.models.RotatedGaussian2D()((x, y), params)
        )
        away = (float(start["angle"]) - angle + np.pi / 2) % np.pi - np.pi / 2
        assert abs(away) < 0.1
        assert float(start["width_x"]) > float(start["width_y"])


@kinds
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_constant_data_give_finite_numbers(kind, level):
    points = TABLE[kind][0]
    n = points[0].size if isinstance(points, tuple) else points.size
    for held in ({}, {"offset": 1.0}):
        start = made(kind, **held).guess(points, np.full(n, level))
        assert all(np.isfinite(value) for value in start.values())
        assert all(float(v) > 0 for k, v in start.items() if k.startswith(("width", "lifetime")))


@kinds
def test_one_problem_with_nan_leaves_the_others_alone(kind):
    points, y = noisy(kind)
    expected = made(kind).guess(points, y)
    y[1, 3] = np.nan
    found = made(kind).guess(points, y)
    for name, value in found.items():
        np.testing.assert_array_equal(value[[0, 2, 3]], expected[name][[0, 2, 3]])


@pytest.mark.parametrize("raised", [False, True])
def test_the_guess_of_a_line_is_the_least_squares_line(raised):
    x = 1000 + LINE
    y = 3 * x - 2 + np.random.default_rng(0).standard_normal(x.size)
    model = fl.models.Line() if raised else fl.models.Line(offset=5.0)
    columns = np.stack([x, np.ones_like(x)] if raised else [x], axis=1)
    expected = np.linalg.lstsq(columns, y if raised else y - 5)[0]
    np.testing.assert_allclose(list(model.guess(x, y).values()), expected, rtol=1e-9)


def test_the_amplitude_of_a_decay_belongs_to_the_origin():
    t = 6 + LINE
    start = fl.models.ExponentialDecay().guess(t, 5 * np.exp(-t / 2) + 0.3)
    assert float(start["lifetime"]) == pytest.approx(2, rel=0.2)
    fitted = float(start["amplitude"]) * np.exp(-t[0] / float(start["lifetime"]))
    assert fitted == pytest.approx(5 * np.exp(-t[0] / 2), rel=0.1)


@pytest.mark.parametrize("kind", PEAKS, ids=lambda kind: kind.__name__)
def test_a_peak_of_one_point_has_a_width(kind):
    points = TABLE[kind][0]
    n = points[0].size if isinstance(points, tuple) else points.size
    y = np.zeros(n)
    y[n // 2] = 1.0
    start = made(kind).guess(points, y)
    spacing = 1.0 if isinstance(points, tuple) else points[1] - points[0]
    for name in start:
        if name.startswith("width"):
            assert 0.2 * spacing < float(start[name]) < 2 * spacing
