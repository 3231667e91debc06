"""Python code from a program: calls of NumPy's ufuncs on the parts of a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .program import COMPARISONS, UFUNCS, Program


def source(program: Program) -> tuple[str, int, int]:
    """Return the text of a function, and how many buffers of numbers and of truths it needs."""
    writer = BlockWriter(program)
    return writer.text(), writer.count["t"], writer.count["c"]


class BlockWriter:
    """Writes the calls, with few buffers; where it is safe, results go to their arrays directly."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.places: dict[int, str] = {}
        self.free: dict[str, list[str]] = {"t": [], "c": []}
        self.count = {"t": 0, "c": 0}
        self.last = {}
        for i, line in enumerate(program.lines):
            if line.op not in ("load", "scalar"):
                for a in line.args:
                    self.last[a] = i
        self.kept = {line for parts in program.outputs for line in parts}
        self.body: list[str] = []
        # The gradient may be the parameter itself: writing to one changes both.
        names = self._part_names()
        self.same = {names[1, i]: names[0, i] for i in range(program.arrays[1].parts)}

    def text(self) -> str:
        """Return the text of the function."""
        names = self._part_names()
        targets = self._targets(names)
        for i, (op, args) in enumerate(self.program.lines):
            if op == "load":
                self.places[i] = names[args]
            elif op == "scalar":
                self.places[i] = f"s{args[0]}"
            else:
                self._operation(i, op, args, targets)
        ends = []
        for array, part, line in self.program.stores:
            target = names[array, part]
            if self.places[line] != target:
                ends.append((target, self.places[line]))
        self._copies(ends)
        scalars = "".join(f"s{i}, " for i in range(len(self.program.scalars)))
        buffers = "".join(f"{kind}{i}, " for kind in "tc" for i in range(self.count[kind]))
        head = [f"{scalars}= scalars"] if scalars else []
        head += [f"{buffers}= buffers"] if buffers else []
        lines = [*head, *self.body] or ["pass"]
        return f"def block({', '.join(names.values())}, scalars, buffers):\n" + "".join(
            f"    {line}\n" for line in lines
        )

    def _part_names(self) -> dict[tuple[int, ...], str]:
        # In the order in which the runner passes them: parameter, gradient, slots.
        return {
            (i, part): f"a{i}_{part}"
            for i, operand in enumerate(self.program.arrays)
            for part in range(operand.parts)
        }

    def _targets(self, names: Mapping[tuple[int, ...], str]) -> dict[int, str]:
        # Lines whose results can go directly to an array: its old values are not read later.
        targets: dict[int, str] = {}
        for array, part, line in self.program.stores:
            if self.program.lines[line].op in ("load", "scalar") or line in targets:
                continue
            target = names[array, part]
            loads = [
                i
                for i, other in enumerate(self.program.lines)
                if other.op == "load" and self._place(names[other.args]) == target
            ]
            reads = [self.last.get(i, -1) for i in loads]
            end = max(reads, default=-1)
            if end <= line and not self.kept.intersection(loads):
                targets[line] = target
                if self._passes(end, line):
                    targets[end] = target
        return targets

    def _passes(self, first: int, line: int) -> bool:
        # Whether a result may stand in the array of a later line until that is written.
        if first < 0 or self.program.lines[first].op in COMPARISONS:
            return False
        return first not in self.kept and self.last.get(first, first) <= line

    def _operation(self, i: int, op: str, args: Sequence[int], targets: Mapping[int, str]) -> None:
        kind = "c" if op in COMPARISONS else "t"
        places = [self.places[a] for a in args]
        done = [a for a in dict.fromkeys(args) if self.last[a] == i and a not in self.kept]
        if op != "where":
            self._release(done)
        out = targets.get(i)
        if out is None or (op == "where" and out in map(self._place, places)):
            out = self._buffer(kind)
        if op == "where":
            condition, yes, no = places
            self.body.append(f"copyto({out}, {no})")
            self.body.append(f"copyto({out}, {yes}, where={condition})")
            self._release(done)
        else:
            out_ = f"out={out}" if op in ("maximum", "minimum") else out
            self.body.append(f"{UFUNCS.get(op, op)}({', '.join([*places, out_])})")
        self.places[i] = out

    def _place(self, name: str) -> str:
        # Where the old numbers of an array are, or may be.
        return self.same.get(name, name)

    def _copies(self, left: list[tuple[str, str]]) -> None:
        # Copy between arrays, each before its source is overwritten.
        while left:
            ready = [
                copy
                for copy in left
                if not any(copy[0] == self._place(other[1]) for other in left if other != copy)
            ]
            if (
                not ready
            ):  # they exchange their numbers, or would if the gradient were the parameter
                target, source = left.pop()
                left.append((target, self._buffer("t")))
                ready = [(left[-1][1], source)]
            self.body += [f"copyto({target}, {source})" for target, source in ready]
            left = [copy for copy in left if copy not in ready]

    def _release(self, lines: Sequence[int]) -> None:
        for line in lines:
            place = self.places[line]
            if place[0] in "tc":
                self.free[place[0]].append(place)

    def _buffer(self, kind: str) -> str:
        if self.free[kind]:
            return self.free[kind].pop()
        self.count[kind] += 1
        return f"{kind}{self.count[kind] - 1}"
