"""The assertions of the helpers fail where they should, and pass what is right."""

from __future__ import annotations

import ast
import inspect
from types import SimpleNamespace

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from tests import backends, helpers

ONE = np.asarray([1.0, -0.0, np.nan])


def model(coef=(1.0, 2.0), intercept=0.5):
    return SimpleNamespace(coef_=np.asarray(coef), intercept_=np.asarray(intercept))


def optimizer(steps=1):
    return helpers.stepped(fl.SGD(0.1, momentum=0.5), steps)


def content(**other):
    return {**helpers.content(optimizer()), **other}


# Arguments that are right, and for each assertion all kinds of wrong ones.
RIGHT = {
    "same_bits": (ONE, -np.negative(ONE)),
    "close": (np.ones(3), np.ones(3) * (1 + 1e-14)),
    "all_equal": ([ONE, ONE], [ONE, ONE]),
    "same_model": (model(), model((1.0, 2.0 + 1e-7))),
    "unchanged": (optimizer(), content()),
}
WRONG = {
    "same_bits": {
        "a sign of zero": (ONE, np.asarray([1.0, 0.0, np.nan])),
        "a last bit": (ONE, np.asarray([np.nextafter(1.0, 2.0), -0.0, np.nan])),
        "a number for NaN": (ONE, np.asarray([1.0, -0.0, 0.0])),
        "a dtype": (np.zeros(2), np.zeros(2, "float32")),
        "a shape": (ONE, ONE[None]),
        "an imaginary part": (np.asarray([1.0 + 0.0j]), np.asarray([complex(1.0, -0.0)])),
    },
    "close": {
        "an element": (np.ones(3), np.asarray([1.0, 1.0, 1.0 + 1e-11])),
        "NaN": (np.asarray([np.nan]), np.ones(1)),
        "a shape": (np.ones(3), np.ones((1, 3))),
        "a dtype": (np.ones(3), np.ones(3, "float32")),
    },
    "all_equal": {
        "an element": ([ONE], [ONE + 1]),
        "too few": ([ONE], [ONE, ONE]),
        "too many": ([ONE, ONE], [ONE]),
        "a shape": ([ONE], [ONE[:2]]),
    },
    "same_model": {
        "a coefficient": (model(), model((1.0, 2.1))),
        "an intercept": (model(), model(intercept=0.6)),
        "a shape of coefficients": (model(1.0), model((1.0, 1.0))),
        "a shape of intercepts": (model(), model(intercept=(0.5,))),
    },
    "unchanged": {
        "a parameter": (optimizer(), content(w=np.ones(2))),
        "a slot": (optimizer(), content(b=np.zeros(2))),
        "a count": (optimizer(2), content()),
        "another slot": (optimizer(), content(v=np.zeros(2))),
    },
}


def asserts(function):
    """Return whether a function of the helpers makes assertions about its arguments."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else type(node).__name__
        for node in ast.walk(ast.parse(inspect.getsource(function)))
    }
    return "Assert" in names or any(name.startswith("assert_") for name in names)


def test_every_assertion_is_tried():
    found = {
        name
        for name, x in vars(helpers).items()
        if inspect.isfunction(x) and x.__module__ == helpers.__name__ and asserts(x)
    }
    assert found == {*RIGHT, "patch_arrays"}
    assert RIGHT.keys() == WRONG.keys()


@pytest.mark.parametrize("name", RIGHT)
def test_assertions_pass_what_is_right(name):
    getattr(helpers, name)(*RIGHT[name])


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in WRONG for what in WRONG[name]])
def test_assertions_fail(name, what):
    with pytest.raises((AssertionError, ValueError)):
        getattr(helpers, name)(*WRONG[name][what])


def test_what_the_room_does_not_share_is_not_patched(monkeypatch):
    monkeypatch.setattr(_arrays, "to_numpy", None)
    with pytest.raises(AssertionError):
        helpers.patch_arrays(monkeypatch, "to_numpy", abs)


def test_patched_functions_are_seen_in_the_room_and_outside(monkeypatch):
    with monkeypatch.context() as patch:
        helpers.patch_arrays(patch, "to_numpy", abs)
        assert _arrays.to_numpy is abs
    assert _arrays.to_numpy is not abs


def test_bits_are_equal_for_every_nan_and_byte_order():
    other = np.asarray([1.0, -0.0, -np.nan]).astype(">f8")
    helpers.same_bits(ONE, other)


def test_layouts_hold_the_same_numbers():
    x = np.arange(6.0).reshape(2, 3)
    for layout in (helpers.misaligned, helpers.strided):
        np.testing.assert_array_equal(layout(x), x)
    assert not helpers.misaligned(x).flags.aligned
    assert not helpers.strided(x).flags.contiguous


def test_drawn_numbers_have_all_special_ones_among_them():
    drawn = helpers.draw(np.random.default_rng(0), (50,), "float64")
    assert np.isnan(drawn).any()
    assert {np.inf, -np.inf} <= set(drawn)
    assert (np.signbit(drawn) & (drawn == 0)).any()


def test_an_array_of_another_library_is_not_taken_for_one_of_the_backend():
    with pytest.raises(AssertionError, match="is not an array of numpy"):
        backends.make("numpy").numpy([1.0])
    strict = backends.required("array_api_strict")
    with pytest.raises(AssertionError, match="is not an array of array_api_strict"):
        strict.numpy(np.ones(2))
    elsewhere = strict.xp.ones(2, device=strict.xp.Device("CPU_DEVICE"))
    with pytest.raises(AssertionError):
        strict.numpy(elsewhere)


def test_a_hidden_transfer_to_the_host_fails(monkeypatch):
    strict = backends.required("array_api_strict")
    with strict.context(monkeypatch):
        x = strict.array(np.asarray(1.0))
        for convert in (float, int, bool, complex):
            with pytest.raises(AssertionError, match="hidden transfer"):
                convert(x)
