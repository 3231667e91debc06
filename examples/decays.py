"""
A decay time for every pixel
============================

A series of images of a signal that decays: its time constant in every pixel, and how certain it is.

Echoes of magnetic resonance fade with the time T2 of the tissue. One call of `curve_fit` fits a
decay to each pixel that has a signal, with bounds on the times. In fluid the signal hardly falls
while it is watched: the standard errors are large there, and where the fit ends at the bound there
is none. Writes a picture with maps of the truth, the times, their standard errors and the errors.
"""

import argparse
from pathlib import Path

import numpy as np

import fallline as fl

parser = argparse.ArgumentParser(description="a decay time for every pixel")
parser.add_argument("--size", type=int, default=96)
parser.add_argument("--plot", type=Path, default=Path("decays.png"))
options = parser.parse_args()

# %%
# A head of ellipses: times in milliseconds, and how bright each pixel is. Sixteen echoes.

size = options.size
y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
density, T2 = np.zeros((size, size)), np.full((size, size), np.nan)
for cx, cy, a, b, brightness, time in (
    (0.0, 0.0, 0.75, 0.9, 0.8, 80.0),
    (0.0, 0.05, 0.62, 0.75, 1.0, 100.0),
    (-0.22, -0.1, 0.16, 0.35, 0.9, 1500.0),
    (0.22, -0.1, 0.16, 0.35, 0.9, 1500.0),
    (0.05, 0.45, 0.25, 0.12, 0.7, 45.0),
):
    inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1
    density[inside], T2[inside] = brightness, time
echoes = 15.0 * np.arange(1, 17)
signal = density[..., None] * np.exp(-echoes / np.where(density > 0, T2, 1.0)[..., None])
noise = 0.03
data = signal + noise * np.random.default_rng(0).standard_normal(signal.shape)

# %%
# All pixels at once, as rows. The noise is known, so standard errors are absolute.

model = fl.models.ExponentialDecay(offset=0.0)
seen = data[..., 0] > 5 * noise
start = model.guess(echoes, data[seen])
start["lifetime"] = np.clip(start["lifetime"], 5.0, 2000.0)
res = fl.curve_fit(
    model,
    echoes,
    data[seen],
    start,
    sigma=noise,
    absolute_sigma=True,
    bounds=({"lifetime": 5.0, "amplitude": 0.0}, {"lifetime": 2000.0, "amplitude": np.inf}),
    batched=True,
)
print(res.message)

# %%
# Maps, and whether the standard errors tell the truth.

found, stderr = np.full((2, size, size), np.nan)
found[seen], stderr[seen] = res.x["lifetime"], res.stderr["lifetime"]
error = found - T2
for name, region in {"tissue": T2 < 200, "fluid": T2 > 200}.items():
    region &= seen
    ended = np.mean(np.isnan(stderr[region]))
    ratio = np.nanstd(error[region] / stderr[region])
    print(
        f"{name}: T2 known to {np.nanmedian(stderr[region]):5.1f} ms, error / standard error "
        f"{ratio:.2f}, at the bound {100 * ended:.0f} % of the pixels"
    )

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.7), layout="constrained")
    shown = {
        "T2": (T2, 20, 2000, "viridis"),
        "found": (found, 20, 2000, "viridis"),
        "standard error": (stderr, 1, 1000, "magma"),
        "error / standard error": (error / stderr, -4, 4, "coolwarm"),
    }
    for ax, (title, (image, low, high, colors)) in zip(axes, shown.items(), strict=True):
        norm = "log" if low > 0 else "linear"
        picture = ax.imshow(image, norm=norm, vmin=low, vmax=high, cmap=colors)
        ax.set_title(title)
        ax.set_axis_off()
        figure.colorbar(picture, ax=ax, label="ms" if low > 0 else "", shrink=0.8)
    figure.savefig(options.plot, dpi=150)
    print(f"picture: {options.plot}")
