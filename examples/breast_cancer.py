"""
Breast cancer
=============

A classifier trained until it stops getting better: validation, early stopping, a schedule.

Logistic regression on the 569 biopsies that come with scikit-learn. Adam goes through mini-batches
and ends where the validation loss no longer falls; L-BFGS goes to the minimum of the training
loss. Writes a picture of both.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

import fallline as fl

parser = argparse.ArgumentParser(description="breast cancer")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--plot", type=Path, default=Path("breast_cancer.png"))
options = parser.parse_args()

# %%
# Three parts at random: to train, to decide when to stop, to judge.

X, y = load_breast_cancer(return_X_y=True)
order = np.random.default_rng(0).permutation(len(y))
train, validation, test = order[:300], order[300:430], order[430:]
X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
y = y.astype(float)

# %%
# The same model for both. The schedule lowers Adam's rate; early stopping gives back the
# parameters of its best epoch.

model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(1e-3))
schedule = fl.schedules.Cosine(0.02, steps=options.epochs * -(-len(train) // 32))
training = {"data": (X[train], y[train]), "validation": (X[validation], y[validation])}
runs = {
    "Adam": fl.fit(
        model,
        **training,
        method=fl.Adam(schedule),
        batch_size=32,
        epochs=options.epochs,
        rng=0,
        callbacks=[fl.callbacks.EarlyStopping(patience=15), fl.callbacks.LearningRateLog()],
    ),
    "L-BFGS": fl.fit(model, **training, method="lbfgs"),
}
print(f"{'':<8} {'epochs':>6} {'validation loss':>15} {'test accuracy':>13}")
for name, run in runs.items():
    accuracy = np.mean((run.predict(X[test]) > 0) == (y[test] > 0.5))
    lowest = run.history["validation_loss"].min()
    print(f"{name:<8} {run.epochs:>6} {lowest:>15.4f} {accuracy:>13.3f}   {run.message}")

# %%
# The picture, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    fl.plotting.loss_curves(runs["Adam"], axes[0]).set_title("Adam")
    fl.plotting.loss_curves(runs["Adam"], axes[1], names=["learning_rate"])
    axes[1].set_title("Adam's learning rate")
    fl.plotting.compare(runs, axes[2], name="validation_loss").set_title("both")
    figure.savefig(options.plot, dpi=100)
    print(f"picture: {options.plot}")
