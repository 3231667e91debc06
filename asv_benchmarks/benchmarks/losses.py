"""Time of a loss and its gradient, against the same by automatic differentiation."""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import Timed, XPBenchmark, draw, few, load, rows

ROWS, CLASSES = rows(100_000), 10


class Losses(Timed):
    """Value and gradient in single precision."""

    losses = few(("SquaredError", "BinaryCrossEntropy", "SoftmaxCrossEntropy"))
    params = ((*XPBenchmark.backends, "torch autograd"), losses)
    param_names = ("backend", "loss")
    budget = 0.2

    def make(self, backend, loss):
        """Draw a prediction and a target, and return the evaluation."""
        bench = XPBenchmark()
        bench.setup("torch:cpu" if backend == "torch autograd" else backend)
        pred, target = draw((ROWS, CLASSES)), draw((ROWS, CLASSES), seed=1)
        if loss == "BinaryCrossEntropy":
            target = (target > 0).astype(np.float32)
        elif loss == "SoftmaxCrossEntropy":
            target = np.argmax(target, axis=1)
        pred, target = bench.array(pred), bench.array(target)
        if backend != "torch autograd":
            ours = getattr(fl.losses, loss)()
            return lambda: bench.wait(ours.value_and_gradient(pred, target)[1])
        functional = load("torch").nn.functional
        theirs = {
            "SquaredError": functional.mse_loss,
            "BinaryCrossEntropy": functional.binary_cross_entropy_with_logits,
            "SoftmaxCrossEntropy": functional.cross_entropy,
        }[loss]
        pred.requires_grad_()

        def evaluate():
            pred.grad = None
            theirs(pred, target).backward()

        return evaluate
