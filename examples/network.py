"""
A network of two layers
=======================

A network of two layers on handwritten digits, its gradients written by hand.
"""

import numpy as np
from sklearn.datasets import load_digits

import fallline as fl

images, labels = load_digits(return_X_y=True)
images /= 16
held_out = np.arange(len(labels)) % 4 == 0

rng = np.random.default_rng(0)
params = {
    "hidden": {"weights": rng.normal(0, 64**-0.5, (64, 32)), "bias": np.zeros(32)},
    "output": {"weights": rng.normal(0, 32**-0.5, (32, 10)), "bias": np.zeros(10)},
}
# Weight decay for matrices, none for biases.
opt = fl.Optimizer(
    params, lambda path, leaf: fl.AdamW(0.01, weight_decay=0.01 if leaf.ndim > 1 else 0.0)
)
loss = fl.losses.SoftmaxCrossEntropy()


def forward(params, x):
    """Return the hidden units and the logits."""
    hidden = np.tanh(x @ params["hidden"]["weights"] + params["hidden"]["bias"])
    return hidden, hidden @ params["output"]["weights"] + params["output"]["bias"]


def objective(params, x, target):
    """Return the loss and its gradient, a tree like the parameters."""
    hidden, logits = forward(params, x)
    value, d_logits = loss.value_and_gradient(logits, target)
    d_sum = (d_logits @ params["output"]["weights"].T) * (1 - hidden**2)
    return value, {
        "hidden": {"weights": x.T @ d_sum, "bias": d_sum.sum(axis=0)},
        "output": {"weights": hidden.T @ d_logits, "bias": d_logits.sum(axis=0)},
    }


# Are the gradients right?
print(fl.check_gradient(objective, params, args=(images[:20], labels[:20])))

batches = fl.Batches(images[~held_out], labels[~held_out], batch_size=64, rng=0)
for epoch in range(1, 21):
    for x, target in batches:
        value, grads = objective(params, x, target)
        opt.step(grads)
    if epoch % 5 == 0:
        accuracy = np.mean(forward(params, images[held_out])[1].argmax(axis=1) == labels[held_out])
        print(f"epoch {epoch:2d}: loss of the last batch {value:.4f}, held-out {accuracy:.4f}")
