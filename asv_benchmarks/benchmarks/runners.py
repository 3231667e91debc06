"""One whole optimizer step, by everyone who can make one.

A runner takes the name of a rule, the parameters and a pool of gradients (lists of NumPy arrays)
and returns a function that makes one step and waits for it. Each step takes the next gradients
of the pool, so that a pool of one means the same gradient objects every time.
"""

from __future__ import annotations

import itertools

import numpy as np

import fallline as fl

from .common import Skip, XPBenchmark, load

RATE = 1e-3
TORCH = {"GradientDescent": ("SGD", {}), "SGD": ("SGD", {"momentum": 0.9})}
OURS = {"SGD": {"momentum": 0.9}}


def ours(rule):
    """Return a rule of ours by the name of its class."""
    return fl.rules.get(rule, learning_rate=RATE, **OURS.get(rule, {}))


def fallline(backend, engine="auto"):
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
        grads = itertools.cycle(pool if len(params) > 1 else [g for (g,) in pool])

        def step():
            opt.step(next(grads))
            bench.wait(params[-1] if not isinstance(opt.params, list) else opt.params[-1])

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


def by_hand(rule, params, pool):
    """Return Adam as a careful user writes it in NumPy: in place, with two buffers."""
    if rule != "Adam":
        msg = f"{rule} is not written by hand"
        raise Skip(msg)
    params = [x.copy() for x in params]
    pool = itertools.cycle(pool)
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
    """Return the streaming limit: a compiled ``x[i] += g[i]`` for each array that is written."""
    numba = load("numba")

    def add(x, g):
        for i in numba.prange(x.size):
            x[i] += g[i]

    kind = params[0].dtype.name
    signature = f"({kind}[::1], {kind}[::1])"
    serial = numba.njit(signature)(add)
    parallel = numba.njit(signature, parallel=True)(add)
    count = 1 + len(ours(rule).slots)  # the parameter and the state
    written = [[x.copy() for x in params] for _ in range(count)]
    pool = itertools.cycle(pool)

    def step():
        grads = next(pool)
        for arrays in written:
            for x, g in zip(arrays, grads, strict=True):
                (serial if x.size < 50_000 else parallel)(x, g)

    return step


RUNNERS = {
    "fallline numba": fallline("numpy", "numba"),
    "fallline blocked": fallline("numpy", "blocked"),
    "fallline eager": fallline("numpy", "eager"),
    "fallline:torch": fallline("torch:cpu"),
    "fallline:jax": fallline("jax.numpy:cpu"),
    "fallline:cupy": fallline("cupy"),
    "numpy by hand": by_hand,
    "torch": torch(),
    "torch foreach": torch(foreach=True),
    "torch fused": torch(fused=True),
    "torch fused cuda": torch("cuda", fused=True),
    "optax jit": optax,
    "stream": stream,
}
