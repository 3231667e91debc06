"""A whole training step of a network of NumPy's, whose updates are made by one or another."""

from __future__ import annotations

import itertools

import numpy as np

import fallline as fl

from .common import Timed, few, load
from .runners import by_hand, force

INPUTS, OUTPUTS, BATCH = 784, 10, 128
HIDDEN = {50_816: (64,), 535_040: (512, 256), 5_820_416: (2048, 2048)}  # by parameters


class Network:
    """Layers of products and rectifiers, and the cross-entropy of a softmax, in float32."""

    def __init__(self, hidden):
        sizes = (INPUTS, *hidden, OUTPUTS)
        rng = np.random.default_rng(0)
        self.layers = [
            rng.standard_normal(pair, dtype=np.float32) / np.float32(pair[0] ** 0.5)
            for pair in itertools.pairwise(sizes)
        ]
        self.inputs = rng.standard_normal((BATCH, INPUTS), dtype=np.float32)
        self.labels = rng.integers(0, OUTPUTS, BATCH)

    def gradients(self):
        """Return the gradient of each layer."""
        seen = [self.inputs]
        for layer in self.layers[:-1]:
            seen.append(np.maximum(seen[-1] @ layer, np.float32(0)))
        z = seen[-1] @ self.layers[-1]
        slope = np.exp(z - np.max(z, axis=1, keepdims=True))
        slope /= np.sum(slope, axis=1, keepdims=True)
        slope[np.arange(BATCH), self.labels] -= 1
        slope /= np.float32(BATCH)
        found = []
        for layer, x in zip(reversed(self.layers), reversed(seen), strict=True):
            found.insert(0, x.T @ slope)
            if x is not self.inputs:
                slope = (slope @ layer.T) * (x > 0)
        return found


def ours(engine, shared=None):
    """Return what makes updates of ours."""

    def make(network):
        opt = fl.Optimizer(network.layers, fl.Adam(1e-3), engine=engine)
        if shared is not None:
            force(opt, shared)
        return opt.step

    return make


def torch_fused(network):
    """Return the update by torch, on the same memory."""
    torch = load("torch")
    params = [torch.from_numpy(layer).requires_grad_() for layer in network.layers]
    opt = torch.optim.Adam(params, lr=1e-3, fused=True)

    def update(grads):
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.from_numpy(g)
        opt.step()

    return update


def hand(network):
    """Return the update by hand, on the network's own arrays."""
    current = []
    step = by_hand("Adam", network.layers, iter(lambda: current, None), copy=False)

    def update(grads):
        current[:] = grads
        step()

    return update


UPDATES = {
    "fallline auto": ours("auto"),
    "fallline one thread": ours("auto", shared=False),
    "fallline blocked": ours("blocked"),
    "numpy by hand": hand,
    "torch fused": torch_fused,
}


def training(who, parameters):
    """Return a whole step of training."""
    network = Network(HIDDEN[parameters])
    update = UPDATES[who](network)

    def step():
        update(network.gradients())

    return step


class Training(Timed):
    """A whole step: forwards, backwards, update."""

    params = (tuple(UPDATES), few(HIDDEN))
    param_names = ("update", "parameters")

    def make(self, update, parameters):
        """Return the step."""
        return training(update, parameters)
