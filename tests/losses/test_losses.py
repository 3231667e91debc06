"""Losses: central differences, torch, weights, backends, bad input."""

from __future__ import annotations

import dataclasses
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
    public = set(fl.losses.__all__) - {"Loss", "Domain"}
    assert public == {kind.__name__ for kind, _ in LOSSES}
    assert all(inspect.isclass(getattr(fl.losses, name)) for name in public)


@losses
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_by_central_differences(backend, kind, draw, reduction, weighted):
    rng = np.random.default_rng(0)
    pred, target = draw(rng)
    weights = backend.array(rng.random(6)) if weighted else None
    loss, target = kind(reduction=reduction), backend.array(target)

    def fun(pred):
        return loss.value_and_gradient(pred, target, weights)

    check = fl.check_gradient(fun, backend.array(pred))
    assert check, check.message


@losses
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_backend_equals_numpy(backend, kind, draw, dtype, reduction):
    pred, target = (in_precision(x, dtype) for x in draw(np.random.default_rng(1)))
    loss = kind(reduction=reduction)
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
    loss = kind(reduction=reduction)
    value, gradient = loss.value_and_gradient(pred, target, weights)
    repeated, parts = loss.value_and_gradient(pred[rows], target[rows])
    assert float(value) == pytest.approx(float(repeated), rel=1e-13)
    summed = np.zeros_like(pred)
    np.add.at(summed, rows, parts)
    np.testing.assert_allclose(gradient, summed, rtol=1e-12, atol=1e-15)
    terms = kind(reduction="none")(pred, target)
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
            value, gradient = SoftmaxCrossEntropy(reduction=reduction).value_and_gradient(
                pred, target
            )
            np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-13)
            np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_in_single_precision(backend, size):
    pred = np.asarray([[size, 0.0, -size]], "float32")
    for label, value in ((0, max(-size, 0) * 2), (1, 1e4), (2, max(size, 0) * 2)):
        loss = SoftmaxCrossEntropy(reduction="none")
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
    loss = SoftmaxCrossEntropy(reduction="none")
    if backend.name.startswith("numpy"):
        with pytest.raises(ValueError, match=r"target: some elements are outside \[0, 2\]"):
            loss(pred, target)
    else:
        value, gradient = (backend.numpy(x) for x in loss.value_and_gradient(pred, target))
        assert np.isnan(value).sum() == 1
        assert np.isnan(gradient).any(axis=-1).sum() == 1


def test_half_precision_is_computed_in_single():
    pred = np.full(1000, 100, "float16")
    value, gradient = SquaredError(reduction="sum").value_and_gradient(pred, np.zeros_like(pred))
    assert value.dtype == np.float32
    assert value == 1e7
    assert gradient.dtype == np.float16


# Our loss, scikit-learn's with its arguments, and what ours is in units of theirs.
SKLEARN = [
    (SquaredError(), "HalfSquaredError", {}, 2),
    (fl.losses.AbsoluteError(), "AbsoluteError", {}, 1),
    (fl.losses.Huber(0.7), "HuberLoss", {"delta": 0.7}, 1),
    (fl.losses.Quantile(0.3), "PinballLoss", {"quantile": 0.3}, 1),
    (fl.losses.Poisson(), "HalfPoissonLoss", {}, 1),
    (fl.losses.Gamma(), "HalfGammaLoss", {}, 1),
    (fl.losses.BinaryCrossEntropy(), "HalfBinomialLoss", {}, 1),
    (SoftmaxCrossEntropy(), "HalfMultinomialLoss", {"n_classes": 3}, 1),
]


@pytest.mark.parametrize(("loss", "name", "kwargs", "scale"), SKLEARN, ids=lambda x: str(x))
def test_scikit_learn(loss, name, kwargs, scale):
    theirs = getattr(pytest.importorskip("sklearn._loss.loss"), name)(**kwargs)
    pred, target = dict(reversed(LOSSES))[type(loss)](np.random.default_rng(4))
    loss = dataclasses.replace(loss, reduction="none")
    value, gradient = loss.value_and_gradient(pred, target)
    rows = name == "HalfMultinomialLoss"
    expected = theirs.loss_gradient(
        np.ravel(target).astype(float), pred if rows else np.ravel(pred)
    )
    np.testing.assert_allclose(np.ravel(value), scale * expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.ravel(gradient), scale * np.ravel(expected[1]), rtol=1e-11)


def torch_losses():
    """Return our loss, torch's function of prediction and target, and ours in units of theirs."""
    functional = pytest.importorskip("torch").nn.functional
    log_softmax = functional.log_softmax
    return [
        (SquaredError, functional.mse_loss, 1),
        (fl.losses.AbsoluteError, functional.l1_loss, 1),
        (fl.losses.Huber, functional.huber_loss, 1),
        (fl.losses.Poisson, functional.poisson_nll_loss, 1),
        (fl.losses.BinaryCrossEntropy, functional.binary_cross_entropy_with_logits, 1),
        (fl.losses.SquaredHinge, lambda z, y: (1 - y * z).clamp(min=0).square().mean(), 1),
        (fl.losses.Hinge, lambda z, y: (1 - y * z).clamp(min=0).mean(), 1),
        (
            fl.losses.KLDivergence,
            lambda z, q: functional.kl_div(log_softmax(z, -1), q, reduction="batchmean"),
            1,
        ),
        (
            fl.losses.CosineDistance,
            lambda z, y: 1 - functional.cosine_similarity(z, y, dim=-1, eps=0).mean(),
            1,
        ),
        (fl.losses.AmplitudeError, lambda z, i: (z.abs() - i.sqrt()).square().mean(), 0.5),
        (
            fl.losses.PoissonIntensity,
            lambda z, i: functional.poisson_nll_loss(z.abs() ** 2, i, log_input=False, eps=0.0),
            1,
        ),
    ]


@pytest.mark.parametrize("row", range(11))
def test_torch(row):
    torch = pytest.importorskip("torch")
    kind, theirs, scale = torch_losses()[row]
    pred, target = dict(reversed(LOSSES))[kind](np.random.default_rng(5))
    z = torch.tensor(pred, requires_grad=True)
    expected = theirs(z, torch.tensor(target.astype(float)))
    expected.backward()
    value, gradient = kind().value_and_gradient(pred, target)
    assert float(value) == pytest.approx(scale * expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, scale * z.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_modified_huber_by_its_cases():
    z = np.asarray([-3.0, -1.0, 0.5, 1.0, 2.0])
    for y in (1, -1):
        loss = fl.losses.ModifiedHuber(reduction="none")
        value, gradient = loss.value_and_gradient(y * z, np.full(5, y))
        np.testing.assert_array_equal(value, [12, 4, 0.25, 0, 0])
        np.testing.assert_array_equal(gradient, y * np.asarray([-4, -4, -1, 0, 0]))


@pytest.mark.parametrize("kind", [fl.losses.BinaryCrossEntropy, fl.losses.Hinge])
def test_extreme_predictions_of_two_classes(backend, kind):
    pred = backend.array(np.asarray([1e4, -1e4, 1e4, -1e4], "float32"))
    low = 0 if kind is fl.losses.BinaryCrossEntropy else -1
    target = backend.array(np.asarray([1, low, low, 1]))
    value, gradient = kind(reduction="none").value_and_gradient(pred, target)
    far = 1e4 if low == 0 else 1e4 + 1
    np.testing.assert_allclose(backend.numpy(value), [0, 0, far, far], rtol=1e-6)
    np.testing.assert_array_equal(backend.numpy(gradient), [0, 0, 1, -1])


def test_extreme_rows_of_cosines(backend):
    pred = np.asarray([[1e30, 1e30], [1e-30, 1e-30], [0, 0]], "float32")
    target = np.asarray([[1e30, 0], [1e-30, 0], [1, 1]], "float32")
    loss = fl.losses.CosineDistance(reduction="none")
    value, gradient = loss.value_and_gradient(backend.array(pred), backend.array(target))
    np.testing.assert_allclose(backend.numpy(value), [1 - 0.5**0.5, 1 - 0.5**0.5, 1], rtol=1e-6)
    gradient = backend.numpy(gradient)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[2], 0)


@pytest.mark.parametrize(
    ("loss", "pred", "target", "value", "gradient"),
    [
        (fl.losses.AbsoluteError(), 2.0, 2.0, 0, 0),
        (fl.losses.Quantile(0.3), 2.0, 2.0, 0, 0),
        (fl.losses.Huber(), 1.0, 0.0, 0.5, 1),
        (fl.losses.Hinge(), 1.0, 1.0, 0, 0),
        (fl.losses.AmplitudeError(), 0j, 4.0, 2, 0),
        (fl.losses.PoissonIntensity(), 0j, 0.0, 0, 0),
        (fl.losses.PoissonIntensity(), 0j, 3.0, np.inf, 0),
        (fl.losses.PoissonIntensity(1.0), 0j, 3.0, 1, 0),
    ],
)
def test_documented_values_at_kinks(backend, loss, pred, target, value, gradient):
    arrays = backend.array(np.asarray(pred)), backend.array(np.asarray(target))
    found = [backend.numpy(x) for x in loss.value_and_gradient(*arrays)]
    np.testing.assert_array_equal(found, [value, gradient])


@losses
def test_nan_is_not_hidden(kind, draw):
    pred, target = draw(np.random.default_rng(6))
    pred[0, 0] = np.nan
    value, gradient = kind(reduction="none").value_and_gradient(pred, target)
    assert np.isnan(value).any()
    assert np.isnan(gradient[0, 0])


DOMAINS = [
    (fl.losses.Poisson(), -1.0, r"\[0, inf\)"),
    (fl.losses.Gamma(), 0.0, r"\(0, inf\)"),
    (fl.losses.BinaryCrossEntropy(), 1.5, r"\[0, 1\]"),
    (fl.losses.Hinge(), 0.0, r"\{-1, 1\}"),
    (fl.losses.ModifiedHuber(), 0.0, r"\{-1, 1\}"),
    (fl.losses.AmplitudeError(), -1.0, r"\[0, inf\)"),
    (fl.losses.PoissonIntensity(), -1.0, r"\[0, inf\)"),
]


@pytest.mark.parametrize(("loss", "outside", "words"), DOMAINS, ids=lambda x: str(x))
def test_targets_outside_the_domain(loss, outside, words):
    target = np.ones(3)
    loss(np.zeros(3), target)
    target[1] = outside
    with pytest.raises(ValueError, match=f"target: some elements are outside {words}"):
        loss(np.zeros(3), target)


X, N = np.zeros((4, 3)), np.zeros(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SquaredError(reduction="median"), ValueError, "unknown reduction 'median'"),
        (lambda: SquaredError()(N, X[:, :1]), ValueError, r"target: shape is \(4, 1\), .* \(4,\)"),
        (lambda: SquaredError()(1.0, N), TypeError, "pred: is a float"),
        (lambda: SquaredError()(N.astype(int), N), TypeError, "pred: dtype is int64"),
        (lambda: SquaredError()(N, [0] * 4), TypeError, "target: is a list"),
        (
            lambda: SquaredError()(N, 1j * N),
            TypeError,
            "target: dtype is complex128, expected real",
        ),
        (lambda: SquaredError()(X, X, np.ones(3)), ValueError, r"weights: shape is \(3,\)"),
        (lambda: SquaredError()(X, X, -np.ones(4)), ValueError, "weights: some are negative"),
        (lambda: SquaredError()(X, X, 1j * np.ones(4)), TypeError, "weights: dtype"),
        (lambda: SoftmaxCrossEntropy()(X * 1j, N.astype(int)), TypeError, "real floating-point"),
        (lambda: SoftmaxCrossEntropy()(X, N), ValueError, r"target: shape is \(4,\)"),
        (lambda: SoftmaxCrossEntropy()(X, X.astype(int)), ValueError, r"\(4,\) for labels"),
        (lambda: SoftmaxCrossEntropy()(X, X - 1), ValueError, r"outside \[0, inf\)"),
        (lambda: SoftmaxCrossEntropy()(X[:, :0], N.astype(int)), ValueError, "classes"),
        (lambda: fl.losses.Huber(0), ValueError, r"Huber\(delta=\): is 0, expected"),
        (lambda: fl.losses.Huber("a"), TypeError, r"Huber\(delta=\): is 'a', expected a number"),
        (lambda: fl.losses.Quantile(1.0), ValueError, r"in \[0, 1\)"),
        (lambda: fl.losses.PoissonIntensity(-1), ValueError, "background"),
        (lambda: fl.losses.Hinge()(1j * N, N), TypeError, "pred: dtype is complex128"),
        (lambda: fl.losses.AmplitudeError()(1j * N, 1j * N), TypeError, "target: dtype"),
        (lambda: fl.losses.KLDivergence()(X, N.astype(int)), TypeError, "target: dtype is int64"),
        (lambda: fl.losses.CosineDistance()(N[0], N[0]), ValueError, r"pred: shape is \(\)"),
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
