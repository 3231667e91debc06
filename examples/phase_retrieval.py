"""
Phase retrieval
===============

Phase retrieval: a complex object from the intensities of coded diffraction patterns.

The object passes through known phase masks and is measured far away, where only the intensity of
its Fourier transform is seen, with the noise of few photons. Three methods on complex numbers find
it, up to one global phase: Adam; Adam with the constraint that an object absorbs and does not
amplify, projected on in Adam's own metric as part of its step; and L-BFGS. Writes a picture with
the object, the reconstruction and the errors.
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
photons = 1000.0  # for a pixel of intensity 1
intensities = np.abs(np.fft.fft2(masks * truth, norm="ortho")) ** 2
intensities = rng.poisson(photons * intensities) / photons
loss = fl.losses.AmplitudeError(reduction="sum")


def objective(psi):
    """Return the loss and its gradient dL/dRe + i dL/dIm."""
    value, d_waves = loss.value_and_gradient(np.fft.fft2(masks * psi, norm="ortho"), intensities)
    return value, np.sum(masks.conj() * np.fft.ifft2(d_waves, norm="ortho"), axis=0)


def aligned(psi):
    """Return an object turned by the global phase that the measurement leaves open."""
    return psi * np.exp(-1j * np.angle(np.vdot(truth, psi)))


def error(psi):
    """Return the relative error."""
    return np.linalg.norm(aligned(psi) - truth) / np.linalg.norm(truth)


start = np.ones((64, 64), complex)
print(fl.check_gradient(objective, start + 0.1 * rng.standard_normal(start.shape)))
adam = fl.Adam(lambda step: 0.1 * 0.99**step)
methods = {
    "Adam": {"method": adam},
    "Adam, no pixel amplifies": {"method": adam, "constraint": fl.MaxModulus(1.0)},
    "L-BFGS": {"method": "lbfgs", "stop": fl.stop.GradientNorm(1e-3)},
}
errors, found = {}, {}
for name, how in methods.items():
    errors[name] = []
    found[name] = fl.minimize(
        objective,
        start,
        **how,
        max_iterations=options.steps,
        callback=lambda record, seen=errors[name]: seen.append(error(record.x)),
    )
    result = found[name]
    print(f"{name:24}: {result.nfev:3d} evaluations, relative error {error(result.x):.3e}")
reconstruction = aligned(found["Adam, no pixel amplifies"].x)

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for column, (title, image) in enumerate(
        (("object", truth), ("reconstruction", reconstruction))
    ):
        axes[0, column].imshow(np.abs(image), vmin=0, vmax=1, cmap="gray")
        axes[0, column].set_title(f"{title}: amplitude")
        axes[1, column].imshow(np.angle(image), vmin=-np.pi, vmax=np.pi, cmap="twilight")
        axes[1, column].set_title(f"{title}: phase")
    axes[0, 2].imshow(np.log1p(np.fft.fftshift(intensities[0])), cmap="magma")
    axes[0, 2].set_title("one of four measurements")
    for ax in (*axes[:, :2].flat, axes[0, 2]):
        ax.set_axis_off()
    for name, values in errors.items():
        axes[1, 2].semilogy(values, label=name)
    axes[1, 2].set(xlabel="iteration", ylabel="relative error")
    axes[1, 2].legend(fontsize="small")
    figure.savefig(options.plot, dpi=150)
    print(f"picture: {options.plot}")
