"""Trees that differ from the one that is known: what is said, and what is taken all the same."""

from __future__ import annotations

import types
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import fallline as fl
from fallline._arrays import _trees

Point = namedtuple("Point", "x y")


def tree(**more):
    one = np.ones(1)
    return {
        "b": one,
        "w": [one.copy(), one.copy()],
        "t": (one.copy(),),
        "n": Point(*np.ones((2, 1))),
    } | more


def without(*names):
    return {key: x for key, x in tree().items() if key not in names}


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        (None, "grads: is None, expected a dict"),
        (np.ones(1), "grads: is an ndarray, expected a dict"),
        ((x for x in [1]), "grads: is a generator, expected a dict"),
        (without("b"), "grads: missing grads['b']"),
        (tree(z=None), "grads: unexpected grads['z']"),
        (
            without("b", "t") | {"c": 1},
            "grads: missing grads['b'], grads['t']; unexpected grads['c']",
        ),
        (tree(w=[np.ones(1)]), "grads: missing grads['w'][1]"),
        (
            tree(w=[None] * 8),
            "grads: unexpected " + ", ".join(f"grads['w'][{i}]" for i in range(2, 7)) + ", ...",
        ),
        (tree(w=(np.ones(1),) * 2), "grads['w']: is a tuple, expected a list; make a list of it"),
        (tree(t=[np.ones(1)]), "grads['t']: is a list, expected a tuple"),
        (tree(n=(None, None)), "grads['n']: is a tuple, expected a Point"),
        (tree(w=None), "grads['w']: is None, expected a list"),
    ],
)
def test_gradients_of_another_structure(grads, message):
    opt = fl.Optimizer(tree(), fl.SGD(0.1))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        opt.step(grads)
    assert str(caught.value) == message
    assert opt.step_count == 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"w": fl.SGD(), "c": None},
            "rule: missing rule['b'], rule['n'], rule['t']; unexpected rule['c']",
        ),
        ([fl.SGD()], "rule: is a list, expected a dict"),
        (tree(b={"x": None}), "rule['b']: is a dict, expected one entry for params['b']"),
        (tree(w=(None, None)), "rule['w']: is a tuple, expected a list; make a list of it"),
    ],
)
def test_rules_of_another_structure(rule, message):
    opt = fl.Optimizer(tree(), fl.SGD(0.1))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        opt.rule = rule
    assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fl.Optimizer(tree(), fl.SGD(0.1), penalty=rule)
    assert str(caught.value) == message.replace("rule", "penalty")


def test_read_only_views_are_trees():
    params = tree()
    opt = fl.Optimizer(params, fl.SGD(0.5))
    for grads in (
        types.MappingProxyType(tree()), _trees.frozen(tree()), OrderedDict(tree()),
        tree(w=_trees.FrozenList(np.ones((2, 1)))),
    ):  # fmt: skip
        opt.step(grads)
    assert params["b"] == params["w"][1] == params["t"][0] == params["n"].y == -1.0
    opt.rule = opt.rule
    fl.Optimizer(
        tree(), opt.rule, penalty=types.MappingProxyType(tree(b=None, w=None, t=None, n=None))
    )
    state = fl.SGD(0.1).init(params)
    found, _ = fl.SGD(0.5).update(params=params, grads=_trees.frozen(tree()), state=state)
    assert found["w"][0] == -1.5


def test_which_leaves_can_be_replaced():
    one = np.ones(1)
    for params, fixed in (
        (one, {0}), ((one, one), {0, 1}), ([one, one], set()), ((one, [one]), {0}),
        ({"a": (one,)}, set()), (Point(one, {"a": one}), {0}),
    ):  # fmt: skip
        assert _trees.Structure(params).fixed(params) == fixed
