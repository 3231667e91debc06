"""What files of version 1 hold, and how those under ``data/version-1`` were written.

They were written by the first version of this format and are never written again: run this file
only with a `fallline` that writes version 1. Beside each file stands what it held, written by
NumPy alone, so that a test compares files with facts and not with the code that reads them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fallline as fl
from fallline import gradients, schedules

FOLDER = Path(__file__).parent / "data" / "version-1"


def numbers(*shape, start=1):
    """Return numbers that need no generator: multiples of 1/64 between -1 and 1."""
    size = int(np.prod(shape))
    return ((np.arange(start, start + size) * 37 % 129 - 64) / 64).reshape(shape)


def tree(start):
    """Return nested parameters, or gradients, of every kind that a file may hold."""
    from ml_dtypes import bfloat16

    z = numbers(2, 3, start=start) + 1j * numbers(2, 3, start=start + 50)
    return {
        "layers": [
            {"w": numbers(3, 4, start=start), "b": numbers(4, start=start + 7)},
            {"w": np.asfortranarray(numbers(4, 2, start=start + 9).astype("float32"))},
        ],
        "pair": (z.astype("complex64"), (z * 1j, None)),
        'it\'s / a "name"': numbers(2, start=start + 3),
        "number": np.asarray(numbers(1, start=start + 5)[0]),
        "empty": np.zeros((0, 3)),
        "half": numbers(5, start=start + 11).astype("float16"),
        "brain": numbers(6, start=start + 13).astype(bfloat16),
    }


def nested(start=1):
    """Return an Optimizer with everything around its rule."""
    return fl.Optimizer(
        tree(start),
        fl.Adam(schedules.Cosine(0.1, steps=50), amsgrad=True),
        gradients=[gradients.Accumulate(2), gradients.ClipByGlobalNorm(1.0)],
        nonfinite="skip",
        master_weights=True,
    )


def mixed(start=1):
    """Return an Optimizer with a rule of its own for each leaf."""
    params = {name: numbers(4, 3, start=start + i) for i, name in enumerate("abcdef")}
    plateau = schedules.ReduceOnPlateau(0.1, patience=1)
    rules = {
        "a": fl.SGD(plateau, momentum=0.9, nesterov=True),
        "b": fl.Lookahead(fl.AdamW(1e-2), k=2),
        "c": fl.Muon(1e-2),
        "d": fl.Adafactor(1e-2),
        "e": fl.ScheduleFreeAdamW(1e-2),
        "f": None,
    }
    return fl.Optimizer(params, rules)


def scaled(start=1):
    """Return an Optimizer with a loss scale."""
    params = [numbers(3, start=start), numbers(2, 2, start=start + 1).astype("float32")]
    scale = gradients.LossScale(64.0, interval=2)
    return fl.Optimizer(params, fl.RMSprop(1e-2), gradients=[scale], nonfinite="skip")


def average(start=1):
    """Return an average of parameters."""
    z = numbers(3, start=start) + 1j * numbers(3, start=start + 2)
    return fl.EMA({"w": numbers(2, 2, start=start), "z": z}, decay=0.9)


MADE = {"nested": nested, "mixed": mixed, "scaled": scaled}


def leaves(opt):
    """Return arrays by the name of their leaf and slot, and counts."""
    found = {"step_count": np.asarray(opt.step_count)}
    for leaf in opt._bound.leaves:
        if leaf.p is None:
            continue
        found[leaf.name("params")] = leaf.p
        for slot, x in ({} if leaf.state is None else leaf.state.data).items():
            found[f"{leaf.name('state')}[{slot!r}]"] = np.asarray(x)
    return found


def plain(x):
    """Return an array whose bits NumPy can store."""
    return x.view("u2") if x.dtype.name == "bfloat16" else x


DATA = numbers(40, 3), (numbers(40, start=5) > 0).astype(float)
MODEL = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(0.1))
RUN = {
    "method": fl.Adam(schedules.Cosine(0.05, steps=20)),
    "batch_size": 16,
    "epochs": 4,
    "validation": DATA,
}


def described(result):
    """Return the numbers of a run by name."""
    numbers = {f"params/{name}": np.asarray(x) for name, x in result.params.items()}
    numbers |= {name: result.history[name] for name in result.history if name != "seconds"}
    return {**numbers, "steps": np.asarray(result.steps)}


def write():
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in MADE.items():
        opt = make()
        for k in range(5):
            grads = make(2 + k).params
            if name == "scaled":
                grads = [64 * g for g in grads]
                if k == 3:
                    grads[0][0] = np.inf
            opt.step(grads)
            if name == "mixed":  # the third in a row that is no better reduces the rate
                opt.rule["a"].learning_rate.update(1.0)
        opt.save(FOLDER / f"{name}.npz")
        held = {key: plain(x) for key, x in leaves(opt).items()}
        np.savez(FOLDER / f"{name}-held.npz", names=list(held), **named(held))
    mean = average()
    for k in range(3):
        mean.update(average(2 + k).source)
    mean.save(FOLDER / "average.npz")
    held = {f"params[{key!r}]": x for key, x in mean.params.items()}
    np.savez(FOLDER / "average-held.npz", names=list(held), **named(held))
    callback = fl.callbacks.Checkpoint(FOLDER / "run.npz", steps=5)  # in mid-epoch
    fl.fit(MODEL, DATA, rng=3, callbacks=[callback], **{**RUN, "epochs": 3})
    held = described(fl.fit(MODEL, DATA, rng=3, **RUN))
    np.savez(FOLDER / "run-held.npz", names=list(held), **named(held))


def named(held):
    """Return arrays by names that any file system takes."""
    return {f"array{i}": x for i, x in enumerate(held.values())}


def held(name):
    """Return what a file held."""
    with np.load(FOLDER / f"{name}-held.npz", allow_pickle=False) as file:
        return {str(key): file[f"array{i}"] for i, key in enumerate(file["names"])}


if __name__ == "__main__":
    write()
