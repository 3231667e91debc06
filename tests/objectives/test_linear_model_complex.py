"""Linear models of complex data: gradients, least squares, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import losses
from fallline.fitting import _compiled_epoch
from tests import cases

COMPLEX = [losses.SquaredError(), losses.AmplitudeError(), losses.PoissonIntensity(0.5)]
KINDS = dict.fromkeys(kind for kind, _ in cases.LOSSES)
REAL = [kind() for kind in KINDS if not kind.complex_pred]


def drawn(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def problem(outputs=(), n=12):
    rng = np.random.default_rng(3)
    X, w, b = drawn(rng, n, 4), drawn(rng, 4, *outputs), drawn(rng, *outputs)
    return X, {"weights": w, "intercept": b}, X @ w + b + 0.1 * drawn(rng, n, *outputs)


def test_every_loss_of_complex_predictions_is_here():
    assert {kind for kind in KINDS if kind.complex_pred} == {type(x) for x in COMPLEX}


@pytest.mark.parametrize("loss", COMPLEX, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("outputs", [(), (3,)])
@pytest.mark.parametrize("penalty", [None, fl.L2(0.3)])
def test_gradients(backend, loss, outputs, penalty):
    X, params, target = problem(outputs)
    params = {name: 0.7 * x + 0.1 for name, x in params.items()}
    y = backend.array(target if isinstance(loss, losses.SquaredError) else abs(target) ** 2)
    model = fl.LinearModel(loss, penalty)
    # torch multiplies arrays of one dtype only.
    kinds = ("complex",) if backend.name == "torch" else ("complex", "real params", "real X")
    for kind in kinds:
        data = X.real if kind == "real X" else X
        start = {k: x.real if kind == "real params" else x for k, x in params.items()}
        X_, given = backend.array(data), backend.tree(start)
        value, gradient = model.value_and_gradient(given, X_, y)
        assert not np.iscomplexobj(backend.numpy(value))
        for name, g in gradient.items():
            assert backend.numpy(g).dtype == start[name].dtype
        check = fl.check_gradient(lambda p, X=X_: model.value_and_gradient(p, X, y), given)
        assert check, (kind, check.message)
        assert check.error < 1e-7


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "csr_matrix"])
@pytest.mark.parametrize("loss", COMPLEX, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_sparse_is_dense(form, loss, outputs):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    X, params, target = problem(outputs)
    X = np.where(abs(X) > 1, X, 0)
    y = target if isinstance(loss, losses.SquaredError) else abs(target) ** 2
    model = fl.LinearModel(loss)
    value, gradient = model.value_and_gradient(params, X, y)
    other, slope = model.value_and_gradient(params, getattr(sparse, form)(X), y)
    np.testing.assert_allclose(other, value, rtol=1e-13)
    for name, g in gradient.items():
        np.testing.assert_allclose(slope[name], g, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lbfgs", {}),
        ("cg", {}),
        (fl.Adam(lambda step: 0.1 / (1 + step / 300)), {"epochs": 2000}),
        (fl.SGD(0.05), {"epochs": 500, "batch_size": 50, "rng": 0}),
    ],
    ids=["lbfgs", "cg", "Adam", "SGD"],
)
def test_least_squares(sparse, fit_intercept, method, options):
    rng = np.random.default_rng(0)
    X = drawn(rng, 50, 3)
    y = X @ np.asarray([1 + 1j, -2, 0.5j]) + (2 - 1j) + 0.1 * drawn(rng, 50)
    columns = np.hstack([X, np.ones((50, 1))]) if fit_intercept else X
    expected = np.linalg.lstsq(columns, y)[0]
    if sparse:
        X = pytest.importorskip("scipy.sparse").csr_array(X)
    model = fl.LinearModel(losses.SquaredError(), fit_intercept=fit_intercept)
    found = fl.fit(model, (X, y), method=method, **options)
    np.testing.assert_allclose(found.params["weights"], expected[:3], atol=1e-4)
    if fit_intercept:
        np.testing.assert_allclose(found.params["intercept"], expected[3], atol=1e-4)
    np.testing.assert_allclose(found.predict(X), columns @ expected, atol=1e-3)


@pytest.mark.parametrize("loss", REAL, ids=lambda x: type(x).__name__)
def test_a_loss_of_real_predictions_refuses_complex_data(loss):
    X, params, _ = problem(outputs=(3,))
    model, y = fl.LinearModel(loss), np.ones((12, 3))
    words = rf"^X: dtype is complex128, expected a real one for {type(loss).__name__}$"
    with pytest.raises(TypeError, match=words):
        model.value_and_gradient(params, X, y)
    with pytest.raises(TypeError, match=words):
        fl.fit(model, (X, y))
    words = r"^params\['weights'\]: dtype is complex128, expected a real one"
    with pytest.raises(TypeError, match=words):
        model.value_and_gradient(params, X.real, y)


@pytest.mark.parametrize("complex_X", [False, True])
def test_complex_steps_are_not_recorded(complex_X, monkeypatch):
    X, params, y = problem()
    params = {name: np.asarray(x) for name, x in params.items()}
    scans = []
    run = _compiled_epoch.CompiledEpoch.advance
    monkeypatch.setattr(
        _compiled_epoch.CompiledEpoch, "advance", lambda *args: (scans.append(args), run(*args))[1]
    )
    X = X if complex_X else X.real
    model = fl.LinearModel(losses.SquaredError())
    options = {"method": fl.SGD(0.01), "batch_size": 5, "epochs": 3, "rng": 0, "params": params}
    found = fl.fit(model, (X, y), engine="auto", **options)
    other = fl.fit(model, (X, y), engine="eager", **options)
    np.testing.assert_array_equal(found.params["weights"], other.params["weights"])
    assert not scans


def test_estimators_refuse_complex_data():
    pytest.importorskip("sklearn")
    from fallline.estimators import LinearClassifier, LinearRegressor

    X, _, y = problem()
    for make in (LinearRegressor, LinearClassifier):
        with pytest.raises(ValueError, match="Complex data not supported"):
            make().fit(X, y.real > 0)
    with pytest.raises(ValueError, match="Complex data not supported"):
        LinearRegressor().fit(X.real, y)
    with pytest.raises(ValueError, match="Complex data not supported"):
        LinearRegressor().fit(X.real, y.real).predict(X)
