"""
All rules compared
==================

Every update rule on one problem, each with a learning rate found for it.

Softmax regression on handwritten digits. A range test tells the order of the rate, a few short fits
around it the rest; new rules of `fl.rules` take part by themselves. Writes a picture with a panel
for each rule, the others in grey behind. It shows this problem: on another the order is another.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import fallline as fl

parser = argparse.ArgumentParser(description="all rules compared")
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--plot", type=Path, default=Path("compare_rules.png"))
options = parser.parse_args()

images, labels = load_digits(return_X_y=True)
held_out = np.arange(len(labels)) % 4 == 0
images /= 16
data = images[~held_out], labels[~held_out]
test = images[held_out], labels[held_out]
model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy(), fit_intercept=False)


# Not zeros: LARS and LAMB take the size of their steps from that of the weights.
start = {"weights": 0.1 * np.random.default_rng(0).standard_normal((64, 10))}
common = {"params": start, "batch_size": 64, "rng": 0}


# %%
# For each rule the best of five rates around the suggestion.

runs = {}
for name in fl.rules.names():
    rule = fl.rules.get(name)
    found = fl.find_learning_rate(model, data, method=rule, low=1e-5, high=1e3, **common)
    tried = {}
    for factor in (0.3, 1, 3, 10, 30):
        rate = float(f"{factor * found.suggestion:.1g}")
        rule = fl.rules.get(name, learning_rate=rate)
        tried[rate] = fl.fit(model, data, method=rule, epochs=options.epochs, **common)
    rate = min(tried, key=lambda rate: tried[rate].history["loss"][-1])
    label = f"{type(rule).__name__} {rate:g}"
    runs[label] = tried[rate]

print(f"{'rule and rate':<26} {'loss':>8} {'held-out accuracy':>18}")
for label, run in sorted(runs.items(), key=lambda item: item[1].loss):
    accuracy = np.mean(np.argmax(run.predict(test[0]), axis=1) == test[1])
    print(f"{label:<26} {run.loss:>8.4f} {accuracy:>18.3f}")

# %%
# The picture, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    columns = 6
    rows = -(-len(runs) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(13, 2 * rows), sharex=True, sharey=True, layout="constrained"
    )
    for ax in axes.flat[len(runs) :]:
        ax.set_axis_off()
    for ax, (label, run) in zip(axes.flat, runs.items(), strict=False):
        fl.plotting.loss_curves(run, ax, names=["loss"])
        for other in runs.values():
            ax.plot(range(1, other.epochs + 1), other.history["loss"], color="0.85", zorder=0)
        ax.set(yscale="log", ylim=(0.03, 10))
        ax.set_title(label, fontsize="medium")
        ax.label_outer()
    figure.savefig(options.plot, dpi=100)
    print(f"picture: {options.plot}")
