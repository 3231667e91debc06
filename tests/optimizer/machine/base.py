"""What every operation of the machine has in common: it is made by all systems, and judged."""

from __future__ import annotations

import collections
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

import fallline as fl
from fallline.engine import numba_

from . import parts
from .systems import System, same

SEEDS = st.integers(0, 2**16)
PIPELINES = [
    (), ("scale low",), ("accumulate",), ("scale",), ("norm",), ("value",), ("user",),
    ("scale high",), ("scale low",), ("scale low", "value"), ("scale", "norm"), ("norm", "value"),
    ("accumulate", "scale", "norm"), ("accumulate", "user"), ("user", "norm"),
    ("accumulate", "value"), ("scale", "value"), ("value", "scale"), ("accumulate", "norm"),
    ("scale high", "user"),
]  # fmt: skip
TEAMS = [
    ("blocked",), ("blocked", "fresh"), ("fresh",), ("torch",), ("blocked", "torch"),
    ("fresh", "torch"), ("blocked", "strict"), ("fresh",), ("torch",),
]  # fmt: skip
NAMES = st.sampled_from([*parts.RULES, "lars", "ftrl", "rmsprop"])
RATES = st.sampled_from([*["plateau"] * 4, *parts.RATES])
CHOICES = {
    "penalty": [None, None, *parts.PENALTIES],
    "constraint": [None, None, *parts.CONSTRAINTS, "mask"],
    "rates": [None, None, "number", *["numbers"] * 2, *["array"] * 3, "channel", "channel"],
    "decays": [None, None, "number", "numbers", "numbers", "array"],
}
# How a refusal begins: with the place that it is about.
PLACES = (
    r"^(params|penalty|constraint|rate_factors|decay_factors|rule|state|state_dict|gradients)\b"
)
SAVED = rf"{PLACES}|^'/"


torch.set_num_threads(1)


class Base(RuleBasedStateMachine):
    """Optimizers that are made together, and agree after every operation."""

    met: ClassVar[collections.Counter[Any]] = collections.Counter()
    lengths: ClassVar[list[int]] = []

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.systems, self.kept, self.given, self.made = [], [], set(), 0
        self.quiet = self.rough = False
        # Blocks, or the formula where there are none; nothing is compiled.
        self.installed, numba_.installed = numba_.installed, lambda: False

    def teardown(self):
        numba_.installed = self.installed
        shutil.rmtree(self.folder, ignore_errors=True)
        Base.lengths.append(self.made)

    @initialize(
        name=st.sampled_from(list(parts.TREES)),
        kind=st.sampled_from(["one", "function", "tree", "tree"]),
        names=st.lists(NAMES, min_size=4, max_size=4),
        rate=RATES,
        pipeline=st.sampled_from(PIPELINES),
        terms=st.fixed_dictionaries({k: st.sampled_from(v) for k, v in CHOICES.items()}),
        nonfinite=st.sampled_from(["propagate", "skip", "skip", "raise"]),
        master=st.booleans(),
        team=st.sampled_from(TEAMS),
        start=st.sampled_from(["fresh"] * 7 + ["torch"]),
        average=st.booleans(),
        seed=SEEDS,
    )
    def start(
        self, name, kind, names, rate, pipeline, terms, nonfinite, master, team, start, average,
        seed,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        kinds = parts.TREES[name]
        if start == "torch" and name in ("mixed", "half"):
            kinds = parts.TREES["layers"]
        if "strict" in team and name in ("mixed", "half"):
            kinds = parts.TREES["nested"]
        values = {p: x and parts.numbers(rng, *x) for p, x in kinds.items()}
        self.systems = [System("numpy", "eager")]
        for member in team:
            fresh = self.folder if member == "fresh" else None
            library = member if member in ("torch", "strict") else "numpy"
            engine = "eager" if library == "strict" else "auto"
            self.systems.append(System(library, engine, fresh))
        self.make = parts.Make(
            self._spec(kind, names, rate, kinds), pipeline, nonfinite=nonfinite, master=master,
            **terms,
        )  # fmt: skip
        if start == "torch":
            self._from_torch(kinds, values)
        else:
            for drop in ("", "decays", "rates", "penalty", "constraint"):
                if drop:
                    self.make = self.make.replaced(**{drop: None})
                if self.run(f"make: {name}", lambda s: s.build(self.make, values), PLACES):
                    break
            else:
                raise AssertionError(f"{self.make}: nothing suits")
        if average:
            self.new_averages()

    @staticmethod
    def _spec(kind, names, rate, kinds):
        if kind == "one":
            return parts.Spec(kind, names[0], rate)
        if kind == "function":
            return parts.Spec(kind, tuple(names[:2]), rate)
        found = (path for path, x in kinds.items() if x is not None)
        by_path = {path: names[i % 4] for i, path in enumerate(found)}
        return parts.Spec(kind, {path: by_path.get(path) for path in kinds}, rate)

    def _from_torch(self, kinds, values):
        tensors = {p: x if x is None else torch.from_numpy(x.copy()) for p, x in values.items()}
        found = {p: x.requires_grad_() for p, x in tensors.items() if x is not None}
        theirs = torch.optim.Adam(list(found.values()), lr=0.1)
        for i in range(2):
            for j, x in enumerate(found.values()):
                x.grad = torch.full_like(x, 1.0 + i + j)
            theirs.step()
        names = {path: x and "components" for path, x in kinds.items()}
        spec = parts.Spec("tree", names, "number")
        self.make = parts.Make(spec, penalty=self.make.penalty, constraint=self.make.constraint)
        values = {p: x if x is None else found[p].detach().numpy() for p, x in values.items()}

        def start(system):
            system.build(self.make, values)
            arrays = parts.tree(
                {p: x if x is None else system.array(x) for p, x in values.items()}
            )  # fmt: skip
            first = fl.from_torch(theirs, arrays)
            for leaf in first._bound.leaves:
                if leaf.p is not None:
                    state = theirs.state[found[leaf.path]]
                    for slot, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                        ours = system.numpy(leaf.state.slots[slot])
                        assert np.array_equal(ours, state[key].numpy()), (leaf.path, slot)
            system.opt.load_state_dict(first.state_dict())

        assert self.run("make: from torch", start, "^$")

    # -- all together --------------------------------------------------------------------------

    @property
    def first(self):
        return self.systems[0]

    def run(self, name, operation, refusal, *, scale=True, error=(TypeError, ValueError)):
        """Make an operation with every system; return whether it was not refused.

        A refusal must be of one class in all, begin as a pattern says, and change nothing but, if
        asked, the scale of the loss.
        """
        self.made += 1
        self._count(name)
        outcomes = []
        for system in self.systems:
            before = system.before()
            system.seen = None
            try:
                operation(system)
                outcome = None
            except error as found:
                outcome = found
            outcomes.append(outcome)
            if outcome is not None and before is not None:
                after = system.content()
                if not scale:
                    before, after = (
                        {**x, "flow": {**x["flow"], "gradients": []}} for x in (before, after)
                    )
                same(before, after, what=f"{system.name} after a refused {name}")
        refused = outcomes[0]
        for system, outcome in zip(self.systems, outcomes, strict=True):
            assert type(outcome) is type(refused), (system.name, outcome, refused)
            if outcome is not None:
                assert re.search(refusal, str(outcome)), (name, type(outcome), str(outcome))
        if refused is not None:
            self.met["refused", name] += 1
        return refused is None

    def _count(self, name):
        self.met[name, "all"] += 1
        group = name.partition(":")[0]
        where = [*self.make.met, *(f"system {s.name}" for s in self.systems[1:])]
        if self.given:
            where.append("window open")
        if hasattr(self.first, "opt"):
            leaves = self.first.opt._bound.leaves
            where += ["frozen"] * any(x.rule is None and x.p is not None for x in leaves)
            where += ["average"] * (self.first.ema is not None)
        for one in where:
            self.met[group, one] += 1

    @invariant()
    def agree(self):
        """Compare all systems, and what must hold for each."""
        if not self.systems:
            return
        expected = self.first.before()
        assert set(expected["flow"]["given"]) == {_named(path) for path in self.given}
        # A norm of leaves of several precisions is as exact as the least of them.
        self.rough |= any(isinstance(x, np.ndarray) and x.itemsize <= 4 for x in expected.values())
        scale = self.first.opt._bound.options.loss_scale
        if scale is not None:
            assert scale.minimum <= float(scale) <= scale.maximum, float(scale)
        for system in self.systems[1:]:
            if system.folder:
                same(expected, system.content(), what=system.name)
                system.renew(self.make)
            system.seen = None
            if system.library != "numpy" and self.quiet:
                continue
            exact = system.library == "numpy"
            options = {"exact": exact, "rough": self.rough, "what": system.name}
            same(expected, system.before(), **options)
        self.quiet = False

    def new_averages(self):
        for system in self.systems:
            system.ema = fl.EMA(system.opt.params, decay=0.75)

    @property
    def paths(self):
        """The paths of the leaves that are arrays."""
        return [path for path, x in self.first.kinds().items() if x is not None]


def _named(path):
    return "params" + "".join(f"[{key!r}]" for key in path)
