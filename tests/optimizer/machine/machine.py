"""The machine: steps, snapshots, copies, averages and errors in the middle of an operation."""

from __future__ import annotations

import copy
import pickle

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import fallline as fl

from . import parts
from .base import CHOICES, PLACES, SAVED, SEEDS
from .changes import INDEX, MOVES, Changes
from .systems import TARGETS, failing, ignored, same

# What a gradient can be.
GRADIENTS = (
    ["ordinary"] * 5 + ["none"] * 2 + ["nan", "inf", "huge", "own", "rows", "rows", "zero"]
)  # fmt: skip
# A transform of another class.
STRANGE = {"norm": "value", "value": "norm", "scale": "user"}
FAULTS = st.sampled_from([MemoryError, KeyboardInterrupt])
AT = st.sampled_from(list(TARGETS))
CALLS = st.sampled_from([1, 1, 1, 2, 3, 4, 6, 8])


class Machine(Changes):
    """All operations."""

    # -- steps ---------------------------------------------------------------------------------

    @rule(
        kinds=st.lists(st.sampled_from(GRADIENTS), min_size=4, max_size=4),
        scaled=st.booleans(),
        seed=SEEDS,
    )
    def step(self, kinds, scaled, seed):
        self.make_step("step", kinds, scaled, seed)

    @rule(scaled=st.booleans(), seed=SEEDS, times=st.integers(1, 3))
    def steps(self, scaled, seed, times):
        for i in range(times):
            self.make_step("step", ["ordinary"], scaled, seed + i)

    @rule(kind=st.sampled_from(["nan", "inf", "huge", "none"]), which=INDEX, seed=SEEDS)
    def odd_step(self, kind, which, seed):
        kinds = ["ordinary"] * len(self.paths)
        kinds[which % len(kinds)] = kind
        if self.make.nonfinite == "propagate" and kind in ("nan", "inf"):
            kinds = ["none"]
        self.make_step("step", kinds, True, seed)

    def gradients(self, kinds, scaled, seed):
        """Return gradients of NumPy by path, or the names of those that each system makes."""
        rng, found = np.random.default_rng(seed), {}
        scale = self.first.scale if scaled else 1.0
        for i, path in enumerate(self.first.leaves()):
            like = self.first.kinds()[path]
            if like is None:
                found[path] = "none", None
                continue
            kind = kinds[i % len(kinds)]
            x = parts.numbers(rng, *like)
            if kind == "rows":
                if not x.ndim:
                    kind = "ordinary"
                else:
                    rows = rng.integers(0, x.shape[0], 3)
                    found[path] = kind, (rows, parts.numbers(rng, (3, *x.shape[1:]), x.dtype))
                    continue
            with np.errstate(all="ignore"):
                x = x * np.asarray(scale).astype(x.dtype)
                if kind in ("nan", "inf"):
                    x.reshape(-1)[0] = np.nan if kind == "nan" else np.inf
                elif kind == "huge":
                    x = x * np.asarray(1e12 if x.dtype.itemsize > 4 else 1e3).astype(x.dtype)
                elif kind == "zero":
                    x = x * 0
            found[path] = kind, np.asarray(x)
        return found

    @staticmethod
    def given_to(system, gradients):
        """Return the tree of gradients for a system."""
        leaves = {}
        for path, (kind, x) in gradients.items():
            if kind == "none":
                leaves[path] = None
            elif kind == "own":
                leaves[path] = system.leaves()[path]
            elif kind == "rows":
                leaves[path] = fl.RowSparse(*map(system.array, x))
            else:
                leaves[path] = system.array(x)
        return parts.tree(leaves)

    def make_step(self, name, kinds, scaled, seed, wrap=lambda f: f):
        """Step, and judge it."""
        gradients = self.gradients(kinds, scaled, seed)
        frozen = {x.path for x in self.first.opt._bound.leaves if x.rule is None}
        taken = {p: x for p, x in gradients.items() if x[0] != "none" and p not in frozen}
        before = self.first.before()
        for kind in {x[0] for x in gradients.values()}:
            self.met[name, f"gradient {kind}"] += 1
        error = TypeError, ValueError, FloatingPointError
        words = r"is RowSparse" + ("|finite" if self.make.nonfinite == "raise" else "")
        done = self.run(
            name, wrap(lambda s: s.opt.step(self.given_to(s, gradients))), words,
            scale=self.make.nonfinite != "raise", error=error,
        )  # fmt: skip
        self.quiet = seed % 2 == 1
        if not done:
            return
        after = self.first.before()
        k = self.first.opt._bound.options.k
        whole = before["flow"]["calls"] + 1 == k
        skipped = after["counts"][1] > before["counts"][1]
        self.given = set() if whole else self.given | set(taken)
        values = [x[1] if x[0] != "rows" else x[1][1] for x in taken.values() if x[0] != "own"]
        if self.make.nonfinite != "propagate" and k == 1:
            fine = all(np.all(np.isfinite(x)) for x in values)
            assert fine or skipped, "numbers that are not finite were used"
        for key, x in before.items():
            rests = key[-1] not in taken and k == 1
            if key[0] in ("average", "sum") or not isinstance(key, tuple):
                continue
            if skipped or not whole or rests or key[-1] in frozen:
                same({key: x}, {key: after[key]}, what="a leaf that rests")
        assert after["counts"][0] == before["counts"][0] + (whole and not skipped)

    @precondition(lambda self: self.systems and self.first.plateaus)
    @rule(metrics=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def follow(self, metrics):
        def update(system):
            for plateau in system.plateaus:
                for metric in metrics:
                    plateau.update(float(metric))

        assert self.run("plateau", update, "^$")

    @rule(drop=st.booleans())
    def end_window(self, drop):
        self.finish_window("discard" if drop else "flush")

    def finish_window(self, how, wrap=lambda f: f, name="window"):
        """Use or drop what was accumulated."""
        raises = self.make.nonfinite == "raise"
        done = self.run(
            f"{name}: {how}", wrap(lambda s: getattr(s.opt, how)()), "finite" if raises else "^$",
            scale=not raises, error=FloatingPointError,
        )  # fmt: skip
        if done:
            self.given = set()

    # -- snapshots -----------------------------------------------------------------------------

    @rule(file=st.booleans())
    def keep(self, file):
        saved = []

        def keep(system):
            if file:
                saved.append(self.folder / f"{len(self.kept)}-{len(saved)}.npz")
                system.opt.save(saved[-1])
            else:
                saved.append(system.opt.state_dict())

        assert self.run("keep", keep, "^$")
        content = self.first.before()
        self.kept.append((saved, file, self.make, set(self.given), self.first.kinds(), content))

    @rule(
        which=INDEX,
        cross=st.booleans(),
        saved=st.sampled_from([False, False, True]),
        last=st.sampled_from(["kept", "nothing", "nothing", "adopted"]),
    )
    def restore(self, which, cross, saved, last):
        if last == "kept" or not self.kept:
            self.keep(file=cross)
        if last == "adopted":
            self.adopt(which, which)
        self.load(which, cross, saved)

    def load(self, which, cross, saved, wrap=lambda f: f, name="load"):
        """Load a snapshot of before, and judge what is there now."""
        snapshots, file, make, given, kinds, content = self.kept[which % len(self.kept)]
        own = dict(zip(map(id, self.systems), snapshots, strict=True))
        rules = {"rules": "saved" if saved else "bound"}

        def load(system):
            source = snapshots[0] if cross else own[id(system)]
            with ignored():
                (system.opt.load if file else system.opt.load_state_dict)(source, **rules)

        suits = kinds == self.first.kinds() and make == self.make
        refusal = "^$" if suits else SAVED
        if not self.run(f"{name}: {'saved' if saved else 'bound'}", wrap(load), refusal):
            return
        spec = make.spec.by_leaf(kinds) if saved else self.make.spec
        # One number for all stays so only where it was bound and is loaded.
        factors = {
            name: "numbers" if getattr(make, name) == "number" != getattr(self.make, name)
            else getattr(make, name)
            for name in ("rates", "decays")
        }  # fmt: skip
        self.make, self.given = self.make.replaced(spec=spec, **factors), set(given)
        now = self.first.before()
        lost = _without_fresh_memories(content["flow"], now["flow"], empty=True)
        now = {**now, "flow": _without_fresh_memories(now["flow"], content["flow"])}
        for key, x in {**content, "flow": lost}.items():
            told = key in ("flow", "counts") or key[0] in ("params", "step")
            if told or (isinstance(x, np.ndarray) and key[0] != "average"):
                same({key: x}, {key: now.get(key)}, what="what was loaded")

    @rule(
        kind=st.sampled_from(["rule", "transform", "shape"]), back=st.booleans(), file=st.booleans()
    )
    def stranger(self, kind, back, file):
        """Load into an Optimizer of another make, or its snapshot: refused."""
        kinds, make = dict(self.first.kinds()), self.make
        if kind == "rule":
            spec = make.spec.by_leaf(kinds)
            live = [name for name in spec.names.values() if name is not None]
            if not live:
                return
            name = parts.STRANGERS.get(live[0], "adagrad" if live[0] != "adagrad" else "rmsprop")
            names = {p: x and (name if x == live[0] else x) for p, x in spec.names.items()}
            make = make.replaced(spec=parts.Spec("tree", names, spec.rate))
        elif kind == "transform":
            names = list(make.transforms)
            last = names.pop().partition(" ")[0] if names else ""
            names.append(STRANGE.get(last, "value"))
            make = make.replaced(transforms=tuple(names))
        else:
            path = self.paths[-1]
            shape, dtype = kinds[path]
            kinds[path] = ((3,) if len(shape) != 1 else (5, 2)), dtype

        def swap(system):
            zeros = {p: x and np.zeros(*x) for p, x in kinds.items()}
            with ignored():
                try:
                    other = another(system, make, zeros)
                except (TypeError, ValueError):
                    return
                source, target = (other, system) if back else (system, other)
                saved = source.opt.state_dict()
                path = self.folder / "stranger.npz"
                source.opt.save(path)
                before = target.content()
                try:
                    target.opt.load(path) if file else target.opt.load_state_dict(saved)
                except (TypeError, ValueError) as error:
                    words = str(error)
                else:
                    raise AssertionError(f"another {kind} was loaded: {make}")
                assert "saved with" in words or kind != "rule", words
                same(before, target.content(), what="after a snapshot that does not fit")

        assert self.run(f"another make: {kind}", swap, "^$")

    # -- copies and averages -------------------------------------------------------------------

    @rule(how=st.sampled_from(["deepcopy", "pickle"]), who=st.integers(0, 3))
    def twin(self, how, who):
        self.replace(how, who)

    @rule(who=st.integers(0, 3))
    def copy(self, who):
        self.replace("copy", who)

    def replace(self, how, who):
        """Put a copy in the place of one Optimizer, or of all."""

        def replaced(system):
            if who < len(self.systems) and system is not self.systems[who]:
                return
            if how == "copy":
                system.opt = copy.copy(system.opt)
            else:
                pair = system.opt, system.ema
                pickled = how == "pickle" and system.library != "strict"
                pair = pickle.loads(pickle.dumps(pair)) if pickled else copy.deepcopy(pair)
                system.opt, system.ema = pair

        assert self.run(f"copies: {how}", replaced, "^$")

    @rule(apply=st.booleans())
    def average(self, apply):
        if self.first.ema is None:
            self.new_averages()

        def update(system):
            system.ema.update()
            if apply:
                before, found = system.content(), parts.flat(system.ema.params)
                with system.ema.applied():
                    for path, x in system.leaves().items():
                        if x is not None:
                            a, b = system.numpy(x), system.numpy(found[path])
                            assert np.array_equal(a, b, equal_nan=True)
                same(before, system.content(), what="after an average")

        assert self.run("average", update, "^$")

    # -- errors in the middle ------------------------------------------------------------------

    @rule(at=AT, n=CALLS, fault=FAULTS, which=INDEX, seed=SEEDS)
    def interrupted_step(self, at, n, fault, which, seed):
        self.interrupt("step", at, n, fault, which, seed)

    @rule(
        what=st.sampled_from(
            ["rules", "move", "move", "load", "load", *["option"] * 3, "flush", "flush", "discard"]
        ),
        at=AT,
        n=CALLS,
        fault=FAULTS,
        which=INDEX,
        seed=SEEDS,
    )
    def interrupted_change(self, what, at, n, fault, which, seed):
        self.interrupt(what, at, n, fault, which, seed)

    def interrupt(self, what, at, n, fault, which, seed):
        """Let an error be thrown in an operation."""
        error = fault("thrown in")
        target = at
        if at == "constraint" and self.make.constraint != "user":
            target = "write"

        def wrap(operation):
            return lambda system: self._through(system, operation, target, n, error, what)

        name = "interrupted"
        if what == "step":
            self.make_step(name, ["ordinary", "own", "none"][which % 3 :], True, seed, wrap)
        elif what == "rules":
            names = list(parts.RULES)
            spec = parts.Spec("one", names[seed % len(names)], self.make.spec.rate)

            def assign(system):
                system.opt.rule = spec.made(parts.plateau())

            if self.run(name, wrap(assign), PLACES):
                self.make = self.make.replaced(spec=spec)
        elif what == "move":
            self.move(list(MOVES)[which % 3], None, True, wrap, name)
        elif what == "load":
            if not self.kept:
                self.keep(file=False)
            self.load(which, False, seed % 3 == 0, wrap, name)
        elif what == "option":
            field = list(CHOICES)[which % 4]
            self.change_option(field, CHOICES[field][seed % len(CHOICES[field])], wrap, name)
        else:
            if "accumulate" in self.make.transforms and not self.given:
                self.make_step("step", ["ordinary"], True, seed)
            self.finish_window(what, wrap, name)

    def _through(self, system, operation, target, n, error, what):
        """Make an operation in which an error is thrown, and then without."""
        kept, before = system.opt.state_dict(), system.content()
        try:
            with failing(target, n, error):
                operation(system)
            return
        except type(error) as found:
            if found is not error:
                raise
        self.met["thrown into", f"{what}, {target}"] += 1
        if system.locked:
            self.met["thrown into", f"{what}, locked"] += 1
            system.opt.load_state_dict(kept)
            assert not system.locked
        same(before, system.content(), what=f"{system.name} after an error in {what} ({target})")
        operation(system)


def _without_fresh_memories(flow, saved, empty=False):
    """Return what later steps depend on, less what rules remember here and had not to there."""
    more = set(flow["schedules"]) - set(saved["schedules"])
    assert all(path.endswith(".memory") for path in more)
    assert not (empty and any(flow["schedules"][path]["steps"] for path in more))
    kept = {
        name: {path: x for path, x in flow[name].items() if path not in more}
        for name in ("schedules", "classes")
    }
    return {**flow, **kept}


def another(system, make, values):
    """Return a system of the same library with another make."""
    other = type(system)(system.library, system.engine)
    other.build(make, values)
    return other
