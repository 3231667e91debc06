"""
Plots
=====

All that `fallline.plotting` draws, on one page.

Curves of a fit, several runs in one picture, schedules, a learning rate range test, and the way of
methods over the map of a function. Each function takes the axes to draw on, and returns them.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl

parser = argparse.ArgumentParser(description="all plots")
parser.add_argument("--plot", type=Path, default=Path("plots.png"))
options = parser.parse_args()

# %%
# Logistic regression on few noisy rows: the validation loss rises where the fit learns the noise.

rng = np.random.default_rng(0)
X = rng.standard_normal((400, 30))
y = (X[:, 0] - X[:, 1] + rng.logistic(size=400) > 0).astype(float)
train, validation = (X[:200], y[:200]), (X[200:], y[200:])
model = fl.LinearModel(fl.losses.BinaryCrossEntropy())

rates = fl.find_learning_rate(model, train, method=fl.Adam(), batch_size=20, rng=0, high=10.0)
print(f"suggested rate of Adam: {rates.suggestion:.2g}; {rates.message}")
runs = {
    name: fl.fit(model, train, method=rule, batch_size=20, epochs=40, rng=0, validation=validation)
    for name, rule in {
        "Adam": fl.Adam(rates.suggestion),
        "SGD": fl.SGD(0.02),
        "SGD, momentum": fl.SGD(0.02, momentum=0.9),
        "Adagrad": fl.Adagrad(0.05),
    }.items()
}
best = runs["Adam"].history["validation_loss"]
print(f"lowest validation loss: {best.min():.4f}, epoch {best.argmin() + 1}")

# %%
# Schedules, and a function of two variables.

schedules = {
    "cosine": fl.schedules.Cosine(0.1, steps=1000),
    "one cycle": fl.schedules.OneCycle(0.1, steps=1000),
    "inverse time": fl.schedules.InverseTime(0.1, decay=0.01),
}


def himmelblau(x):
    """Return the value and the gradient of a function with four minima."""
    a, b = x
    u, v = a**2 + b - 11, a + b**2 - 7
    return u**2 + v**2, np.stack([4 * a * u + 2 * v, 2 * u + 4 * b * v])


start = np.array([-0.5, -0.5])
ways = {
    "gradient descent": (fl.GradientDescent(0.01), 30),
    "momentum": (fl.SGD(0.003, momentum=0.9), 80),
    "L-BFGS": ("lbfgs", 30),
}
found = {
    name: fl.minimize(
        himmelblau, start, method=method, record=["x", "fun"], check_every=1, max_iterations=steps
    )
    for name, (method, steps) in ways.items()
}
for name, res in found.items():
    print(f"{name:16}: value {res.fun:.1e} at ({res.x[0]:.2f}, {res.x[1]:.2f})")

# %%
# The page, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    fl.plotting.loss_curves(
        runs["Adam"], axes[0, 0], names=["step_loss", "loss", "validation_loss"]
    ).set_title("loss_curves")
    fl.plotting.compare(runs, axes[0, 1], name="validation_loss").set_title("compare")
    fl.plotting.rate_test(rates, axes[0, 2]).set_title("rate_test")
    for name, schedule in schedules.items():
        fl.plotting.schedule(schedule, 1000, axes[1, 0], label=name)
    axes[1, 0].set_title("schedule")
    fl.plotting.compare(found, axes[1, 1], name="fun").set_title("compare, runs of minimize")
    limits = (-5, 5), (-5, 5)
    for i, (name, res) in enumerate(found.items()):
        fl.plotting.path(himmelblau if i == 0 else None, res, axes[1, 2], label=name, limits=limits)
    axes[1, 2].set_title("path")
    figure.savefig(options.plot, dpi=100)
    print(f"picture: {options.plot}")
