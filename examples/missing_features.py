"""
Missing features
================

A regression where a third of the features was never measured.

Filling in the mean spoils the fit. The features are correlated, so that those that are there tell
about the others: a few scores for each row and their loadings are parameters beside the weights,
one tree, and a mask leaves out of the loss what is missing. The rows to predict take part with
their features; only their targets are masked. Writes a picture of both ways.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl

parser = argparse.ArgumentParser(description="missing features")
parser.add_argument("--missing", type=float, default=0.35)
parser.add_argument("--plot", type=Path, default=Path("missing_features.png"))
options = parser.parse_args()

# %%
# Twelve features that three scores explain up to noise, and a target that depends on them.

n, n_features, n_scores = 400, 12, 3
rng = np.random.default_rng(0)
scores = rng.standard_normal((n, n_scores))
X = scores @ rng.standard_normal((n_scores, n_features))
X += 0.3 * rng.standard_normal(X.shape)
y = scores @ np.asarray([1.0, -2.0, 0.5]) + 0.2 * rng.standard_normal(n)
seen = rng.random(X.shape) > options.missing
train = np.arange(n) < 200
means = np.mean(X, axis=0, where=seen)
given = np.where(seen, X, means)


def linear(filled):
    """Return the predictions of a linear model fitted to the training rows."""
    model = fl.LinearModel(fl.losses.SquaredError(), fl.L2(1e-2))
    return fl.fit(model, (filled[train], y[train]), method="lbfgs").predict(filled)


# %%
# Features and targets at once, as masked least squares; a little decay makes the scores unique.


def objective(params):
    """Return the masked loss and its gradient, a tree like the parameters."""
    u, v = params["scores"], params["loadings"]
    r = np.where(seen, u @ v + params["means"] - X, 0.0)
    s = np.where(train, u @ params["weights"] + params["offset"] - y, 0.0)
    value = 0.5 * (np.sum(r**2) + np.sum(s**2) + 0.1 * (np.sum(u**2) + np.sum(v**2)))
    return value, {
        "scores": r @ v.T + np.outer(s, params["weights"]) + 0.1 * u,
        "loadings": u.T @ r + 0.1 * v,
        "means": np.sum(r, axis=0),
        "weights": u.T @ s,
        "offset": np.sum(s, keepdims=True)[0],
    }


start = {
    "scores": 0.1 * rng.standard_normal((n, n_scores)),
    "loadings": 0.1 * rng.standard_normal((n_scores, n_features)),
    "means": means,
    "weights": np.zeros(n_scores),
    "offset": np.zeros(()),
}
print(fl.check_gradient(objective, start))
res = fl.minimize(objective, start, method="lbfgs", max_iterations=500)
print(f"{res.nfev} evaluations, {res.message}")
found = res.x["scores"] @ res.x["loadings"] + res.x["means"]
joint = res.x["scores"] @ res.x["weights"] + res.x["offset"]

# %%
# Errors of the missing entries, and of the predictions of the rows that were not trained on.

predictions = {
    "mean imputation": (linear(given), given),
    "joint": (joint, found),
    "nothing missing": (linear(X), X),
}
print(f"{'':<16} {'entries':>8} {'targets':>8}   root mean square errors")
errors = {}
for name, (pred, filled) in predictions.items():
    entries = np.sqrt(np.mean((filled - X)[~seen] ** 2))
    errors[name] = np.sqrt(np.mean((pred - y)[~train] ** 2))
    print(f"{name:<16} {entries:>8.3f} {errors[name]:>8.3f}")

# %%
# The picture, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
    span = (-8, 7)
    for ax, (name, (pred, _)) in zip(axes, predictions.items(), strict=True):
        ax.axline((0, 0), slope=1, color="0.7", zorder=0)
        ax.scatter(y[~train], pred[~train], 12, color="#0072B2", alpha=0.6, linewidths=0)
        ax.set_title(f"{name}: error {errors[name]:.2f}")
        ax.set(xlabel="target", xlim=span, ylim=span, aspect="equal")
    axes[0].set_ylabel("prediction")
    figure.savefig(options.plot, dpi=100)
    print(f"picture: {options.plot}")
