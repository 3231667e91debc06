"""The penalty of a linear model under a rule: proximal steps, where these lead to the minimum."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.fitting import _objective
from tests import cases

LOSS = fl.losses.SquaredError()


def problem(n=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3)) * [1.0, 2.0, 0.5]
    return X, X @ np.asarray([1.0, -2.0, 0.7]) + 0.3 + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("alpha", [25.0, 1e5])
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_large_l2_does_not_diverge(alpha, engine):
    X, y = problem()
    model = fl.LinearModel(LOSS, fl.L2(alpha))
    found = fl.fit(model, (X, y), method=fl.SGD(0.05), batch_size=1, epochs=5, rng=0, engine=engine)
    assert np.isfinite(found.history["loss"]).all()
    assert np.abs(found.params["weights"]).max() < 1


MOMENTA = [
    fl.SGD(0.1, momentum=0.9), fl.SGD(0.1, momentum=0.9, nesterov=True),
    fl.SGD(0.1, momentum=0.9, dampening=0.5), fl.SGD(0.1, momentum=lambda step: 0.9),
    fl.RMSprop(0.1, momentum=0.9), fl.Adam(0.1),
    fl.Lookahead(fl.SGD(0.1, momentum=0.5)), fl.Lookahead(fl.Adam(0.1), k=3, alpha=0.8),
]  # fmt: skip


@pytest.mark.parametrize("place", ["model", "penalty"])
@pytest.mark.parametrize("alpha", [0.5, 1e3, 1e5])
@pytest.mark.parametrize("rule", MOMENTA, ids=lambda rule: repr(rule).split(" at 0x")[0])
def test_momentum_beside_a_large_l2_ends_at_the_minimizer(rule, alpha, place):
    X, y = problem()
    epochs = 600 if isinstance(rule, fl.SGD) else 3000  # the others forget more slowly
    own, beside = (fl.L2(alpha), None) if place == "model" else (None, fl.L2(alpha))
    model = fl.LinearModel(LOSS, own, fit_intercept=False)
    found = fl.fit(model, (X, y), method=rule, penalty=beside, epochs=epochs, nonfinite="propagate")
    H, b = 2 * X.T @ X / len(y), 2 * X.T @ y / len(y)
    least = np.linalg.solve(H + alpha * np.eye(3), b)
    assert np.isfinite(found.history["loss"]).all()
    np.testing.assert_allclose(found.params["weights"], least, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("penalty", [fl.L1(0.8), fl.GroupL1(0.8, axis=0)], ids=repr)
@pytest.mark.parametrize("rule", [*MOMENTA[:3], *MOMENTA[-2:]], ids=repr)
@pytest.mark.parametrize("factors", [None, [0.2, 1.0, 0.5]])
def test_momentum_beside_penalties_with_kinks_ends_at_the_minimizer(rule, penalty, factors):
    X, y = problem()
    model = fl.LinearModel(LOSS, penalty, fit_intercept=False)
    least = fl.fit(model, (X, y), method="fista", stop=fl.stop.GradientNorm(1e-12))
    factors = None if factors is None else {"weights": np.asarray(factors)}
    found = fl.fit(
        model, (X, y), method=rule, epochs=900, nonfinite="propagate", rate_factors=factors
    )
    assert least.params["weights"].any()
    np.testing.assert_allclose(found.params["weights"], least.params["weights"], atol=1e-8)


def test_l2_acts_as_in_an_optimizer():
    X, y = problem()
    plain, penalised = fl.LinearModel(LOSS), fl.LinearModel(LOSS, fl.L2(0.3))
    options = {"batch_size": 7, "epochs": 4, "rng": 1, "method": fl.Adam(0.05)}
    one = fl.fit(penalised, (X, y), **options)
    other = fl.fit(plain, (X, y), penalty={"weights": fl.L2(0.3), "intercept": None}, **options)
    elastic = fl.fit(fl.LinearModel(LOSS, fl.ElasticNet(0.3, 0.0)), (X, y), **options)
    for name, x in one.params.items():
        assert x.tobytes() == other.params[name].tobytes()
        np.testing.assert_allclose(elastic.params[name], x, rtol=1e-12)
    # The numbers of a run are those of the objective, with the penalty that is part of it.
    value = penalised.value_and_gradient(one.params, X, y)[0]
    last = fl.fit(
        penalised, (X, y), params=one.params, method={"weights": None, "intercept": None}, epochs=1
    )
    np.testing.assert_allclose(last.loss, value, rtol=1e-12)


class Whole:
    """A model whose penalty is left to its gradient, as that of any objective is."""

    def __init__(self, model):
        self.value_and_gradient = model.value_and_gradient


MODEL = fl.LinearModel(LOSS, fl.L2(0.8), fit_intercept=False)


@pytest.mark.parametrize(
    "rule",
    [
        fl.GradientDescent(0.1), fl.SGD(0.1), fl.SGD(0.1, dampening=0.5), fl.Adagrad(1.0),
        fl.RMSprop(0.02, eps=0.1), fl.Adam(0.05), fl.AdamW(0.05, weight_decay=0.0), fl.Adamax(0.05),
        fl.AdaBelief(0.05, eps=1e-3), fl.Yogi(0.05), fl.FTRL(1.0), fl.SGD(0.05, momentum=0.9),
        fl.RMSprop(0.01, eps=0.1, momentum=0.9), fl.SGD(0.01, momentum=lambda step: 0.9),
    ],
    ids=repr,
)  # fmt: skip
def test_proximal_steps_lead_to_the_minimizer(rule):
    X, y = problem()
    assert _objective._proportional(rule)
    found = fl.fit(
        MODEL, (X, y), method=rule, params={"weights": np.zeros(3)}, epochs=1500,
        nonfinite="propagate",
    )  # fmt: skip
    H, b = 2 * X.T @ X / len(y), 2 * X.T @ y / len(y)
    least = np.linalg.solve(H + 0.8 * np.eye(3), b)
    np.testing.assert_allclose(found.params["weights"], least, atol=1e-8)


@pytest.mark.parametrize(
    "rule",
    [
        fl.Lion(0.01), fl.SignSGD(0.01), fl.Rprop(0.01), fl.ScheduleFreeSGD(0.1), fl.LARS(0.1),
        fl.LAMB(0.1), fl.Lookahead(fl.Lion(0.01)),
    ],
    ids=repr,
)  # fmt: skip
def test_rules_whose_proximal_steps_would_end_elsewhere_take_the_gradient(rule):
    X, y = problem()
    options = {"params": {"weights": np.zeros(3)}, "epochs": 20, "method": rule}
    found, other = (fl.fit(model, (X, y), **options) for model in (MODEL, Whole(MODEL)))
    np.testing.assert_array_equal(found.params["weights"], other.params["weights"])


def test_a_constraint_of_the_whole_takes_the_gradient():
    X, y = problem()
    options = {"params": {"weights": np.full(3, 1 / 3)}, "epochs": 400, "method": fl.Adam(0.02)}
    for bound in (fl.Simplex(), fl.NonNegative(), lambda x: np.clip(x, 0, 1)):
        found, other = (
            fl.fit(model, (X, y), constraint={"weights": bound}, **options)
            for model in (MODEL, Whole(MODEL))
        )
        ours, theirs = found.params["weights"], other.params["weights"]
        if isinstance(bound, fl.NonNegative):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("epochs", [0, 1, 50])
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_parameters_are_within_their_constraint_whatever_the_end(epochs, rate):
    # The start at zero has a lower loss than any point of the set.
    X, y = problem()
    model = fl.LinearModel(LOSS, fl.L2(25.0), fit_intercept=False)
    start = {"weights": np.zeros(3)}
    for bound in (fl.Simplex(), fl.Box(0.5, 2.0), lambda x: np.clip(x, 0.5, None)):
        found = fl.fit(
            model, (X, y), params=start, method=fl.SGD(rate), epochs=epochs,
            constraint={"weights": bound},
        ).params["weights"]  # fmt: skip
        np.testing.assert_allclose(bound(found), found, rtol=1e-12)
        assert not start["weights"].any()


def test_complex_weights_may_be_frozen_beside_a_penalty():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3)) + 1j * rng.standard_normal((30, 3))
    y = X @ np.ones(3) + 2
    model = fl.LinearModel(LOSS, fl.L2(0.1))
    rule = {"weights": None, "intercept": fl.SGD(0.1)}
    found = fl.fit(model, (X, y), method=rule, epochs=200)
    assert not found.params["weights"].any()
    np.testing.assert_allclose(found.params["intercept"], y.mean(), rtol=1e-12)


def test_every_rule_is_thought_of():
    # A rule in neither list takes the gradient, which is right but diverges for large penalties.
    others = "Adafactor Adan LAMB LARS Lion Lookahead Muon Rprop ScheduleFreeAdamW ScheduleFreeSGD"
    known = {rule.__name__ for rule in _objective.PROPORTIONAL} | {*others.split(), "SignSGD"}
    assert {rule.name for rule in cases.RULES} <= known


def test_one_place_has_one_penalty():
    X, y = problem()
    model = fl.LinearModel(LOSS, fl.L1(0.1))
    for method in ("fista", fl.SGD(0.01)):
        with pytest.raises(
            ValueError, match=r"penalty\['weights'\]: is L1\(.*the objective has L1"
        ):
            fl.fit(model, (X, y), penalty=fl.L1(0.2), method=method)
        found = fl.fit(
            model, (X, y), penalty={"weights": None, "intercept": fl.L1(100.0)}, method=method
        )
        assert found.params["intercept"] == 0
        assert found.params["weights"].any()
    # Beside a smooth one of the model, which its gradient serves then, there may be another.
    both = fl.LinearModel(LOSS, fl.L2(0.8))
    other = {"weights": fl.L1(0.1), "intercept": None}
    found = [
        fl.fit(
            m, (X, y), params=both.initialize(X, y), penalty=other, method=fl.SGD(0.01), epochs=5
        )
        for m in (both, Whole(both))
    ]
    np.testing.assert_array_equal(found[0].params["weights"], found[1].params["weights"])


def test_frozen_weights_and_rules_by_function():
    X, y = problem()
    model = fl.LinearModel(LOSS, fl.L2(100.0))
    params = {"weights": np.ones(3), "intercept": np.zeros(())}
    rules = {"weights": None, "intercept": fl.SGD(0.1)}
    for method in (rules, lambda path, leaf: rules[path[0]]):
        found = fl.fit(model, (X, y), params=params, method=method, epochs=3)
        np.testing.assert_array_equal(found.params["weights"], 1)
    found = fl.fit(model, (X, y), method=lambda path, leaf: fl.SGD(0.1), epochs=3)
    assert found.history["loss"].max() < 100
