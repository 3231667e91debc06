"""Values, derivatives, dtypes, shapes and refusals of the models."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import fallline as fl
from tests.models.tables import TABLE, batch, made, parameters

kinds = pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)


def on(backend, points, dtype="float64"):
    """Return points on a backend."""
    if isinstance(points, tuple):
        return tuple(backend.array(p.astype(dtype)) for p in points)
    return backend.array(points.astype(dtype))


def rows(params, i):
    """Return the parameters of one problem."""
    return {name: value[i] for name, value in params.items()}


def test_the_table_has_every_model():
    public = {getattr(fl.models, name) for name in fl.models.__all__} - {fl.models.Model}
    assert public == set(TABLE)
    assert all(inspect.isclass(kind) for kind in public)


@kinds
def test_values_are_those_of_the_formula(kind):
    points, numbers, formula = TABLE[kind]
    arguments = points if isinstance(points, tuple) else (points,)
    found = made(kind)(points, parameters(kind))
    np.testing.assert_allclose(found, formula(*arguments, *numbers), rtol=1e-11)


@kinds
def test_derivatives_are_those_of_torch(kind):
    torch = pytest.importorskip("torch")
    points = TABLE[kind][0]
    x = tuple(map(torch.from_numpy, points)) if isinstance(points, tuple) else torch.tensor(points)
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in batch(kind, 1).items()}
    model = made(kind)
    jacobian = model.jacobian(x, leaves)
    assert list(jacobian) == list(model.names)
    weights = torch.from_numpy(
        np.random.default_rng(1).standard_normal((3, *model(x, leaves).shape))
    )
    for row in weights:  # sums of the values with random weights, whose gradient the tape has
        expected = torch.autograd.grad((row * model(x, leaves)).sum(), list(leaves.values()))
        for (name, column), gradient in zip(jacobian.items(), expected, strict=True):
            column = column.detach()
            ours = float((row * column).sum())
            size = float((row * column).abs().sum())
            assert ours == pytest.approx(float(gradient), abs=1e-12 * size), name


@kinds
def test_derivatives_are_central_differences(backend, kind):
    points = on(backend, TABLE[kind][0])
    params, model = batch(kind, 3), made(kind)
    _, jacobian = model.value_and_jacobian(points, backend.tree(params))
    for name, value in params.items():
        moved = []
        for step in (1e-3, -1e-3, 2e-3, -2e-3):
            changed = backend.tree({**params, name: value * (1 + step)})
            moved.append(backend.numpy(model(points, changed)))
        a, b, c, d = moved
        # Of fourth order.
        expected = (8 * (a - b) - (c - d)) / (12e-3 * value[:, None])
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(
            backend.numpy(jacobian[name]), expected, rtol=1e-7, atol=1e-8 * size, err_msg=name
        )


@kinds
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_keeps_dtype_and_shape(backend, kind, dtype):
    points, params, model = TABLE[kind][0], batch(kind, 4), made(kind)
    expected, columns = model.value_and_jacobian(points, params)
    assert expected.shape[0] == 4
    ours = backend.tree({k: v.astype(dtype) for k, v in params.items()})
    value, jacobian = model.value_and_jacobian(on(backend, points, dtype), ours)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for found, wanted in [(value, expected), *((jacobian[k], columns[k]) for k in model.names)]:
        found = backend.numpy(found)
        assert found.dtype == np.dtype(dtype)
        assert found.shape == wanted.shape == expected.shape
        np.testing.assert_allclose(
            found, wanted, rtol=tolerance, atol=tolerance * np.max(np.abs(wanted))
        )


@kinds
def test_a_batch_has_the_numbers_of_single_problems(backend, kind):
    points, params, model = on(backend, TABLE[kind][0]), batch(kind, 5), made(kind)
    value, jacobian = model.value_and_jacobian(points, backend.tree(params))
    for i in (0, 4):
        one, columns = model.value_and_jacobian(points, backend.tree(rows(params, i)))
        np.testing.assert_allclose(backend.numpy(value)[i], backend.numpy(one), rtol=1e-14)
        for name in model.names:
            np.testing.assert_allclose(
                backend.numpy(jacobian[name])[i], backend.numpy(columns[name]), rtol=1e-13
            )


@kinds
def test_points_may_differ_between_problems(kind):
    points, params, model = TABLE[kind][0], batch(kind, 3), made(kind)
    factors = np.asarray([1.0, 1.1, 0.9])[:, None]
    many = tuple(p * factors for p in points) if isinstance(points, tuple) else points * factors
    value = model(many, params)
    for i in range(3):
        one = tuple(p[i] for p in many) if isinstance(points, tuple) else many[i]
        np.testing.assert_allclose(value[i], model(one, rows(params, i)), rtol=1e-14)


@kinds
def test_what_is_held_is_no_parameter(kind):
    points, params = TABLE[kind][0], parameters(kind)
    free, jacobian = made(kind).value_and_jacobian(points, params)
    for name in params:
        model = made(kind, **{name: float(params[name])})
        rest = {k: v for k, v in params.items() if k != name}
        assert model.names == tuple(rest)
        value, columns = model.value_and_jacobian(points, rest)
        np.testing.assert_array_equal(value, free)
        assert columns.keys() == rest.keys()
        np.testing.assert_array_equal(columns[next(iter(rest))], jacobian[next(iter(rest))])
        assert model.guess(points, free).keys() == rest.keys()


def test_models_compare_print_and_are_keys():
    model = fl.models.Gaussian(width=1.3)
    assert model == fl.models.Gaussian(width=1.3) != fl.models.Gaussian()
    assert len({model, fl.models.Gaussian(width=1.3)}) == 1
    assert "width=1.3" in repr(model)


def test_points_are_taken_in_the_precision_of_the_parameters():
    params = {"slope": np.asarray(2, np.float32), "offset": np.asarray([0, 1], np.float32)}
    for x in (np.arange(3), np.arange(3.0), np.arange(3, dtype=np.uint8)):
        found = fl.models.Line()(x, params)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [[0, 2, 4], [1, 3, 5]])


def test_numbers_stand_beside_arrays(backend):
    x = backend.array(np.arange(3))
    found = fl.models.Line()(x, {"slope": 2.0, "offset": backend.array(np.asarray([0.0, 1.0]))})
    np.testing.assert_array_equal(backend.numpy(found), [[0, 2, 4], [1, 3, 5]])
    assert backend.numpy(fl.models.Line()(x, {"slope": 2, "offset": 1})).dtype.kind == "f"


def test_far_pixels_have_values_with_all_digits():
    mpmath = pytest.importorskip("mpmath")
    x = np.asarray([0.0, 5.0, 12.0, 25.0, -25.0])
    params = {"total": 1.0, "center_x": 0.0, "center_y": 0.0, "width": 1.0}
    model = fl.models.PixelGaussian2D(offset=0.0)
    found = model((x, np.zeros_like(x)), params)
    with mpmath.workdps(400):
        half = mpmath.mpf(1) / 2
        parts = [mpmath.ncdf(-abs(u) + half) - mpmath.ncdf(-abs(u) - half) for u in x.tolist()]
        expected = [float(part * parts[0]) for part in parts]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[3] == found[4] > 0


def test_under_jit_and_vmap(monkeypatch):
    jax = pytest.importorskip("jax")
    model, x = fl.models.PseudoVoigt(), TABLE[fl.models.PseudoVoigt][0]
    params = batch(fl.models.PseudoVoigt, 3)
    expected, columns = model.value_and_jacobian(x, params)
    with jax.enable_x64(True):
        theirs = {k: jax.numpy.asarray(v) for k, v in params.items()}
        points = jax.numpy.asarray(x)
        value, jacobian = jax.jit(model.value_and_jacobian)(points, theirs)
        each = jax.vmap(lambda p: model(points, p))(theirs)
        np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-13)
        np.testing.assert_allclose(np.asarray(each), expected, rtol=1e-13)
        np.testing.assert_allclose(np.asarray(jacobian["width"]), columns["width"], rtol=1e-11)


PARAMS = {"slope": np.asarray(1.0), "offset": np.asarray(0.0)}
X = np.arange(4.0)
REFUSED = [
    (X, [1.0, 2.0], TypeError, "params: is a list, expected a dict of ['slope', 'offset']"),
    (X, {"slope": 1.0}, ValueError, "params: entries is ['slope'], expected ['offset', 'slope']"),
    (X, {**PARAMS, "width": 1.0}, ValueError, "params: entries is ['offset', 'slope', 'width']"),
    (X, {**PARAMS, "slope": None}, TypeError, "params['slope']: is None, expected an array"),
    (X, {**PARAMS, "slope": np.asarray(1)}, TypeError, "params['slope']: dtype is int64"),
    (X, {**PARAMS, "slope": np.asarray(1j)}, TypeError, "params['slope']: dtype is complex128"),
    (np.asarray(1.0), PARAMS, ValueError, "x: shape is (), expected (..., points)"),
    (X * 1j, PARAMS, TypeError, "x: dtype is complex128, expected real numbers"),
    ([0.0, 1.0], PARAMS, TypeError, "x: is a list, expected an array"),
    (
        np.ones((3, 4)),
        {**PARAMS, "slope": np.ones(2)},
        ValueError,
        "params['slope']: shape is (2,), expected () or one that fits (3,)",
    ),
]


@pytest.mark.parametrize(("x", "params", "kind", "message"), REFUSED)
def test_refusals(x, params, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        fl.models.Line()(x, params)


def test_refusals_of_spots_and_data():
    spot = fl.models.Gaussian2D()
    with pytest.raises(TypeError, match=re.escape("x: is an ndarray, expected the arrays (x, y)")):
        spot(np.ones((2, 9)), parameters(fl.models.Gaussian2D))
    with pytest.raises(TypeError, match="x: is 3 arrays, expected"):
        spot((X, X, X), parameters(fl.models.Gaussian2D))
    with pytest.raises(TypeError, match="y: dtype is int64, expected real floating-point"):
        fl.models.Line().guess(X, np.arange(4))
    with pytest.raises(ValueError, match=re.escape("y: shape is (2, 3), expected (2, 4)")):
        fl.models.Line().guess(X, np.ones((2, 3)))
    with pytest.raises(ValueError, match=re.escape("PixelGaussian2D(pixel=): is 0")):
        fl.models.PixelGaussian2D(pixel=0.0)
    with pytest.raises(TypeError, match=re.escape("Gaussian(width=): is 'a', expected a number")):
        fl.models.Gaussian(width="a")


def test_another_library_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="x: array library is numpy, expected torch"):
        fl.models.Line()(X, {k: torch.tensor(float(v)) for k, v in PARAMS.items()})
