"""Signs and magnitudes of complex numbers of any size."""

from __future__ import annotations

import numpy as np

import fallline as fl


def test_complex_numbers_of_any_size_have_a_sign():
    size = np.asarray([1e-44, 1e-30, 1.0, 1e30, 3e38, 0.0])
    g = (size * np.exp(2j)).astype("complex64")
    x = np.zeros(6, "complex64")
    fl.Optimizer(x, fl.SignSGD(1.0)).step(g)
    np.testing.assert_allclose(np.abs(x), [1, 1, 1, 1, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(x[1:5], -np.exp(2j), rtol=1e-6)
    real = np.zeros(3)
    fl.Optimizer(real, fl.SignSGD(1.0)).step(np.asarray([1e-300, -1e300, 0.0]))
    np.testing.assert_array_equal(real, [-1, 1, 0])


def test_the_norm_of_adamax_is_the_modulus():
    z = np.zeros(1, complex)
    opt = fl.Optimizer(z, fl.Adamax(0.1, eps=0.0))
    opt.step(np.asarray([3 - 4j]))
    np.testing.assert_array_equal(opt.state["u"], 5.0)
    np.testing.assert_allclose(z, -0.1 * (0.6 - 0.8j), rtol=1e-12)
