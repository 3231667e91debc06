"""Losses: central differences, torch, weights, backends, bad input."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import fallline as fl
from tests.cases import LOSSES, in_precision

SquaredError, SoftmaxCrossEntropy = fl.losses.SquaredError, fl.losses.SoftmaxCrossEntropy
losses = pytest.mark.parametrize(
    ("kind", "draw"), LOSSES, ids=[f"{k.__name__}{d.__name__}" for k, d in LOSSES]
)


def test_table_covers_every_public_loss():
    public = {name for name in fl.losses.__all__ if name != "Loss"}
    assert public == {kind.__name__ for kind, _ in LOSSES}
    assert all(inspect.isclass(getattr(fl.losses, name)) for name in public)


@losses
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_by_central_differences(backend, kind, draw, reduction, weighted):
    rng = np.random.default_rng(0)
    pred, target = draw(rng)
    weights = backend.array(rng.random(6)) if weighted else None
    loss, target = kind(reduction), backend.array(target)

    def fun(pred):
        return loss.value_and_gradient(pred, target, weights)

    check = fl.check_gradient(fun, backend.array(pred))
    assert check, check.message


@losses
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_backend_equals_numpy(backend, kind, draw, dtype, reduction):
    pred, target = (in_precision(x, dtype) for x in draw(np.random.default_rng(1)))
    loss = kind(reduction)
    expected = loss.value_and_gradient(pred, target)
    theirs = backend.array(pred), backend.array(target)
    value, gradient = (backend.numpy(x) for x in loss.value_and_gradient(*theirs))
    assert value.dtype == np.dtype(dtype)
    assert gradient.dtype == pred.dtype
    assert value.ndim == (0 if reduction != "none" else len(expected[0].shape))
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(value, expected[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(gradient, expected[1], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(backend.numpy(loss(*theirs)), value)
    np.testing.assert_array_equal(backend.numpy(loss.gradient(*theirs)), gradient)


@losses
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_integer_weights_equal_repeated_rows(kind, draw, reduction):
    pred, target = draw(np.random.default_rng(2))
    weights = np.asarray([0, 1, 3, 1, 2, 0])
    rows = np.repeat(np.arange(6), weights)
    loss = kind(reduction)
    value, gradient = loss.value_and_gradient(pred, target, weights)
    repeated, parts = loss.value_and_gradient(pred[rows], target[rows])
    assert float(value) == pytest.approx(float(repeated), rel=1e-13)
    summed = np.zeros_like(pred)
    np.add.at(summed, rows, parts)
    np.testing.assert_allclose(gradient, summed, rtol=1e-12, atol=1e-15)
    terms = kind("none")(pred, target)
    every = np.broadcast_to(np.reshape(weights, (6,) + (1,) * (terms.ndim - 1)), terms.shape)
    assert float(loss(pred, target, every)) == pytest.approx(float(value), rel=1e-13)


def test_softmax_cross_entropy_equals_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    pred, labels = 3 * rng.standard_normal((5, 4)), rng.integers(0, 4, 5)
    rows = rng.dirichlet(np.ones(4), 5)
    for target in (labels, rows):
        for reduction in ("mean", "sum", "none"):
            z = torch.tensor(pred, requires_grad=True)
            theirs = torch.nn.functional.cross_entropy(z, torch.tensor(target), reduction=reduction)
            theirs.sum().backward()
            value, gradient = SoftmaxCrossEntropy(reduction).value_and_gradient(pred, target)
            np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-13)
            np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_in_single_precision(backend, size):
    pred = np.asarray([[size, 0.0, -size]], "float32")
    for label, value in ((0, max(-size, 0) * 2), (1, 1e4), (2, max(size, 0) * 2)):
        loss = SoftmaxCrossEntropy("none")
        target = backend.array(np.asarray([label]))
        found, gradient = loss.value_and_gradient(backend.array(pred), target)
        np.testing.assert_allclose(backend.numpy(found), [value], rtol=1e-6)
        gradient = backend.numpy(gradient)
        assert np.all(np.isfinite(gradient))
        assert abs(gradient.sum()) < 1e-6


def test_softmax_with_zero_probabilities_and_infinite_logits():
    pred = np.asarray([[0.0, -np.inf, 0.0]])
    q = np.asarray([[0.5, 0.0, 0.5]])
    value, gradient = SoftmaxCrossEntropy().value_and_gradient(pred, q)
    assert value == pytest.approx(np.log(2))
    np.testing.assert_array_equal(gradient, [[0, 0, 0]])


@pytest.mark.parametrize("target", [[0, 3], [-1, 0]])
def test_labels_out_of_range(backend, target):
    pred = backend.array(np.zeros((2, 3)))
    target = backend.array(np.asarray(target))
    loss = SoftmaxCrossEntropy("none")
    if backend.name.startswith("numpy"):
        with pytest.raises(ValueError, match=r"target: some elements are outside \[0, 2\]"):
            loss(pred, target)
    else:
        value, gradient = (backend.numpy(x) for x in loss.value_and_gradient(pred, target))
        assert np.isnan(value).sum() == 1
        assert np.isnan(gradient).any(axis=-1).sum() == 1


def test_half_precision_is_computed_in_single():
    pred = np.full(1000, 100, "float16")
    value, gradient = SquaredError("sum").value_and_gradient(pred, np.zeros_like(pred))
    assert value.dtype == np.float32
    assert value == 1e7
    assert gradient.dtype == np.float16


X, N = np.zeros((4, 3)), np.zeros(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SquaredError("median"), ValueError, "unknown reduction 'median'"),
        (lambda: SquaredError()(N, X[:, :1]), ValueError, r"target: shape is \(4, 1\), .* \(4,\)"),
        (lambda: SquaredError()(1.0, N), TypeError, "pred: is a float"),
        (lambda: SquaredError()(N.astype(int), N), TypeError, "pred: dtype is int64"),
        (lambda: SquaredError()(N, [0] * 4), TypeError, "target: is a list"),
        (lambda: SquaredError()(N, 1j * N), TypeError, "pred is real"),
        (lambda: SquaredError()(X, X, np.ones(3)), ValueError, r"weights: shape is \(3,\)"),
        (lambda: SquaredError()(X, X, -np.ones(4)), ValueError, "weights: some are negative"),
        (lambda: SquaredError()(X, X, 1j * np.ones(4)), TypeError, "weights: dtype"),
        (lambda: SoftmaxCrossEntropy()(X * 1j, N.astype(int)), TypeError, "real floating-point"),
        (lambda: SoftmaxCrossEntropy()(X, N), ValueError, r"target: shape is \(4,\)"),
        (lambda: SoftmaxCrossEntropy()(X, X.astype(int)), ValueError, r"\(4,\) for labels"),
        (lambda: SoftmaxCrossEntropy()(X, X - 1), ValueError, r"outside \[0, inf\]"),
        (lambda: SoftmaxCrossEntropy()(X[:, :0], N.astype(int)), ValueError, "classes"),
        (lambda: SoftmaxCrossEntropy()(X, X, X), ValueError, r"weights: shape is \(4, 3\)"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_other_library():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="target: array library is torch, expected numpy"):
        SquaredError()(N, torch.zeros(4))
