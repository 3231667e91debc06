"""Which arrays can be walked through as one flat piece."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.engine import _layout
from fallline.engine.program import Operand


def test_a_flat_view_is_of_the_same_memory():
    for order in ("C", "F"):
        x = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
        view = _layout.flat(x, order, Operand("p", "float64", 1))
        assert np.shares_memory(view, x)
        np.testing.assert_array_equal(view, x.ravel(order))
    z = np.asarray([1 + 2j, 3 + 4j])
    np.testing.assert_array_equal(_layout.flat(z, "C", Operand("p", "complex128", 2)), [1, 2, 3, 4])


@pytest.mark.parametrize(
    "x",
    [
        np.ones(4, "f8"), np.ones(4, ">f4"), np.ones(8, "f4")[::2], np.ones((2, 2), "f4").T[:1].T,
        np.frombuffer(b"\0" * 17, "u1")[1:].view("f4"),
    ],
    ids=["another dtype", "another order of bytes", "gaps", "a column", "not aligned"],
)  # fmt: skip
def test_what_compiled_code_cannot_walk_through_has_none(x):
    assert _layout.flat(x, "C", Operand("g", "float32", 1)) is None


def test_half_precision_has_none():
    assert _layout.flat(np.ones(4, "f2"), "C", Operand("p", "float16", 1)) is None
