"""What the package is seen to do, as text: to compare two revisions that should not differ.

``python -m tests.outline > before.txt``, then the same in the other revision, and ``diff``: a line
for the signature of everything public, and for the printed form, the traced program and the bits of
every rule, loss, schedule, penalty, constraint and solver. Bits depend on the machine.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import itertools
import pkgutil
import re
import warnings

import numpy as np

import fallline as fl
from fallline import estimators
from tests import cases

DTYPES = ("float32", "float64", "complex64", "complex128")
ENGINES = ("eager", "blocked", "numba")


def digest(*arrays):
    """Return a short digest of arrays, each with its dtype and shape."""
    total = hashlib.sha256()
    for x in arrays:
        x = np.asarray(x)
        total.update(f"{x.dtype} {x.shape}".encode())
        total.update(np.ascontiguousarray(x).tobytes())
    return total.hexdigest()[:16]


def leaves(tree):
    """Return the arrays of a tree in a fixed order."""
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [x for part in tree for x in leaves(part)]
    return [] if tree is None else [tree]


def draw(shape, dtype, seed):
    """Return random numbers."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dtype.startswith("c") else x).astype(dtype)


def signatures():
    """Tell the names, signatures and public members of everything public."""
    found = [info.name for info in pkgutil.iter_modules(fl.__path__) if info.name[0] != "_"]
    modules = {"fl": fl} | {f"fl.{n}": importlib.import_module(f"fallline.{n}") for n in found}
    for place, module in sorted(modules.items()):
        names = getattr(module, "__all__", None)
        if names is None:
            names = [n for n, x in vars(module).items() if n[0] != "_" and not inspect.ismodule(x)]
        for name in sorted(names):
            found = getattr(module, name)
            yield f"{place}.{name}: {signature(found)}"
            if not inspect.isclass(found):
                continue
            for member in sorted(n for n in dir(found) if n[0] != "_"):
                yield f"{place}.{name}.{member}: {signature(getattr(found, member))}"


def signature(x):
    """Return how something is called, or what it is."""
    if not callable(x):
        return type(x).__name__
    try:
        return str(inspect.signature(x))
    except (TypeError, ValueError):
        return type(x).__name__


def stepped(rule, dtype, engine, **options):
    """Return the program and a digest of parameters and state after some steps."""
    shapes = {"a": (33, 5), "b": (7,), "c": (70_001,)} if not options else {"a": (3, 4)}
    params = {key: draw(shape, dtype, i) for i, (key, shape) in enumerate(shapes.items())}
    opt = fl.Optimizer(params, rule, engine=engine, **options)
    for k in range(4):
        opt.step({key: draw(x.shape, dtype, 10 + k) for key, x in params.items()})
    state = [[x for _, x in sorted(opt.state[key].items())] for key in sorted(params)]
    return opt, digest(*leaves(params), *leaves(state))


def rules():
    """Tell how every rule prints, its program and its bits."""
    for rule in [*cases.RULES, *cases.WHOLE]:
        yield repr(rule)
        for dtype, engine in itertools.product(DTYPES, ENGINES):
            try:
                opt, bits = stepped(rule, dtype, engine)
            except (TypeError, ValueError) as error:
                yield f"{rule!r} {dtype} {engine}: {type(error).__name__}: {error}"
                continue
            if engine == "blocked":
                yield opt.program
            yield f"{rule!r} {dtype} {engine}: {bits} {opt!r}"


def surrounded():
    """Tell the programs and bits of rules with something around them."""
    for name, options in cases.AROUND.items():
        for dtype, engine in itertools.product(DTYPES, ENGINES):
            try:
                opt, bits = stepped(fl.Adam(0.1), dtype, engine, **options)
            except (TypeError, ValueError) as error:
                yield f"{name} {dtype} {engine}: {type(error).__name__}: {error}"
                continue
            yield f"{name} {dtype} {engine}: {bits} {opt!r}\n{opt.program}"


def losses():
    """Tell how every loss prints, and the bits of its value and gradient."""
    for loss, make in cases.LOSSES:
        for dtype, reduction in itertools.product(("float32", "float64"), ("mean", "sum", "none")):
            pred, target = make(np.random.default_rng(0))
            pred, target = cases.in_precision(pred, dtype), cases.in_precision(target, dtype)
            found = loss(reduction=reduction)
            value = found(pred, target)
            slope = found.gradient(pred, target)
            yield f"{found!r} {make.__name__} {dtype}: {digest(value, slope)}"


def schedules():
    """Tell how every schedule prints, and its numbers."""
    for schedule in cases.SCHEDULES:
        yield f"{schedule!r}: {digest([float(schedule(step)) for step in range(200)])}"


def problem(x):
    """Return the value and gradient of Rosenbrock's function in several variables."""
    a, b = x[:-1], x[1:]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * a * (b - a * a) - 2 * (1 - a)
    gradient[1:] += 200 * (b - a * a)
    return np.sum(100 * (b - a * a) ** 2 + (1 - a) ** 2), gradient


def solvers():
    """Tell how every solver ends, and the bits of where."""
    methods = [getattr(fl, name) for name in fl.__all__]
    methods = [m() for m in methods if inspect.isclass(m) and issubclass(m, fl.solvers.Solver)]
    for method in [*methods, fl.Adam(0.01), fl.SGD(1e-3, momentum=0.9)]:
        for more in ({}, {"bounds": (0.0, 0.5)}, {"penalty": fl.L1(0.1)}, {"batched": True}):
            start = draw(6, "float64", 0) if "batched" not in more else draw((3, 6), "float64", 0)
            fun = problem if "batched" not in more else batched
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    res = fl.minimize(fun, start, method=method, max_iterations=60, **more)
            except (TypeError, ValueError) as error:
                yield f"{method!r} {more}: {type(error).__name__}: {error}"
                continue
            yield f"{method!r} {more}: {digest(res.x, res.fun)} {res.message}"


def batched(x):
    """Return `problem` of each row."""
    found = [problem(row) for row in x]
    return np.asarray([f for f, _ in found]), np.stack([g for _, g in found])


def fits():
    """Tell the bits of fits, and of estimators."""
    X, y = draw((300, 5), "float64", 0), (draw(300, "float64", 1) > 0).astype(float)
    model = fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(0.1))
    for method, engine in itertools.product((fl.Adam(0.01), fl.SGD(0.1, momentum=0.9)), ENGINES):
        res = fl.fit(model, (X, y), method=method, batch_size=32, epochs=3, rng=0, engine=engine)
        yield f"fit {method!r} {engine}: {digest(*leaves(res.params), res.history['step_loss'])}"
    res = fl.fit(model, (X, y), method="lbfgs")
    yield f"fit lbfgs: {digest(*leaves(res.params))}"
    for make in (estimators.LinearClassifier, estimators.LinearRegressor):
        for method in ("lbfgs", fl.Adam(0.01)):
            found = make(method=method, random_state=0).fit(X, y)
            yield f"{found!r}: {digest(found.coef_, found.intercept_)}"


def main():
    """Print everything."""
    for part in (signatures, rules, surrounded, losses, schedules, solvers, fits):
        for line in part():
            print(re.sub(" at 0x[0-9a-f]+", "", f"{part.__name__}: {line}"))


if __name__ == "__main__":
    main()
