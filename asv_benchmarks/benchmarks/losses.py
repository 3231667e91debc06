"""Time of a loss and its gradient, against the same by automatic differentiation."""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import Skip, XPBenchmark, draw, load

ROWS, CLASSES = 100_000, 10


class Losses(XPBenchmark):
    """Value and gradient at 100,000 x 10 predictions in single precision."""

    losses = ("SquaredError", "Huber", "BinaryCrossEntropy", "SoftmaxCrossEntropy")
    params = ((*XPBenchmark.backends, "torch autograd"), losses)
    param_names = ("backend", "loss")

    def setup(self, backend, loss):
        """Draw a prediction and a target."""
        super().setup("torch:cpu" if backend == "torch autograd" else backend)
        if backend == "array_api_strict":
            msg = "array_api_strict is for tests"
            raise Skip(msg)
        pred = draw((ROWS, CLASSES))
        target = draw((ROWS, CLASSES), seed=1)
        if loss == "BinaryCrossEntropy":
            target = (target > 0).astype(np.float32)
        elif loss == "SoftmaxCrossEntropy":
            target = np.argmax(target, axis=1)
        self.pred, self.target = self.array(pred), self.array(target)
        self.loss = getattr(fl.losses, loss)()
        if backend == "torch autograd":
            functional = load("torch").nn.functional
            self.theirs = {
                "SquaredError": functional.mse_loss,
                "Huber": functional.huber_loss,
                "BinaryCrossEntropy": functional.binary_cross_entropy_with_logits,
                "SoftmaxCrossEntropy": functional.cross_entropy,
            }[loss]
            self.pred.requires_grad_()

    def time_value_and_gradient(self, backend, loss):
        """One evaluation of both."""
        if backend == "torch autograd":
            self.pred.grad = None
            self.theirs(self.pred, self.target).backward()
        else:
            self.wait(self.loss.value_and_gradient(self.pred, self.target)[1])
