"""What a GPU makes of fallline: prints figures, and writes them as JSON.

python asv_benchmarks/gpu_report.py [--elements N] [--only SECTION ...] [--out FILE]

It begins with the self-test (python -m fallline.selftest --backend cupy): bits of every rule,
launches, times. Then come figures beside those of code by hand and of torch, if torch has the
device too. A section that fails is reported, and the others go on. Parameters are float32 and the
rule is Adam, unless it says otherwise. No GPU has run this yet: tests run it on the host.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import itertools
import json
import statistics
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import fallline as fl
from fallline import selftest
from fallline.engine import cuda
from fallline.engine.trace import trace

RATE = 1e-3
THREADS = (128, 256, 512)
CHUNKS = (1024, 2048, 4096, 8192, 16384, 65536)
BYTES = 28  # that Adam moves for each float32 element: four arrays read, three written
NAMES = ("fallline", "cupy-cuda12x", "cupy-cuda13x", "torch", "array-api-compat", "optree")


@dataclass
class Scale:
    """How large the problems are, and how often they are timed."""

    elements: int = 100_000_000
    many: tuple[int, ...] = (1000, 100_000)
    layers: tuple[int, ...] = (784, 2048, 2048, 10)
    rows: int = 200_000
    columns: int = 100
    repeat: int = 30
    batch: int = 10


def commit():
    """Return the commit of this clone, or `None` outside of one."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions():
    """Return the versions of what is installed."""
    found = {"python": sys.version.split()[0], "numpy": np.__version__}
    for name in NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def seconds(cupy, call, scale, batch=None):
    """Return the median seconds of a call, and those until it returns to the host.

    A batch of calls ends in a synchronisation. Where the host is not stalled, its part is less.
    """
    batch = scale.batch if batch is None else batch
    for _ in range(3):
        call()
    whole, host = [], []
    for _ in range(scale.repeat):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        for _ in range(batch):
            call()
        host.append((time.perf_counter() - start) / batch)
        cupy.cuda.Device().synchronize()
        whole.append((time.perf_counter() - start) / batch)
    return {"seconds": statistics.median(whole), "host_seconds": statistics.median(host)}


def launches(cupy, call):
    """Return how many kernels of any library a call launches: the nodes of its CUDA graph."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        call()  # compiled, and its memory is in the pool
        stream.synchronize()
        stream.begin_capture()
        try:
            call()
        finally:
            graph = stream.end_capture()
    driver, count, kind = ctypes.CDLL("libcuda.so.1"), ctypes.c_size_t(), ctypes.c_int()
    driver.cuGraphGetNodes(ctypes.c_void_p(graph.graph), None, ctypes.byref(count))
    nodes = (ctypes.c_void_p * count.value)()
    driver.cuGraphGetNodes(ctypes.c_void_p(graph.graph), nodes, ctypes.byref(count))
    found = 0
    for node in nodes:
        driver.cuGraphNodeGetType(ctypes.c_void_p(node), ctypes.byref(kind))
        found += kind.value == 0  # CU_GRAPH_NODE_TYPE_KERNEL
    return found


def tried(count, *arguments):
    """Return a count, or why there is none."""
    try:
        return count(*arguments)
    except Exception as error:  # a figure less
        return f"{type(error).__name__}: {error}"


def bandwidth(cupy, scale, size=1 << 30):
    """Return bytes per second of a copy on the device, reads and writes counted."""
    a, b = cupy.zeros(size, cupy.uint8), cupy.zeros(size, cupy.uint8)
    copy = lambda: b.data.copy_from_device_async(a.data, size)  # noqa: E731
    return 2 * size / seconds(cupy, copy, scale)["seconds"]


# -- steps ------------------------------------------------------------------------------------


def ours(cupy, count, n, *, fresh=True, dtype="float32", **options):
    """Return a step of ours, and its Optimizer."""
    params = [cupy.ones(n, dtype) for _ in range(count)]
    grads = [[cupy.full(n, x, dtype) for _ in range(count)] for x in (0.1, 0.2)]
    opt = fl.Optimizer(params, fl.Adam(RATE), **options)
    pool = itertools.cycle(grads if fresh else grads[:1])
    return lambda: opt.step(next(pool)), opt


def by_hand(cupy, params):
    """Return Adam as CuPy's users write it, array by array."""
    m, v = ([cupy.zeros_like(p) for p in params] for _ in range(2))
    steps = itertools.count(1)

    def step(grads):
        t = next(steps)
        size, root = RATE / (1 - 0.9**t), (1 - 0.999**t) ** 0.5
        for i, g in enumerate(grads):
            m[i] = 0.9 * m[i] + (1 - 0.9) * g
            v[i] = 0.999 * v[i] + (1 - 0.999) * g * g
            params[i] -= size * m[i] / (cupy.sqrt(v[i]) / root + 1e-8)

    return step


def torch_with_a_device():
    """Return torch, or `None` where it is not installed or has no GPU."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def tensors(torch, count, n, device="cuda"):
    """Return parameters of torch with gradients."""
    params = [torch.ones(n, device=device, requires_grad=True) for _ in range(count)]
    for p in params:
        p.grad = torch.full_like(p, 0.1)
    return params


def peers(cupy, scale, count, n, mine, batch=None):
    """Return the times of the others, and ours over theirs."""
    params, grads = ([cupy.full(n, x, "float32") for _ in range(count)] for x in (1.0, 0.1))
    hand = by_hand(cupy, params)
    found = {"by_hand": seconds(cupy, lambda: hand(grads), scale, batch)["seconds"]}
    if (torch := torch_with_a_device()) is not None:
        step = torch.optim.Adam(tensors(torch, count, n), lr=RATE, fused=True).step
        found["torch_fused"] = seconds(cupy, step, scale, batch)["seconds"]
    return found | {f"ratio_to_{name}": mine / x for name, x in list(found.items())}


def large(cupy, scale, copied):
    """One large array: the step, and shapes of its launch."""
    n = scale.elements
    step, opt = ours(cupy, 1, n)
    found = {"elements": n, **seconds(cupy, step, scale)}
    found["of_copy_bandwidth"] = BYTES * n / found["seconds"] / copied
    runner = opt._bound.groups[0].runner
    scalars, program = fl.Adam(RATE).scalars(1), trace(fl.Adam(RATE), "float32")
    grads = [cupy.full(n, 0.1, "float32")]
    found["sweep"] = []
    for threads, chunk in itertools.product(THREADS, CHUNKS):
        one = cuda.CudaRunner(program, runner.leaves, threads=threads, chunk=chunk)
        call = lambda one=one: one.run(scalars, [0], grads, lambda: None)  # noqa: E731
        fraction = BYTES * n / seconds(cupy, call, scale)["seconds"] / copied
        found["sweep"].append({"threads": threads, "chunk": chunk, "of_copy_bandwidth": fraction})
    return found | peers(cupy, scale, 1, n, found["seconds"])


def many(cupy, scale, count=300):
    """Many arrays: the whole step with fresh gradients and with the same, and its launches."""
    rows = []
    for n in scale.many:
        found = {"arrays": count, "elements": n}
        for name, fresh in (("fresh", True), ("same_gradients", False)):
            step, _ = ours(cupy, count, n, fresh=fresh)
            found[name] = seconds(cupy, step, scale, 1)
        found["launches"] = tried(launches, cupy, step)
        found |= peers(cupy, scale, count, n, found["fresh"]["seconds"], 1)
        rows.append(found)
    return rows


def global_norm(cupy, scale, count=300):
    """Clipping by the global norm of many arrays: times and launches beside a step without."""
    rows = []
    for n in scale.many:
        found = {"arrays": count, "elements": n}
        for name, gradients in (("without", ()), ("with", [fl.gradients.ClipByGlobalNorm(1.0)])):
            step, _ = ours(cupy, count, n, gradients=gradients)
            found[name] = seconds(cupy, step, scale, 1)
            found[name]["launches"] = tried(launches, cupy, step)
        if (torch := torch_with_a_device()) is not None:
            params = tensors(torch, count, n)
            opt = torch.optim.Adam(params, lr=RATE, fused=True)

            def step(params=params, opt=opt, clip=torch.nn.utils.clip_grad_norm_):
                clip(params, 1.0)
                opt.step()

            found["torch_fused"] = seconds(cupy, step, scale, 1)
        rows.append(found)
    return rows


def mixed_precision(cupy, scale, count=300):
    """Parameters in half precision, with master copies, scaled losses and skipped steps."""
    found = []
    for arrays, n in ((count, scale.many[-1]), (1, scale.elements)):
        row = {"arrays": arrays, "elements": n}
        for name, options in (
            ("float32", {"dtype": "float32"}),
            ("float16", {"dtype": "float16"}),
            ("master weights", {"dtype": "float16", "master_weights": True}),
            ("skip", {"dtype": "float16", "master_weights": True, "nonfinite": "skip"}),
        ):
            step, _ = ours(cupy, arrays, n, **options)
            row[name] = seconds(cupy, step, scale)
        found.append(row)
    return found


# -- training ---------------------------------------------------------------------------------


def training(cupy, scale, batch=128):
    """A network with products of CuPy: the whole step, by who makes the update."""
    rng = np.random.default_rng(0)
    pairs = list(itertools.pairwise(scale.layers))
    starts = [rng.standard_normal(pair, dtype=np.float32) / pair[0] ** 0.5 for pair in pairs]
    inputs = cupy.asarray(rng.standard_normal((batch, scale.layers[0]), dtype=np.float32))
    labels = np.eye(scale.layers[-1], dtype=np.float32)
    labels = cupy.asarray(labels[rng.integers(0, scale.layers[-1], batch)])

    def gradients(layers):
        seen = [inputs]
        for layer in layers[:-1]:
            seen.append(cupy.maximum(cupy.matmul(seen[-1], layer), 0))
        z = cupy.matmul(seen[-1], layers[-1])
        slope = cupy.exp(z - z.max(axis=1, keepdims=True))
        slope = (slope / slope.sum(axis=1, keepdims=True) - labels) / batch
        found = []
        for layer, x in zip(reversed(layers), reversed(seen), strict=True):
            found.insert(0, cupy.matmul(x.T, slope))
            slope = cupy.matmul(slope, layer.T) * (x > 0)
        return found

    found = {"layers": list(scale.layers), "batch": batch}
    for name in ("products alone", "fallline", "by hand"):
        layers = [cupy.asarray(x.astype(np.float32)) for x in starts]
        update = {
            "products alone": lambda grads: None,
            "fallline": fl.Optimizer(layers, fl.Adam(RATE)).step,
            "by hand": by_hand(cupy, layers),
        }[name]
        call = lambda layers=layers, update=update: update(gradients(layers))  # noqa: E731
        found[name] = seconds(cupy, call, scale)
    return found


def fitting(cupy, scale, size=256):
    """`fit` on data of CuPy: an epoch of mini-batches, and L-BFGS on all rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((scale.rows, scale.columns), dtype=np.float32)
    y = (X @ rng.standard_normal(scale.columns) > 0).astype(np.float32)
    data = cupy.asarray(X), cupy.asarray(y)
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(1e-4))
    found = {"rows": scale.rows, "columns": scale.columns}
    for name, options in (
        ("adam", {"method": fl.Adam(RATE), "batch_size": size, "epochs": 1, "rng": 0}),
        ("lbfgs", {"method": "lbfgs", "epochs": 20}),
    ):
        results = []
        call = lambda o=options, r=results: r.append(fl.fit(model, data, **o))  # noqa: E731
        found[name] = seconds(cupy, call, scale, 1)
        last = results[-1]
        found[name] |= {"loss": float(last.loss), "steps": last.steps, "epochs": last.epochs}
    return found


def torch_tensors(cupy, scale, count=300, engines=("eager", "cuda")):
    """Tensors of torch on the device, stepped by us and by torch."""
    torch = torch_with_a_device()
    if torch is None:
        return "torch has no device"
    found = []
    for arrays, n in ((1, scale.elements), *((count, n) for n in scale.many)):
        row = {"arrays": arrays, "elements": n}
        for engine in engines:
            params = tensors(torch, arrays, n)
            opt = fl.Optimizer(params, fl.Adam(RATE), engine=engine)
            grads = [p.grad for p in params]
            row[engine] = seconds(cupy, lambda opt=opt, grads=grads: opt.step(grads), scale)
        fused = torch.optim.Adam(tensors(torch, arrays, n), lr=RATE, fused=True).step
        found.append(row | {"torch_fused": seconds(cupy, fused, scale)})
    return found


# -- the report -------------------------------------------------------------------------------

SECTIONS = {
    "many": many, "global_norm": global_norm, "training": training,
    "mixed_precision": mixed_precision, "fitting": fitting, "torch_tensors": torch_tensors,
    "large": large,
}  # fmt: skip


def report(cupy, scale, only=(), tell=print):
    """Return what is found, and the failures."""
    found = {"version": 2, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    found |= {"commit": commit(), "versions": versions(), "device": cuda.described()}
    failures = []
    if not only:
        found["selftest"] = selftest.run("cupy", tell)
        failures += found["selftest"]["failures"]
    copied = found["copy_bytes_per_second"] = bandwidth(cupy, scale)
    for name, section in SECTIONS.items():
        if only and name not in only:
            continue
        start = time.perf_counter()
        try:
            more = (copied,) if section is large else ()
            found[name] = section(cupy, scale, *more)
        except Exception as error:  # the other sections are worth having
            traceback.print_exc()
            found[name] = f"{type(error).__name__}: {error}"
            failures.append(f"{name}: {found[name]}")
        tell(f"{name}, {time.perf_counter() - start:.1f} s: {json.dumps(found[name])}")
    return found, failures


def main():
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=float, default=1e8, help="of the large array")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=())
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    try:
        import cupy
    except ImportError:
        sys.exit("CuPy is not installed")
    if not cupy.cuda.is_available():
        sys.exit("no CUDA device")
    found, failures = report(cupy, Scale(elements=int(arguments.elements)), arguments.only)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit("\n".join(failures) or None)


if __name__ == "__main__":
    main()
