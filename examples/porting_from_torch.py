"""
Porting from torch
==================

One training loop twice, with torch.optim and with fallline: the same trajectory.
"""

import numpy as np
import torch

import fallline as fl

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 5))
y = X @ np.asarray([1.0, -2.0, 0.5, 0.0, 3.0]) + 0.1 * rng.standard_normal(200)

# torch: tensors that record what is done to them, and an optimizer of their .grad
w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.AdamW([w], lr=0.05, betas=(0.9, 0.99), weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
theirs = []
for _ in range(100):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(torch.from_numpy(X) @ w, torch.from_numpy(y))
    loss.backward()
    optimizer.step()
    scheduler.step()
    theirs.append(w.detach().numpy().copy())

# fallline: your arrays, the gradient in a formula, the schedule in the rule
v = np.zeros(5)
rule = fl.AdamW(lambda step: 0.05 * 0.99**step, beta1=0.9, beta2=0.99, weight_decay=0.1)
opt = fl.Optimizer(v, rule)
squared = fl.losses.SquaredError()
ours = []
for _ in range(100):
    opt.step(X.T @ squared.gradient(X @ v, y))
    ours.append(v.copy())

difference = np.max(np.abs(np.asarray(ours) - np.asarray(theirs)))
print("torch:   ", theirs[-1].round(6))
print("fallline:", ours[-1].round(6))
print(f"largest difference on the way: {difference:.1e}")
assert difference < 1e-12
