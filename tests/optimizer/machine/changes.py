"""Changes of rules, options and arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import rule

from fallline import _arrays

from . import parts
from .base import CHOICES, NAMES, PLACES, RATES, SEEDS, Base

INDEX = st.integers(0, 5)


def rolled(x):
    return _arrays.namespace(x).roll(x, 1, axis=0) if x.ndim else x


def padded(x):
    if not x.ndim or x.shape[0] > 4:
        return x
    return _arrays.namespace(x).concat([x, x[:1, ...] * 0.5], axis=0)


def cropped(x):
    return x[1:, ...] if x.ndim and x.shape[0] > 2 else x


MOVES = {"roll": rolled, "pad": padded, "crop": cropped}


class Changes(Base):
    """The machine's operations that change what is bound."""

    # -- rules ---------------------------------------------------------------------------------

    def set_rules(self, name, spec):
        """Assign rules, and judge what the leaves keep of their state."""
        kinds = self.first.kinds()
        before = {leaf.path: leaf for leaf in self.first.opt._bound.leaves}

        def assign(system):
            system.opt.rule = spec.made(parts.plateau())

        if not self.run(name, assign, PLACES):
            return
        fixed = spec.rate in ("number", "cosine")
        back = spec.kind == "tree" and fixed and spec == self.make.spec.by_leaf(kinds)
        self.make = self.make.replaced(spec=self.make.spec if back else spec)
        for leaf in self.first.opt._bound.leaves:
            self._judge(before[leaf.path], leaf)

    @staticmethod
    def _judge(old, new):
        # A count stands beside slots that were counted by it.
        if new.rule is None or new.state is None or not new.state.count:
            return
        maker = old.state.maker
        classes = type(new.rule), type(maker)
        assert issubclass(*classes) or issubclass(*classes[::-1]), (new.path, maker, new.rule)
        assert new.state.count == old.state.count
        for slot in new.rule.slots:
            assert not slot.counted or slot.name in old.state.slots, (new.path, slot)

    @rule(
        kind=st.sampled_from(["one", "function", "tree"]),
        names=st.lists(NAMES, min_size=4, max_size=4),
        rate=RATES,
    )
    def other_rules(self, kind, names, rate):
        self.set_rules("rules: others", self._spec(kind, names, rate, self.first.kinds()))

    @rule(pick=INDEX, rate=st.sampled_from([False, False, False, True]))
    def related_rules(self, pick, rate):
        now = self.make.spec.by_leaf(self.first.kinds())
        names = {}
        for path, name in now.names.items():
            found = [x for family in parts.FAMILIES if name in family for x in family]
            names[path] = found[pick % len(found)] if found else name
        spec = parts.Spec("tree", names, "number" if rate else now.rate)
        self.set_rules("rules: of the family", spec)

    @rule(
        kind=st.sampled_from(["freeze", "freeze", "thaw", "thaw as before", "given back"]),
        which=INDEX,
        name=NAMES,
    )
    def freeze(self, kind, which, name):
        if kind == "given back":
            self.give_rules_back()
            return
        spec = self.make.spec.by_leaf(self.first.kinds())
        names = dict(spec.names)
        if kind == "freeze":
            names[self.paths[which % len(self.paths)]] = None
        else:
            if kind == "thaw as before":
                name = next((x for x in names.values() if x is not None), name)
            names |= {path: names[path] or name for path in self.paths}
        self.set_rules(f"rules: {kind}", parts.Spec("tree", names, spec.rate))

    def give_rules_back(self):
        def assign(system):
            system.opt.rule = system.opt.rule

        assert self.run("rules: given back", assign, "^$")

    # -- options -------------------------------------------------------------------------------

    @rule(field=st.sampled_from(list(CHOICES)), pick=INDEX)
    def set_option(self, field, pick):
        values = CHOICES[field]
        self.change_option(field, values[pick % len(values)])

    def change_option(self, field, value, wrap=lambda f: f, name="option"):
        """Assign an option."""
        option = {"rates": "rate_factors", "decays": "decay_factors"}.get(field, field)
        make, kinds = self.make.replaced(**{field: value}), self.first.kinds()

        def assign(system):
            setattr(system.opt, option, make.option(option, kinds, system.array))

        if self.run(f"{name}: {option}", wrap(assign), PLACES):
            self.make = make

    # -- arrays --------------------------------------------------------------------------------

    @rule(move=st.sampled_from(list(MOVES)), which=st.none() | INDEX, adapt=st.booleans())
    def transform(self, move, which, adapt):
        self.move(move, which, adapt)

    def hides_a_mask(self, paths):
        """Tell whether a leaf is frozen: its mask is not looked at, and found not to fit later."""
        frozen = {x.path for x in self.first.opt._bound.leaves if x.rule is None}
        return self.make.constraint == "mask" and not frozen.isdisjoint(paths)

    def move(self, move, which, adapt, wrap=lambda f: f, name="transform"):
        """Transform leaves, and judge the arrays of the first system."""
        f, kinds = MOVES[move], dict(self.first.kinds())
        chosen = self.paths if which is None else [self.paths[which % len(self.paths)]]
        before = self.first.before()
        for path in chosen:
            shape, dtype = kinds[path]
            kinds[path] = f(np.zeros(shape)).shape, dtype
        masked = self.make.constraint == "mask" and (adapt or self.hides_a_mask(chosen))

        def transform(system):
            more = {}
            if masked:
                more["constraint"] = self.make.option("constraint", kinds, system.array)
            leaves = None if which is None or chosen[0] == () else chosen[0]
            system.opt.transform(f, leaves, **more)

        changed = kinds != self.first.kinds()
        if not self.run(f"{name}: {move}", wrap(transform), PLACES):
            return
        if changed and self.first.ema is not None:
            self.new_averages()
        after = self.first.before()
        for key, x in before.items():
            if key[-1] in chosen and isinstance(x, np.ndarray) and key[0] != "average":
                with np.errstate(all="ignore"):
                    expected = self._moved(f, key, x, before)
                exact = not key[0].endswith("factors")
                rtol = 1e-12 if exact else 1e-6
                np.testing.assert_allclose(after[key], expected, rtol=rtol, err_msg=str(key))

    @staticmethod
    def _moved(f, key, x, before):
        # What an array must be: rows and columns stand for all elements, and factors stay spread.
        name, path = key
        if name == "params" and ("master", path) in before:
            return f(before["master", path]).astype(x.dtype)
        whole = before["params", path].shape
        moved = f(np.broadcast_to(x, whole))
        if x.shape == whole or name.endswith("factors"):
            return moved
        axes = tuple(i for i, (a, b) in enumerate(zip(x.shape, whole, strict=True)) if a != b)
        return moved.mean(axis=axes, keepdims=True)

    @rule(
        kind=st.sampled_from(
            ["copied", "added", "removed", "resized", "moved", "retyped", "added"]
        ),
        state=st.sampled_from(["keep", "keep", "pad", "pad", "reset"]),
        given=st.tuples(st.booleans(), st.sampled_from([True, True, True, False])),
        which=INDEX,
        names=st.tuples(NAMES, NAMES),
        opened=st.sampled_from([True, True, False]),
        seed=SEEDS,
    )
    def rebind(self, kind, state, given, which, names, opened, seed):
        if opened and "accumulate" in self.make.transforms:
            kinds = ["ordinary", "none"]
            self.make_step("step", kinds[:: 1 - seed % 2 * 2], True, seed)
        old, new = self.first.values(), {}
        path = self.paths[which % len(self.paths)]
        if path == () and kind in ("added", "removed", "moved"):
            kind = "copied"
        if kind == "removed" and len(self.paths) == 1:
            kind = "added"
        rng = np.random.default_rng(seed)
        for key, x in old.items():
            if key != path or kind in ("copied", "added"):
                new[key] = x
            elif kind == "resized":
                shape = tuple(n % 4 + 1 if i == 0 else n for i, n in enumerate(x.shape))
                new[key] = parts.numbers(rng, shape, x.dtype)
            elif kind == "moved":
                new[*key[:-1], f"m{seed % 7}" if isinstance(key[-1], str) else key[-1]] = x
            elif kind == "retyped":
                other = {"float64": "float32", "float32": "float64"}
                with np.errstate(over="ignore"):  # 1e200 becomes infinite
                    new[key] = x.astype(other.get(x.dtype.name, x.dtype))
        if kind == "added":
            name = "a" if seed % 3 else f"k{seed % 5}"
            place = (name,) if all(isinstance(key[0], str) for key in new) else None
            if place and place not in new and len(self.paths) < 6:
                new[place] = parts.numbers(rng, (2, 3), "float64")
        self.bind(f"rebind: {kind}", new, state, given, names)

    def bind(self, name, new, state, given, names):
        """Bind other arrays: with new rules and options, or those of before."""
        with_rules, with_options = given
        kinds = {p: x if x is None else (x.shape, x.dtype.name) for p, x in new.items()}
        spec = parts.Spec("function", names, self.make.spec.rate) if with_rules else self.make.spec
        before = self.first.kinds()
        hidden = self.hides_a_mask([path for path, x in kinds.items() if before.get(path) != x])

        def rebind(system):
            container = parts.tree({p: x if x is None else system.array(x) for p, x in new.items()})
            more = {"rule": spec.made(parts.plateau())} if with_rules else {}
            if with_options:
                names = "penalty", "constraint", "rate_factors", "decay_factors"
            else:
                names = ["constraint"] if hidden else []
            more |= {n: self.make.option(n, kinds, system.array) for n in names}
            system.opt.rebind(container, state=state, **more)

        if not self.run(name, rebind, PLACES):
            return
        self.make = self.make.replaced(spec=spec)
        held = set()
        for leaf in self.first.opt._bound.leaves:
            shapes = [(x.get(leaf.path) or [None])[0] for x in (before, kinds)]
            same = shapes[0] == shapes[1]
            if leaf.path in before and state != "reset" and (leaf.rule is not None or same):
                held.add(leaf.path)
        self.given &= held
        if self.first.ema is not None:
            self.new_averages()

    @rule(which=INDEX, seed=SEEDS)
    def adopt(self, which, seed):
        path = self.paths[which % len(self.paths)]
        if path == ():
            return
        shape, dtype = self.first.kinds()[path]
        x = parts.numbers(np.random.default_rng(seed), shape, dtype)

        def put(system):
            parts.put(system.opt.params, path, system.array(x))

        assert self.run("arrays: adopted", put, "^$")

    @rule(which=INDEX, seed=SEEDS)
    def write(self, which, seed):
        path = self.paths[which % len(self.paths)]
        shape, dtype = self.first.kinds()[path]
        x = parts.numbers(np.random.default_rng(seed), shape, dtype)
        x = np.where(np.arange(x.size).reshape(shape) % 2 == 0, x, self.first.values()[path])
        x = np.asarray(x, dtype)

        def put(system):
            _arrays.write(system.leaves()[path], system.array(x))

        assert self.run("arrays: written", put, "^$")

    @rule(which=INDEX, slot=INDEX, seed=SEEDS)
    def assign_state(self, which, slot, seed):
        leaf = self.first.opt._bound.leaves[which % len(self.first.opt._bound.leaves)]
        if leaf.state is None:
            return
        names = list(leaf.state.data)
        name = names[slot % len(names)]
        rng = np.random.default_rng(seed)
        if name != "step":
            old = leaf.state.slots[name]
            value = np.abs(parts.numbers(rng, old.shape, old.dtype)).astype(old.dtype)

        def assign(system):
            view = system.opt.state
            for key in leaf.path:
                view = view[key]
            view[name] = seed % 9 if name == "step" else system.array(value)

        assert self.run(f"state: {'count' if name == 'step' else 'slot'}", assign, "^$")
