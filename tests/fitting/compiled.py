"""What the tests of compiled epochs share: losses and data for them, fits, and their bits."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

ROWS, FEATURES = 230, 13
LOSSES = {
    "binary": fl.losses.BinaryCrossEntropy(),
    "sum": fl.losses.BinaryCrossEntropy(reduction="sum"),
    "squared": fl.losses.SquaredError(),
    "absolute": fl.losses.AbsoluteError(),
    "huber": fl.losses.Huber(0.7),
    "quantile": fl.losses.Quantile(0.3),
    "hinge": fl.losses.Hinge(),
    "squared hinge": fl.losses.SquaredHinge(),
    "modified huber": fl.losses.ModifiedHuber(),
    "poisson": fl.losses.Poisson(),
    "gamma": fl.losses.Gamma(),
    "labels": fl.losses.SoftmaxCrossEntropy(),
    "labels, sum": fl.losses.SoftmaxCrossEntropy(reduction="sum"),
    "probabilities": fl.losses.SoftmaxCrossEntropy(),
    "divergence": fl.losses.KLDivergence(),
    "cosine": fl.losses.CosineDistance(),
}
OF_ROWS = [name for name, loss in LOSSES.items() if loss.rows]


def data(loss, dtype, *, n=ROWS, d=FEATURES, seed=0, outputs=None):
    """Return X and y that fit a loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    more = () if outputs is None else (outputs,)
    z = 0.3 * X @ rng.standard_normal((d, *more)) + 0.1 * rng.standard_normal((n, *more))
    if loss.startswith("labels"):
        return X, np.append(z[:-1].argmax(axis=1), outputs - 1)
    if loss in ("probabilities", "divergence"):
        y = np.where(np.abs(z) > 0.1, np.exp(z), 0) + 1e-3 * (np.arange(outputs) == 0)
        return X, (y / y.sum(axis=1, keepdims=True)).astype(dtype)
    domain = LOSSES[loss].domain
    if domain.values is not None:
        y = np.sign(z)
    elif domain.high == 1:
        y = z > 0
    else:
        y = np.abs(z) + 0.1 if domain.low == 0 else z
    return X, y.astype(dtype)


def sparse(X, kind="csr_array", places="int32"):
    """Return a sparse matrix of the large elements of an array."""
    scipy = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    X = getattr(scipy, kind)(np.where(np.abs(X) > 1, X, 0).astype(X.dtype))
    X.indices, X.indptr = X.indices.astype(places), X.indptr.astype(places)
    return X


def fitted(data, engine, *, loss="binary", penalty=None, **options):
    """Return a fit of a linear model in a few epochs."""
    model = fl.LinearModel(LOSSES[loss], penalty, fit_intercept=options.pop("intercept", True))
    options = {"method": fl.Adam(0.05), "batch_size": 32, "epochs": 3, "rng": 7, **options}
    return fl.fit(model, data, engine=engine, **options)


def same(one, other):
    """Assert that two fits have the same bits."""
    assert one.params.keys() == other.params.keys()
    for name, x in one.params.items():
        assert x.tobytes() == other.params[name].tobytes()
    assert one.history["step_loss"].tobytes() == other.history["step_loss"].tobytes()
    assert one.history["loss"].tobytes() == other.history["loss"].tobytes()
    assert (one.steps, one.epochs, one.message) == (other.steps, other.epochs, other.message)
