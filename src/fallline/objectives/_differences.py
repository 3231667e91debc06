"""Differences of a function of one leaf, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import _arrays
from .._arrays._types import Array, HostArray

Vector = HostArray

HALVINGS = 8  # of a step, by a quarter each, until truncation and rounding are in balance
ELEMENTS = 16  # of a leaf, up to which each is looked at by itself
SOME = 8  # that are looked at in larger ones


class Seen(NamedTuple):
    """A difference along a direction, in units of its first step.

    `claimed` is what the gradient makes of it, `doubt` by how much both may differ when the
    gradient is right, `scale` what an error is relative to, `step` the step in the leaf.
    """

    claimed: float
    found: float
    doubt: float
    scale: float
    step: Vector

    @property
    def error(self) -> float:
        """The relative error that neither rounding nor truncation explains."""
        return max(0.0, abs(self.claimed - self.found) - self.doubt) / max(self.scale, 1e-300)

    @property
    def blur(self) -> float:
        """The smallest relative error that can be seen."""
        return self.doubt / self.scale if self.scale else math.inf


class Differences:
    """A leaf as real numbers, and the function of it.

    Parameters
    ----------
    value : callable
        The value for an array in the place of the leaf.
    middle : float
        The value at the leaf.
    p, g : array
        The leaf and its gradient, `None` for zero.
    epsilon : float
        The precision of the leaf, or of the values if that is less.
    grain : float
        How far values are apart, be they as small as can be: 1 for integers.
    """

    def __init__(
        self, value: Callable[[Array], float], middle: float, p: Array, g: Array, epsilon: float,
        grain: float,
    ) -> None:  # fmt: skip
        self._value, self.middle, self._p = value, middle, p
        self._epsilon, self._grain = epsilon, grain
        self.at = _reals(p)
        self.slope = np.zeros_like(self.at) if g is None else _reals(g)
        self.h = epsilon ** (1 / 3)
        self._rounding = 0.0  # of the gradient, in each element; known after the first difference
        norm = float(np.linalg.norm(self.at))
        typical = max(1.0, norm) / math.sqrt(self.at.size)
        # No element changes its sign: functions of positive numbers may have a pole at zero.
        sizes = np.abs(self.at)
        self.typical = np.where(sizes > 0, np.minimum(typical, sizes / (2 * self.h)), typical)
        self._norm = norm
        self.is_complex = _arrays.is_complex(p)

    def along(self, direction: Vector, allowed: float) -> Seen | None:
        """Return the difference along a direction, where it can be trusted most.

        The first step will do if the gradient agrees with it. Else shorter ones tell whether the
        disagreement is truncation, which falls with the step, or an error, which stays.
        """
        best: Seen | None = None
        before = math.inf
        for k in range(HALVINGS):
            t = 0.25**k
            seen = self._difference(direction, t)
            if seen is None:
                before = math.inf
                continue
            if k == 0 and seen.error <= allowed:
                return seen
            off = seen.claimed - seen.found
            noise, doubt = seen.doubt, seen.doubt + abs(off - before) / 3
            before = off
            if best is None or doubt < best.doubt:
                best = seen._replace(doubt=doubt)
            elif noise > best.doubt:
                break
        return best if best is not None and math.isfinite(best.doubt) else None

    def _difference(self, direction: Vector, t: float) -> Seen | None:
        ends = [self._rounded(self.at + sign * t * direction) for sign in (1, -1)]
        (high, up), (low, down) = ((self._value(x), reals) for x, reals in ends)
        step = up - down
        length = float(np.linalg.norm(step))
        if not (math.isfinite(high) and math.isfinite(low) and length):
            return None
        # The curvature counts where rounding has made the two halves of the step unequal.
        bend = abs(high + low - 2 * self.middle)
        uneven = float(np.linalg.norm(up + down - 2 * self.at)) / length
        if not self._rounding:
            top = float(np.max(np.abs(self.slope)))
            self._rounding = 8 * self._epsilon * (top + 4 * bend / length**2 * self._norm)
        noise = 8 * self._epsilon * (abs(high) + abs(low)) + self._grain
        noise += 4 * max(uneven, self._epsilon / (self.h * t)) * bend
        noise += self._rounding * length
        products = self.slope * step
        claimed, found = float(np.sum(products)), high - low
        scale = max(abs(claimed), abs(found), float(np.linalg.norm(products)))
        return Seen(claimed / t, found / t, noise / t, scale / t, step / t)

    def _rounded(self, reals: Vector) -> tuple[Array, Vector]:
        # An array in the dtype of the leaf, and the numbers that it has.
        wide = reals.view(complex) if self.is_complex else reals
        x = _arrays.moved(np.array(wide.reshape(self._p.shape)), self._p, self._p.dtype)
        return x, _reals(x)

    # -- directions ---------------------------------------------------------------------------

    def directions(self, rng: np.random.Generator) -> Iterator[Vector]:
        """Yield a direction of each kind.

        Up the gradient, where the difference is largest beside rounding; of equal steps; of steps
        in proportion to the elements; and of steps whose parts in the difference are alike, in
        which an error beside much larger slopes is seen.
        """
        lengths = rng.uniform(0.5, 1.5, self.at.size)
        signs = rng.choice((-1.0, 1.0), self.at.size) * lengths
        sizes = np.abs(self.at)
        yield self.h * self.typical * np.where(self.slope < 0, -lengths, lengths)
        yield self.h * self.typical * signs
        if self.at.size == 1 or not sizes.any():
            return
        yield self.h * sizes * signs
        scales = np.where(sizes > 0, sizes, self.typical)
        parts = np.abs(self.slope) * scales
        if not np.all(np.isfinite(parts)) or not parts.any():
            return
        level = np.quantile(parts[parts > 0], 0.25, method="lower")
        yield self.h * scales * signs * np.minimum(1.0, level / np.where(parts > 0, parts, level))

    def element(self, i: int, allowed: float) -> Seen | None:
        """Return the difference in one element, in proportion to it or to the others."""
        best: Seen | None = None
        own = abs(float(self.at[i]))
        for size in (own, self.typical[i]) if own else (self.typical[i],):
            direction = np.zeros_like(self.at)
            direction[i] = self.h * size
            seen = self.along(direction, allowed)
            if seen is None:
                continue
            if best is None or seen.blur < best.blur:
                best = seen
            if best.error <= allowed and best.blur <= allowed:
                break
        return best

    def chosen(self, rng: np.random.Generator) -> Vector:
        """Return the elements to be looked at: all, or of many the extreme and some others."""
        n = self.at.size
        if n <= ELEMENTS:
            return np.arange(n)
        order = np.argsort(np.abs(self.slope * np.maximum(np.abs(self.at), self.typical)))
        some = np.concatenate([order[:2], order[-2:], rng.integers(0, n, SOME - 4)])
        return np.unique(some)

    def worst(self, direction: Vector, allowed: float) -> int:
        """Return an element that is wrong, by halving the direction in which it was seen."""
        places = np.flatnonzero(direction)
        while places.size > 1:
            halves = np.array_split(places, 2)
            found = []
            for half in halves:
                part = np.zeros_like(direction)
                part[half] = direction[half]
                found.append(self.along(part, allowed))
            excess = [0.0 if x is None else x.error * x.scale for x in found]
            places = halves[int(np.argmax(excess))]
        return int(places[0])

    def name(self, i: int) -> tuple[tuple[int, ...], str]:
        """Return the index of an element, and which part of it is meant if it is complex."""
        pair = self.is_complex
        index = np.unravel_index(i // (1 + pair), tuple(self._p.shape))
        return tuple(map(int, index)), ("", " (imaginary part)")[pair and i % 2]

    def conjugate(self) -> Vector:
        """Return the conjugate of the gradient of a complex leaf."""
        flipped = self.slope.copy()
        flipped[1::2] *= -1
        return flipped


def _reals(x: Array) -> Vector:
    # The real numbers of an array, the parts of a complex one beside each other.
    found = _arrays.to_numpy(x).reshape(-1)
    if _arrays.is_complex(x):
        return np.ascontiguousarray(found, complex).view(float)
    return found.astype(float)
