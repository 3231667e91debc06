"""
Every method on Rosenbrock's valley
===================================

Every method finds the minimum of a curved valley.

The function :math:`(1 - x)^2 + 100 (y - x^2)^2` has its minimum at (1, 1). Each method
starts at (-1.2, 1); the table tells what it needed, the picture where it went.
"""

# %%
# The function, with its gradient.

import argparse

import numpy as np

import fallline as fl


def rosenbrock(x):
    a, b = x
    value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    return value, np.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])


# %%
# The methods, by name or with settings.

METHODS = {
    "L-BFGS": "lbfgs",
    "conjugate gradients": "cg",
    "Barzilai-Borwein": fl.SteepestDescent(),
    "steepest descent": fl.SteepestDescent("armijo"),
    "FISTA": "fista",
    "Adam": fl.Adam(0.1),
}


def main(plot):
    paths = {}
    print(f"{'method':<20} {'iterations':>10} {'evaluations':>11} {'value':>10}")
    for name, method in METHODS.items():
        res = fl.minimize(
            rosenbrock, np.array([-1.2, 1.0]), method=method, record=["x"], check_every=1,
            stop=fl.stop.GradientNorm(1e-6), max_iterations=20_000,
        )  # fmt: skip
        paths[name] = np.asarray(res.history["x"])
        print(f"{name:<20} {res.nit:>10} {res.nfev:>11} {res.fun:>10.1e}")
    draw(paths, plot)


# %%
# The picture, where matplotlib is installed.


def draw(paths, plot):
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    a, b = np.meshgrid(np.linspace(-1.6, 1.6, 200), np.linspace(-0.8, 1.8, 200))
    _, axes = plt.subplots(2, 3, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
    for ax, (name, path) in zip(axes.flat, paths.items(), strict=True):
        ax.contour(a, b, np.log10(rosenbrock((a, b))[0] + 1e-3), 15, colors="0.8", linewidths=0.8)
        ax.plot(*path.T, ".-", markersize=3, linewidth=0.8)
        ax.plot(1, 1, "k*")
        ax.set_title(f"{name}: {len(path) - 1}")
        ax.set(xlim=(-1.6, 1.6), ylim=(-0.8, 1.8))
    plt.savefig(plot, dpi=100)
    print(f"the paths are in {plot}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="every method on Rosenbrock's valley")
    parser.add_argument("--plot", default="rosenbrock.png", help="where to draw the paths")
    main(parser.parse_args().plot)
