"""
Phase retrieval
===============

Phase retrieval: a complex object from the intensities of coded diffraction patterns.

The object passes through known phase masks and is measured far away, where only the intensity of
its Fourier transform is seen. Adam on complex numbers finds it, up to one global phase. Writes a
picture with the object, the reconstruction and the error.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl


def make_object(n):
    """Return a complex image: discs that absorb and shift the phase."""
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    image = np.ones((n, n), complex)
    for cx, cy, radius, absorption, shift in (
        (-0.3, -0.2, 0.45, 0.3, 1.2),
        (0.35, 0.3, 0.35, 0.5, -0.9),
        (0.2, -0.5, 0.2, 0.1, 2.0),
    ):
        disc = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        image[disc] *= (1 - absorption) * np.exp(1j * shift)
    return image


parser = argparse.ArgumentParser(description="phase retrieval")
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--plot", type=Path, default=Path("phase_retrieval.png"))
options = parser.parse_args()

rng = np.random.default_rng(0)
truth = make_object(64)
masks = np.exp(2j * np.pi * rng.random((4, 64, 64)))
intensities = np.abs(np.fft.fft2(masks * truth, norm="ortho")) ** 2
loss = fl.losses.AmplitudeError(reduction="sum")


def objective(psi):
    """Return the loss and its gradient dL/dRe + i dL/dIm."""
    value, d_waves = loss.value_and_gradient(np.fft.fft2(masks * psi, norm="ortho"), intensities)
    return value, np.sum(masks.conj() * np.fft.ifft2(d_waves, norm="ortho"), axis=0)


psi = np.ones((64, 64), complex)
opt = fl.Optimizer(psi, fl.Adam(lambda step: 0.1 * 0.99**step))
print(fl.check_gradient(objective, psi + 0.1 * rng.standard_normal(psi.shape)))

errors = []
for step in range(options.steps):
    value, gradient = objective(psi)
    opt.step(gradient)
    aligned = psi * np.exp(-1j * np.angle(np.vdot(truth, psi)))
    errors.append(np.linalg.norm(aligned - truth) / np.linalg.norm(truth))
    if (step + 1) % 50 == 0:
        print(f"step {step + 1:3d}: loss {value:.3e}, relative error {errors[-1]:.3e}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for column, (title, image) in enumerate((("object", truth), ("reconstruction", aligned))):
        axes[0, column].imshow(np.abs(image), vmin=0, vmax=1, cmap="gray")
        axes[0, column].set_title(f"{title}: amplitude")
        axes[1, column].imshow(np.angle(image), vmin=-np.pi, vmax=np.pi, cmap="twilight")
        axes[1, column].set_title(f"{title}: phase")
    axes[0, 2].imshow(np.log1p(np.fft.fftshift(intensities[0])), cmap="magma")
    axes[0, 2].set_title("one of four measurements")
    for ax in (*axes[:, :2].flat, axes[0, 2]):
        ax.set_axis_off()
    axes[1, 2].semilogy(errors)
    axes[1, 2].set(xlabel="step", ylabel="relative error")
    figure.savefig(options.plot, dpi=150)
    print(f"picture: {options.plot}")
