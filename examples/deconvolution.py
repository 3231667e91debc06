"""
Deconvolution
=============

A blurred, noisy image made sharp: least squares, no negative pixels, little total variation.

The blur is a product in Fourier space, so the gradient of least squares needs two more transforms.
Proximal gradients with momentum take the constraint; the smoothed total variation joins the
objective. Writes a picture with the truth, the data, and the estimates without and with the two.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl

parser = argparse.ArgumentParser(description="deconvolution")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--plot", type=Path, default=Path("deconvolution.png"))
options = parser.parse_args()

# %%
# The image has blocks and a disc; a Gaussian blurs it, and noise of 1 % is added.

n = 96
y, x = np.mgrid[:n, :n]
truth = np.zeros((n, n))
truth[20:50, 15:40] = 1.0
truth[60:80, 20:75] = 0.6
truth[(x - 66) ** 2 + (y - 34) ** 2 < 15**2] = 0.8

frequency = np.fft.fftfreq(n)
blur = np.exp(-2 * (np.pi * 2.5) ** 2 * (frequency[:, None] ** 2 + frequency**2))
rng = np.random.default_rng(0)
data = np.fft.ifft2(blur * np.fft.fft2(truth)).real + 0.01 * rng.standard_normal((n, n))


def least_squares(image):
    """Return half the squared residual and its gradient."""
    residual = np.fft.ifft2(blur * np.fft.fft2(image)).real - data
    return 0.5 * np.sum(residual**2), np.fft.ifft2(blur * np.fft.fft2(residual)).real


# %%
# Without help the noise grows; the constraint and the penalty hold it down.

settings = {
    "least squares": {},
    "non-negative": {"constraint": fl.NonNegative()},
    "and total variation": {"constraint": fl.NonNegative(), "penalty": fl.TotalVariation(2e-3)},
}
images = {"truth": truth, "data": data}
print(f"{'':<20} {'relative error':>14}")
print(f"{'data':<20} {np.linalg.norm(data - truth) / np.linalg.norm(truth):>14.3f}")
for name, setting in settings.items():
    res = fl.minimize(least_squares, data, method="fista", max_iterations=options.steps, **setting)
    images[name] = res.x
    error = np.linalg.norm(res.x - truth) / np.linalg.norm(truth)
    print(f"{name:<20} {error:>14.3f}")

# %%
# The picture, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    _, axes = plt.subplots(1, 5, figsize=(13, 3), layout="constrained")
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        ax.imshow(image, vmin=0, vmax=1, cmap="gray")
        ax.set_title(name)
        ax.axis("off")
    plt.savefig(options.plot, dpi=100)
    print(f"the images are in {options.plot}")
