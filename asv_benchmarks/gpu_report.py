"""What a GPU makes of the CUDA engine: prints figures, and writes them as JSON.

python asv_benchmarks/gpu_report.py [--elements N] [--out FILE]

Everything is float32 Adam unless it says otherwise; peers run in the same process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import fallline as fl
from fallline.engine import cuda
from fallline.engine.trace import trace

RATE = 1e-3
THREADS = (128, 256, 512)
CHUNKS = (1024, 2048, 4096, 8192, 16384, 65536)
BYTES = 28  # that Adam moves for each float32 element: four arrays read, three written
RULES = [
    fl.GradientDescent(0.1),
    fl.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    fl.Adagrad(0.1),
    fl.Adadelta(),
    fl.RMSprop(0.1, centered=True, momentum=0.9),
    fl.Adam(0.1, amsgrad=True, weight_decay=0.1),
    fl.AdamW(0.1),
]
DTYPES = ("float16", "float32", "float64", "complex64", "complex128")


def seconds(cupy, step, repeat=30, batch=1):
    """Return the median time of a step, over batches that end in a synchronisation."""
    for _ in range(3):
        step()
    times = []
    for _ in range(repeat):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        for _ in range(batch):
            step()
        cupy.cuda.Device().synchronize()
        times.append((time.perf_counter() - start) / batch)
    return statistics.median(times)


def environment(cupy):
    """Return what this ran on."""
    names = ("fallline", "numpy", "torch", "array-api-compat", "optree")
    versions = {"cupy": cupy.__version__, "python": sys.version.split()[0]}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = fl.__version__ if name == "fallline" else None
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "device": properties["name"].decode(),
        "compute_capability": cupy.cuda.Device().compute_capability,
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
        "versions": versions,
    }


def bandwidth(cupy, size=1 << 30):
    """Return bytes per second of a copy on the device, reads and writes counted."""
    a, b = cupy.zeros(size, cupy.uint8), cupy.zeros(size, cupy.uint8)
    copy = lambda: b.data.copy_from_device_async(a.data, size)  # noqa: E731
    return 2 * size / seconds(cupy, copy, batch=10)


def ours(cupy, count, n, fresh=True):
    """Return a step of ours, and its Optimizer."""
    params = [cupy.ones(n, "float32") for _ in range(count)]
    grads = [[cupy.full(n, 0.1, "float32") for _ in range(count)] for _ in range(2)]
    opt = fl.Optimizer(params, fl.Adam(RATE))
    pool = itertools.cycle(grads if fresh else grads[:1])
    return lambda: opt.step(next(pool)), opt


def by_hand(cupy, count, n):
    """Return Adam as CuPy's users write it, array by array."""
    params, m, v = ([cupy.full(n, x, "float32") for _ in range(count)] for x in (1, 0, 0))
    grads = [cupy.full(n, 0.1, "float32") for _ in range(count)]
    steps = itertools.count(1)

    def step():
        t = next(steps)
        size, root = RATE / (1 - 0.9**t), (1 - 0.999**t) ** 0.5
        for i, g in enumerate(grads):
            m[i] = 0.9 * m[i] + (1 - 0.9) * g
            v[i] = 0.999 * v[i] + (1 - 0.999) * g * g
            params[i] -= size * m[i] / (cupy.sqrt(v[i]) / root + 1e-8)

    return step


def torch_fused(count, n):
    """Return torch's fused Adam on its own arrays, or `None` without torch on a GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    params = [torch.ones(n, device="cuda", requires_grad=True) for _ in range(count)]
    for p in params:
        p.grad = torch.full_like(p, 0.1)
    return torch.optim.Adam(params, lr=RATE, fused=True).step


def large(cupy, n, copied):
    """Return figures of one large array, and of shapes of the launch."""
    step, opt = ours(cupy, 1, n)
    found = {"elements": n, "seconds": seconds(cupy, step, batch=10)}
    found["of_copy_bandwidth"] = BYTES * n / found["seconds"] / copied
    runner = opt._bound.groups[0].runner
    scalars = fl.Adam(RATE).scalars(1)
    grads = [cupy.full(n, 0.1, "float32")]
    program = trace(fl.Adam(RATE), "float32")
    found["sweep"] = []
    for threads, chunk in itertools.product(THREADS, CHUNKS):
        one = cuda.CudaRunner(program, runner.leaves, threads=threads, chunk=chunk)
        time_ = seconds(
            cupy, lambda one=one: one.run(scalars, [0], grads, lambda: None), 10, batch=10
        )
        fraction = BYTES * n / time_ / copied
        found["sweep"].append({"threads": threads, "chunk": chunk, "of_copy_bandwidth": fraction})
    return found | peers(cupy, 1, n, found["seconds"], batch=10)


def peers(cupy, count, n, mine, batch):
    """Return the times of the others, and ours over theirs."""
    found = {"by_hand": seconds(cupy, by_hand(cupy, count, n), batch=batch)}
    if (step := torch_fused(count, n)) is not None:
        found["torch_fused"] = seconds(cupy, step, batch=batch)
    return found | {f"ratio_to_{name}": mine / x for name, x in list(found.items())}


def many(cupy, count, n):
    """Return figures of many arrays: the whole step, and the launches it makes."""
    found = {"arrays": count, "elements": n}
    for name, fresh in (("seconds", True), ("seconds_same_gradients", False)):
        step, opt = ours(cupy, count, n, fresh)
        found[name] = seconds(cupy, step)
        runners = [group.runner for group in opt._bound.groups]
        found["launches_per_step"] = sum(len(runner.plan[2]) for runner in runners)
    return found | peers(cupy, count, n, found["seconds"], batch=1)


def equal_bits(cupy, n=10_007, steps=10):
    """Return, for every rule and dtype, whether the GPU's bits are those of NumPy."""
    found = {}
    for rule, dtype in itertools.product(RULES, DTYPES):
        rng = np.random.default_rng(0)
        x = rng.standard_normal(n).astype(dtype)
        y = cupy.asarray(x)
        pair = fl.Optimizer(x, rule, engine="eager"), fl.Optimizer(y, rule, engine="cuda")
        for _ in range(steps):
            g = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 6, n)).astype(dtype)
            pair[0].step(g)
            pair[1].step(cupy.asarray(g))
        found[f"{rule} {dtype}"] = x.tobytes() == y.get().tobytes()
    return found


def main():
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=float, default=1e8, help="of the large array")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    try:
        import cupy
    except ImportError:
        sys.exit("CuPy is not installed")
    if not cupy.cuda.is_available():
        sys.exit("no CUDA device")
    report = environment(cupy)
    report["copy_bytes_per_second"] = copied = bandwidth(cupy)
    report["bits_equal"] = equal_bits(cupy)
    report["many"] = [many(cupy, 300, n) for n in (1000, 100_000)]
    report["large"] = large(cupy, int(arguments.elements), copied)
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")
    if not all(report["bits_equal"].values()):
        sys.exit("bits differ")


if __name__ == "__main__":
    main()
