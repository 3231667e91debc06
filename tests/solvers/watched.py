"""Runs of every method that are watched, and crash."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.problems import rosenbrock

X0 = np.array([-1.2, 1.0, 0.7, -0.3])
BOX = {"constraint": fl.Box(-0.5, 0.8)}
L1 = {"penalty": fl.L1(0.5)}
WAYS = [
    (fl.LBFGS(), {}),
    (fl.LBFGS(history=2), {"penalty": fl.L2(0.1)}),
    (fl.LBFGSB(history=3), BOX),
    (fl.OWLQN(), L1),
    (fl.ConjugateGradient(), {}),
    (fl.ConjugateGradient("dai-yuan"), {}),
    (fl.ConjugateGradient("hager-zhang"), {}),
    (fl.SteepestDescent(), {}),
    (fl.SteepestDescent("wolfe"), {}),
    (fl.SteepestDescent("armijo"), {}),
    (fl.SteepestDescent(lambda k: 1e-3 / (1 + k)), {}),
    (fl.ProximalGradient(), {**L1, **BOX}),
    (fl.ProximalGradient(accelerated=True), L1),
    (fl.ProximalGradient(lambda k: 1e-3 / (1 + k), accelerated=True), L1),
    (fl.Adam(0.05), {}),
    (fl.SGD(1e-3, momentum=0.9), {**L1, **BOX}),
    (fl.ScheduleFreeAdamW(0.05), {}),
    (fl.NAdam(0.05), {}),
]
NAMES = [f"{method!r} {options}".split(" at 0x")[0] for method, options in WAYS]
EVERY = pytest.mark.parametrize(("method", "options"), WAYS, ids=NAMES)
MOST = 25


class CrashError(Exception):
    """The end of a process."""


def crash(at, error=CrashError):
    def callback(run):
        if run.epoch == at:
            raise error

    return callback


def seeing(points, fun=rosenbrock):
    def watched(x):
        points.append(np.array(x))
        return fun(x)

    return watched


def solved(points, method, options, **more):
    more = {"stop": None, "check_every": 1, "record": ("fun", "x", "nfev"), **more}
    more = {"max_iterations": MOST, **more}
    return fl.minimize(seeing(points), X0, method=method, **options, **more)


def assert_the_same(a, b):
    assert list(a) == list(b)
    for name in ("message", "success", "status", "fun", "gradient_norm", "nit", "nfev"):
        assert a[name] == b[name], name
    for name in ("x", "jac"):
        np.testing.assert_array_equal(a[name], b[name])
    assert list(a.history) == list(b.history)
    for name in a.history:
        assert len(a.history[name]) == len(b.history[name])
        for one, two in zip(a.history[name], b.history[name], strict=True):
            assert type(one) is type(two)
            np.testing.assert_array_equal(one, two)
