"""
Spots of a microscope
=====================

Two thousand molecules found in one call, as well as their photons allow.

Every spot is a small image with the noise of few photons. `curve_fit` maximises the likelihood of
the counts of all spots at once: position, brightness and width of a Gaussian that the pixels
integrate, and the background. No unbiased method can err less than the Cramér-Rao bound, which
follows from the derivatives of the model; the errors are compared with it. Writes a picture with
some spots, the errors of the positions beside the bound, and their distribution.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl

parser = argparse.ArgumentParser(description="spots of a microscope")
parser.add_argument("--spots", type=int, default=2000)
parser.add_argument("--plot", type=Path, default=Path("spots.png"))
options = parser.parse_args()

# %%
# Images of 11 x 11 pixels. Units are pixels and photons. A camera that counts electrons would be
# divided by its gain first.

side, n = 11, options.spots
y, x = np.mgrid[:side, :side].reshape(2, -1)
rng = np.random.default_rng(0)
truth = {
    "total": 10 ** rng.uniform(2.5, 4.0, n),
    "center_x": 5 + rng.uniform(-0.8, 0.8, n),
    "center_y": 5 + rng.uniform(-0.8, 0.8, n),
    "width": rng.uniform(1.1, 1.5, n),
    "offset": rng.uniform(2.0, 5.0, n),
}
model = fl.models.PixelGaussian2D()
expected, slopes = model.value_and_jacobian((x, y), truth)
counts = rng.poisson(expected).astype(float)

# %%
# The model guesses where to begin. Every spot has its own steps and its own end; one that cannot be
# fitted would be a status among the others.

res = fl.curve_fit(model, (x, y), counts, likelihood="poisson", batched=True)
print(res.message)

# %%
# The Fisher information of counts with these expectations, inverted: the bound.

J = np.stack([slopes[name] for name in model.names], axis=-1)
information = np.einsum("spi,sp,spj->sij", J, 1 / expected, J)
bound = np.sqrt(np.diagonal(np.linalg.inv(information), axis1=1, axis2=2))

print("parameter   error / bound   mean error / bound   standard error / bound")
errors = {}
for i, name in enumerate(model.names):
    errors[name] = (res.x[name] - truth[name]) / bound[:, i]
    scatter, bias = np.std(errors[name]), np.mean(errors[name])
    claimed = np.median(res.stderr[name] / bound[:, i])
    print(f"{name:10}  {scatter:13.3f}   {bias:18.3f}   {claimed:22.3f}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure = plt.figure(figsize=(10, 3.6), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1.1, 1))
    left.suptitle("nine of the spots, and where they are")
    for ax, k in zip(left.subplots(3, 3).flat, np.argsort(truth["total"])[:: n // 9], strict=False):
        ax.imshow(counts[k].reshape(side, side), cmap="gray")
        ax.plot(res.x["center_x"][k], res.x["center_y"][k], "+", color="tab:red")
        ax.set_axis_off()
    ax = middle.subplots()
    i = model.names.index("center_x")
    ax.loglog(truth["total"], np.abs(errors["center_x"]) * bound[:, i], ".", ms=2, label="error")
    ax.loglog(truth["total"], bound[:, i], ".", ms=2, label="Cramér-Rao bound")
    ax.set(xlabel="photons", ylabel="pixels", ylim=(1e-4, 1), title="position")
    ax.legend(loc="lower left", markerscale=5)
    ax = right.subplots()
    bins = np.linspace(-4, 4, 41)
    for name in ("center_x", "center_y", "width"):
        ax.hist(errors[name], bins, density=True, histtype="step", label=name)
    ax.plot(bins, np.exp(-0.5 * bins**2) / np.sqrt(2 * np.pi), "k--", label="normal")
    ax.set(xlabel="error / bound", title="distribution")
    ax.legend(fontsize="small")
    figure.savefig(options.plot, dpi=150)
    print(f"picture: {options.plot}")
