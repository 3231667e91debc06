"""Your arrays, your gradients, your loop
======================================
"""

import numpy as np

import fallline as fl

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, 200)
y = 3 * x - 1 + 0.1 * rng.standard_normal(200)

params = {"slope": np.zeros(()), "offset": np.zeros(())}
opt = fl.Optimizer(params, fl.Adam(learning_rate=0.1))
loss = fl.losses.SquaredError()
for _ in range(200):
    value, slope = loss.value_and_gradient(params["slope"] * x + params["offset"], y)
    opt.step({"slope": np.sum(slope * x), "offset": np.sum(slope)})
print(f"y = {params['slope']:.2f} x + {params['offset']:.2f}, mean squared error {value:.4f}")
