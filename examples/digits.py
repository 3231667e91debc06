"""
Handwritten digits
==================

Softmax regression on handwritten digits by mini-batches, on the array library of your choice.

::

    python examples/digits.py --backend numpy --rule adam

Prints loss, held-out accuracy and time for each epoch. The data are the 1,797 digits of 8 x 8
pixels that come with scikit-learn; every fourth is held out.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import fallline as fl

BACKENDS = ("numpy", "cupy", "torch", "jax", "array_api_strict", "dpnp")


def namespace(backend, dtype):
    """Return the namespace of a backend."""
    if backend == "jax":
        jax = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", dtype == "float64")
        return jax.numpy
    return importlib.import_module(backend)


def to_host(x):
    """Return an array as NumPy's: CuPy and devices want to be asked."""
    return x.get() if hasattr(x, "get") else np.from_dlpack(x, device="cpu")


def train(xp, rule, *, epochs, batch_size=64, dtype="float64", seed=0, report=print):
    """Train, and return the history: for each epoch loss, held-out accuracy and seconds."""
    images, labels = load_digits(return_X_y=True)
    held_out = np.arange(len(labels)) % 4 == 0
    images = (images / 16).astype(dtype)
    X, y = xp.asarray(images[~held_out]), xp.asarray(labels[~held_out])
    X_test, y_test = xp.asarray(images[held_out]), labels[held_out]

    params = {
        "weights": xp.zeros((64, 10), dtype=X.dtype),
        "bias": xp.zeros((10,), dtype=X.dtype),
    }
    opt = fl.Optimizer(params, rule)
    loss = fl.losses.SoftmaxCrossEntropy()
    batches = fl.Batches(X, y, batch_size=batch_size, rng=seed)

    history = []
    report(f"{'epoch':>5} {'loss':>12} {'held-out':>9} {'seconds':>8}")
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        for x, target in batches:
            slope = loss.gradient(x @ params["weights"] + params["bias"], target)
            opt.step({"weights": x.T @ slope, "bias": xp.sum(slope, axis=0)})
        value = float(to_host(loss(X @ params["weights"] + params["bias"], y)))
        seconds = time.perf_counter() - start
        scores = to_host(X_test @ params["weights"] + params["bias"])
        accuracy = float(np.mean(np.argmax(scores, axis=1) == y_test))
        history.append((value, accuracy, seconds))
        report(f"{epoch:5d} {value:12.9f} {accuracy:9.4f} {seconds:8.3f}")
    return history


def plot(history, path):
    """Draw loss and held-out accuracy over the epochs into a PNG."""
    import matplotlib.pyplot as plt

    epochs = range(1, len(history) + 1)
    figure, left = plt.subplots(figsize=(6, 4), layout="constrained")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    right = left.twinx()
    right.set_ylabel("held-out accuracy")
    lines = [
        *left.plot(epochs, [value for value, _, _ in history], "C0", label="loss"),
        *right.plot(epochs, [accuracy for _, accuracy, _ in history], "C1", label="accuracy"),
    ]
    left.legend(handles=lines, loc="center right")
    figure.savefig(path, dpi=150)


def main(argv=None):
    """Read the command line, train, report and draw."""
    parser = argparse.ArgumentParser(description="softmax regression on handwritten digits")
    parser.add_argument("--backend", choices=BACKENDS, default="numpy")
    parser.add_argument("--rule", default="adam", help="name of an update rule")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--plot", type=Path, default=Path("digits.png"), help="where the PNG goes")
    options = parser.parse_args(argv)
    try:
        rule = fl.rules.get(options.rule, learning_rate=options.learning_rate)
    except ValueError as error:
        parser.error(str(error))
    try:
        xp = namespace(options.backend, options.dtype)
    except ImportError:
        sys.exit(f"{options.backend} is not installed")

    print(f"{rule} on {options.backend}, {options.dtype}")
    history = train(xp, rule, epochs=options.epochs, dtype=options.dtype)
    try:
        plot(history, options.plot)
        print(f"curves: {options.plot}")
    except ImportError:
        print("no curves: matplotlib is not installed")
    return history


if __name__ == "__main__":
    main()
