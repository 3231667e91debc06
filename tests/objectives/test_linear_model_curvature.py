"""Second derivatives of losses and linear models, by differences of their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.cases import LOSSES

CURVED = [(kind, draw) for kind, draw in LOSSES if kind.curved and draw.__name__ != "_complexes"]
curved = pytest.mark.parametrize(
    ("kind", "draw"), CURVED, ids=[kind.__name__ for kind, _ in CURVED]
)
STEP = 1e-5


def test_losses_say_whether_they_bend():
    names = {"SquaredError", "Huber", "Poisson", "Gamma", "BinaryCrossEntropy"}
    assert {kind.__name__ for kind, _ in LOSSES if kind.curved} == names


@curved
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_curvature_by_central_differences(backend, kind, draw, reduction, weighted):
    rng = np.random.default_rng(0)
    pred, target = draw(rng)
    weights = backend.array(np.arange(6.0)) if weighted else None
    loss, target = kind(reduction=reduction), backend.array(target)
    low, high = (
        backend.numpy(loss.gradient(backend.array(pred + s * STEP), target, weights))
        for s in (-1, 1)
    )
    found = backend.numpy(loss.curvature(backend.array(pred), target, weights))
    np.testing.assert_allclose(found, (high - low) / (2 * STEP), rtol=1e-7, atol=1e-9)


def test_curvature_is_finite_for_large_logits():
    z = np.asarray([-1e4, -100, 0, 100, 1e4], "float32")
    found = fl.losses.BinaryCrossEntropy(reduction="none").curvature(z, np.zeros(5, "float32"))
    np.testing.assert_allclose(found, [0, 0, 0.25, 0, 0], atol=1e-30)


@pytest.mark.parametrize("kind", [fl.losses.Hinge, fl.losses.SoftmaxCrossEntropy])
def test_other_losses_refuse(kind):
    with pytest.raises(TypeError, match="has no curvature"):
        kind().curvature(np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(TypeError, match="complex predictions has no curvature"):
        fl.losses.SquaredError().curvature(np.zeros(3, complex), np.zeros(3))


@curved
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("penalty", [None, fl.L2(0.3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_hessian_by_central_differences(
    backend, kind, draw, intercept, penalty, weighted, monkeypatch
):
    monkeypatch.setattr("fallline.objectives._curvature._BLOCK", 9)  # more than one block
    rng = np.random.default_rng(2)
    target = np.ravel(draw(rng)[1])[:6]
    host = 0.3 * rng.standard_normal((len(target), 3))
    X, y = backend.array(host), backend.array(target)
    weights = backend.array(np.arange(1.0, 1.0 + len(target))) if weighted else None
    model = fl.LinearModel(kind(), penalty, intercept)
    params = {"weights": np.asarray([0.2, -0.1, 0.4])}
    params |= {"intercept": np.asarray(0.1)} if intercept else {}

    def slope(name, i, step):
        moved = {key: x.copy() for key, x in params.items()}
        moved[name][i] += step
        _, g = model.value_and_gradient(backend.tree(moved), X, y, weights)
        parts = [np.ravel(backend.numpy(g[key])) for key in sorted(g)]
        return np.concatenate(parts)

    places = [("intercept", ())] * intercept + [("weights", i) for i in range(3)]
    expected = [(slope(*p, STEP) - slope(*p, -STEP)) / (2 * STEP) for p in places]
    found = backend.numpy(model.hessian(backend.tree(params), X, y, weights))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_refusals():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    X, y, model = np.ones((4, 2)), np.ones(4), fl.LinearModel(fl.losses.SquaredError())
    params = model.initialize(X, y)
    with pytest.raises(TypeError, match="X is sparse"):
        model.hessian(params, sparse.csr_array(X), y)
    other = fl.LinearModel(fl.losses.SquaredError(), n_outputs=2)
    with pytest.raises(TypeError, match="several outputs"):
        other.hessian(other.initialize(X, y), X, np.ones((4, 2)))
    other = fl.LinearModel(fl.losses.SquaredError(), fl.ElasticNet(1.0, 0.5))
    with pytest.raises(TypeError, match="the penalty is ElasticNet"):
        other.hessian(params, X, y)
