"""Who holds which array: what the function and the callback get is not what the run computes on."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

METHODS = [fl.LBFGS(), fl.ConjugateGradient(), fl.ProximalGradient(), fl.Adam(0.1), fl.SGD(1e-3)]


class Remembering:
    """A quadratic that computes again only if the point is another than the last."""

    def __init__(self, same):
        self.same, self.x, self.calls = same, None, 0

    def __call__(self, x):
        if self.x is None or not self.same(self.x, x):
            self.x, self.calls = x, self.calls + 1
            self.found = np.sum((x - 3) ** 2), 2 * (x - 3)
        return self.found


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("method", [fl.Adam(0.1), fl.SGD(0.1, momentum=0.5)], ids=repr)
@pytest.mark.parametrize("same", [lambda a, b: a is b, np.array_equal], ids=["is", "equal"])
def test_a_function_that_remembers_its_point_is_no_trap(method, same, batched):
    def fun(x):
        value, gradient = remembering(x)
        return (np.sum((x - 3) ** 2, axis=1) if batched else value), gradient

    remembering, x0 = Remembering(same), np.zeros((2, 2))
    found = fl.minimize(fun, x0, method=method, max_iterations=30, batched=batched)
    assert remembering.calls == found.nfev == 31
    plain = fl.minimize(
        lambda x: (np.sum((x - 3) ** 2, axis=1) if batched else np.sum((x - 3) ** 2), 2 * (x - 3)),
        x0, method=method, max_iterations=30, batched=batched,
    )  # fmt: skip
    assert np.all(found.x == plain.x)
    assert np.all(found.x > 2)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_what_a_function_keeps_stays_as_it_was(method):
    seen = []

    def fun(x):
        seen.append((x, x["w"].copy()))
        return np.sum((x["w"] - 3) ** 4), {"w": 4 * (x["w"] - 3) ** 3, "b": None}

    fl.minimize(fun, {"w": np.zeros(2), "b": None}, method=method, max_iterations=20)
    assert len({id(x) for x, _ in seen}) == len(seen) > 10
    assert all(np.all(x["w"] == copy) for x, copy in seen)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_callback_cannot_change_the_run(backend, method):
    def fun(x):
        return backend.xp.sum((x - 3) ** 4), 4 * (x - 3) ** 3

    def vandal(record):
        for x in (record.x, record.gradient):
            try:
                x[...] = 7.0
            except (ValueError, TypeError):
                refused.append(True)

    refused, x0 = [], backend.array(np.zeros(2))
    found = fl.minimize(fun, x0, method=method, max_iterations=10, callback=vandal)
    plain = fl.minimize(fun, x0, method=method, max_iterations=10)
    assert np.all(backend.numpy(found.x) == backend.numpy(plain.x))
    assert found.fun == plain.fun
    if backend.name.startswith("numpy"):
        assert len(refused) == 2 * found.nit


def test_the_point_of_a_run_is_not_written_through():
    run = fl.LBFGS().start(lambda x: (np.sum((x - 3) ** 2), 2 * (x - 3)), np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        run.x[...] = 7.0


def test_the_result_belongs_to_the_caller():
    found = fl.minimize(lambda x: (np.sum((x - 3) ** 2), 2 * (x - 3)), np.zeros(2))
    found.x[0] = found.jac[0] = 1.0
    assert found.x[0] == 1.0


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_result_has_its_gradient_and_the_norm_of_it(method):
    def fun(x):
        return np.sum((x - 3) ** 2), 2 * (x - 3)

    found = fl.minimize(fun, np.zeros(2), method=method, max_iterations=5, stop=None)
    assert np.all(found.jac == fun(found.x)[1])
    if not isinstance(method, fl.ProximalGradient):
        assert found.gradient_norm == np.max(np.abs(found.jac))
    many = fl.minimize(
        lambda x: (np.sum((x - 3) ** 2, axis=1), 2 * (x - 3)), np.zeros((4, 2)), batched=True
    )
    assert np.all(many.gradient_norm == np.max(np.abs(many.jac), axis=1))
