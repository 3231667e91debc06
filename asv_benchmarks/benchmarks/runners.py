"""One whole optimizer step, by everyone who can make one.

A runner takes the name of a rule, the parameters and a pool of gradients (lists of NumPy arrays)
and returns a function that makes one step and waits for it. Each step takes the next gradients
of the pool, so that a pool of one means the same gradient objects every time.
"""

from __future__ import annotations

import itertools

import numpy as np

import fallline as fl
from fallline.engine._threads import Faster
from fallline.engine.numba_ import PIECE

from .common import Skip, XPBenchmark, draw, load

RATE = 1e-3
TORCH = {"GradientDescent": ("SGD", {}), "SGD": ("SGD", {"momentum": 0.9})}
OURS = {"SGD": {"momentum": 0.9}}


def ours(rule):
    """Return a rule of ours by the name of its class."""
    return fl.rules.get(rule, learning_rate=RATE, **OURS.get(rule, {}))


class Always(Faster):
    """Threads that always or never share large arrays, whatever is faster."""

    def __init__(self, shared):
        super().__init__()
        self.shared = shared

    def next(self):
        """Return whether to share the next call."""
        return self.shared

    def took(self, shared, seconds):
        """Take no note of it."""


def force(opt, shared):
    """Make an Optimizer's threads always or never share large arrays."""
    for group in opt._bound.groups:
        group.runner.sharing = Always(shared)


def fallline(backend, engine="auto", shared=None):
    """Return a runner of ours on an array library, by an engine."""

    def make(rule, params, pool):
        bench = XPBenchmark()
        bench.setup(backend)
        params = [bench.array(x.copy()) for x in params]
        pool = [[bench.array(g) for g in grads] for grads in pool]
        rule = ours(rule)
        if engine == "numba":
            load("numba")
        opt = fl.Optimizer(params if len(params) > 1 else params[0], rule, engine=engine)
        if shared is not None:
            force(opt, shared)
        grads = itertools.cycle(pool if len(params) > 1 else [g for (g,) in pool])
        if backend != "cupy":
            return lambda: opt.step(next(grads))

        def step():
            opt.step(next(grads))
            bench.wait(params[-1])

        return step

    return make


def torch(device="cpu", **how):
    """Return a runner of torch.optim."""

    def make(rule, params, pool):
        bench = XPBenchmark()
        bench.setup(f"torch:{device}")
        name, options = TORCH.get(rule, (rule, {}))
        params = [bench.array(x).requires_grad_() for x in params]
        pool = itertools.cycle([[bench.array(g) for g in grads] for grads in pool])
        try:
            opt = getattr(bench.xp.optim, name)(params, lr=RATE, **options, **how)
        except (AttributeError, TypeError) as error:
            raise Skip(str(error)) from error

        def step():
            for p, g in zip(params, next(pool), strict=True):
                p.grad = g
            opt.step()
            bench.wait(None)

        return step

    return make


def optax(rule, params, pool):
    """Return a step of optax under jax.jit with donated buffers."""
    jax, library = load("jax"), load("optax")
    names = {"GradientDescent": "sgd", "SGD": "sgd"}
    options = {"SGD": {"momentum": 0.9}}.get(rule, {})
    name = names.get(rule, rule.lower())
    if not hasattr(library, name):
        msg = f"optax has no {name}"
        raise Skip(msg)
    solver = getattr(library, name)(RATE, **options)

    def advance(params, state, grads):
        updates, state = solver.update(grads, state, params)
        return library.apply_updates(params, updates), state

    advance = jax.jit(advance, donate_argnums=(0, 1))
    params = [jax.numpy.asarray(x) for x in params]
    pool = itertools.cycle([[jax.numpy.asarray(g) for g in grads] for grads in pool])
    held = [params, solver.init(params)]

    def step():
        held[:] = advance(*held, next(pool))
        jax.block_until_ready(held[0])

    return step


def by_hand(rule, params, pool, copy=True):
    """Return Adam as a careful user writes it in NumPy: in place, with two buffers."""
    if rule != "Adam":
        msg = f"{rule} is not written by hand"
        raise Skip(msg)
    params = [x.copy() for x in params] if copy else params
    pool = itertools.cycle(pool) if copy else pool
    m, v = ([np.zeros_like(x) for x in params] for _ in range(2))
    a, b = ([np.empty_like(x) for x in params] for _ in range(2))
    count = 0

    def step():
        nonlocal count
        count += 1
        size, root = RATE / (1 - 0.9**count), (1 - 0.999**count) ** 0.5
        for p, g, m_, v_, a_, b_ in zip(params, next(pool), m, v, a, b, strict=True):
            np.multiply(g, 1 - 0.9, out=a_)
            np.multiply(m_, 0.9, out=m_)
            np.add(m_, a_, out=m_)
            np.multiply(g, g, out=a_)
            np.multiply(a_, 1 - 0.999, out=a_)
            np.multiply(v_, 0.999, out=v_)
            np.add(v_, a_, out=v_)
            np.sqrt(v_, out=a_)
            np.divide(a_, root, out=a_)
            np.add(a_, 1e-8, out=a_)
            np.divide(m_, a_, out=b_)
            np.multiply(b_, size, out=b_)
            np.subtract(p, b_, out=p)

    return step


def stream(rule, params, pool):
    """Return the streaming limit: one compiled loop that adds the gradient to all that is written.

    It reads and writes what a step has to, and does next to nothing with it. Large arrays are
    shared by threads as those of a step are, where that is faster.
    """
    numba = load("numba")
    names = [f"x{i}" for i in range(1 + len(ours(rule).slots))]  # the parameter and the state
    lines = [f"        {name}[i] += g[i]" for name in names]
    scope = {}
    exec(
        f"def add(g, {', '.join(names)}):\n    for i in range(g.size):\n" + "\n".join(lines), scope
    )
    kind = ", ".join([f"{params[0].dtype.name}[::1]"] * (1 + len(names)))
    add = numba.njit(f"({kind})", nogil=True)(scope["add"])
    written = [[x.copy() for _ in names] for x in params]
    sharing = Faster()

    def pieces(grads):
        for g, arrays in zip(grads, written, strict=True):
            ends = range(PIECE, g.size, PIECE)
            yield from zip(*(np.split(x, ends) for x in (g, *arrays)), strict=True)

    pool = itertools.cycle([list(pieces(grads)) for grads in pool])
    if max(x.size for x in params) <= PIECE:

        def step():
            for piece in next(pool):
                add(*piece)

    else:

        def step():
            found = next(pool)
            sharing.run(lambda piece: add(*piece), found, len(found))

    return step


RUNNERS = {
    "fallline numba": fallline("numpy", "numba"),
    "fallline blocked": fallline("numpy", "blocked"),
    "fallline torch": fallline("torch:cpu"),
    "fallline cupy": fallline("cupy"),
    "numpy by hand": by_hand,
    "torch foreach": torch(foreach=True),
    "torch fused": torch(fused=True),
    "torch fused cuda": torch("cuda", fused=True),
    "optax jit": optax,
    "stream": stream,
}
# The same, if threads never or always share large arrays.
FORCED = {
    "one thread": fallline("numpy", "numba", shared=False),
    "several threads": fallline("numpy", "numba", shared=True),
}
FOUND = map(fl.rules.get, fl.rules.names())
RULES = [type(rule).__name__ for rule in FOUND if rule.elementwise and not rule.reads]


def steps(who, count, size, rule="Adam", dtype="float32"):
    """Return one step of a runner on some arrays, with gradients that change."""
    if who.startswith("optax"):
        load("jax").config.update("jax_enable_x64", dtype == "float64")
    params = [draw(size, dtype, seed=i) for i in range(count)]
    pool = [
        [draw(size, dtype, seed=1000 + i + j) for i in range(count)]
        for j in range(4 if count * size > 10**6 else 32)
    ]
    return (RUNNERS | FORCED)[who](rule, params, pool)
