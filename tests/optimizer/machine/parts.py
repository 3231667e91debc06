"""What an Optimizer of the machine is made of: trees, rules and options, each told by a name.

A description holds no arrays and no objects that remember, so that every system, and every fresh
Optimizer of a system, makes its own of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

import fallline as fl
from fallline import _arrays, gradients, schedules

# -- trees: a path, and the shape and dtype of the leaf there ------------------------------------

TREES = {
    "bare": {(): ((3, 4), "float64")},
    "flat": {("w",): ((3, 4), "float64"), ("b",): ((4,), "float64"), ("n",): None},
    "nested": {
        ("layers", 0, "w"): ((2, 3), "float64"), ("layers", 0, "b"): ((3,), "float64"),
        ("layers", 1): None, ("s",): ((), "float64"),
    },
    "mixed": {
        ("z",): ((3, 2), "complex128"), ("h",): ((2, 3), "float16"), ("a",): ((4,), "float64"),
    },
    "half": {("w",): ((3, 4), "float16"), ("b",): ((2,), "float16")},
    "layers": {(name,): ((2, 2), "float64") for name in ("layer10", "layer2", "layer1")},
}  # fmt: skip


def tree(leaves):
    """Return the container of some leaves by path: dicts, and lists for integers."""
    if () in leaves:
        return leaves[()]
    below: dict[Any, Any] = {}
    for path, x in leaves.items():
        below.setdefault(path[0], {})[path[1:]] = x
    parts = {key: tree(value) for key, value in below.items()}
    return list(parts.values()) if all(isinstance(key, int) for key in parts) else parts


def flat(container, path=()):
    """Return the leaves of a container by path."""
    if isinstance(container, dict):
        items = container.items()
    elif isinstance(container, list):
        items = enumerate(container)
    else:
        return {path: container}
    return {p: x for key, part in items for p, x in flat(part, (*path, key)).items()}


def put(container, path, x):
    """Put another leaf into a container."""
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = x


def numbers(rng, shape, dtype, size=1.0):
    """Return random numbers."""
    x = rng.standard_normal(shape) * size
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape) * size
    return np.asarray(x).astype(dtype)


# -- rules ---------------------------------------------------------------------------------------

RULES = {
    "sgd": lambda r: fl.SGD(r),
    "dampened": lambda r: fl.SGD(r, momentum=0.9, dampening=0.5),
    "adam": lambda r: fl.Adam(r),
    "components": lambda r: fl.Adam(r, complex_moment="components"),
    "adamw": lambda r: fl.AdamW(r, weight_decay=0.1),
    "amsgrad": lambda r: fl.Adam(r, amsgrad=True),
    "yogi": lambda r: fl.Yogi(r),
    "rmsprop": lambda r: fl.RMSprop(r, centered=True),
    "adagrad": lambda r: fl.Adagrad(r),
    "adafactor": lambda r: fl.Adafactor(r),
    "ftrl": lambda r: fl.FTRL(r, l2=0.5),
    "free sgd": lambda r: fl.ScheduleFreeSGD(r),
    "free adamw": lambda r: fl.ScheduleFreeAdamW(r),
    "lookahead": lambda r: fl.Lookahead(fl.Adam(r), k=3),
    "lookahead yogi": lambda r: fl.Lookahead(fl.Yogi(r), k=3),
    "lookahead sgd": lambda r: fl.Lookahead(fl.SGD(r, momentum=0.9), k=2),
    "muon": lambda r: fl.Muon(r, companion=fl.SGD(r, momentum=0.9)),
    "lars": lambda r: fl.LARS(r),
}
# Rules that share slots or a class, for changes within a family.
FAMILIES = [
    ("sgd", "dampened"), ("adam", "adamw", "amsgrad", "yogi"), ("free sgd", "free adamw"),
    ("lookahead", "lookahead yogi", "lookahead sgd"), ("dampened", "lars"),
    ("adagrad", "rmsprop"), ("adafactor", "muon"), ("ftrl", "adagrad"),
]  # fmt: skip
# Of equal slots and another class, where there is such a rule.
STRANGERS = {
    "adam": "yogi", "components": "yogi", "adamw": "yogi", "yogi": "adam", "dampened": "lars",
    "lars": "dampened", "lookahead": "lookahead yogi", "lookahead yogi": "lookahead",
    "muon": "lars",
}  # fmt: skip
RATES = {
    "number": lambda plateau: 0.1,
    "cosine": lambda plateau: schedules.Cosine(0.1, steps=20),
    "plateau": lambda plateau: plateau,
    "nested": lambda plateau: schedules.LinearWarmup(
        schedules.Product((1.0, plateau)), steps=3
    ),
    "join": lambda plateau: schedules.Product(
        (schedules.Join((0.1, plateau), boundaries=(2,)), 0.5)
    ),
}  # fmt: skip


def plateau():
    return schedules.ReduceOnPlateau(0.1, factor=0.5, patience=1)


@dataclass(frozen=True)
class ByRank:
    """A function of path and leaf: one rule for matrices, another one for the rest."""

    matrices: Any
    rest: Any

    def __call__(self, path, leaf):
        return self.matrices if leaf.ndim > 1 else self.rest


@dataclass(frozen=True)
class Spec:
    """How rules were given: ``"one"``, ``"function"`` or ``"tree"``.

    `names` is the name of a rule, or two of them, or one or `None` by path.
    """

    kind: str
    names: Any
    rate: str

    def made(self, plateau):
        """Return the rules as an Optimizer takes them."""
        if self.kind == "one":
            return self._rule(self.names, plateau)
        if self.kind == "function":
            return ByRank(*(self._rule(name, plateau) for name in self.names))
        return tree({p: n and self._rule(n, plateau) for p, n in self.names.items()})

    def _rule(self, name, plateau):
        return RULES[name](RATES[self.rate](plateau))

    def by_leaf(self, leaves):
        """Return the same, leaf by leaf."""
        if self.kind == "tree":
            return self
        names = {}
        for path, leaf in leaves.items():
            first = self.names
            if self.kind == "function" and leaf is not None:
                first = self.names[0] if len(leaf[0]) > 1 else self.names[1]
            names[path] = None if leaf is None else first
        return Spec("tree", names, self.rate)


# -- options -------------------------------------------------------------------------------------


class Fading(gradients.Transform):
    """A transform of a user that remembers a factor."""

    elementwise = False

    def __init__(self):
        self.factor = 1.0

    def apply(self, grads):
        self.factor = 1.25 - self.factor
        with np.errstate(all="ignore"):
            return [None if g is None else _arrays.widened(g) * self.factor for g in grads]

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = float(state["factor"])


class Fault:
    """Raises an error in one of the next calls."""

    left = 0
    error: BaseException | None = None

    @classmethod
    def count(cls):
        if cls.left:
            cls.left -= 1
            if not cls.left:
                raise cls.error


def halved(x):
    """Return a user's constraint: real parts above one are drawn back to it."""
    Fault.count()
    xp = _arrays.namespace(x)
    if _arrays.is_complex(x):
        return xp.where(xp.abs(x) > 100.0, x / 2, x)
    return xp.where(x > 1.0, xp.ones_like(x), x)


TRANSFORMS = {
    "accumulate": lambda: gradients.Accumulate(3),
    "scale": lambda: gradients.LossScale(8.0, interval=2),
    "scale high": lambda: gradients.LossScale(2.0**125, interval=1, growth=4.0),
    "scale low": lambda: gradients.LossScale(2.0**-124, interval=9, backoff=0.125),
    "norm": lambda: gradients.ClipByGlobalNorm(1.0),
    "value": lambda: gradients.ClipByValue(0.5),
    "user": Fading,
}
PENALTIES = {
    "l1": lambda: fl.L1(0.1),
    "elastic": lambda: fl.penalties.ElasticNet(0.1, 0.1),
    "group": lambda: fl.GroupL1(0.1),
    "variation": lambda: fl.penalties.TotalVariation(0.1),
}
CONSTRAINTS = {
    "positive": lambda: fl.NonNegative(),
    "box": lambda: fl.Box(-1.0, 2.0),
    "ball": lambda: fl.L2Ball(3.0),
    "user": lambda: halved,
}


def mask(shape):
    """Return the mask of a shape."""
    return np.arange(int(np.prod(shape))).reshape(shape) % 3 > 0


@dataclass(frozen=True)
class Make:
    """Everything that an Optimizer is made of beside its arrays."""

    spec: Spec
    transforms: tuple[str, ...] = ()
    penalty: str | None = None
    constraint: str | None = None
    nonfinite: str = "propagate"
    master: bool = False
    rates: str | None = None
    decays: str | None = None

    def replaced(self, **changes):
        return dataclasses.replace(self, **changes)

    def options(self, leaves, array):
        """Return the options of an Optimizer; `array` makes arrays of NumPy's."""
        return {
            "gradients": [TRANSFORMS[name]() for name in self.transforms],
            "nonfinite": self.nonfinite,
            "master_weights": self.master,
            **{name: self.option(name, leaves, array) for name in OPTIONS},
        }

    def option(self, name, leaves, array):
        """Return one option that can be changed between steps."""
        if name == "penalty":
            return self.penalty and PENALTIES[self.penalty]()
        if name == "constraint":
            if self.constraint != "mask":
                return self.constraint and CONSTRAINTS[self.constraint]()
            return tree({p: x and fl.Support(array(mask(x[0]))) for p, x in leaves.items()})
        kind = self.rates if name == "rate_factors" else self.decays
        if kind in (None, "number"):
            return kind and 0.5
        if kind == "numbers":
            return tree({p: x and 0.5 for p, x in leaves.items()})
        shapes = {p: x and (x[0][-1:] if kind == "channel" else x[0]) for p, x in leaves.items()}
        return tree(
            {p: None if s is None else array(_factors(s)) for p, s in shapes.items()}
        )  # fmt: skip

    @property
    def met(self):
        """What operations are counted by."""
        names = self.spec.names
        used = {names} if isinstance(names, str) else names
        used = set(used.values() if isinstance(used, dict) else used)
        return [
            *(f"rule {name}" for name in used if name),
            f"rules as {self.spec.kind}",
            f"rate {self.spec.rate}",
            *(f"transform {name}" for name in self.transforms),
            f"penalty {self.penalty}",
            f"constraint {self.constraint}",
            f"nonfinite {self.nonfinite}",
            f"rates {self.rates}",
            f"decays {self.decays}",
            *(["master"] if self.master else []),
        ]


def _factors(shape):
    return np.linspace(0.25, 2.0, int(np.prod(shape))).reshape(shape)


# The options that can be changed between steps.
OPTIONS = ("penalty", "constraint", "rate_factors", "decay_factors")
