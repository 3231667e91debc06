"""Steps that are differentiated, by jax, where gradients are zero."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

jax = pytest.importorskip("jax")

# The length of a first small step over the gradient, where epsilon outweighs the moment.
ROWS = [
    (fl.Adam(0.1, eps_root=1e-4, eps=1e-3), 0.1 / (1e-2 + 1e-3)),
    (fl.Adam(0.1, eps_root=1e-4, amsgrad=True), 0.1 / (1e-2 + 1e-8)),
    (fl.AdamW(0.1, eps_root=1e-4), 0.1 / (1e-2 + 1e-8)),
    (fl.RMSprop(0.1, eps=1e-4, eps_inside_sqrt=True), 0.1 / 1e-2),
    (fl.RMSprop(0.1, eps=1e-4, eps_inside_sqrt=True, centered=True, momentum=0.9), 0.1 / 1e-2),
    (fl.Adagrad(0.1, eps=1e-4, eps_inside_sqrt=True), 0.1 / 1e-2),
]
NAMES = [repr(rule) for rule, _ in ROWS]


def slopes(rule, grads):
    """Return the derivatives of the sum of the new parameter by the gradients of one step."""

    def total(g):
        x = jax.numpy.ones_like(g)
        new, _ = rule.update(params=x, grads=g, state=rule.init(x))
        return jax.numpy.sum(jax.numpy.real(new))

    return np.asarray(jax.grad(total)(jax.numpy.asarray(grads)))


@pytest.mark.parametrize(("rule", "length"), ROWS, ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_step_can_be_differentiated_where_the_gradient_is_zero(rule, length, dtype):
    found = slopes(rule, np.asarray([0.0, 1.0, 0.0], dtype))
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found[[0, 2]], -length, rtol=1e-4)


@pytest.mark.parametrize("grads", [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], ids=str)
def test_lamb_can_be_differentiated_too(grads):
    found = slopes(fl.LAMB(0.1, eps_root=1e-4), np.asarray(grads, "float32"))
    assert np.all(np.isfinite(found))
    assert np.any(found)
