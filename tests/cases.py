"""The tables of cases: rules, what surrounds them in a step, losses and schedules.

Every public rule, loss and schedule has a row, in every configuration that changes its formula.
"""

from __future__ import annotations

import itertools

import numpy as np

import fallline as fl
from fallline import gradients
from fallline.optimizer._from_torch import _rule
from fallline.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Join,
    LinearWarmup,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Step,
)


def ours(name, kwargs):
    """Return the rule that torch's class and keywords stand for."""
    return _rule(name, kwargs)


def grid(**choices):
    """Return every combination of choices, as keywords."""
    return [dict(zip(choices, row, strict=True)) for row in itertools.product(*choices.values())]


def torch_corners():
    """Return corners that torch's own database leaves out."""
    rows = [
        ("SGD", kwargs)
        for kwargs in grid(
            lr=[0.1], momentum=[0.0, 0.9], dampening=[0.0, 0.3], weight_decay=[0.0, 0.2],
            maximize=[False, True],
        )
    ]  # fmt: skip
    rows += [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": m})
        for m in (False, True)
    ]
    for name in ("Adam", "AdamW"):
        rows += [
            (name, kwargs)
            for kwargs in grid(
                lr=[0.1], weight_decay=[0.0, 0.2], maximize=[False, True], amsgrad=[False, True]
            )
        ]
        rows += [(name, {"betas": (0.0, 0.0)}), (name, {"eps": 0.5}), (name, {"betas": (0.0, 0.9)})]
    rows += [
        ("RMSprop", kwargs)
        for kwargs in grid(
            centered=[False, True], momentum=[0.0, 0.9], eps=[1e-8, 0.5], maximize=[False, True]
        )
    ]
    rows += [
        ("Adagrad", k) for k in grid(eps=[1e-10, 0.5], lr_decay=[0.0, 0.3], maximize=[False, True])
    ]
    rows += [
        ("Adadelta", k) for k in grid(rho=[0.0, 0.9], eps=[1e-6, 0.5], weight_decay=[0.0, 0.3])
    ]
    for name in ("NAdam", "RAdam"):
        rows += [
            (name, kwargs)
            for kwargs in grid(
                lr=[0.1], weight_decay=[0.0, 0.2], decoupled_weight_decay=[False, True],
                maximize=[False, True],
            )
        ]  # fmt: skip
        rows += [(name, {"eps": 0.5}), (name, {"betas": (0.5, 0.6)})]
    rows += [("Adamax", k) for k in grid(lr=[0.1], weight_decay=[0.0, 0.2], maximize=[False, True])]
    rows += [("Adamax", {"eps": 0.5}), ("NAdam", {"momentum_decay": 1.0})]
    rows += [("RAdam", {"betas": (0.9, 0.5)}), ("RAdam", {"betas": (0.9, 0.99)})]
    rows += [
        ("ASGD", k)
        for k in grid(lr=[0.1], t0=[1e6, 3], weight_decay=[0.0, 0.2], maximize=[False, True])
    ]
    rows += [("ASGD", {"lambd": 0.1, "alpha": 0.5, "lr": 0.1})]
    rows += [
        ("Rprop", k)
        for k in grid(lr=[0.1, 1e-8], etas=[(0.5, 1.2), (0.3, 2.0)], maximize=[False, True])
    ]
    rows += [("Rprop", {"lr": 0.1, "step_sizes": (0.05, 0.2)})]
    return rows


# Configurations for the invariants that hold without an oracle.
RULES = [
    fl.GradientDescent(0.1),
    fl.SGD(0.1),
    fl.SGD(0.1, momentum=0.9, dampening=0.2, weight_decay=0.1),
    fl.SGD(0.1, momentum=0.9, nesterov=True, maximize=True),
    fl.SGD(0.1, momentum=0.9, weight_decay=0.1, decoupled=True),
    fl.Adagrad(0.1, learning_rate_decay=0.1, initial_accumulator=0.1),
    fl.Adagrad(0.1, eps=0.1, eps_inside_sqrt=True),
    fl.Adagrad(0.1, learning_rate_decay=0.1, weight_decay=0.1, decoupled=True),
    fl.Adadelta(weight_decay=0.1),
    fl.Adadelta(weight_decay=0.1, decoupled=True),
    fl.RMSprop(0.1, eps=0.1, eps_inside_sqrt=True),
    fl.RMSprop(0.1, initial_accumulator=1.0, weight_decay=0.1, decoupled=True),
    fl.RMSprop(0.01, centered=True, momentum=0.9, weight_decay=0.1),
    fl.Adam(0.1),
    fl.Adam(0.1, amsgrad=True, weight_decay=0.1, eps_hat=True, maximize=True),
    fl.Adam(0.1, eps_root=1e-3),
    fl.AdamW(0.1),
    fl.Adamax(0.1, weight_decay=0.1),
    fl.Adamax(0.1, weight_decay=0.1, decoupled=True),
    fl.NAdam(0.1),
    fl.NAdam(0.1, weight_decay=0.1, decoupled=True, maximize=True),
    fl.RAdam(0.1, beta2=0.9, weight_decay=0.1),
    fl.AdaBelief(0.1, eps=1e-3),
    fl.Yogi(0.1),
    fl.Lion(0.01, weight_decay=0.1),
    fl.SignSGD(0.1),
    fl.SignSGD(0.1, momentum=0.9),
    fl.Adan(0.1, weight_decay=0.1),
    fl.Rprop(0.1),
    fl.ASGD(0.1, start=2),
    fl.FTRL(0.1),
    fl.FTRL(0.1, l1=0.1, l2=0.1),
    fl.FTRL(0.1, l1=0.1, l2_shrinkage=0.1, initial_accumulator=0.1),
    fl.ScheduleFreeSGD(0.1, weight_decay=0.1),
    fl.ScheduleFreeAdamW(0.1, weight_decay=0.1),
]

# Rules that look at whole leaves, or wrap another.
WHOLE = [
    fl.LAMB(0.1, weight_decay=0.1),
    fl.LAMB(0.1, eps_root=1e-3),
    fl.LARS(0.1, trust_coefficient=0.1, nesterov=True),
    fl.Adafactor(0.1, weight_decay=0.1),
    fl.Adafactor(0.1, factored=False),
    fl.Muon(0.1, companion=fl.SGD(0.1, momentum=0.9)),
    fl.Muon(0.1, iterations=9, coefficients=(1.875, -1.25, 0.375), companion=fl.SGD(0.1)),
    fl.Lookahead(fl.Adam(0.1), k=2),
]

# Elementwise rules with functions whose last bit differs between libraries: run eagerly.
EAGER = [fl.FTRL(0.1, l1=0.1, l2=0.1, learning_rate_power=-0.7)]


# What surrounds a rule in a step, for leaves of (3, 4).
MASK = np.arange(12).reshape(3, 4) % 3 > 0
LOW = np.linspace(-1, 0.2, 4)
AROUND = {
    "l1": {"penalty": fl.L1(0.3)},
    "elastic net": {"penalty": fl.ElasticNet(0.3, 0.4)},
    "l2": {"penalty": fl.L2(0.3)},
    "box": {"constraint": fl.Box(-0.5, 0.5)},
    "box of arrays": {"constraint": fl.Box(LOW)},
    "support": {"constraint": fl.Support(MASK)},
    "value": {"gradients": [gradients.ClipByValue(0.5)]},
    "norm": {"gradients": [gradients.ClipByNorm(0.5)]},
    "global norm": {"gradients": [gradients.ClipByGlobalNorm(0.5)]},
    "value, norm": {"gradients": [gradients.ClipByValue(0.5), gradients.ClipByNorm(0.5)]},
    "centred": {"gradients": [gradients.ClipByValue(0.5), gradients.Centralize()]},
    "all": {
        "gradients": [gradients.ClipByGlobalNorm(0.5), gradients.ClipByValue(0.2)],
        "penalty": fl.L1(0.3), "constraint": fl.Support(MASK),
    },
    "simplex": {"constraint": fl.Simplex()},
    "groups": {"penalty": fl.GroupL1(0.3), "constraint": lambda x: x * 0.5},
    "variation": {"penalty": fl.TotalVariation(0.3)},
}  # fmt: skip
COMPLEX = [name for name in AROUND if name not in ("box", "box of arrays", "simplex")]
COMPLEX_ONLY = {
    "modulus": {"constraint": fl.Modulus(0.5)},
    "most": {"constraint": fl.MaxModulus(0.5)},
}
AROUND |= COMPLEX_ONLY
COMPLEX += COMPLEX_ONLY


def _reals(rng):
    return rng.standard_normal((6, 3)), rng.standard_normal((6, 3))


def _complexes(rng):
    return tuple(a + 1j * b for a, b in (_reals(rng), _reals(rng)))


def _labels(rng):
    return 3 * rng.standard_normal((6, 3)), rng.integers(0, 3, 6)


def _rows(rng):
    q = rng.random((6, 3))
    return 3 * rng.standard_normal((6, 3)), q / q.sum(axis=1, keepdims=True)


def _counts(rng):
    return rng.standard_normal((6, 3)), rng.integers(0, 5, (6, 3))


def _positive(rng):
    return rng.standard_normal((6, 3)), rng.exponential(1, (6, 3))


def _probabilities(rng):
    return 3 * rng.standard_normal((6, 3)), rng.random((6, 3))


def _signs(rng):
    return 2 * rng.standard_normal((6, 3)), rng.choice([-1, 1], (6, 3))


def _intensities(rng):
    return _complexes(rng)[0], rng.exponential(1, (6, 3))


# Every public loss, and what draws a prediction and a target of six rows for it.
LOSSES = [
    (fl.losses.SquaredError, _reals),
    (fl.losses.SquaredError, _complexes),
    (fl.losses.AbsoluteError, _reals),
    (fl.losses.Huber, _reals),
    (fl.losses.Quantile, _reals),
    (fl.losses.Poisson, _counts),
    (fl.losses.Gamma, _positive),
    (fl.losses.BinaryCrossEntropy, _probabilities),
    (fl.losses.Hinge, _signs),
    (fl.losses.SquaredHinge, _signs),
    (fl.losses.ModifiedHuber, _signs),
    (fl.losses.SoftmaxCrossEntropy, _labels),
    (fl.losses.SoftmaxCrossEntropy, _rows),
    (fl.losses.KLDivergence, _rows),
    (fl.losses.CosineDistance, _reals),
    (fl.losses.AmplitudeError, _intensities),
    (fl.losses.PoissonIntensity, _intensities),
    (fl.losses.PoissonIntensity, _counts),
]


def halved(step):
    return 0.2 / (1 + step)


SCHEDULES = [
    Constant(0.1), Step(0.1, every=30), Step(0.1, every=7, factor=0.9),
    MultiStep(0.1, milestones=(30, 80)), MultiStep(0.1, milestones=[1, 2, 150], factor=0.5),
    Exponential(0.1, decay=0.97), Exponential(1e-4, decay=1.5, every=20),
    InverseTime(0.1), InverseTime(0.1, decay=0.01, power=0.5),
    InverseSqrt(0.1, warmup=40), InverseSqrt(0.1, warmup=1),
    Polynomial(0.1, steps=120), Polynomial(0.1, steps=120, power=2.5, final=0.3),
    Cosine(0.1, steps=120), Cosine(0.1, steps=120, final=0.4), Cosine(0.1, steps=1),
    CosineRestarts(0.1, steps=30), CosineRestarts(0.1, steps=7, multiplier=2, minimum=0.01),
    OneCycle(0.1, steps=150), OneCycle(0.1, steps=299, ascent=0.5, shape="linear"),
    Cyclic(0.01, maximum=0.1, up=20), Cyclic(0.01, maximum=0.1, up=20, down=5, shape="triangular2"),
    Cyclic(0.0, maximum=0.1, up=9, down=20, shape="exp_range", decay=0.99),
    LinearWarmup(0.1, steps=10), LinearWarmup(halved, steps=10, start_factor=0.0),
    LinearWarmup(Cosine(0.1, steps=100, final=0.01), steps=20, start_factor=0.1),
    Piecewise((0.1, 0.2, 0.0), boundaries=(50, 51)), Piecewise([1], boundaries=[]),
    Piecewise((0.1, 0.2, 0.0), boundaries=(50, 120), interpolate=True),
    Join((0.1, InverseSqrt(0.2, warmup=5), halved), boundaries=(50, 100)),
    Join([0.1], boundaries=[]),
    Product((0.5, Exponential(0.1, decay=0.98), LinearWarmup(1, steps=30))),
    ReduceOnPlateau(0.1), ReduceOnPlateau(1, mode="max", factor=0.5, patience=0),
]  # fmt: skip


def in_precision(x, dtype):
    """Return a test array in a precision; integers as they are."""
    if np.dtype(dtype).itemsize == 4 and x.dtype.kind in "fc":
        return x.astype("complex64" if x.dtype.kind == "c" else "float32")
    return x
